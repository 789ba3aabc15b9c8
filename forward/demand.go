package forward

import (
	"net/netip"
	"strings"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/upstream"
)

// ask says what the request needs of its connection. It comes after the route's changes to the request, and before those that depend on
// the host: auto_sni goes by the name that the route gives it.
func (f *flight) ask() {
	x := f.x
	f.demand = upstream.Demand{Protocol: x.Record.Protocol, Downstream: x.Conn, Lane: x.Lane, Priority: x.Route.Priority}
	o := &f.cluster.Config.HTTP
	if !o.Named() {
		return
	}
	name := x.Request.Authority
	if o.SNIHeader != "" {
		if v, ok := x.Request.Header.Joined(o.SNIHeader, ","); ok && v != "" {
			name = v
		}
	}
	f.demand.Name, f.demand.NameIsIP = hostOf(name)
}

// hostOf returns an authority without its port, and whether it is an IP address.
func hostOf(authority string) (host string, ip bool) {
	host = authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		if port, ok := match.ParseUint(host[i+1:]); ok && port <= 65535 {
			host = host[:i]
		}
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	_, err := netip.ParseAddr(host)
	return host, err == nil
}
