package match

import (
	"fmt"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// A CIDRs is a set of address ranges. The zero set is empty.
type CIDRs struct{ spans []span }

// A span is a range of addresses of one family; spans are sorted, disjoint and apart.
type span struct{ first, last netip.Addr }

// NewCIDRs compiles CidrRanges (envoy.config.core.v3); a missing prefix_len is 0. Bits beyond the prefix are ignored.
func NewCIDRs(ranges []*corev3.CidrRange) (*CIDRs, error) {
	set := &CIDRs{}
	for i, r := range ranges {
		p, err := Prefix(r)
		if err != nil {
			return nil, fmt.Errorf("range %d: %w", i, err)
		}
		set.spans = append(set.spans, span{p.Addr(), lastAddr(p)})
	}
	slices.SortFunc(set.spans, func(a, b span) int { return a.first.Compare(b.first) })
	merged := set.spans[:0]
	for _, s := range set.spans {
		n := len(merged)
		if n == 0 || s.first.BitLen() != merged[n-1].last.BitLen() || merged[n-1].last.Less(s.first) {
			merged = append(merged, s)
		} else if merged[n-1].last.Less(s.last) {
			merged[n-1].last = s.last
		}
	}
	set.spans = slices.Clip(merged)
	return set, nil
}

// Prefix is the range as a masked netip.Prefix. IPv4-mapped IPv6 ranges become IPv4.
func Prefix(r *corev3.CidrRange) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("address_prefix: %q is not an IP address", r.GetAddressPrefix())
	}
	bits := int(r.GetPrefixLen().GetValue())
	if bits < 0 || bits > addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("prefix_len: %d is more than the %d bits of %s", r.GetPrefixLen().GetValue(), addr.BitLen(), addr)
	}
	if addr.Is4In6() && bits >= 96 {
		addr, bits = addr.Unmap(), bits-96
	}
	return addr.Prefix(bits)
}

// lastAddr is the highest address of a masked prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// Contains reports whether an address is in the set. IPv4-mapped addresses count as IPv4; the zero Addr is in no set. A nil set
// is empty.
func (c *CIDRs) Contains(a netip.Addr) bool {
	if c == nil || !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	lo, hi := 0, len(c.spans) // the first span that begins after a
	for lo < hi {
		if mid := (lo + hi) / 2; a.Less(c.spans[mid].first) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo > 0 && !c.spans[lo-1].last.Less(a) && c.spans[lo-1].last.BitLen() == a.BitLen()
}

// Len returns the number of disjoint ranges.
func (c *CIDRs) Len() int {
	if c == nil {
		return 0
	}
	return len(c.spans)
}
