package server

import (
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/admin"
	"github.com/weftproxy/weft/resource"
)

// dump is the configuration in force, for /config_dump.
func (p *process) dump() admin.Dump {
	g := p.current.Load()
	if g == nil {
		return admin.Dump{}
	}
	d := admin.Dump{Bootstrap: g.set.Bootstrap, Updated: g.at, Endpoints: func() []admin.DumpEntry { return p.endpoints(g) }}
	for _, r := range g.set.All(resource.Cluster) {
		d.Clusters = append(d.Clusters, g.entry(r))
	}
	for _, r := range g.set.All(resource.Secret) {
		d.Secrets = append(d.Secrets, g.entry(r))
	}
	for _, r := range g.set.All(resource.Listener) {
		d.Listeners = append(d.Listeners, g.entry(r))
		l, ok := r.Message.(*listenerv3.Listener)
		if !ok {
			continue
		}
		for _, rc := range routesOf(l) {
			d.Routes = append(d.Routes, admin.DumpEntry{Name: rc.GetName(), Message: rc, Updated: g.changed[r.Key]})
		}
	}
	p.dumpDynamic(&d)
	return d
}

func (g *generation) entry(r *resource.Resource) admin.DumpEntry {
	return admin.DumpEntry{Name: r.Name, Message: r.Message, Updated: g.changed[r.Key]}
}

// routesOf finds the route tables that a listener holds.
func routesOf(l *listenerv3.Listener) []*routev3.RouteConfiguration {
	var out []*routev3.RouteConfiguration
	chains := l.GetFilterChains()
	if d := l.GetDefaultFilterChain(); d != nil {
		chains = append(chains[:len(chains):len(chains)], d)
	}
	for _, chain := range chains {
		for _, f := range chain.GetFilters() {
			if hcm, err := resource.Unpack[*hcmv3.HttpConnectionManager](f.GetTypedConfig()); err == nil && hcm.GetRouteConfig() != nil {
				out = append(out, hcm.GetRouteConfig())
			}
		}
	}
	return out
}

// endpoints are the hosts of each cluster as they are now.
func (p *process) endpoints(g *generation) []admin.DumpEntry {
	var out []admin.DumpEntry
	for _, r := range g.set.All(resource.Cluster) {
		c := g.snap.Clusters.Find(r.Name)
		if c == nil {
			continue
		}
		a := &endpointv3.ClusterLoadAssignment{ClusterName: r.Name}
		a.Endpoints = localities(hostsOf(c))
		out = append(out, admin.DumpEntry{Name: r.Name, Message: a, Updated: g.changed[r.Key]})
	}
	return out
}

// localities groups hosts as a load assignment does.
func localities(hosts []admin.Host) []*endpointv3.LocalityLbEndpoints {
	type key struct {
		region, zone, sub string
		priority          uint32
	}
	var out []*endpointv3.LocalityLbEndpoints
	groups := map[key]*endpointv3.LocalityLbEndpoints{}
	for _, h := range hosts {
		k := key{h.Region, h.Zone, h.SubZone, h.Priority}
		group := groups[k]
		if group == nil {
			group = &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: h.Region, Zone: h.Zone, SubZone: h.SubZone}, Priority: h.Priority}
			groups[k] = group
			out = append(out, group)
		}
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: addressOf(h.Address), Hostname: h.Hostname}},
			LoadBalancingWeight: wrapperspb.UInt32(h.Weight),
		})
	}
	return out
}

// addressOf is ip:port or the path of a unix socket as the configuration writes it.
func addressOf(s string) *corev3.Address {
	at, err := netip.ParseAddrPort(s)
	if err != nil {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: s}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: at.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}

// changes says when each resource got the content it has in next.
func changes(prev *generation, set *resource.Set, now time.Time) map[resource.Key]time.Time {
	out := make(map[resource.Key]time.Time, set.Len())
	for _, kind := range []string{resource.Listener, resource.Cluster, resource.Secret} {
		for _, r := range set.All(kind) {
			out[r.Key] = now
			if prev == nil {
				continue
			}
			if old := prev.set.Get(r.Key); old != nil && old.Hash == r.Hash {
				out[r.Key] = prev.changed[r.Key]
			}
		}
	}
	return out
}
