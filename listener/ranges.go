package listener

import (
	"net/netip"
	"slices"
)

// ranges finds what belongs to the most specific of a set of address ranges. A lookup costs a map access for each prefix length that
// occurs, whatever the number of ranges.
type ranges[T any] struct {
	byPrefix map[netip.Prefix]T
	lengths  [2][]int // prefix lengths that occur, longest first: IPv4, IPv6
	rest     T        // for what no range contains
	hasRest  bool
}

// at returns the entry for a prefix, which it makes with make if there is none. The zero Prefix stands for every address.
func (r *ranges[T]) at(p netip.Prefix, make func() T) T {
	if !p.IsValid() {
		if !r.hasRest {
			r.rest, r.hasRest = make(), true
		}
		return r.rest
	}
	if v, ok := r.byPrefix[p]; ok {
		return v
	}
	if r.byPrefix == nil {
		r.byPrefix = map[netip.Prefix]T{}
	}
	v := make()
	r.byPrefix[p] = v
	lengths := &r.lengths[family(p.Addr())]
	if !slices.Contains(*lengths, p.Bits()) {
		*lengths = append(*lengths, p.Bits())
		slices.SortFunc(*lengths, func(a, b int) int { return b - a })
	}
	return v
}

// find returns the entry of the longest prefix that contains a.
func (r *ranges[T]) find(a netip.Addr) (T, bool) {
	if len(r.byPrefix) > 0 {
		for _, bits := range r.lengths[family(a)] {
			p, err := a.Prefix(bits)
			if err != nil {
				continue
			}
			if v, ok := r.byPrefix[p]; ok {
				return v, true
			}
		}
	}
	return r.rest, r.hasRest
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
