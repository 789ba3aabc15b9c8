package route

import (
	"hash/maphash"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// A Table is a compiled RouteConfiguration. Immutable; safe for concurrent use.
type Table struct {
	name         string
	place        resource.Path
	domains      domains
	ignoreParams bool // ignore_path_parameters_in_path_matching
	routes       []*exchange.Route
	none         *exchange.Route
	internal     []string // internal_only_headers, lower case

	hosts    []*host                // in order
	messages []*routev3.VirtualHost // theirs
	outside  bool                   // its level was compiled from more than its message
	frame    uint64                 // a hash of all but the virtual hosts
	seed     maphash.Seed           // of frame and the keys of the hosts
}

// NotFound returns a new route of no table, for a request that was answered before it could be routed.
func NotFound() *exchange.Route {
	return &exchange.Route{IdleTimeout: unset, MaxStream: unset, BufferLimit: unset}
}

// unset is what durations and sizes are that others decide.
const unset = -1

// Name returns the name of the route configuration.
func (t *Table) Name() string { return t.name }

// Routes returns all routes by their ID: those of the configuration, the redirects of require_tls, and the one that says that nothing
// matched, which also stands for IDs that nothing has. The slice must not be changed.
func (t *Table) Routes() []*exchange.Route { return t.routes }

// Clusters returns the names of clusters that must exist, each with the place that names it: all that routes name, or none when
// validate_clusters is false, as it is by default for tables that come by RDS. The caller owns the map.
func (t *Table) Clusters() map[resource.Path]string {
	all := map[resource.Path]string{}
	for _, h := range t.hosts {
		for _, n := range h.clusters {
			all[n.at] = n.cluster
		}
	}
	return all
}

// InternalOnlyHeaders returns the names, in lower case, of the headers that requests from outside may not carry.
func (t *Table) InternalOnlyHeaders() []string { return slices.Clone(t.internal) }

// A query is what a request is matched by.
type query struct {
	r      *message.Request
	path   string // without query, fragment and perhaps parameters
	random uint64
	tls    *conn.TLS // of the client's connection; nil without
}

// Match returns the route that a request takes, never nil: when there is none, a route with neither target, redirect nor direct
// answer. random decides where fractions do. It allocates nothing, except to join several header fields of one name that routes
// look at, and to fold the case of a path longer than 256 bytes.
func (t *Table) Match(r *message.Request, info *conn.Info, random uint64) *exchange.Route {
	d := t.domains.find(r.Authority)
	if d == nil {
		return t.none
	}
	h := d.host
	if h.redirect != nil && h.insecure(r) {
		return h.redirect
	}
	q := t.query(r, info, random)
	if e := h.find(&q); e != nil {
		return e.route
	}
	return t.none
}

func (t *Table) query(r *message.Request, info *conn.Info, random uint64) query {
	path := match.BarePath(r.Path)
	if t.ignoreParams {
		for i := range len(path) {
			if path[i] == ';' {
				path = path[:i]
				break
			}
		}
	}
	q := query{r: r, path: path, random: random}
	if info != nil {
		q.tls = info.TLS
	}
	return q
}
