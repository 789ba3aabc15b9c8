package resource

import (
	"strings"
	"testing"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func filterChain(configs ...*anypb.Any) *listenerv3.Listener {
	chain := &listenerv3.FilterChain{}
	for _, config := range configs {
		chain.Filters = append(chain.Filters, &listenerv3.Filter{Name: "f", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}})
	}
	return &listenerv3.Listener{FilterChains: []*listenerv3.FilterChain{chain}}
}

var hcmSupport = Support{
	"envoy.config.listener.v3.Listener":                                                 Names("name address filter_chains").No("use_original_dst", "use the listener filter").NoEffect("freebind", "as you like"),
	"envoy.config.listener.v3.FilterChain":                                              Names("filters transport_socket"),
	"envoy.config.listener.v3.Filter":                                                   Names("name typed_config"),
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": Names("stat_prefix http_filters access_log codec_type route_config").No("codec_type=HTTP3", "not yet").NoEffect("codec_type=HTTP2", "why"),
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter":            Names("name typed_config is_optional"),
	"envoy.config.accesslog.v3.AccessLog":                                               Names("name typed_config"),
	"envoy.extensions.access_loggers.file.v3.FileAccessLog":                             Names("path"),
	"envoy.config.core.v3.Address":                                                      Names("socket_address pipe"),
	"envoy.config.cluster.v3.Cluster":                                                   Names("name metadata typed_extension_protocol_options load_assignment"),
	"envoy.config.core.v3.Metadata":                                                     Names("filter_metadata typed_filter_metadata"),
	"envoy.config.endpoint.v3.ClusterLoadAssignment":                                    Names("cluster_name policy named_endpoints"),
	"envoy.config.route.v3.RouteConfiguration":                                          Names("name"),
	"envoy.config.route.v3.HeaderMatcher":                                               Names("name"),
}

// routes is what an HttpConnectionManager must not be without.
var routes = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "r"}}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	hcm := func(change func(*hcmv3.HttpConnectionManager)) *listenerv3.Listener {
		m := &hcmv3.HttpConnectionManager{StatPrefix: "x", RouteSpecifier: routes}
		change(m)
		return filterChain(pack(t, m))
	}
	structOf, err := structpb.NewStruct(map[string]any{"path": "x", "json_format": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	const inHCM = "filter_chains[0].filters[0].typed_config"
	for name, test := range map[string]struct {
		message proto.Message
		want    []string
	}{
		"nothing":     {&listenerv3.Listener{Name: "x"}, nil},
		"unsupported": {&listenerv3.Listener{UseOriginalDst: wrapperspb.Bool(false)}, []string{"error: r.use_original_dst: not supported (hint: use the listener filter)"}},
		"unlisted":    {&listenerv3.Listener{StatPrefix: "x"}, []string{"error: r.stat_prefix: not supported"}},
		"no effect":   {&listenerv3.Listener{Freebind: wrapperspb.Bool(true)}, []string{"note: r.freebind: has no effect (hint: as you like)"}},
		"unlisted message": {&listenerv3.Listener{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "x"}}}},
			[]string{"error: r.address.pipe: not supported"}},
		"enum value":     {hcm(func(m *hcmv3.HttpConnectionManager) { m.CodecType = hcmv3.HttpConnectionManager_HTTP3 }), []string{"error: r." + inHCM + ".codec_type: HTTP3 is not supported (hint: not yet)"}},
		"enum no effect": {hcm(func(m *hcmv3.HttpConnectionManager) { m.CodecType = hcmv3.HttpConnectionManager_HTTP2 }), []string{"note: r." + inHCM + ".codec_type: HTTP2 has no effect (hint: why)"}},
		"enum other":     {hcm(func(m *hcmv3.HttpConnectionManager) { m.CodecType = hcmv3.HttpConnectionManager_HTTP1 }), nil},
		"rule inside an Any": {hcm(func(m *hcmv3.HttpConnectionManager) { m.StatPrefix = "" }),
			[]string{"error: r." + inHCM + ".stat_prefix: value length must be at least 1 runes"}},
		"Any of an unregistered type": {filterChain(&anypb.Any{TypeUrl: "type.googleapis.com/a.B", Value: []byte{1}}),
			[]string{`error: r.filter_chains[0].filters[0].typed_config: extension "f" (type a.B) is not supported`}},
		"Any of a v2 type": {filterChain(&anypb.Any{TypeUrl: "type.googleapis.com/envoy.config.filter.network.tcp_proxy.v2.TcpProxy"}),
			[]string{`error: r.filter_chains[0].filters[0].typed_config: extension "f" (type envoy.config.filter.network.tcp_proxy.v2.TcpProxy) is not supported (hint: this is a type of Envoy's v2 API, which ended with Envoy 1.18; use the v3 type)`}},
		"Any without a type": {filterChain(&anypb.Any{Value: []byte{1}}),
			[]string{`error: r.filter_chains[0].filters[0].typed_config: has no type (hint: "@type": type.googleapis.com/...)`}},
		"Any with garbage": {filterChain(&anypb.Any{TypeUrl: "x/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", Value: []byte{0xff}}),
			[]string{"error: r.filter_chains[0].filters[0].typed_config: not a valid envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager: proto: cannot parse invalid wire-format data"}},
		"optional filter": {hcm(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = []*hcmv3.HttpFilter{{Name: "g", IsOptional: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "x/a.B"}}}}
		}), []string{"warning: r." + inHCM + `.http_filters[0].typed_config: extension "g" (type a.B) is not supported; it is optional and left out`}},
		"Any in an Any": {hcm(func(m *hcmv3.HttpConnectionManager) {
			m.AccessLog = []*accesslogv3.AccessLog{{Name: "file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(t, &filev3.FileAccessLog{
				AccessLogFormat: &filev3.FileAccessLog_Format{Format: "x"}})}}}
		}), []string{
			"error: r." + inHCM + ".access_log[0].typed_config.format: not supported",
			"error: r." + inHCM + ".access_log[0].typed_config.path: value length must be at least 1 runes",
		}},
		"TypedStruct": {hcm(func(m *hcmv3.HttpConnectionManager) {
			m.AccessLog = []*accesslogv3.AccessLog{{Name: "file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(t, &xdstype.TypedStruct{
				TypeUrl: "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", Value: structOf})}}}
		}), []string{"error: r." + inHCM + ".access_log[0].typed_config.json_format: not supported"}},
		"map entries": {&clusterv3.Cluster{Name: "c", TypedExtensionProtocolOptions: map[string]*anypb.Any{"k": {TypeUrl: "x/a.B"}, "j": {TypeUrl: "x/a.C"}}}, []string{
			`error: r.typed_extension_protocol_options["j"]: extension "j" (type a.C) is not supported`,
			`error: r.typed_extension_protocol_options["k"]: extension "k" (type a.B) is not supported`}},
		"rules with names and keys": {&clusterv3.Cluster{Name: "", LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: "x",
			NamedEndpoints: map[string]*endpointv3.Endpoint{"e": {HealthCheckConfig: &endpointv3.Endpoint_HealthCheckConfig{PortValue: 1 << 20}}}}},
			[]string{
				`error: r.load_assignment.named_endpoints["e"]: not supported`,
				"error: r.name: value length must be at least 1 runes",
				`error: r.load_assignment.named_endpoints["e"].health_check_config.port_value: value must be less than or equal to 65535`}},
		"unsupported root": {&durationpb.Duration{}, []string{"error: r: google.protobuf.Duration is not supported"}},
		"rule on a oneof": {&listenerv3.Listener{Address: &corev3.Address{}},
			[]string{"error: r.address.address: value is required"}},
		"unknown field number": {unknownField(t), []string{"error: r: has fields that envoy.config.route.v3.HeaderMatcher does not (hint: they were written for another version of Envoy's API)"}},
	} {
		t.Run(name, func(t *testing.T) {
			var p Problems
			Check(test.message, "r", hcmSupport, protoregistry.GlobalTypes, &p)
			var got []string
			for _, problem := range p.All() {
				got = append(got, strings.ReplaceAll(problem.String(), "proto:\u00a0", "proto: "))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func unknownField(t *testing.T) proto.Message {
	m := &routev3.HeaderMatcher{Name: "x"}
	m.ProtoReflect().SetUnknown([]byte{0xf8, 0x7f, 0x01})
	return m
}

func TestCheckStopsAtDeepNesting(t *testing.T) {
	any := pack(t, &hcmv3.HttpConnectionManager{StatPrefix: "x", RouteSpecifier: routes})
	for range 100 {
		any = pack(t, &hcmv3.HttpConnectionManager{StatPrefix: "x", RouteSpecifier: routes, AccessLog: []*accesslogv3.AccessLog{
			{ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: any}}}})
	}
	var p Problems
	Check(filterChain(any), "", hcmSupport, protoregistry.GlobalTypes, &p)
	if p.Len() != 1 || !strings.Contains(p.All()[0].Message, "nested more than") {
		t.Errorf("%v", p.All())
	}
}

func TestUnpackReturnsTheType(t *testing.T) {
	value, err := structpb.NewStruct(map[string]any{"path": "x"})
	if err != nil {
		t.Fatal(err)
	}
	const name = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
	for what, a := range map[string]*anypb.Any{
		"plain":  pack(t, &filev3.FileAccessLog{Path: "x"}),
		"struct": pack(t, &xdstype.TypedStruct{TypeUrl: "x/" + name, Value: value}),
	} {
		m, err := Unpack[*filev3.FileAccessLog](a)
		if err != nil || m.GetPath() != "x" || TypeOf(a) != name {
			t.Errorf("%s: %v %v, type %s", what, m, err, TypeOf(a))
		}
		if _, err := Unpack[*corev3.Pipe](a); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v, want one that names the type", what, err)
		}
	}
	if _, err := Unpack[*corev3.Pipe](nil); err == nil || TypeOf(nil) != "" {
		t.Error("a nil Any holds something")
	}
}

func TestIsV2(t *testing.T) {
	for name, want := range map[string]bool{
		"envoy.api.v2.Cluster": true, "envoy.config.filter.http.router.v2.Router": true, "envoy.config.filter.http.rbac.v2alpha1.X": true,
		"envoy.config.cluster.v3.Cluster": false, "envoy.extensions.filters.http.golang.v3alpha.Config": false, "other.v2.X": false,
	} {
		if IsV2("x") || IsV2(protoreflect.FullName(name)) != want {
			t.Errorf("%s: not %v", name, want)
		}
	}
}

func TestGoNames(t *testing.T) {
	for proto, want := range map[string]string{"stat_prefix": "StatPrefix", "accept_http_10": "AcceptHttp_10", "http2_protocol_options": "Http2ProtocolOptions", "ipv4_compat": "Ipv4Compat"} {
		if got := goName(proto); got != want {
			t.Errorf("%s is %s, want %s", proto, got, want)
		}
	}
}
