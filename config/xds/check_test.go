package xds

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func api(change func(a *corev3.ApiConfigSource)) *corev3.ConfigSource {
	a := planeConfig(corev3.ApiConfigSource_GRPC)
	change(a)
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: a}}
}

func google(g *corev3.GrpcService_GoogleGrpc) func(a *corev3.ApiConfigSource) {
	return func(a *corev3.ApiConfigSource) {
		a.GrpcServices = []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: g}}}
	}
}

func TestCheck(t *testing.T) {
	const at = "x.api_config_source."
	text := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
	}
	ssl := func(s *corev3.GrpcService_GoogleGrpc_SslCredentials) *corev3.GrpcService_GoogleGrpc {
		return &corev3.GrpcService_GoogleGrpc{TargetUri: "xds:443", ChannelCredentials: &corev3.GrpcService_GoogleGrpc_ChannelCredentials{
			CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelCredentials_SslCredentials{SslCredentials: s},
		}}
	}
	for _, tt := range []struct {
		name string
		cs   *corev3.ConfigSource
		ads  *corev3.ApiConfigSource
		want string // of the only problem; "": none
	}{
		{name: "nothing", cs: &corev3.ConfigSource{}, want: "x: names no source"},
		{name: "ads", cs: adsSource(), ads: planeConfig(corev3.ApiConfigSource_GRPC)},
		{name: "ads without one", cs: adsSource(), want: "x.ads: there is no aggregated source"},
		{name: "self", cs: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}},
			want: "x.self: not supported"},
		{name: "gRPC", cs: api(func(*corev3.ApiConfigSource) {})},
		{name: "v2", cs: api(func(a *corev3.ApiConfigSource) { a.TransportApiVersion = corev3.ApiVersion_V2 }),
			want: at + "transport_api_version: V2 is not supported"},
		{name: "no version", cs: api(func(a *corev3.ApiConfigSource) { a.TransportApiVersion = corev3.ApiVersion_AUTO }),
			want: at + "transport_api_version: AUTO"},
		{name: "no services", cs: api(func(a *corev3.ApiConfigSource) { a.GrpcServices = nil }),
			want: at + "grpc_services: has 0 services, want 1"},
		{name: "two services", cs: api(func(a *corev3.ApiConfigSource) { a.GrpcServices = append(a.GrpcServices, planeService()) }),
			want: at + "grpc_services: has 2 services"},
		{name: "an empty service", cs: api(func(a *corev3.ApiConfigSource) { a.GrpcServices = []*corev3.GrpcService{{}} }),
			want: at + "grpc_services[0]: names no service"},
		{name: "an unknown cluster", cs: api(func(a *corev3.ApiConfigSource) { a.GrpcServices[0].GetEnvoyGrpc().ClusterName = "other" }),
			want: at + `grpc_services[0].envoy_grpc.cluster_name: unknown cluster "other"`},
		{name: "cluster names", cs: api(func(a *corev3.ApiConfigSource) { a.ClusterNames = []string{"plane"} }),
			want: at + "cluster_names: is for REST only"},
		{name: "a pseudo header", cs: api(func(a *corev3.ApiConfigSource) { a.GrpcServices[0].InitialMetadata[0].Key = ":path" }),
			want: at + "grpc_services[0].initial_metadata[0].key:"},
		{name: "a command", cs: api(func(a *corev3.ApiConfigSource) { a.GrpcServices[0].InitialMetadata[0].Value = "%HOSTNAME%" }),
			want: at + "grpc_services[0].initial_metadata[0].value: not supported"},
		{name: "an old type", cs: api(func(a *corev3.ApiConfigSource) { a.ApiType = 0 }), want: at + "api_type: "},
		{name: "google", cs: api(google(&corev3.GrpcService_GoogleGrpc{TargetUri: "xds:443"}))},
		{name: "google without a target", cs: api(google(&corev3.GrpcService_GoogleGrpc{})),
			want: at + "grpc_services[0].google_grpc.target_uri: is empty"},
		{name: "google with TLS", cs: api(google(ssl(&corev3.GrpcService_GoogleGrpc_SslCredentials{})))},
		{name: "google with bad roots", cs: api(google(ssl(&corev3.GrpcService_GoogleGrpc_SslCredentials{RootCerts: text("x")}))),
			want: at + "grpc_services[0].google_grpc.channel_credentials.ssl_credentials: root_certs: no certificate in it"},
		{name: "google with half a pair", cs: api(google(ssl(&corev3.GrpcService_GoogleGrpc_SslCredentials{CertChain: text("x")}))),
			want: at + "grpc_services[0].google_grpc.channel_credentials.ssl_credentials: private_key: missing"},
		{name: "authorities", cs: func() *corev3.ConfigSource {
			cs := api(func(*corev3.ApiConfigSource) {})
			cs.ResourceApiVersion = corev3.ApiVersion_V2
			return cs
		}(), want: "x.resource_api_version: not supported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := New(Options{
				Hub: subscription.New(subscription.Options{}), ClusterKnown: func(name string) bool { return name == "plane" },
				Bootstrap: &bootstrapv3.Bootstrap{DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: tt.ads}},
			})
			if err != nil {
				t.Fatal(err)
			}
			p := resource.NewProblems("")
			c.Check(tt.cs, "x", p)
			c.CheckADS(p)
			switch {
			case tt.want == "" && p.Len() > 0:
				t.Errorf("problems: %v", p.All())
			case tt.want != "" && (p.Len() != 1 || !strings.HasPrefix(p.All()[0].Error(), "error: "+tt.want)):
				t.Errorf("problems: %v, want %q", p.All(), tt.want)
			}
		})
	}
}

func TestTheAggregatedSourceIsChecked(t *testing.T) {
	c, err := New(Options{
		Hub: subscription.New(subscription.Options{}),
		Bootstrap: &bootstrapv3.Bootstrap{
			DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: planeConfig(corev3.ApiConfigSource_REST)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := resource.NewProblems("")
	if c.CheckADS(p); p.Len() != 1 || p.All()[0].Path != "dynamic_resources.ads_config.api_type" {
		t.Errorf("problems: %v", p.All())
	}
	q := resource.NewProblems("")
	if c.Check(adsSource(), "x", q); q.Len() != 1 || q.All()[0] != p.All()[0] {
		t.Errorf("problems of one who uses it: %v", q.All())
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a client without a hub")
	}
}

func TestBackoff(t *testing.T) {
	most := func(n int64) int64 { return n - 1 }
	policy := func(base, limit time.Duration) *corev3.RetryPolicy {
		b := &corev3.BackoffStrategy{BaseInterval: durationpb.New(base)}
		if limit > 0 {
			b.MaxInterval = durationpb.New(limit)
		}
		return &corev3.RetryPolicy{RetryBackOff: b}
	}
	for _, tt := range []struct {
		policy            *corev3.RetryPolicy
		first, third, end time.Duration
	}{
		{nil, 500 * time.Millisecond, 2 * time.Second, 30 * time.Second},
		{policy(time.Second, 3*time.Second), time.Second, 3 * time.Second, 3 * time.Second},
		{policy(time.Second, 0), time.Second, 4 * time.Second, 10 * time.Second},
	} {
		b := newBackoff(tt.policy)
		b.random = most
		for range 2 {
			for i := range 20 {
				d := b.next() + 1
				if want := map[int]time.Duration{0: tt.first, 2: tt.third, 19: tt.end}[i]; want != 0 && d != want {
					t.Errorf("wait %d is %v, want %v", i, d, want)
				}
			}
			b.reset()
		}
	}
}

func TestBucket(t *testing.T) {
	var none *bucket
	if none.take(time.Now()) != 0 {
		t.Error("no limit limits")
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(&corev3.RateLimitSettings{MaxTokens: wrapperspb.UInt32(2), FillRate: wrapperspb.Double(4)})
		now := time.Now()
		for i, want := range []time.Duration{0, 0, 250 * time.Millisecond, 250 * time.Millisecond} {
			if d := b.take(now); d != want {
				t.Errorf("request %d waits %v, want %v", i, d, want)
			}
		}
		if d := b.take(now.Add(250 * time.Millisecond)); d != 0 {
			t.Errorf("after the wait: %v", d)
		}
		if b := newBucket(&corev3.RateLimitSettings{}); b.most != 100 || b.rate != 10 {
			t.Errorf("defaults: %+v", b)
		}
	})
}
