package quick

import (
	"fmt"
	"slices"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What the configuration without a file listens on.
const (
	DefaultListen = "127.0.0.1:10000"
	DefaultAdmin  = "127.0.0.1:9901"
)

const (
	// connectTimeout bounds the connect to one host.
	connectTimeout = 5 * time.Second
	// headTimeout bounds how long a client takes for a request's head.
	headTimeout = 30 * time.Second
	// idleTimeout ends streams on which nothing moves, such as WebSockets whose ends are gone.
	idleTimeout = time.Hour
	// maxConcurrent replaces Envoy's default limit of 1,024 connections and requests to a cluster.
	maxConcurrent = 65536
)

// Options are the arguments of `weft proxy`.
type Options struct {
	From  string   // ":8080", "127.0.0.1:8080", "[::]:8080" or "unix:/path"
	To    []string // "http://host[:port]", "h2c://host[:port]", "tcp://host:port", "unix:/path" ...; an element may list several with commas
	Admin string   // as From; empty: no admin page
	TLS   TLS

	behind bool // what a proxy in front says of clients is passed on
}

// Bootstrap is the configuration of a load balancer from one address to one or more hosts. Requests and streams have no
// overall timeout; those on which nothing moves for an hour end. An error names the argument that is wrong and the form it
// should have.
func Bootstrap(o Options) (*bootstrapv3.Bootstrap, error) {
	if o.From == "" {
		return nil, fmt.Errorf("--from is missing: say where to listen, such as :8080")
	}
	from, err := parseListen("--from", o.From)
	if err != nil {
		return nil, err
	}
	targets, err := parseTargets(o.To)
	if err != nil {
		return nil, err
	}
	if err := o.TLS.check(targets); err != nil {
		return nil, err
	}
	return build("proxy", "upstream", from, targets, o)
}

// Default is the configuration Weft runs with when it is given none: DefaultListen, with everything routed to the cluster
// "demo", whose one host is upstream ("127.0.0.1:10001"), and the admin page at DefaultAdmin. It shows what arrives, so what another proxy in
// front of it on the same machine says (x-forwarded-proto, x-forwarded-client-cert, x-envoy-original-path) is passed on.
func Default(upstream string) (*bootstrapv3.Bootstrap, error) {
	from, err := parseListen("listener", DefaultListen)
	if err != nil {
		return nil, err
	}
	targets, err := parseTargets([]string{"http://" + upstream})
	if err != nil {
		return nil, err
	}
	return build("demo", "demo", from, targets, Options{Admin: DefaultAdmin, behind: true})
}

func build(listener, cluster string, from *corev3.Address, targets []target, o Options) (*bootstrapv3.Bootstrap, error) {
	hosts, err := clusterOf(cluster, targets)
	if err != nil {
		return nil, err
	}
	if hosts.TransportSocket, err = o.TLS.upstream(targets); err != nil {
		return nil, err
	}
	secured, err := o.TLS.downstream(targets[0].protocol)
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{hosts}}}
	if o.Admin != "" {
		address, err := parseListen("--admin", o.Admin)
		if err != nil {
			return nil, err
		}
		b.Admin = &bootstrapv3.Admin{Address: address}
	}
	filter, err := networkFilter(listener, cluster, targets, o.behind)
	if err != nil {
		return nil, err
	}
	b.StaticResources.Listeners = []*listenerv3.Listener{{
		Name: listener, Address: from,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{filter}, TransportSocket: secured}},
	}}
	return b, nil
}

func clusterOf(name string, targets []target) (*clusterv3.Cluster, error) {
	kind := clusterv3.Cluster_STATIC
	hosts := make([]*endpointv3.LbEndpoint, 0, len(targets))
	for _, t := range targets {
		if t.named() {
			kind = clusterv3.Cluster_STRICT_DNS
		}
		hosts = append(hosts, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: t.address()},
		}})
	}
	limit := wrapperspb.UInt32(maxConcurrent)
	options, err := protocolOptions(targets[0].protocol)
	if err != nil {
		return nil, err
	}
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: kind},
		ConnectTimeout:       durationpb.New(connectTimeout),
		LbPolicy:             clusterv3.Cluster_LEAST_REQUEST,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
			{MaxConnections: limit, MaxPendingRequests: limit, MaxRequests: limit},
		}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: hosts}},
		},
		TypedExtensionProtocolOptions: options,
	}, nil
}

// protocolOptions make a cluster speak HTTP/2 where the targets do. WebSockets go there by extended CONNECT.
func protocolOptions(protocol string) (map[string]*anypb.Any, error) {
	if protocol != "h2c" {
		return nil, nil
	}
	packed, err := pack(&upstreamhttpv3.HttpProtocolOptions{UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{AllowConnect: true},
			},
		},
	}})
	if err != nil {
		return nil, err
	}
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed}, nil
}

func networkFilter(listener, cluster string, targets []target, behind bool) (*listenerv3.Filter, error) {
	if targets[0].protocol == "tcp" {
		return filter("envoy.filters.network.tcp_proxy", &tcpv3.TcpProxy{
			StatPrefix: listener, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster},
		})
	}
	router, err := pack(&routerv3.Router{})
	if err != nil {
		return nil, err
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: listener,
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router}},
		},
		RouteSpecifier:             &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes(listener, cluster, targets)},
		UseRemoteAddress:           wrapperspb.Bool(true),
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		StreamIdleTimeout:          durationpb.New(idleTimeout),
		RequestHeadersTimeout:      durationpb.New(headTimeout),
		Http2ProtocolOptions:       &corev3.Http2ProtocolOptions{AllowConnect: true},
		UpgradeConfigs:             []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	if behind {
		manager.XffNumTrustedHops = 1
		manager.ForwardClientCertDetails = hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY
		manager.InternalAddressConfig = &hcmv3.HttpConnectionManager_InternalAddressConfig{CidrRanges: []*corev3.CidrRange{
			{AddressPrefix: "127.0.0.0", PrefixLen: wrapperspb.UInt32(8)},
		}}
	}
	return filter("envoy.filters.network.http_connection_manager", manager)
}

// routes sends everything to the cluster, without a timeout: streams live as long as something moves. What certainly has not
// reached a host is tried again. A host that is known by its certificate is asked for by its own name.
func routes(name, cluster string, targets []target) *routev3.RouteConfiguration {
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		Timeout:          durationpb.New(0),
		RetryPolicy:      &routev3.RetryPolicy{RetryOn: "connect-failure,refused-stream", NumRetries: wrapperspb.UInt32(2)},
	}
	if targets[0].secure && slices.ContainsFunc(targets, target.named) {
		action.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
		action.AppendXForwardedHost = true
	}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Name:    name,
		Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: action},
		}},
	}}}
}

func filter(name string, config proto.Message) (*listenerv3.Filter, error) {
	packed, err := pack(config)
	if err != nil {
		return nil, err
	}
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed}}, nil
}

// pack makes an Any that is the same for the same message.
func pack(m proto.Message) (*anypb.Any, error) {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("pack %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return a, nil
}
