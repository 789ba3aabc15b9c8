package xds

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/test/certs"
	"github.com/weftproxy/weft/test/kit"
	"github.com/weftproxy/weft/transport"
)

// The resources of a column are a, b and c; each has versions, which are numbers.
var members = []string{"a", "b", "c"}

// A column is a type of resource in the tables.
type column struct {
	name, url string
	deltaOnly bool
	boot      func(*bootstrapv3.Bootstrap)
	setup     func(b *bubble, e *kit.Edit) // all that uses the resources
	key       func(name string) string     // what the protocol calls it; nil: name
	make      func(b *bubble, name string, version int) proto.Message
	spoil     func(m proto.Message) // makes it bad
	why       string                // in the NACK, about it
	show      func(b *bubble, name string) string
	gone      string // what show says once the resource was named as removed; "kept": as before
	omitted   string // once a state of the world has left it out

	// await makes a good version wait for something that never comes, of a type; nil: no version of this type waits.
	await     func(m proto.Message)
	awaitsURL string
	// drop makes nobody want b any more; nil: that cannot be.
	drop func(e *kit.Edit)
	// dump is the page that tells of rejected ones; "": /config_dump.
	dump string
	// lasting says that a stream cannot be told that nothing of the type is wanted any more: the next one does not ask for it.
	lasting bool
	// whole says that all resources of the type are wanted.
	whole bool
}

func columns() []column {
	return []column{
		listenerColumn(), clusterColumn(), routeColumn(), endpointColumn(), secretColumn(), scopeColumn(), hostColumn(), filterColumn(), runtimeColumn(),
	}
}

func (c *column) called(name string) string {
	if c.key == nil {
		return name
	}
	return c.key(name)
}

// addressOf is where the listener of a resource listens, or the upstream of a version.
func addressOf(name string) string {
	return fmt.Sprintf("127.0.0.1:1%04d", 1+strings.Index("abcdefgh", name))
}

func originOf(version int) string { return fmt.Sprintf("127.0.0.1:2%04d", version) }

// body is the body of an answer that is 200; "" for others.
func body(answer string) string {
	text, ok := strings.CutPrefix(answer, "200 ")
	if !ok {
		return ""
	}
	return text
}

func (b *bubble) origins() {
	for v := 1; v <= 4; v++ {
		b.origin(originOf(v), strconv.Itoa(v))
	}
}

// managed is a listener with a connection manager that is changed first.
func managed(name, address string, change func(*hcmv3.HttpConnectionManager)) *listenerv3.Listener {
	m := kit.Manager(name, "unused")
	change(m)
	l := kit.HTTPListener(name, address, "unused")
	l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: kit.Any(m)}
	return l
}

// withInline is a listener that has its routes itself.
func withInline(name, address string, pairs ...string) *listenerv3.Listener {
	return managed(name, address, func(m *hcmv3.HttpConnectionManager) {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: kit.Routes("inline", pairs...)}
	})
}

func listenerColumn() column {
	return column{
		name: "LDS", url: kit.ListenerURL, whole: true, setup: func(*bubble, *kit.Edit) {},
		make: func(_ *bubble, name string, version int) proto.Message {
			return withInline(name, addressOf(name), "/", "="+strconv.Itoa(version))
		},
		spoil: func(m proto.Message) { m.(*listenerv3.Listener).ListenerFiltersTimeout = durationpb.New(-time.Second) },
		why:   "listener_filters_timeout",
		show:  func(b *bubble, name string) string { return body(b.get("http://" + addressOf(name) + "/")) },
		await: func(m proto.Message) {
			m.(*listenerv3.Listener).FilterChains = kit.HTTPListener("x", addressOf("a"), "never").FilterChains
		},
		awaitsURL: kit.RouteURL,
	}
}

func clusterColumn() column {
	return column{
		name: "CDS", url: kit.ClusterURL, whole: true, setup: frontToClusters,
		make: func(_ *bubble, name string, version int) proto.Message {
			return kit.StaticCluster(name, originOf(version))
		},
		spoil: func(m proto.Message) { m.(*clusterv3.Cluster).ConnectTimeout = durationpb.New(-time.Second) },
		why:   "connect_timeout", show: throughFront,
		await: func(m proto.Message) {
			c, eds := m.(*clusterv3.Cluster), kit.EDSCluster("x")
			c.LoadAssignment, c.ClusterDiscoveryType, c.EdsClusterConfig = nil, eds.GetClusterDiscoveryType(), eds.GetEdsClusterConfig()
			c.EdsClusterConfig.ServiceName = "never"
		},
		awaitsURL: kit.EndpointURL,
	}
}

// frontToClusters has a listener whose path /a leads to cluster a, and so on.
func frontToClusters(_ *bubble, e *kit.Edit) {
	e.Set("front", withInline("front", frontAddress, "/a", "a", "/b", "b", "/c", "c"))
}

func throughFront(b *bubble, name string) string { return body(b.get(b.url + "/" + name)) }

func endpointColumn() column {
	return column{
		name: "EDS", url: kit.EndpointURL,
		setup: func(b *bubble, e *kit.Edit) {
			frontToClusters(b, e)
			for _, name := range members {
				e.Set(name, kit.EDSCluster(name))
			}
		},
		make: func(_ *bubble, name string, version int) proto.Message {
			return kit.Assignment(name, originOf(version))
		},
		spoil: func(m proto.Message) {
			m.(*endpointv3.ClusterLoadAssignment).Policy = &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(0)}
		},
		dump: "/config_dump?include_eds", why: "policy.overprovisioning_factor", show: throughFront, gone: "kept", omitted: "kept",
		drop: func(e *kit.Edit) { e.Remove(kit.ClusterURL, "b") },
	}
}

func routeColumn() column {
	return column{
		name: "RDS", url: kit.RouteURL,
		setup: func(_ *bubble, e *kit.Edit) {
			for _, name := range members {
				e.Set(name, kit.HTTPListener(name, addressOf(name), name))
			}
		},
		make: func(_ *bubble, name string, version int) proto.Message {
			return kit.Routes(name, "/", "="+strconv.Itoa(version))
		},
		spoil: func(m proto.Message) { spoilHost(m.(*routev3.RouteConfiguration).GetVirtualHosts()[0]) },
		why:   "virtual_hosts[0].routes[0].match.safe_regex",
		show:  func(b *bubble, name string) string { return body(b.get("http://" + addressOf(name) + "/")) },
		gone:  "kept", omitted: "kept",
		drop: func(e *kit.Edit) { e.Remove(kit.ListenerURL, "b") },
	}
}

func spoilHost(h *routev3.VirtualHost) {
	h.Routes[0].Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "("}}}
}

func secretColumn() column {
	return column{
		name: "SDS", url: kit.SecretURL,
		setup: func(_ *bubble, e *kit.Edit) {
			for _, name := range members {
				e.Set(name, withSecret(withInline(name, addressOf(name), "/", "=x"), name))
			}
		},
		make: func(b *bubble, name string, version int) proto.Message { return b.secret(name, strconv.Itoa(version)) },
		spoil: func(m proto.Message) {
			m.(*tlsv3.Secret).GetTlsCertificate().CertificateChain = inlineBytes([]byte("garbage"))
		},
		why: "tls_certificate.certificate_chain", show: (*bubble).certificate, gone: "kept", omitted: "kept",
		drop: func(e *kit.Edit) { e.Remove(kit.ListenerURL, "b") },
	}
}

// withSecret makes a listener speak TLS with a certificate that is delivered.
func withSecret(l *listenerv3.Listener, name string) *listenerv3.Listener {
	l.FilterChains[0].TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: kit.Any(&tlsv3.DownstreamTlsContext{
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: name, SdsConfig: kit.ADS()}},
			},
		})},
	}
	return l
}

func inlineBytes(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}

// secret is a certificate whose common name is text.
func (b *bubble) secret(name, text string) *tlsv3.Secret {
	b.t.Helper()
	pair, err := certs.SelfSigned(certs.Request{Name: text, DNS: []string{"localhost"}})
	if err != nil {
		b.t.Fatal(err)
	}
	key, err := pair.KeyPEM()
	if err != nil {
		b.t.Fatal(err)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inlineBytes(pair.PEM()), PrivateKey: inlineBytes(key),
	}}}
}

// certificate is the common name of what a listener presents; "" when it presents nothing.
func (b *bubble) certificate(name string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), probe)
	defer cancel()
	raw, err := b.network.Dial(ctx, transport.DialOptions{Network: "tcp", Address: addressOf(name)})
	if err != nil {
		return ""
	}
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // it is looked at
	if err := conn.HandshakeContext(ctx); err != nil {
		return ""
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func scopeColumn() column {
	return column{
		name: "SRDS", url: kit.ScopeURL, whole: true,
		setup: func(_ *bubble, e *kit.Edit) {
			e.Set("front", managed("front", frontAddress, func(m *hcmv3.HttpConnectionManager) { m.RouteSpecifier = scoped() }))
			for v := 1; v <= 4; v++ {
				text := strconv.Itoa(v)
				e.Set("r"+text, kit.Routes("r"+text, "/", "="+text))
			}
		},
		make: func(_ *bubble, name string, version int) proto.Message {
			return &routev3.ScopedRouteConfiguration{
				Name: name, RouteConfigurationName: "r" + strconv.Itoa(version),
				Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
					Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name},
				}}},
			}
		},
		spoil:     func(m proto.Message) { m.(*routev3.ScopedRouteConfiguration).Key = nil },
		why:       "key",
		show:      func(b *bubble, name string) string { return body(b.get(b.url+"/", "x-scope: "+name)) },
		await:     func(m proto.Message) { m.(*routev3.ScopedRouteConfiguration).RouteConfigurationName = "never" },
		awaitsURL: kit.RouteURL,
		drop:      func(e *kit.Edit) { e.Remove(kit.ListenerURL, "front") },
	}
}

// scoped chooses the scope by a header.
func scoped() *hcmv3.HttpConnectionManager_ScopedRoutes {
	return &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name: "scopes", RdsConfigSource: kit.ADS(),
		ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
			Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
				HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
					Name: "x-scope", ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{},
				},
			},
		}}},
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: kit.ADS()}},
	}}
}

func hostColumn() column {
	return column{
		name: "VHDS", url: kit.VHostURL, deltaOnly: true,
		setup: func(b *bubble, e *kit.Edit) {
			b.front(e, "routes")
			e.Set("routes", &routev3.RouteConfiguration{Name: "routes", Vhds: &routev3.Vhds{ConfigSource: kit.ADS()}})
		},
		key: func(name string) string { return "routes/" + name },
		make: func(_ *bubble, name string, version int) proto.Message {
			h := kit.Routes("x", "/", "="+strconv.Itoa(version)).GetVirtualHosts()[0]
			h.Name, h.Domains = "routes/"+name, []string{name + ".test"}
			return h
		},
		spoil: func(m proto.Message) { spoilHost(m.(*routev3.VirtualHost)) },
		why:   "routes[0].match.safe_regex",
		show:  func(b *bubble, name string) string { return body(b.get(b.url+"/", "host: "+name+".test")) },
		drop:  func(e *kit.Edit) { e.Remove(kit.ListenerURL, "front") },
		whole: true, lasting: true, dump: "/v3/discovery:client_status",
	}
}

func filterColumn() column {
	return column{
		name: "ECDS", url: kit.FilterURL,
		setup: func(_ *bubble, e *kit.Edit) {
			for _, name := range members {
				e.Set(name, managed(name, addressOf(name), func(m *hcmv3.HttpConnectionManager) {
					m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: kit.Routes("inline", "/", "=x")}
					m.HttpFilters = append([]*hcmv3.HttpFilter{discoveredFilter(name)}, m.HttpFilters...)
				}))
			}
		},
		make: func(_ *bubble, name string, version int) proto.Message {
			return &corev3.TypedExtensionConfig{Name: name, TypedConfig: denies(version)}
		},
		spoil: func(m proto.Message) {
			x := &httprbacv3.RBAC{}
			if err := m.(*corev3.TypedExtensionConfig).GetTypedConfig().UnmarshalTo(x); err != nil {
				panic(err)
			}
			x.Rules.Policies["p"].Principals = nil
			m.(*corev3.TypedExtensionConfig).TypedConfig = kit.Any(x)
		},
		why: `rules.policies["p"].principals`, gone: "0", omitted: "kept",
		show: func(b *bubble, name string) string {
			for v := range 5 {
				if text := strconv.Itoa(v); strings.HasPrefix(b.get("http://"+addressOf(name)+"/", "x-want: "+text), "403") {
					return text
				}
			}
			return ""
		},
		drop: func(e *kit.Edit) { e.Remove(kit.ListenerURL, "b") },
	}
}

// discoveredFilter is a filter that is delivered; by default it is version 0.
func discoveredFilter(name string) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
		ConfigSource: kit.ADS(), DefaultConfig: denies(0), TypeUrls: []string{"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"},
	}}}
}

// denies is a filter that denies requests that want this version.
func denies(version int) *anypb.Any {
	return kit.Any(&httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: map[string]*rbacv3.Policy{"p": {
		Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Header{Header: &routev3.HeaderMatcher{
			Name: "x-want", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: strconv.Itoa(version)},
			}},
		}}}},
	}}}})
}

func runtimeColumn() column {
	return column{
		name: "RTDS", url: kit.RuntimeURL, setup: func(*bubble, *kit.Edit) {},
		boot: func(boot *bootstrapv3.Bootstrap) {
			boot.LayeredRuntime = &bootstrapv3.LayeredRuntime{}
			for _, name := range members {
				boot.LayeredRuntime.Layers = append(boot.LayeredRuntime.Layers, &bootstrapv3.RuntimeLayer{
					Name: "layer " + name, LayerSpecifier: &bootstrapv3.RuntimeLayer_RtdsLayer_{
						RtdsLayer: &bootstrapv3.RuntimeLayer_RtdsLayer{Name: name, RtdsConfig: kit.ADS()},
					},
				})
			}
		},
		make: func(_ *bubble, name string, version int) proto.Message {
			return &runtimev3.Runtime{Name: name, Layer: &structpb.Struct{Fields: map[string]*structpb.Value{
				"is." + name: structpb.NewNumberValue(float64(version)),
			}}}
		},
		spoil: func(m proto.Message) {
			m.(*runtimev3.Runtime).Layer.Fields["wrong"] = structpb.NewListValue(&structpb.ListValue{})
		},
		why: "layer", dump: "/v3/discovery:client_status",
		gone: "", omitted: "kept",
		show: func(b *bubble, name string) string {
			var page struct {
				Entries map[string]struct {
					Final string `json:"final_value"`
				}
			}
			if err := json.Unmarshal([]byte(b.adminPage("/runtime")), &page); err != nil {
				b.t.Fatal(err)
			}
			return page.Entries["is."+name].Final
		},
	}
}
