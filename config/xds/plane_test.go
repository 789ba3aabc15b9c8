package xds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	snapshots "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	deltaserver "github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	sotwserver "github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
)

// A pipeListener accepts what its dial makes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A plane is a control plane that can be stopped and started.
type plane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	endpointservice.UnimplementedEndpointDiscoveryServiceServer
	routeservice.UnimplementedRouteDiscoveryServiceServer
	t        testing.TB
	cache    snapshots.SnapshotCache
	mu       sync.Mutex
	listener *pipeListener
	server   *grpc.Server
	sotw     sotwserver.Server
	delta    deltaserver.Server
	requests []proto.Message // that it has got
	seen     metadata.MD     // of the last stream
}

func newPlane(t testing.TB) *plane {
	p := &plane{t: t, cache: snapshots.NewSnapshotCache(false, snapshots.IDHash{}, nil)}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *plane) start() {
	g, l := grpc.NewServer(), newPipeListener()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, p)
	endpointservice.RegisterEndpointDiscoveryServiceServer(g, p)
	routeservice.RegisterRouteDiscoveryServiceServer(g, p)
	p.mu.Lock()
	p.listener, p.server = l, g
	p.sotw = sotwserver.NewServer(context.Background(), p.cache, (*sotwCallbacks)(p))
	p.delta = deltaserver.NewServer(context.Background(), p.cache, (*deltaCallbacks)(p))
	p.mu.Unlock()
	go g.Serve(l)
}

func (p *plane) stop() {
	p.mu.Lock()
	l, g := p.listener, p.server
	p.mu.Unlock()
	l.Close()
	g.Stop()
}

func (p *plane) dial(ctx context.Context, cluster string) (net.Conn, error) {
	if cluster != "plane" {
		return nil, fmt.Errorf("no cluster %q", cluster)
	}
	p.mu.Lock()
	l := p.listener
	p.mu.Unlock()
	return l.dial(ctx)
}

func (p *plane) open(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = md
	return nil
}

func (p *plane) note(m proto.Message) error {
	m = proto.Clone(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, m)
	return nil
}

func (p *plane) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return p.sotw.StreamHandler(s, "")
}

func (p *plane) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return p.delta.DeltaStreamHandler(s, "")
}

func (p *plane) StreamEndpoints(s endpointservice.EndpointDiscoveryService_StreamEndpointsServer) error {
	return p.sotw.StreamHandler(s, kindOf(resource.Endpoint).url)
}

func (p *plane) DeltaEndpoints(s endpointservice.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return p.delta.DeltaStreamHandler(s, kindOf(resource.Endpoint).url)
}

func (p *plane) StreamRoutes(s routeservice.RouteDiscoveryService_StreamRoutesServer) error {
	return p.sotw.StreamHandler(s, kindOf(resource.Route).url)
}

func (p *plane) DeltaRoutes(s routeservice.RouteDiscoveryService_DeltaRoutesServer) error {
	return p.delta.DeltaStreamHandler(s, kindOf(resource.Route).url)
}

type sotwCallbacks plane

func (c *sotwCallbacks) OnStreamOpen(ctx context.Context, _ int64, _ string) error {
	return (*plane)(c).open(ctx)
}
func (c *sotwCallbacks) OnStreamClosed(int64, *corev3.Node) {}
func (c *sotwCallbacks) OnStreamRequest(_ int64, m *discoveryv3.DiscoveryRequest) error {
	return (*plane)(c).note(m)
}
func (c *sotwCallbacks) OnStreamResponse(context.Context, int64, *discoveryv3.DiscoveryRequest, *discoveryv3.DiscoveryResponse) {
}

type deltaCallbacks plane

func (c *deltaCallbacks) OnDeltaStreamOpen(ctx context.Context, _ int64, _ string) error {
	return (*plane)(c).open(ctx)
}
func (c *deltaCallbacks) OnDeltaStreamClosed(int64, *corev3.Node) {}
func (c *deltaCallbacks) OnStreamDeltaRequest(_ int64, m *discoveryv3.DeltaDiscoveryRequest) error {
	return (*plane)(c).note(m)
}
func (c *deltaCallbacks) OnStreamDeltaResponse(int64, *discoveryv3.DeltaDiscoveryRequest, *discoveryv3.DeltaDiscoveryResponse) {
}

// set gives the plane a version of everything: content n under each name, by resource type.
func (p *plane) set(version string, n int, names map[string][]string) {
	p.t.Helper()
	all := map[string][]types.Resource{}
	for kind, list := range names {
		k := kindOf(kind)
		for _, name := range list {
			all[k.url] = append(all[k.url], k.make(name, n))
		}
	}
	s, err := snapshots.NewSnapshot(version, all)
	if err == nil {
		err = p.cache.SetSnapshot(context.Background(), "me", s)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
