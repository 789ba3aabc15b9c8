package route

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// A host is a compiled VirtualHost.
type host struct {
	name     string
	place    resource.Path
	tls      routev3.VirtualHost_TlsRequirementType
	redirect *exchange.Route // to https; nil unless require_tls
	entries  []entry         // in the order of the configuration
	plain    index           // of entries whose paths have case
	folded   index           // of those whose paths have none

	index    int    // in virtual_hosts; -1: discovered
	resource string // that discovered it
	key      uint64 // of the content of its message
	outside  bool   // it was compiled from more than its message
	domains  []domain
	routes   []*exchange.Route // all that were given an ID
	clusters []need
}

// A need is a cluster that must exist, and the place that names it.
type need struct {
	at      resource.Path
	cluster string
}

// insecure reports whether require_tls sends a request to https. What the client used is what x-forwarded-proto says.
func (h *host) insecure(r *message.Request) bool {
	proto := r.Header.Known(message.XForwardedProto)
	if proto == "" {
		proto = r.Scheme
	}
	if proto == "https" {
		return false
	}
	return h.tls == routev3.VirtualHost_ALL || r.Header.Known(message.XEnvoyInternal) != "true"
}

// find returns the first entry whose conditions all hold.
func (h *host) find(q *query) *entry {
	var c cursors
	if !h.plain.candidates(q.path, &c) || !h.folded.candidates(q.path, &c) {
		return h.walk(q)
	}
	for {
		at := c.first(h.entries)
		if at < 0 {
			return nil
		}
		if e := &h.entries[at]; e.confirms(q) && e.holds(q) {
			return e
		}
	}
}

// walk is find without the indexes.
func (h *host) walk(q *query) *entry {
	for i := range h.entries {
		if e := &h.entries[i]; e.matchesPath(q) && e.holds(q) {
			return e
		}
	}
	return nil
}
