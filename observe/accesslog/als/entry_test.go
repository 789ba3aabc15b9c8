package als

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/format"
)

const ms = int64(time.Millisecond)

// fullEntry is an exchange in which everything happened.
func fullEntry() *observe.Entry {
	req := &message.Request{Method: "POST", Scheme: "https", Authority: "example.com:8443", Path: "/new?a=\xff\xc3(ä"}
	for _, h := range [][2]string{
		{"user-agent", "curl/8"}, {"referer", "http://a"}, {"x-forwarded-for", "10.0.35.28"}, {"x-request-id", "cc21d9b0"},
		{"x-envoy-original-path", "/old?q"}, {"x-many", "1"}, {"x-many", "2"}, {"x-empty", ""},
	} {
		req.Header.Add(h[0], h[1])
	}
	resp := &message.Response{Status: 204}
	resp.Header.Add("server", "envoy")
	trailer := &message.Header{}
	trailer.Add("grpc-status", "3")
	tls := &conn.TLS{
		Version: "TLSv1.3", Suite: 0x1301, SessionID: "ab",
		Peer: conn.NewCertificate(peerCertificate()),
	}
	addr := netip.MustParseAddrPort
	return &observe.Entry{
		Request: req, Response: resp, Trailer: trailer, Type: observe.DownstreamEnd,
		Conn: &conn.Info{
			ServerName: "a.example", JA3: "ja3", TLS: tls, Local: addr("10.0.0.1:80"), Remote: addr("[2001:db8::1]:82"),
			DirectRemote: addr("10.0.0.4:83"), Metadata: map[string]map[string]string{"pp": {"k": "v"}, "both": {"lost": "x"}},
		},
		Metadata: observe.RouteMetadata{
			Route: map[string]map[string]any{"r": {"k)%(:": "route"}}, Host: map[string]map[string]any{"h": {"n": 3.5}},
		},
		Record: &observe.Record{
			Began: time.Date(2016, 4, 15, 20, 17, 3, 310234567, time.UTC), Start: 1000 * ms, Protocol: "HTTP/1.1", Status: 204,
			Flags: observe.LH | observe.UAEX | observe.DF | observe.DO | observe.DR, Details: "via_upstream", Terminate: "term", Route: "r1",
			Cluster: "c1", ClusterAlt: "alt", UpstreamHost: addr("10.0.2.1:80"), UpstreamLocal: addr("10.0.2.9:4444"), UpstreamFailure: "TLS error",
			DownstreamFailure: "bad", Attempts: 2, RequestDone: 1005 * ms, UpstreamBegan: 1006 * ms, UpstreamSent: 1010 * ms,
			UpstreamFirst: 1100 * ms, UpstreamDone: 1200 * ms, FirstSent: 1101 * ms, Done: 2226*ms + 1500, BytesIn: 154, BytesOut: 1, HeadIn: 2,
			HeadOut: 3, WireIn: 4, WireOut: 5, UpstreamWireIn: 8, UpstreamWireOut: 9, UpstreamHeadIn: 10, UpstreamHeadOut: 11, RequestID: "req-id",
			Metadata: map[string]map[string]any{
				"all": {
					"s": "foo", "e": "", "n": 1.5, "i": 7, "b": false, "o": map[string]any{"l": []any{true, nil, 3.0}},
					"m": map[string]string{"x": "y"},
				},
				"both": {"kept": true},
			},
		},
	}
}

// peerCertificate is a certificate with names.
func peerCertificate() *x509.Certificate {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	x := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}, DNSNames: []string{"a.example"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "x"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		panic(err)
	}
	if x, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	return x
}

func socket(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func after(d time.Duration) *durationpb.Duration { return durationpb.New(d * time.Millisecond) }

// fullCommon is what Envoy says of fullEntry.
func fullCommon(t *testing.T) *datav3.AccessLogCommon {
	all, err := structpb.NewStruct(map[string]any{
		"s": "foo", "e": "", "n": 1.5, "i": 7, "b": false, "o": map[string]any{"l": []any{true, nil, 3.0}}, "m": map[string]any{"x": "y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	one := func(k string, v *structpb.Value) *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{k: v}}
	}
	return &datav3.AccessLogCommon{
		DownstreamRemoteAddress: socket("2001:db8::1", 82), DownstreamLocalAddress: socket("10.0.0.1", 80),
		DownstreamDirectRemoteAddress: socket("10.0.0.4", 83),
		UpstreamRemoteAddress:         socket("10.0.2.1", 80), UpstreamLocalAddress: socket("10.0.2.9", 4444),
		TlsProperties: &datav3.TLSProperties{
			TlsVersion: datav3.TLSProperties_TLSv1_3, TlsCipherSuite: wrapperspb.UInt32(0x1301), TlsSniHostname: "a.example", TlsSessionId: "ab",
			Ja3Fingerprint: "ja3", LocalCertificateProperties: &datav3.TLSProperties_CertificateProperties{},
			PeerCertificateProperties: &datav3.TLSProperties_CertificateProperties{
				Subject: "CN=peer", Issuer: "CN=peer", SubjectAltName: []*datav3.TLSProperties_CertificateProperties_SubjectAltName{
					{San: &datav3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: "spiffe://x"}},
					{San: &datav3.TLSProperties_CertificateProperties_SubjectAltName_Dns{Dns: "a.example"}},
				},
			},
		},
		StartTime:        timestamppb.New(time.Date(2016, 4, 15, 20, 17, 3, 310234567, time.UTC)),
		TimeToLastRxByte: after(5), TimeToFirstUpstreamTxByte: after(6), TimeToLastUpstreamTxByte: after(10),
		TimeToFirstUpstreamRxByte: after(100),
		TimeToLastUpstreamRxByte:  after(200), TimeToFirstDownstreamTxByte: after(101),
		TimeToLastDownstreamTxByte: durationpb.New(1226*time.Millisecond + 1500), Duration: durationpb.New(1226*time.Millisecond + 1500),
		UpstreamCluster: "c1", RouteName: "r1", UpstreamTransportFailureReason: "TLS error", DownstreamTransportFailureReason: "bad",
		ResponseFlags: &datav3.ResponseFlags{
			FailedLocalHealthcheck: true, DnsResolutionFailure: true, DownstreamRemoteReset: true,
			UnauthorizedDetails: &datav3.ResponseFlags_Unauthorized{Reason: datav3.ResponseFlags_Unauthorized_EXTERNAL_SERVICE},
		},
		Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			"all": all, "pp": one("k", structpb.NewStringValue("v")), "both": one("kept", structpb.NewBoolValue(true)),
		}},
		UpstreamRequestAttemptCount: 2, ConnectionTerminationDetails: "term", StreamId: "req-id",
		AccessLogType:           datav3.AccessLogType_DownstreamEnd,
		DownstreamWireBytesSent: 5, DownstreamWireBytesReceived: 4, UpstreamWireBytesSent: 9, UpstreamWireBytesReceived: 8,
		CustomTags: map[string]string{
			"literal": "l", "env": "set", "noenv": "d", "header": "1", "noheader": "none", "route": "route", "host": "3.5", "value": "POST-204",
		},
	}
}

func customTags() []*tracingv3.CustomTag {
	environment := func(tag, name string) *tracingv3.CustomTag {
		return &tracingv3.CustomTag{Tag: tag, Type: &tracingv3.CustomTag_Environment_{
			Environment: &tracingv3.CustomTag_Environment{Name: name, DefaultValue: "d"},
		}}
	}
	header := func(tag, name, without string) *tracingv3.CustomTag {
		return &tracingv3.CustomTag{Tag: tag, Type: &tracingv3.CustomTag_RequestHeader{
			RequestHeader: &tracingv3.CustomTag_Header{Name: name, DefaultValue: without},
		}}
	}
	meta := func(tag string, kind *metadatav3.MetadataKind, key, path string) *tracingv3.CustomTag {
		return &tracingv3.CustomTag{Tag: tag, Type: &tracingv3.CustomTag_Metadata_{Metadata: &tracingv3.CustomTag_Metadata{
			Kind: kind, MetadataKey: &metadatav3.MetadataKey{Key: key, Path: []*metadatav3.MetadataKey_PathSegment{
				{Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: path}},
			}},
		}}}
	}
	route := &metadatav3.MetadataKind{Kind: &metadatav3.MetadataKind_Route_{}}
	host := &metadatav3.MetadataKind{Kind: &metadatav3.MetadataKind_Host_{}}
	return []*tracingv3.CustomTag{
		{Tag: "literal", Type: &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: "l"}}},
		environment("env", "SET"), environment("noenv", "NOT_SET"), header("header", "x-many", ""), header("noheader", "x-none", "none"),
		header("absent", "x-none", ""), meta("route", route, "r", "k)%(:"), meta("host", host, "h", "n"), meta("absent too", host, "h", "none"),
		{Tag: "value", Type: &tracingv3.CustomTag_Value{Value: "%REQ(:METHOD)%-%RESPONSE_CODE%"}},
	}
}

func getenv(name string) (string, bool) { return "set", name == "SET" }

// logged is what a service gets of entries.
func logged(t *testing.T, w accesslog.Writer, s *stream, entries ...*observe.Entry) *servicev3.StreamAccessLogsMessage {
	t.Helper()
	s.running = true // nobody takes them
	for _, e := range entries {
		w.Log(e)
	}
	s.flush()
	b, ok := s.next()
	if !ok || b.n != len(entries) {
		t.Fatalf("%d entries, want %d", b.n, len(entries))
	}
	m := &servicev3.StreamAccessLogsMessage{}
	if err := proto.Unmarshal(newLink(s).frame(b.bytes), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func common(name string) *alsv3.CommonGrpcAccessLogConfig {
	return &alsv3.CommonGrpcAccessLogConfig{
		LogName: name, TransportApiVersion: corev3.ApiVersion_V3, GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "als"}},
		},
	}
}

func testHTTP(t *testing.T, set *Streams, change func(*alsv3.HttpGrpcAccessLogConfig)) *httpLog {
	t.Helper()
	cfg := &alsv3.HttpGrpcAccessLogConfig{CommonConfig: common("log")}
	change(cfg)
	w, err := NewHTTP(set, format.Options{Getenv: getenv}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w.(*httpLog)
}

func TestAnHTTPEntrySaysWhatEnvoySays(t *testing.T) {
	set := NewStreams(Options{Node: &corev3.Node{Id: "me", Cluster: strings.Repeat("long", 100)}})
	defer set.Close()
	l := testHTTP(t, set, func(c *alsv3.HttpGrpcAccessLogConfig) {
		c.CommonConfig.CustomTags = customTags()
		c.AdditionalRequestHeadersToLog = []string{"X-Many", "x-empty", "x-none", ":path", ":nothing", "Host"}
		c.AdditionalResponseHeadersToLog = []string{"server", ":status", "x-none"}
		c.AdditionalResponseTrailersToLog = []string{"grpc-status", "x-none"}
	})
	bare := &observe.Entry{Record: &observe.Record{}}
	want := &servicev3.StreamAccessLogsMessage{
		Identifier: &servicev3.StreamAccessLogsMessage_Identifier{
			Node: &corev3.Node{Id: "me", Cluster: strings.Repeat("long", 100)}, LogName: "log",
		},
		LogEntries: &servicev3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &servicev3.StreamAccessLogsMessage_HTTPAccessLogEntries{
			LogEntry: []*datav3.HTTPAccessLogEntry{{
				CommonProperties: fullCommon(t), ProtocolVersion: datav3.HTTPAccessLogEntry_HTTP11,
				Request: &datav3.HTTPRequestProperties{
					RequestMethod: corev3.RequestMethod_POST, Scheme: "https", Authority: "example.com:8443", Path: "/new?a=!!(ä", UserAgent: "curl/8",
					Referer: "http://a", ForwardedFor: "10.0.35.28", RequestId: "cc21d9b0", OriginalPath: "/old?q", RequestHeadersBytes: 190,
					RequestBodyBytes: 154, UpstreamHeaderBytesSent: 11, DownstreamHeaderBytesReceived: 2,
					RequestHeaders: map[string]string{"x-many": "1,2", "x-empty": "", ":path": "/new?a=!!(ä", "host": "example.com:8443"},
				},
				Response: &datav3.HTTPResponseProperties{
					ResponseCode: wrapperspb.UInt32(204), ResponseHeadersBytes: 21, ResponseBodyBytes: 1, ResponseCodeDetails: "via_upstream",
					UpstreamHeaderBytesReceived: 10, DownstreamHeaderBytesSent: 3,
					ResponseHeaders: map[string]string{"server": "envoy", ":status": "204"}, ResponseTrailers: map[string]string{"grpc-status": "3"},
				},
			}, {
				CommonProperties: &datav3.AccessLogCommon{
					IntermediateLogEntry: true,
					CustomTags:           map[string]string{"literal": "l", "env": "set", "noenv": "d", "noheader": "none", "value": "-0"},
				},
				Request: &datav3.HTTPRequestProperties{}, Response: &datav3.HTTPResponseProperties{},
			}},
		}},
	}
	got := logged(t, l, l.stream, fullEntry(), bare)
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestATCPEntrySaysWhatEnvoySays(t *testing.T) {
	set := NewStreams(Options{})
	defer set.Close()
	w, err := NewTCP(set, format.Options{}, &alsv3.TcpGrpcAccessLogConfig{CommonConfig: common("tcp")})
	if err != nil {
		t.Fatal(err)
	}
	e := fullEntry()
	e.Record.Metadata = nil
	e.Conn = &conn.Info{LocalPath: "/run/x.sock"}
	e.Record.UpstreamHost, e.Record.UpstreamPath = netip.AddrPort{}, "/run/up.sock"
	e.Record.Remote = netip.MustParseAddrPort("1.2.3.4:0")
	pipe := func(path string) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	facts := fullCommon(t)
	facts.DownstreamLocalAddress, facts.UpstreamRemoteAddress = pipe("/run/x.sock"), pipe("/run/up.sock")
	facts.DownstreamRemoteAddress, facts.DownstreamDirectRemoteAddress = socket("1.2.3.4", 0), nil
	facts.TlsProperties, facts.CustomTags, facts.Metadata = nil, nil, nil
	want := &servicev3.StreamAccessLogsMessage{
		Identifier: &servicev3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{}, LogName: "tcp"},
		LogEntries: &servicev3.StreamAccessLogsMessage_TcpLogs{TcpLogs: &servicev3.StreamAccessLogsMessage_TCPAccessLogEntries{
			LogEntry: []*datav3.TCPAccessLogEntry{{
				CommonProperties: facts, ConnectionProperties: &datav3.ConnectionProperties{ReceivedBytes: 154, SentBytes: 1},
			}},
		}},
	}
	if d := cmp.Diff(want, logged(t, w, w.(*tcpLog).stream, e), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

// Every flag that the message knows sets its own field, which has the flag's long name.
func TestEveryFlagHasItsField(t *testing.T) {
	for flag := observe.LH; flag <= observe.UDO; flag <<= 1 {
		b := appendFlags(nil, 16, flag)
		m := &datav3.AccessLogCommon{}
		if err := proto.Unmarshal(b, m); err != nil {
			t.Fatal(flag, err)
		}
		var got []string
		fields := m.GetResponseFlags().ProtoReflect()
		for i := range fields.Descriptor().Fields().Len() {
			if f := fields.Descriptor().Fields().Get(i); fields.Has(f) {
				got = append(got, strings.ReplaceAll(string(f.Name()), "_", ""))
			}
		}
		want := strings.ToLower(string(flag.Append(nil, true)))
		switch flag {
		case observe.UAEX:
			want = "unauthorizeddetails"
		case observe.OM:
			want = "overloadmanager"
		case observe.DF:
			want = "dnsresolutionfailure"
		case observe.DO, observe.UDO:
			want = "" // the message has no field for them
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v sets %v, want %q", flag, got, want)
		}
	}
}

func TestAnEntryAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's own allocations count")
	}
	set := NewStreams(Options{})
	defer set.Close()
	l := testHTTP(t, set, func(c *alsv3.HttpGrpcAccessLogConfig) {
		c.AdditionalRequestHeadersToLog = []string{"user-agent"}
		c.CommonConfig.BufferSizeBytes = wrapperspb.UInt32(maxSize)
	})
	e := fullEntry()
	e.Request.Path = "/"
	l.stream.running = true // nobody takes them
	l.stream.spare = make([]byte, 0, maxSize)
	if n := testing.AllocsPerRun(100, func() { l.Log(e) }); n > 0 {
		t.Errorf("%v allocations an entry", n)
	}
}

// Whatever a peer sends, the service can read the entry.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "\xff", "ä\xc3", "\xed\xa0\x80", strings.Repeat("\xf0", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, at := begin(nil, 3)
		m := &datav3.HTTPAccessLogEntry{}
		if err := proto.Unmarshal(end(appendText(b, 5, s), at), m); err != nil {
			t.Fatal(err)
		}
		got := m.GetRequest().GetPath()
		if utf8.ValidString(s) && got != s || len(got) != len(s) {
			t.Errorf("%q of %q", got, s)
		}
	})
}

func BenchmarkEntry(b *testing.B) {
	set := NewStreams(Options{})
	defer set.Close()
	w, err := NewHTTP(set, format.Options{}, &alsv3.HttpGrpcAccessLogConfig{CommonConfig: common("log")})
	if err != nil {
		b.Fatal(err)
	}
	l, e := w.(*httpLog), fullEntry()
	l.stream.running = true // nobody takes them
	b.ReportAllocs()
	for b.Loop() {
		l.Log(e)
		if l.stream.waiting > maxWaiting/2 {
			l.stream.waiting, l.stream.full = 0, nil
		}
	}
}
