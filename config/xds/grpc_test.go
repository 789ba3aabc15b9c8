package xds

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

const patience = 30 * time.Second

func planeService() *corev3.GrpcService {
	return &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "plane", Authority: "xds.example"},
		},
		InitialMetadata: []*corev3.HeaderValue{{Key: "x-who", Value: "weft"}},
		RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
			BaseInterval: durationpb.New(5 * time.Millisecond), MaxInterval: durationpb.New(20 * time.Millisecond),
		}},
	}
}

func planeConfig(api corev3.ApiConfigSource_ApiType) *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{
		ApiType: api, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
		GrpcServices: []*corev3.GrpcService{planeService()},
	}
}

// connect returns a rig whose client runs against a plane, by ADS or from a source of its own.
func connect(t *testing.T, p *plane, a *corev3.ApiConfigSource, ads bool) *rig {
	r := newRig(t, Options{
		Node: &corev3.Node{Id: "me"}, Dial: p.dial,
		Bootstrap: &bootstrapv3.Bootstrap{DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: a}},
	})
	if !ads {
		r.cs = &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: a}, InitialFetchTimeout: durationpb.New(0),
			ResourceApiVersion: corev3.ApiVersion_V3,
		}
		r.source = subscription.NewSource(r.cs)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.client.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// until waits until something holds.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("it never happens: %s", what)
		}
	}
}

func (u *user) is(k *kind, name string, n int) bool {
	m := u.content(name)
	return m != nil && proto.Equal(m, k.make(name, n))
}

func TestAgainstAControlPlane(t *testing.T) {
	for _, tt := range []struct {
		name string
		api  corev3.ApiConfigSource_ApiType
		ads  bool
	}{
		{"ads sotw", corev3.ApiConfigSource_GRPC, true},
		{"ads delta", corev3.ApiConfigSource_DELTA_GRPC, true},
		{"streams sotw", corev3.ApiConfigSource_GRPC, false},
		{"streams delta", corev3.ApiConfigSource_DELTA_GRPC, false},
		{"aggregated sotw", corev3.ApiConfigSource_AGGREGATED_GRPC, false},
		{"aggregated delta", corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			t.Run("", func(t *testing.T) { againstAControlPlane(t, tt.api, tt.ads) })
		})
	}
}

func againstAControlPlane(t *testing.T, api corev3.ApiConfigSource_ApiType, ads bool) {
	p := newPlane(t)
	r := connect(t, p, planeConfig(api), ads)
	eds, rds := kindOf(resource.Endpoint), kindOf(resource.Route)
	p.set("1", 1, map[string][]string{resource.Endpoint: {"e1", "e2"}, resource.Route: {"r1"}})
	e1, r1 := r.use(resource.Endpoint, "e1"), r.use(resource.Route, "r1")
	until(t, "the first version", func() bool { return e1.is(eds, "e1", 1) && r1.is(rds, "r1", 1) })
	e2 := r.use(resource.Endpoint, "e2")
	until(t, "a name that comes later", func() bool { return e2.is(eds, "e2", 1) })
	p.set("2", 2, map[string][]string{resource.Endpoint: {"e1", "e2"}, resource.Route: {"r1"}})
	until(t, "the second version", func() bool { return e1.is(eds, "e1", 2) && e2.is(eds, "e2", 2) && r1.is(rds, "r1", 2) })

	// The control plane dies: what there is stays, and somebody new gets it. It returns with another version.
	p.stop()
	until(t, "the loss of the connection", func() bool {
		for _, s := range r.client.Streams() {
			if s.Connected || s.LastError == "" {
				return false
			}
		}
		return true
	})
	late := r.use(resource.Route, "r1")
	until(t, "the last good version for a new user", func() bool { return late.is(rds, "r1", 2) })
	if !e1.is(eds, "e1", 2) {
		t.Error("the last good version is gone")
	}
	p.set("3", 3, map[string][]string{resource.Endpoint: {"e1", "e2"}, resource.Route: {"r1"}})
	p.start()
	until(t, "the third version", func() bool {
		return e1.is(eds, "e1", 3) && e2.is(eds, "e2", 3) && r1.is(rds, "r1", 3) && late.is(rds, "r1", 3)
	})

	want := 2
	if ads || api == corev3.ApiConfigSource_AGGREGATED_GRPC || api == corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC {
		want = 1
	}
	streams := r.client.Streams()
	if len(streams) != want || !streams[0].Connected || streams[0].API != api.String() || len(streams[0].Types) == 0 ||
		streams[0].Types[0].Names == 0 {
		t.Errorf("streams: %+v", streams)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.seen.Get("x-who"); len(got) != 1 || got[0] != "weft" || p.seen.Get(":authority")[0] != "xds.example" {
		t.Errorf("metadata: %v", p.seen)
	}
	if name := "control_plane.connected_state"; ads {
		if v, _ := r.stats.Value(name); v != 1 {
			t.Errorf("%s is %d, want 1", name, v)
		}
	}
}

// What many come to want at a time is one request, and one push acknowledged once.
func TestManyNamesAreFewRequests(t *testing.T) {
	p := newPlane(t)
	r := connect(t, p, planeConfig(corev3.ApiConfigSource_DELTA_GRPC), true)
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprint("e", i))
	}
	p.set("1", 1, map[string][]string{resource.Endpoint: names})
	users := make([]*user, len(names))
	for i, name := range names {
		users[i] = r.use(resource.Endpoint, name)
	}
	k := kindOf(resource.Endpoint)
	until(t, "all of them", func() bool {
		for i, u := range users {
			if !u.is(k, names[i], 1) {
				return false
			}
		}
		return true
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) > 100 {
		t.Errorf("%d requests for 500 names that came together", len(p.requests))
	}
}

// A message that is too large ends the stream and nothing else.
func TestAMessageThatIsTooLarge(t *testing.T) {
	p := newPlane(t)
	a := planeConfig(corev3.ApiConfigSource_GRPC)
	a.GetGrpcServices()[0].GetEnvoyGrpc().MaxReceiveMessageLength = wrapperspb.UInt32(2000)
	r := connect(t, p, a, true)
	p.set("1", 1, map[string][]string{resource.Route: {"r"}})
	u := r.use(resource.Route, "r")
	k := kindOf(resource.Route)
	until(t, "the first version", func() bool { return u.is(k, "r", 1) })
	huge := map[string][]string{resource.Route: {"r"}}
	for i := range 20 {
		name := fmt.Sprintf("%0200d", i)
		huge[resource.Route] = append(huge[resource.Route], name)
		r.use(resource.Route, name)
	}
	until(t, "the request for all of them", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, m := range p.requests {
			if d, ok := m.(*discoveryv3.DiscoveryRequest); ok && len(d.GetResourceNames()) == 21 {
				return true
			}
		}
		return false
	})
	p.set("2", 2, huge)
	until(t, "an error", func() bool {
		s := r.client.Streams()
		return len(s) == 1 && s[0].LastError != ""
	})
	if !u.is(k, "r", 1) {
		t.Error("the last good version is gone")
	}
	p.set("3", 3, map[string][]string{resource.Route: {"r"}})
	until(t, "a version that fits", func() bool { return u.is(k, "r", 3) })
}

// A source ends when nobody wants anything of it, and begins again.
func TestASourceStopsWhenNobodyWantsIt(t *testing.T) {
	p := newPlane(t)
	r := connect(t, p, planeConfig(corev3.ApiConfigSource_DELTA_GRPC), false)
	p.set("1", 1, map[string][]string{resource.Route: {"r"}})
	for range 3 {
		u := r.use(resource.Route, "r")
		until(t, "the resource", func() bool { return u.is(kindOf(resource.Route), "r", 1) })
		u.watch.Release()
		until(t, "the end", func() bool { return len(r.client.Streams()) == 0 })
	}
}

// A control plane that dies and returns many times: what is in force stays, and each return brings what is new.
func TestManyRestarts(t *testing.T) {
	for _, apiType := range []corev3.ApiConfigSource_ApiType{corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_DELTA_GRPC} {
		p := newPlane(t)
		r := connect(t, p, planeConfig(apiType), true)
		k := kindOf(resource.Cluster)
		u := r.use(resource.Cluster, "*")
		for n := 1; n <= 10; n++ {
			p.set(fmt.Sprint(n), n, map[string][]string{resource.Cluster: {"a", fmt.Sprint("c", n)}})
			until(t, "the next version", func() bool { return u.is(k, "a", n) && u.is(k, fmt.Sprint("c", n), n) })
			if n > 1 {
				until(t, "the removal", func() bool { return u.content(fmt.Sprint("c", n-1)) == nil })
			}
			p.stop()
			p.start()
		}
	}
}

// Large requests and large responses cross each other.
func TestLargeMessagesBothWays(t *testing.T) {
	p := newPlane(t)
	r := connect(t, p, planeConfig(corev3.ApiConfigSource_GRPC), true)
	k := kindOf(resource.Endpoint)
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("%0250d", i))
	}
	p.set("0", 1, map[string][]string{resource.Endpoint: names})
	users := make([]*user, len(names))
	for i, name := range names {
		users[i] = r.use(resource.Endpoint, name)
		if i%100 == 0 {
			p.set(fmt.Sprint("x", i), 2+i, map[string][]string{resource.Endpoint: names})
		}
	}
	p.set("end", 5000, map[string][]string{resource.Endpoint: names})
	until(t, "the last version of all", func() bool {
		for i, u := range users {
			if !u.is(k, names[i], 5000) {
				return false
			}
		}
		return true
	})
}

func TestRequestsAreLimited(t *testing.T) {
	p := newPlane(t)
	a := planeConfig(corev3.ApiConfigSource_GRPC)
	a.RateLimitSettings = &corev3.RateLimitSettings{MaxTokens: wrapperspb.UInt32(1), FillRate: wrapperspb.Double(100)}
	r := connect(t, p, a, true)
	p.set("1", 1, map[string][]string{resource.Route: {"r"}, resource.Endpoint: {"e"}})
	u, e := r.use(resource.Route, "r"), r.use(resource.Endpoint, "e")
	until(t, "the resources", func() bool { return u.is(kindOf(resource.Route), "r", 1) && e.is(kindOf(resource.Endpoint), "e", 1) })
	if n, _ := r.stats.Value("control_plane.rate_limit_enforced"); n == 0 {
		t.Error("no request was held back")
	}
}

// What a control plane sends that is bad is refused, and the state of the stream says why.
func TestABadResourceIsRefused(t *testing.T) {
	for _, apiType := range []corev3.ApiConfigSource_ApiType{corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_DELTA_GRPC} {
		p := newPlane(t)
		r := connect(t, p, planeConfig(apiType), true)
		support := allFields()
		delete(support["envoy.config.route.v3.RouteConfiguration"], "max_direct_response_body_size_bytes")
		r.client.o.Support = support // nothing has been asked for yet
		p.set("1", 1, map[string][]string{resource.Route: {"r"}})
		r.use(resource.Route, "r")
		var nack string
		until(t, "the refusal", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, m := range p.requests {
				if x, ok := m.(interface{ GetErrorDetail() *status.Status }); ok && x.GetErrorDetail() != nil {
					nack = x.GetErrorDetail().GetMessage()
				}
			}
			return nack != ""
		})
		if want := `route "r": max_direct_response_body_size_bytes: not supported`; nack != want {
			t.Errorf("refused with %q, want %q", nack, want)
		}
		until(t, "the state", func() bool {
			s := r.client.Streams()
			return len(s) == 1 && len(s[0].Types) == 1 && s[0].Types[0].LastNACK == nack
		})
	}
}

// Virtual hosts have no state-of-the-world service, and the stream's state says so.
func TestATypeWithoutAService(t *testing.T) {
	r := connect(t, newPlane(t), planeConfig(corev3.ApiConfigSource_GRPC), false)
	r.use(resource.VHost, "rc/*")
	until(t, "the error", func() bool {
		s := r.client.Streams()
		return len(s) == 1 && strings.Contains(s[0].LastError, "no state-of-the-world service for vhds")
	})
}

// A google_grpc service is reached without a cluster, by TLS.
func TestGoogleGRPC(t *testing.T) {
	p := newPlane(t)
	s := httptest.NewUnstartedServer(p.server)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	a := planeConfig(corev3.ApiConfigSource_DELTA_GRPC)
	a.GrpcServices[0].TargetSpecifier = &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
		TargetUri: s.Listener.Addr().String(), StatPrefix: "xds",
		ChannelCredentials: &corev3.GrpcService_GoogleGrpc_ChannelCredentials{
			CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelCredentials_SslCredentials{
				SslCredentials: &corev3.GrpcService_GoogleGrpc_SslCredentials{
					RootCerts: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: root}},
				},
			},
		},
	}}
	r := connect(t, p, a, true)
	p.set("1", 1, map[string][]string{resource.Route: {"r"}})
	u := r.use(resource.Route, "r")
	until(t, "the resource", func() bool { return u.is(kindOf(resource.Route), "r", 1) })
}
