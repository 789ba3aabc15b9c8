package xds

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	lrsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport/memory"
	"github.com/weftproxy/weft/upstream"
)

// loaded is a cluster of one host, 10.0.0.1:80 in eu/a, and of one that is a pipe, in eu/b.
func loaded(t *testing.T, name string, self bool) *upstream.Cluster {
	t.Helper()
	spot := func(zone string, a *corev3.Address) *endpointv3.LocalityLbEndpoints {
		return &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: "eu", Zone: zone}, LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}},
		}}}
	}
	m := &clusterv3.Cluster{Name: name, LoadAssignment: &endpointv3.ClusterLoadAssignment{Endpoints: []*endpointv3.LocalityLbEndpoints{
		spot("a", &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
		}}}),
		spot("b", &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/a.sock"}}}),
	}}}
	if self {
		m.LrsServer = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}}
	}
	p := resource.NewProblems("")
	u := upstream.Compile(upstream.CompileEnv{Stats: stats.NewStore(stats.Options{}), Network: memory.New()}, m, "", p)
	if p.HasErrors() {
		t.Fatal(p.All())
	}
	t.Cleanup(u.Close)
	return u
}

// busy notes requests of the cluster's first hosts.
func busy(u *upstream.Cluster, issued ...uint64) {
	for i, n := range issued {
		s := u.Hosts().All()[i].Stats()
		s.RqTotal.Add(n)
		s.RqSuccess.Add(n - 1)
		s.RqError.Add(1)
	}
}

func newTestReporter(clusters ...*upstream.Cluster) *loadReporter {
	var c stats.Counter
	return &loadReporter{clusters: func() []*upstream.Cluster { return clusters }, log: slog.New(slog.DiscardHandler), requests: &c, responses: &c, errors: &c, retries: &c}
}

func TestLoadReportsSayWhatIsAskedFor(t *testing.T) {
	a, b := loaded(t, "a", false), loaded(t, "b", false)
	r := newTestReporter(a, b)
	now := time.Unix(1000, 0)
	busy(a, 100) // before anybody asked
	if r.order(&lrsv3.LoadStatsResponse{SendAllClusters: true}, now) || r.every != 0 {
		t.Error("an order without an interval is followed")
	}
	if !r.order(&lrsv3.LoadStatsResponse{Clusters: []string{"a", "unknown"}, LoadReportingInterval: durationpb.New(2 * time.Second)}, now) || r.every != 2*time.Second {
		t.Errorf("every %v", r.every)
	}
	busy(a, 3, 2)
	busy(b, 9)
	now = now.Add(2 * time.Second)
	want := &lrsv3.LoadStatsRequest{ClusterStats: []*endpointv3.ClusterStats{{
		ClusterName: "a", LoadReportInterval: durationpb.New(2 * time.Second), UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
			{Locality: &corev3.Locality{Region: "eu", Zone: "a"}, TotalSuccessfulRequests: 2, TotalErrorRequests: 1, TotalIssuedRequests: 3},
			{Locality: &corev3.Locality{Region: "eu", Zone: "b"}, TotalSuccessfulRequests: 1, TotalErrorRequests: 1, TotalIssuedRequests: 2},
		},
	}}}
	if got := r.report(now); !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	// All of them from now on, with endpoints; a goes on, b begins.
	now = now.Add(time.Second)
	busy(a, 1)
	busy(b, 1)
	r.order(&lrsv3.LoadStatsResponse{SendAllClusters: true, ReportEndpointGranularity: true, LoadReportingInterval: durationpb.New(time.Nanosecond)}, now)
	if r.every != loadFastest {
		t.Errorf("every %v", r.every)
	}
	busy(b, 1, 4)
	got := r.report(now.Add(time.Second)).GetClusterStats()
	if len(got) != 2 || got[0].GetLoadReportInterval().AsDuration() != 2*time.Second || got[1].GetLoadReportInterval().AsDuration() != time.Second {
		t.Fatalf("got %v", got)
	}
	var endpoints []*endpointv3.UpstreamEndpointStats
	for _, z := range got[1].GetUpstreamLocalityStats() {
		endpoints = append(endpoints, z.GetUpstreamEndpointStats()...)
	}
	if len(endpoints) != 2 || endpoints[0].GetAddress().GetSocketAddress().GetAddress() != "10.0.0.1" || endpoints[0].GetTotalIssuedRequests() != 1 ||
		endpoints[1].GetAddress().GetPipe().GetPath() != "/run/a.sock" || endpoints[1].GetTotalSuccessfulRequests() != 3 {
		t.Errorf("endpoints %v", endpoints)
	}
}

func TestLoadOfClustersThatComeLater(t *testing.T) {
	var all []*upstream.Cluster
	r := newTestReporter()
	r.clusters = func() []*upstream.Cluster { return all }
	now := time.Unix(1000, 0)
	r.order(&lrsv3.LoadStatsResponse{SendAllClusters: true, LoadReportingInterval: durationpb.New(time.Second)}, now)
	if got := r.report(now.Add(time.Second)); len(got.GetClusterStats()) != 0 {
		t.Errorf("got %v", got)
	}
	all = []*upstream.Cluster{loaded(t, "a", false)}
	busy(all[0], 7)
	got := r.report(now.Add(3 * time.Second)).GetClusterStats()
	if len(got) != 1 || got[0].GetLoadReportInterval().AsDuration() != 2*time.Second || got[0].GetUpstreamLocalityStats()[0].GetTotalIssuedRequests() != 7 {
		t.Errorf("got %v", got)
	}
}

// A loadServer notes what it is told.
type loadServer struct {
	lrsv3.UnimplementedLoadReportingServiceServer
	said  chan *lrsv3.LoadStatsRequest
	order *lrsv3.LoadStatsResponse
}

func (s *loadServer) StreamLoadStats(x lrsv3.LoadReportingService_StreamLoadStatsServer) error {
	for i := range 3 {
		m, err := x.Recv()
		if err != nil {
			return err
		}
		select {
		case s.said <- m:
		case <-x.Context().Done():
			return x.Context().Err()
		}
		if i == 0 {
			if err := x.Send(s.order); err != nil {
				return err
			}
		}
	}
	return errors.New("enough")
}

func grpcService(cluster string) []*corev3.GrpcService {
	return []*corev3.GrpcService{{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
		RetryPolicy:     &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{BaseInterval: durationpb.New(10 * time.Millisecond)}},
	}}
}

func TestReportLoad(t *testing.T) {
	for name, b := range map[string]*bootstrapv3.Bootstrap{
		"load_stats_config": {ClusterManager: &bootstrapv3.ClusterManager{LoadStatsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, GrpcServices: grpcService("plane"),
		}}},
		"lrs_server": {DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, GrpcServices: grpcService("plane"),
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			ln := bufconn.Listen(1 << 16)
			server := grpc.NewServer()
			service := &loadServer{said: make(chan *lrsv3.LoadStatsRequest), order: &lrsv3.LoadStatsResponse{
				SendAllClusters: true, LoadReportingInterval: durationpb.New(loadFastest),
			}}
			lrsv3.RegisterLoadReportingServiceServer(server, service)
			var running sync.WaitGroup
			running.Go(func() { _ = server.Serve(ln) })
			defer running.Wait()
			defer server.Stop()

			c, err := New(Options{
				Node: &corev3.Node{Id: "n"}, Bootstrap: b, Hub: subscription.New(subscription.Options{}),
				Dial: func(ctx context.Context, cluster string) (net.Conn, error) {
					if cluster != "plane" {
						return nil, errors.New("unknown cluster " + cluster)
					}
					return ln.DialContext(ctx)
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			self, other := loaded(t, "self", true), loaded(t, "other", false)
			ctx, cancel := context.WithCancel(t.Context())
			running.Go(func() { _ = c.ReportLoad(ctx, func() []*upstream.Cluster { return []*upstream.Cluster{self, other} }) })
			defer cancel()
			hear := func() *lrsv3.LoadStatsRequest {
				t.Helper()
				select {
				case m := <-service.said:
					return m
				case <-time.After(30 * time.Second):
					t.Fatal("the server was told nothing")
					return nil
				}
			}
			for range 2 { // the second time on a stream of its own
				if m := hear(); m.GetNode().GetId() != "n" || !slices.Contains(m.GetNode().GetClientFeatures(), loadFeature) || len(m.GetClusterStats()) > 0 {
					t.Errorf("it begins with %v", m)
				}
				for range 2 {
					m := hear()
					var names []string
					for _, s := range m.GetClusterStats() {
						names = append(names, s.GetClusterName())
						if s.GetLoadReportInterval().AsDuration() <= 0 {
							t.Errorf("no interval in %v", s)
						}
					}
					want := map[string]string{"load_stats_config": "self other", "lrs_server": "self"}[name]
					if got := strings.Join(names, " "); got != want || m.GetNode() != nil {
						t.Errorf("got %v of %s, want %s", m, got, want)
					}
				}
			}
		})
	}
}

func TestCheckLoad(t *testing.T) {
	for _, c := range []struct {
		a    *corev3.ApiConfigSource
		path string
	}{
		{nil, ""},
		{&corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, GrpcServices: grpcService("plane")}, ""},
		{&corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_REST, TransportApiVersion: corev3.ApiVersion_V3}, "cluster_manager.load_stats_config.api_type"},
		{&corev3.ApiConfigSource{ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3}, "cluster_manager.load_stats_config.grpc_services"},
	} {
		x, err := New(Options{Hub: subscription.New(subscription.Options{}), Bootstrap: &bootstrapv3.Bootstrap{ClusterManager: &bootstrapv3.ClusterManager{LoadStatsConfig: c.a}}})
		if err != nil {
			t.Fatal(err)
		}
		p := resource.NewProblems("")
		x.CheckLoad(p)
		if got := p.All(); len(got) > 1 || (len(got) == 1) != (c.path != "") || len(got) == 1 && string(got[0].Path) != c.path {
			t.Errorf("%v: got %v, want one at %q", c.a, got, c.path)
		}
	}
}
