package tlsinspector

import (
	"context"
	"errors"
	"fmt"
	"strings"

	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// name is the filter's, and the namespace of its dynamic metadata.
const name = "envoy.filters.listener.tls_inspector"

// Extension is the listener filter.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{
		Name: name, Config: &inspectorv3.TlsInspector{},
		New: func(env *extension.Env, cfg proto.Message) (extension.Inspector, error) {
			return New(env, cfg.(*inspectorv3.TlsInspector))
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	return resource.Support{
		"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": resource.Names("enable_ja3_fingerprinting enable_ja4_fingerprinting").
			Yes("close_connection_on_client_hello_parsing_errors").
			YesBut("max_client_hello_size", "at most 16 KiB, which is the default").
			NoEffect("initial_read_buffer_size", "the connection's buffer has 16 KiB and grows when a ClientHello needs it"),
	}
}

// Limits of the size of a ClientHello with its records, in bytes.
const (
	defaultLimit = 16 << 10
	maxLimit     = 64 << 10
)

// What closes a connection.
var (
	errTooLarge = errors.New("TLS inspector: ClientHello too large")
	errNotTLS   = errors.New("TLS inspector: not a ClientHello")
)

// A Filter looks at the first bytes. Immutable; safe for concurrent use.
type Filter struct {
	stats    *stats.Group[Stats]
	limit    int
	ja3, ja4 bool
	strict   bool                // what is not a ClientHello is closed
	common   map[string][]string // lists of protocols that many clients offer, by what they are on the wire
}

// Stats are the filter's statistics, by Envoy's names below tls_inspector.
type Stats struct {
	TooLarge     stats.Counter   `stat:"client_hello_too_large"`
	Found        stats.Counter   `stat:"tls_found"`
	NotFound     stats.Counter   `stat:"tls_not_found"`
	ALPNFound    stats.Counter   `stat:"alpn_found"`
	ALPNNotFound stats.Counter   `stat:"alpn_not_found"`
	SNIFound     stats.Counter   `stat:"sni_found"`
	SNINotFound  stats.Counter   `stat:"sni_not_found"`
	Processed    stats.Histogram `stat:"bytes_processed" unit:"bytes"`
}

// New compiles the filter's configuration.
func New(env *extension.Env, cfg *inspectorv3.TlsInspector) (*Filter, error) {
	f := &Filter{
		stats:  stats.NewGroup[Stats](env.Stats.Scope("tls_inspector.")),
		limit:  defaultLimit,
		ja3:    cfg.GetEnableJa3Fingerprinting().GetValue(),
		ja4:    cfg.GetEnableJa4Fingerprinting().GetValue(),
		strict: cfg.GetCloseConnectionOnClientHelloParsingErrors(),
		common: map[string][]string{},
	}
	if size := cfg.GetMaxClientHelloSize(); size != nil {
		f.limit = int(size.GetValue())
	}
	if f.limit > maxLimit {
		return nil, fmt.Errorf("max_client_hello_size of %d is greater than maximum of %d", f.limit, maxLimit)
	}
	for _, list := range []string{"h2", "http/1.1", "h2 http/1.1", "istio", "istio-peer-exchange istio", "istio-peer-exchange h2 http/1.1"} {
		names := strings.Fields(list)
		f.common[wire(names)] = names
	}
	return f, nil
}

// wire is a list of protocols as a ClientHello has it.
func wire(names []string) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteByte(byte(len(n)))
		b.WriteString(n)
	}
	return b.String()
}

// Inspect waits until it is clear whether the peer speaks TLS, which its first byte may tell, consumes nothing, and notes what its
// ClientHello says. A ClientHello beyond the limit is an error; other connections go on as they are, unless the configuration says that they
// are to be closed.
func (f *Filter) Inspect(_ context.Context, c *conn.Conn) error {
	st := f.stats.Lane(c.Lane)
	s := scanner{limit: f.limit}
	for {
		b := c.Buffered()
		v := s.scan(b)
		if v == found && !f.note(st, c, &s) {
			v = plain
		}
		if v != undecided {
			return f.decide(st, c, &s, v)
		}
		if _, err := c.Peek(len(b) + 1); err != nil {
			return err
		}
	}
}

// decide counts a verdict and does what it asks for.
func (f *Filter) decide(st *Stats, c *conn.Conn, s *scanner, v verdict) error {
	switch v {
	case found:
		st.Processed.Record(uint64(s.at))
		st.Found.Inc()
		return nil
	case tooLarge:
		st.Processed.Record(uint64(s.limit))
		st.TooLarge.Inc()
		fail(c.Info(), "ClientHelloTooLarge")
		c.Info().TransportFailure = "ClientHelloTooLarge"
		return errTooLarge
	}
	st.Processed.Record(uint64(min(len(c.Buffered()), s.at+recordHeader)))
	if f.strict {
		c.Info().TransportFailure = "ClientHelloNotDetected"
		return errNotTLS
	}
	st.NotFound.Inc()
	fail(c.Info(), "ClientHelloNotDetected")
	return nil
}

// fail says in the filter's dynamic metadata why there is no ClientHello.
func fail(info *conn.Info, reason string) {
	if info.Metadata == nil {
		info.Metadata = map[string]map[string]string{}
	}
	info.Metadata[name] = map[string]string{"failure_reason": reason}
}

// note reads a ClientHello and notes what it says. It reports false when it is malformed.
func (f *Filter) note(st *Stats, c *conn.Conn, s *scanner) bool {
	b := c.Buffered()
	if len(recordAt(b, 0)) >= s.size() {
		return f.noteMessage(st, c.Info(), s.message(b, nil))
	}
	buf := conn.GetBuffer(s.size())
	defer conn.PutBuffer(buf)
	return f.noteMessage(st, c.Info(), s.message(b, buf))
}

func (f *Filter) noteMessage(st *Stats, info *conn.Info, body []byte) bool {
	var h hello
	if !h.parse(body) {
		return false
	}
	info.TransportProtocol = "tls"
	if f.ja3 {
		info.JA3 = h.ja3()
	}
	if f.ja4 {
		info.JA4 = h.ja4()
	}
	if h.name == nil {
		st.SNINotFound.Inc()
	} else {
		st.SNIFound.Inc()
		info.ServerName = lower(h.name)
	}
	if h.alpn == nil {
		st.ALPNNotFound.Inc()
		return true
	}
	st.ALPNFound.Inc()
	var ok bool
	if info.ALPN, ok = f.common[string(h.alpn)]; !ok {
		info.ALPN = protocols(h.alpn)
	}
	return true
}

// lower returns a name with its ASCII letters in lower case.
func lower(name []byte) string {
	var buf [maxName]byte
	b := buf[:copy(buf[:], name)]
	for i, ch := range b {
		if 'A' <= ch && ch <= 'Z' {
			b[i] = ch + 'a' - 'A'
		}
	}
	return string(b)
}
