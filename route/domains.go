package route

import (
	"slices"
	"strings"

	"github.com/weftproxy/weft/match"
)

// A domain is one entry of a virtual host's domains.
type domain struct {
	text string // as in the configuration
	key  string // in lower case, without the wildcard
	kind string // for people: how it matches
	host *host
}

// The kinds of domains.
const (
	anyDomain    = "any host"
	suffixDomain = "suffix"
	prefixDomain = "prefix"
	exactDomain  = "exact"
)

func newDomain(text string, h *host) domain {
	lower := strings.Clone(match.LowerASCII(text))
	switch {
	case lower == "*":
		return domain{text, "", anyDomain, h}
	case strings.HasPrefix(lower, "*"):
		return domain{text, lower[1:], suffixDomain, h}
	case strings.HasSuffix(lower, "*"):
		return domain{text, lower[:len(lower)-1], prefixDomain, h}
	}
	return domain{text, lower, exactDomain, h}
}

// domains finds the virtual host of an authority.
type domains struct {
	exact      map[string]*domain
	suffixes   wildcards // *.example.com
	prefixes   wildcards // example.*
	any        *domain   // *
	ignorePort bool
}

// wildcards are domains with a "*" at one end, by the text that is left of them.
type wildcards struct {
	byText  map[string]*domain
	lengths []int // the distinct lengths of the texts, longest first
}

// grow makes room for as many domains as another table has, or for n exact ones.
func (d *domains) grow(like *domains, n int) {
	if like == nil {
		d.exact = make(map[string]*domain, n)
		return
	}
	const more = 8
	d.exact = make(map[string]*domain, len(like.exact)+more)
	if n := len(like.suffixes.byText); n > 0 {
		d.suffixes.byText = make(map[string]*domain, n+more)
	}
	if n := len(like.prefixes.byText); n > 0 {
		d.prefixes.byText = make(map[string]*domain, n+more)
	}
}

// add enters a domain and reports whether it was new.
func (d *domains) add(entry *domain) bool {
	switch entry.kind {
	case anyDomain:
		if d.any != nil {
			return false
		}
		d.any = entry
		return true
	case suffixDomain:
		return d.suffixes.add(entry.key, entry)
	case prefixDomain:
		return d.prefixes.add(entry.key, entry)
	}
	if d.exact == nil {
		d.exact = map[string]*domain{}
	}
	if d.exact[entry.key] != nil {
		return false
	}
	d.exact[entry.key] = entry
	return true
}

func (w *wildcards) add(text string, d *domain) bool {
	if w.byText == nil {
		w.byText = map[string]*domain{}
	}
	if w.byText[text] != nil {
		return false
	}
	w.byText[text] = d
	at, found := slices.BinarySearchFunc(w.lengths, len(text), func(have, n int) int { return n - have })
	if !found {
		w.lengths = slices.Insert(w.lengths, at, len(text))
	}
	return true
}

// find returns the domain that an authority belongs to, nil when there is none: exact before suffix before prefix before "*", the
// longest wildcard first.
func (d *domains) find(authority string) *domain {
	if len(d.exact) == 0 && d.suffixes.lengths == nil && d.prefixes.lengths == nil {
		return d.any
	}
	if d.ignorePort {
		authority = withoutPort(authority)
	}
	if match.HasUpper(authority) {
		var scratch [256]byte
		return d.findLower(match.AppendLower(scratch[:0], authority))
	}
	if e := d.exact[authority]; e != nil {
		return e
	}
	// A wildcard stands for one character at least: *.foo.com is not .foo.com.
	for _, n := range d.suffixes.lengths {
		if n < len(authority) {
			if e := d.suffixes.byText[authority[len(authority)-n:]]; e != nil {
				return e
			}
		}
	}
	for _, n := range d.prefixes.lengths {
		if n < len(authority) {
			if e := d.prefixes.byText[authority[:n]]; e != nil {
				return e
			}
		}
	}
	return d.any
}

// findLower is find for bytes, so that folding the case needs no memory.
func (d *domains) findLower(authority []byte) *domain {
	if e := d.exact[string(authority)]; e != nil {
		return e
	}
	for _, n := range d.suffixes.lengths {
		if n < len(authority) {
			if e := d.suffixes.byText[string(authority[len(authority)-n:])]; e != nil {
				return e
			}
		}
	}
	for _, n := range d.prefixes.lengths {
		if n < len(authority) {
			if e := d.prefixes.byText[string(authority[:n])]; e != nil {
				return e
			}
		}
	}
	return d.any
}

// withoutPort cuts the port off an authority; colons in brackets belong to an IPv6 address.
func withoutPort(authority string) string {
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 || strings.LastIndexByte(authority, ']') > colon {
		return authority
	}
	return authority[:colon]
}
