package health

import (
	"encoding/hex"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/resource"
)

// Config is a compiled HealthCheck. Immutable. Exactly one of HTTP, TCP and GRPC is set.
type Config struct {
	Timeout       time.Duration
	InitialJitter time.Duration
	Jitter        time.Duration // interval_jitter
	JitterPercent uint32        // interval_jitter_percent
	Reuse         bool          // reuse_connection
	AltPort       uint16        // 0: the host's own
	ALPN          []string      // tls_options.alpn_protocols; nil: as the transport socket is configured

	// Metadata by which the transport socket is chosen instead of the host's own (transport_socket_match_criteria); nil: the host's.
	SocketMatch map[string]map[string]any

	Interval, UnhealthyInterval          time.Duration
	NoTrafficInterval, NoTrafficHealthy  time.Duration
	UnhealthyEdgeInterval, HealthyEdge   time.Duration
	UnhealthyThreshold, HealthyThreshold int
	HTTP                                 *HTTP
	TCP                                  *TCP
	GRPC                                 *GRPC
}

// HTTP is a check by a request.
type HTTP struct {
	HTTP2              bool // codec_client_type
	Negotiated         bool // use_alpn_protocol: what the TLS handshake agrees on; HTTP2 where that is nothing
	Host, Path, Method string
	Add                []Field
	Remove             []string
	Expected           []Range // statuses that mean healthy; none: 200
	Retriable          []Range // statuses that count towards unhealthy_threshold; others count at once
	Receive            [][]byte
	BufferSize         int // bytes of the body in which Receive is looked for; 0: all
}

// GRPC is a check by a call of grpc.health.v1.Health/Check.
type GRPC struct {
	Service   string // service_name; "" asks for the server as a whole
	Authority string // "": the host's name, or the cluster's
	Metadata  []Field
}

// A Field is a header field to send.
type Field struct {
	Name, Value string
	Append      bool
}

// A Range is of statuses, without its end.
type Range struct{ From, To int }

// TCP is a check by what a connection answers. With nothing to send or receive, connecting is enough.
type TCP struct {
	Send    []byte
	Receive [][]byte // found in the answer in this order
}

// Compile compiles a HealthCheck; what is wrong with it goes to p.
func Compile(m *corev3.HealthCheck, at resource.Path, p *resource.Problems) *Config {
	c := &Config{
		Timeout: m.GetTimeout().AsDuration(), Interval: m.GetInterval().AsDuration(), InitialJitter: m.GetInitialJitter().AsDuration(),
		Jitter: m.GetIntervalJitter().AsDuration(), JitterPercent: m.GetIntervalJitterPercent(), Reuse: true,
		UnhealthyThreshold: int(m.GetUnhealthyThreshold().GetValue()), HealthyThreshold: int(m.GetHealthyThreshold().GetValue()),
		AltPort: uint16(m.GetAltPort().GetValue()),
	}
	if m.GetTlsOptions() != nil {
		c.ALPN = m.GetTlsOptions().GetAlpnProtocols()
	}
	if s := m.GetTransportSocketMatchCriteria(); s != nil {
		c.SocketMatch = map[string]map[string]any{"envoy.transport_socket_match": s.AsMap()}
	}
	if m.GetReuseConnection() != nil {
		c.Reuse = m.GetReuseConnection().GetValue()
	}
	if v := m.GetAltPort(); v != nil && (v.GetValue() == 0 || v.GetValue() > 65535) {
		p.Errorf(at.Field("alt_port"), "1 to 65535", "not a port: %d", v.GetValue())
	}
	if c.Timeout <= 0 {
		p.Errorf(at.Field("timeout"), "timeout: 1s", "a health check needs a timeout greater than zero")
	}
	if c.Interval <= 0 {
		p.Errorf(at.Field("interval"), "interval: 5s", "a health check needs an interval greater than zero")
	}
	if m.GetUnhealthyThreshold() == nil {
		p.Errorf(at.Field("unhealthy_threshold"), "unhealthy_threshold: 3", "required")
	}
	if m.GetHealthyThreshold() == nil {
		p.Errorf(at.Field("healthy_threshold"), "healthy_threshold: 2", "required")
	}
	c.UnhealthyInterval = or(m.GetUnhealthyInterval(), c.Interval)
	c.UnhealthyEdgeInterval = or(m.GetUnhealthyEdgeInterval(), c.UnhealthyInterval)
	c.HealthyEdge = or(m.GetHealthyEdgeInterval(), c.Interval)
	c.NoTrafficInterval = or(m.GetNoTrafficInterval(), time.Minute)
	c.NoTrafficHealthy = or(m.GetNoTrafficHealthyInterval(), c.NoTrafficInterval)
	switch {
	case m.GetHttpHealthCheck() != nil:
		c.HTTP = compileHTTP(m.GetHttpHealthCheck(), at.Field("http_health_check"), p)
	case m.GetTcpHealthCheck() != nil:
		t := m.GetTcpHealthCheck()
		at := at.Field("tcp_health_check")
		c.TCP = &TCP{Receive: payloads(t.GetReceive(), at.Field("receive"), p)}
		if t.GetSend() != nil {
			c.TCP.Send = payload(t.GetSend(), at.Field("send"), p)
		}
	case m.GetGrpcHealthCheck() != nil:
		g := m.GetGrpcHealthCheck()
		c.GRPC = &GRPC{Service: g.GetServiceName(), Authority: g.GetAuthority(),
			Metadata: fields(g.GetInitialMetadata(), at.Field("grpc_health_check").Field("initial_metadata"), p)}
	default:
		p.Errorf(at, "http_health_check, tcp_health_check or grpc_health_check", "no kind of check is given")
	}
	return c
}

func or(d *durationpb.Duration, other time.Duration) time.Duration {
	if d == nil {
		return other
	}
	return d.AsDuration()
}

func compileHTTP(m *corev3.HealthCheck_HttpHealthCheck, at resource.Path, p *resource.Problems) *HTTP {
	h := &HTTP{HTTP2: m.GetCodecClientType() == typev3.CodecClientType_HTTP2, Negotiated: m.GetUseAlpnProtocol(),
		Add: fields(m.GetRequestHeadersToAdd(), at.Field("request_headers_to_add"), p), Host: m.GetHost(), Path: m.GetPath(), Method: "GET",
		Remove: m.GetRequestHeadersToRemove(), BufferSize: 1024,
		Receive: payloads(m.GetReceive(), at.Field("receive"), p)}
	if h.Path == "" {
		p.Errorf(at.Field("path"), `path: "/healthz"`, "required")
	}
	switch m.GetMethod() {
	case corev3.RequestMethod_METHOD_UNSPECIFIED:
	case corev3.RequestMethod_CONNECT:
		p.Errorf(at.Field("method"), "GET or HEAD", "CONNECT is not a method to check with")
	default:
		h.Method = m.GetMethod().String()
	}
	if m.GetResponseBufferSize() != nil {
		h.BufferSize = int(m.GetResponseBufferSize().GetValue())
	}
	h.Expected = ranges(m.GetExpectedStatuses(), at.Field("expected_statuses"), p)
	h.Retriable = ranges(m.GetRetriableStatuses(), at.Field("retriable_statuses"), p)
	if h.Expected == nil {
		h.Expected = []Range{{200, 201}}
	}
	return h
}

// fields compiles header fields to send.
func fields(all []*corev3.HeaderValueOption, at resource.Path, p *resource.Problems) []Field {
	var out []Field
	for i, f := range all {
		add := f.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		if f.GetAppend() != nil {
			add = f.GetAppend().GetValue()
		}
		header, key := f.GetHeader(), f.GetHeader().GetKey()
		text, field := header.GetValue(), "value"
		if text == "" {
			text, field = string(header.GetRawValue()), "raw_value"
		}
		value, ok := literal(text)
		if !ok {
			p.Errorf(at.Index(i).Field("header").Field(field), "text, in which %% stands for a percent sign",
				"format operators are not supported in health checks: %q", text)
		}
		if !httpguts.ValidHeaderFieldName(key) && key != ":authority" {
			p.Errorf(at.Index(i).Field("header").Field("key"), "letters, digits and dashes", "not the name of a header: %q", key)
		}
		out = append(out, Field{key, value, add})
	}
	return out
}

// literal returns the text that a format stands for; ok is false where it has operators.
func literal(format string) (text string, ok bool) {
	text = strings.ReplaceAll(format, "%%", "%")
	return text, strings.Count(format, "%") == 2*strings.Count(text, "%")
}

func ranges(all []*typev3.Int64Range, at resource.Path, p *resource.Problems) []Range {
	var out []Range
	for i, r := range all {
		if r.GetStart() < 100 || r.GetEnd() > 600 || r.GetStart() >= r.GetEnd() {
			p.Errorf(at.Index(i), "start: 200, end: 300", "[%d, %d) is not a range within [100, 600)", r.GetStart(), r.GetEnd())
			continue
		}
		out = append(out, Range{int(r.GetStart()), int(r.GetEnd())})
	}
	return out
}

func within(status int, all []Range) bool {
	for _, r := range all {
		if status >= r.From && status < r.To {
			return true
		}
	}
	return false
}

func payloads(all []*corev3.HealthCheck_Payload, at resource.Path, p *resource.Problems) [][]byte {
	var out [][]byte
	for i, m := range all {
		out = append(out, payload(m, at.Index(i), p))
	}
	return out
}

// payload decodes a Payload: hexadecimal text, or bytes.
func payload(m *corev3.HealthCheck_Payload, at resource.Path, p *resource.Problems) []byte {
	if b := m.GetBinary(); len(b) > 0 {
		return b
	}
	b, err := hex.DecodeString(m.GetText())
	if err != nil || len(b) == 0 {
		p.Errorf(at.Field("text"), `text: "50494e47" for PING`, "not hexadecimal: %q", m.GetText())
	}
	return b
}
