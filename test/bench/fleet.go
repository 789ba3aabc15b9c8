//go:build linux

package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/test/kit"
)

// A fleet is what a control plane sends: services, each a cluster with endpoints and a virtual host with a route to it; the virtual hosts are
// in a few tables, and each table has a listener.
type fleet struct {
	services int
	each     int // endpoints of a service
	tables   int
	delta    bool
	profiled bool     // with -profile: from the start of the proxy
	listen   []string // the address of each table's listener
	port     uint16   // of all endpoints, on loopback addresses of their own
	routes   []*routev3.RouteConfiguration
}

func nameOfService(i int) string { return "svc" + strconv.Itoa(i) }

// hostOf is the name that clients ask for.
func hostOf(i int) string { return nameOfService(i) + ".example" }

func nameOfTable(t int) string { return "table" + strconv.Itoa(t) }

// span returns the services of a table: from, and up to but without to.
func (f *fleet) span(t int) (from, to int) {
	return t * f.services / f.tables, (t + 1) * f.services / f.tables
}

// tableOf returns the table that has the route of a service.
func (f *fleet) tableOf(i int) int {
	for t := range f.tables {
		if _, to := f.span(t); i < to {
			return t
		}
	}
	return f.tables - 1
}

// fill gives a control plane all that the fleet has.
func (f *fleet) fill(p *plane) {
	p.mu.Lock()
	for _, url := range []string{kit.ClusterURL, kit.EndpointURL, kit.ListenerURL, kit.RouteURL} {
		p.of(url)
	}
	p.mu.Unlock()
	for i := range f.services {
		p.set(nameOfService(i), f.cluster(i))
		p.set(nameOfService(i), f.assignment(i, 0))
	}
	f.routes = make([]*routev3.RouteConfiguration, f.tables)
	for t := range f.tables {
		f.routes[t] = f.table(t)
		p.set(nameOfTable(t), f.routes[t])
		p.set(nameOfTable(t), kit.HTTPListener(nameOfTable(t), f.listen[t], nameOfTable(t)))
	}
}

func (f *fleet) cluster(i int) *clusterv3.Cluster { return kit.EDSCluster(nameOfService(i)) }

// assignment is the endpoints of a service; another version has another first endpoint.
func (f *fleet) assignment(i, version int) *endpointv3.ClusterLoadAssignment {
	hosts := make([]string, f.each)
	for e := range hosts {
		second := byte(1 + e)
		if e == 0 && version > 0 {
			second = byte(100 + version%100)
		}
		hosts[e] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, second, byte(i >> 8), byte(i)}), f.port).String()
	}
	return kit.Assignment(nameOfService(i), hosts...)
}

// table is a route configuration.
func (f *fleet) table(t int) *routev3.RouteConfiguration {
	cfg := &routev3.RouteConfiguration{Name: nameOfTable(t)}
	from, to := f.span(t)
	for i := from; i < to; i++ {
		cfg.VirtualHosts = append(cfg.VirtualHosts, virtualHost(i, ""))
	}
	return cfg
}

// versionHeader is in the responses of a route that has changed.
const versionHeader = "X-Version"

// virtualHost is that of a service; a version that is not empty is put into its responses.
func virtualHost(i int, version string) *routev3.VirtualHost {
	route := &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: nameOfService(i)}}},
	}
	if version != "" {
		route.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: versionHeader, Value: version}}}
	}
	return &routev3.VirtualHost{Name: nameOfService(i), Domains: []string{hostOf(i)}, Routes: []*routev3.Route{route}}
}

// changeRoute gives the route of a service a version and returns its table.
func (f *fleet) changeRoute(i int, version string) *routev3.RouteConfiguration {
	t := f.tableOf(i)
	from, _ := f.span(t)
	f.routes[t].VirtualHosts[i-from] = virtualHost(i, version)
	return f.routes[t]
}

// launch starts the control plane of a scenario's fleet, on ports of its own, and writes the configuration of a proxy that connects to it.
func (b *bench) launch(f *fleet, s setup) (p *plane, config string, err error) {
	mine := *f
	f = &mine
	if f.listen, err = b.ports.free(f.tables); err != nil {
		return nil, "", err
	}
	origin, err := net.ResolveTCPAddr("tcp4", s.Origin)
	if err != nil {
		return nil, "", err
	}
	f.port = uint16(origin.Port)
	if p, err = startPlane(f); err != nil {
		return nil, "", err
	}
	boot := kit.ADSBootstrap(p.addr, f.delta)
	boot.Admin.Address = kit.Address(s.Admin)
	text, err := protojson.Marshal(boot)
	config = filepath.Join(s.Dir, "weft.json")
	if err == nil {
		err = os.WriteFile(config, text, 0o644)
	}
	if err != nil {
		p.stop()
		return nil, "", fmt.Errorf("configuration for %s: %w", p.addr, err)
	}
	return p, config, nil
}
