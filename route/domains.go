package route

import (
	"slices"
	"strings"

	"github.com/weftproxy/weft/match"
)

// A domain is one entry of a virtual host's domains.
type domain struct {
	text string // as in the configuration
	kind string // for people: how it matches
	host *host
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

// add enters a domain and reports whether it was new.
func (d *domains) add(text string, h *host) bool {
	lower := strings.Clone(match.LowerASCII(text))
	entry := &domain{text: text, host: h}
	switch {
	case lower == "*":
		entry.kind = "any host"
		if d.any != nil {
			return false
		}
		d.any = entry
		return true
	case strings.HasPrefix(lower, "*"):
		entry.kind = "suffix"
		return d.suffixes.add(lower[1:], entry)
	case strings.HasSuffix(lower, "*"):
		entry.kind = "prefix"
		return d.prefixes.add(lower[:len(lower)-1], entry)
	}
	entry.kind = "exact"
	if d.exact == nil {
		d.exact = map[string]*domain{}
	}
	if d.exact[lower] != nil {
		return false
	}
	d.exact[lower] = entry
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
	if d.exact == nil && d.suffixes.lengths == nil && d.prefixes.lengths == nil {
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
