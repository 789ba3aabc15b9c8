package admin

import (
	"strings"
	"testing"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func chainOf(socket *anypb.Any) *listenerv3.Listener {
	return &listenerv3.Listener{Name: "tls", FilterChains: []*listenerv3.FilterChain{{
		TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: socket}},
	}}}
}

func TestSensitiveFieldsAreRedacted(t *testing.T) {
	key := secret("k").GetTlsCertificate()
	key.PrivateKeyProvider = &tlsv3.PrivateKeyProvider{ProviderName: "hsm", ConfigType: &tlsv3.PrivateKeyProvider_TypedConfig{
		TypedConfig: pack(t, &structpb.Struct{Fields: map[string]*structpb.Value{
			"pin": structpb.NewStringValue("s3cret"), "code": structpb.NewNumberValue(4711),
			"list": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("s3cret")}}),
		}}),
	}}
	downstream := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{key}}}
	asStruct := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(`{"common_tls_context":{"tls_certificates":[{"private_key":{"inline_string":"s3cret"},"certificate_chain":{"filename":"public"}}]}}`), asStruct); err != nil {
		t.Fatal(err)
	}
	const tlsURL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
	tickets := &tlsv3.Secret{Name: "k", Type: &tlsv3.Secret_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{
		Keys: []*corev3.DataSource{
			{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte("s3cret")}}, {Specifier: &corev3.DataSource_Filename{Filename: "s3cret"}},
		},
	}}}
	generic := &tlsv3.Secret{Name: "k", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
		Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "s3cret"}},
	}}}
	for _, tc := range []struct {
		name  string
		m     proto.Message
		keeps []string
	}{
		{"certificate", secret("k"), []string{"public", "[redacted]"}},
		{"ticket keys", tickets, []string{"W3JlZGFjdGVkXQ==", "[redacted]"}},
		{"generic secret", generic, []string{"[redacted]"}},
		{"in an Any in a listener", chainOf(pack(t, downstream)), []string{"public", "[redacted]", tlsURL, "hsm"}},
		{"in a TypedStruct", chainOf(pack(t, &xdstype.TypedStruct{TypeUrl: tlsURL, Value: asStruct})), []string{"public", "[redacted]", "TypedStruct"}},
		{"a TypedStruct of an unknown type", chainOf(pack(t, &xdstype.TypedStruct{TypeUrl: "type.googleapis.com/no.Such", Value: asStruct})), []string{"not_shown", "no.Such"}},
		{"an Any of an unknown type", chainOf(&anypb.Any{TypeUrl: "type.googleapis.com/no.Such", Value: []byte("s3cret")}), []string{"not_shown", "no.Such"}},
		{"an Any that is broken", chainOf(&anypb.Any{TypeUrl: tlsURL, Value: []byte("\xffs3cret")}), []string{"not_shown"}},
	} {
		out, err := protojson.Marshal(newRedactor().copyOf(tc.m))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		for _, leak := range []string{"s3cret", "czNjcmV0", "4711"} {
			if strings.Contains(string(out), leak) {
				t.Errorf("%s: %q in %s", tc.name, leak, out)
			}
		}
		for _, s := range tc.keeps {
			if !strings.Contains(string(out), s) {
				t.Errorf("%s: no %q in %s", tc.name, s, out)
			}
		}
	}
}

func TestWhatIsNotSensitiveStaysAsItIs(t *testing.T) {
	m := chainOf(pack(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: []string{"h2"}}}))
	m.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"a": {Fields: map[string]*structpb.Value{"b": structpb.NewNumberValue(1)}}}}
	if got := newRedactor().copyOf(m); !proto.Equal(got, m) {
		t.Errorf("%v became %v", m, got)
	}
}

func TestDeepAnysAreHidden(t *testing.T) {
	a := pack(t, secret("k"))
	for range 2 * maxAny {
		a = pack(t, a)
	}
	out, err := protojson.Marshal(newRedactor().copyOf(&clusterv3.Cluster{TypedExtensionProtocolOptions: map[string]*anypb.Any{"x": a}}))
	if err != nil || !strings.Contains(string(out), "not_shown") || strings.Contains(string(out), "s3cret") {
		t.Errorf("%s %v", out, err)
	}
}

func TestMask(t *testing.T) {
	for paths, want := range map[string]string{
		"":                              `{"name":"c","altStatName":"a","respectDnsTtl":true,"upstreamBindConfig":{"sourceAddress":{"address":"1.1.1.1"},"freebind":true}}`,
		"name":                          `{"name":"c"}`,
		"name,alt_stat_name":            `{"name":"c","altStatName":"a"}`,
		"upstream_bind_config.freebind": `{"upstreamBindConfig":{"freebind":true}}`,
		"upstream_bind_config.freebind,upstream_bind_config": `{"upstreamBindConfig":{"sourceAddress":{"address":"1.1.1.1"},"freebind":true}}`,
		"upstream_bind_config,upstream_bind_config.freebind": `{"upstreamBindConfig":{"sourceAddress":{"address":"1.1.1.1"},"freebind":true}}`,
		"nothing":               "no",
		"name.x":                "no",
		"health_checks.timeout": "no",
	} {
		m := &clusterv3.Cluster{}
		const whole = `{"name":"c","altStatName":"a","respectDnsTtl":true,"upstreamBindConfig":{"sourceAddress":{"address":"1.1.1.1"},"freebind":true}}`
		if err := protojson.Unmarshal([]byte(whole), m); err != nil {
			t.Fatal(err)
		}
		parsed := parseMask(paths)
		got := "no"
		if parsed.fits(m.ProtoReflect().Descriptor()) {
			parsed.apply(m.ProtoReflect())
			b, err := protojson.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			got = strings.ReplaceAll(string(b), " ", "")
		}
		if got != want {
			t.Errorf("%q: %s, want %s", paths, got, want)
		}
	}
}
