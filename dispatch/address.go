package dispatch

import (
	"net/netip"
	"strings"

	"github.com/weftproxy/weft/message"
)

// lastFromXFF returns the address that is skip entries before the last of x-forwarded-for, and whether it is the only entry.
// Entries that are no address end the search, as in Envoy.
func lastFromXFF(h *message.Header, skip int) (addr netip.Addr, single bool) {
	xff, ok := h.Joined("x-forwarded-for", ",")
	if !ok {
		return netip.Addr{}, false
	}
	rest := xff
	for range skip {
		i := strings.LastIndexByte(rest, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		rest = rest[:i]
	}
	last := rest
	if i := strings.LastIndexByte(rest, ','); i >= 0 {
		last = rest[i+1:]
	}
	addr, err := netip.ParseAddr(strings.Trim(last, " \t"))
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap(), !strings.Contains(xff, ",")
}

// Internal says which addresses count as internal. The zero value has none.
type internalAddresses struct {
	prefixes []netip.Prefix
	unix     bool
}

func (in *internalAddresses) has(a netip.Addr) bool {
	for _, p := range in.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
