package upstream

import (
	"reflect"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
)

// matchKey is the metadata by which transport_socket_matches choose.
const matchKey = "envoy.transport_socket_match"

// A socketChoice is one of a cluster's transport sockets. Immutable.
type socketChoice struct {
	socket socket.Client // nil: plain
	socket.Features
	labels map[string]any // that an endpoint has to have; none: it fits all
	used   *stats.Counter // total_match_count; nil of the usual one, whose counter is among those of members
}

// sockets are the transport sockets of a cluster: one for all hosts, and others for those that match. Immutable.
type sockets struct {
	usual   *socketChoice
	matches []*socketChoice
}

// choose returns the transport socket for a host with such metadata: the first match for its own, then the first one for that of its
// locality, then the usual one.
func (s *sockets) choose(own, locality map[string]map[string]any) *socketChoice {
	for _, metadata := range []map[string]map[string]any{own, locality} {
		for _, m := range s.matches {
			if m.fits(metadata[matchKey]) {
				return m
			}
		}
	}
	return s.usual
}

// fits reports whether facts say all that the labels do.
func (m *socketChoice) fits(facts map[string]any) bool {
	for name, want := range m.labels {
		if got, ok := facts[name]; !ok || !reflect.DeepEqual(got, want) {
			return false
		}
	}
	return true
}

// plainSocket is that of clusters without one. Immutable.
var plainSocket = &socketChoice{}

// countSockets counts the transport sockets of new hosts.
func (c *Cluster) countSockets(hosts []*Host) {
	for _, h := range hosts {
		if used := h.spec().via.used; used != nil {
			used.Inc()
		} else {
			c.members.Lane(0).DefaultSocket.Inc()
		}
	}
}

// compileSockets compiles transport_socket and transport_socket_matches, and gives each endpoint its own.
func (c *Cluster) compileSockets(env CompileEnv, m *clusterv3.Cluster, at resource.Path, p *resource.Problems) {
	e := &socket.Env{Sockets: env.Sockets, Secrets: env.Secrets, Stats: c.scope, Log: env.Log, Runtime: env.Runtime, Problems: p}
	if e.Sockets == nil {
		e.Sockets = &socket.Registry{}
	}
	if e.Runtime == nil {
		e.Runtime = func(string) (string, bool) { return "", false }
	}
	_, unchecked := e.Runtime("config.do_not_validate_alpn_support")
	before := p.HasErrors()
	c.sockets.usual = plainSocket
	if s := e.Sockets.Client(e, m.GetTransportSocket(), at.Field("transport_socket")); s != nil {
		c.sockets.usual = &socketChoice{socket: s, Features: s.Features()}
	}
	all := []*socketChoice{c.sockets.usual}
	for i, t := range m.GetTransportSocketMatches() {
		at := at.Field("transport_socket_matches").Index(i)
		s := &socketChoice{labels: t.GetMatch().AsMap(), used: c.scope.Counter(t.GetName() + ".total_match_count")}
		if s.socket = e.Sockets.Client(e, t.GetTransportSocket(), at.Field("transport_socket")); s.socket != nil {
			s.Features = s.socket.Features()
		}
		c.sockets.matches = append(c.sockets.matches, s)
		all = append(all, s)
	}
	o := c.Config.Health
	negotiates := c.Config.HTTP.Auto() || o != nil && o.HTTP != nil && o.HTTP.Negotiated
	if negotiates && !unchecked && p.HasErrors() == before {
		if slices.ContainsFunc(all, func(s *socketChoice) bool { return !s.Secure }) {
			p.Errorf(at.Field("transport_socket"), "give it a TLS transport socket, or use explicit_http_config",
				"ALPN configured for cluster %s which has a non-ALPN transport socket", c.Name)
		}
	}
	for _, ep := range c.Config.assigned.endpoints {
		ep.via = c.sockets.choose(ep.metadata, ep.locality.metadata)
	}
}
