package httpinspector

import (
	"context"
	"errors"

	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// Extension is the listener filter.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{
		Name: "envoy.filters.listener.http_inspector", Config: &inspectorv3.HttpInspector{},
		New:     func(env *extension.Env, _ proto.Message) (extension.Inspector, error) { return New(env.Stats), nil },
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields, of which there are none.
func Support() resource.Support {
	return resource.Support{"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": {}}
}

// maxInspected is how many bytes a request line may have: Envoy's limit.
const maxInspected = 64 << 10

// errTooLong closes a connection whose request line does not end.
var errTooLong = errors.New("HTTP inspector: no end of the request line in 64 KiB")

// A Filter looks at the first bytes. Immutable; safe for concurrent use.
type Filter struct {
	stats *stats.Group[Stats]
	names [4][]string // application protocols by verdict
}

// Stats are the filter's statistics, by Envoy's names below http_inspector.
type Stats struct {
	ReadError stats.Counter `stat:"read_error"`
	HTTP10    stats.Counter `stat:"http10_found"`
	HTTP11    stats.Counter `stat:"http11_found"`
	HTTP2     stats.Counter `stat:"http2_found"`
	NotFound  stats.Counter `stat:"http_not_found"`
}

// New returns a filter that counts in store.
func New(store *stats.Store) *Filter {
	return &Filter{
		stats: stats.NewGroup[Stats](store.Scope("http_inspector.")),
		names: [4][]string{http10: {"http/1.0"}, http11: {"http/1.1"}, http2: {"h2c"}},
	}
}

// Inspect waits until it is clear what the peer speaks, consumes nothing, and notes it as the peer's application protocol. Connections that
// speak something else, or TLS, go on as they are. A request line without an end is an error.
func (f *Filter) Inspect(_ context.Context, c *conn.Conn) error {
	if p := c.Info().TransportProtocol; p != "" && p != "raw_buffer" {
		return nil
	}
	st := f.stats.Lane(c.Lane)
	var s scanner
	for {
		b := c.Buffered()
		switch v := s.scan(b[:min(len(b), maxInspected)]); v {
		case undecided:
		case none:
			st.NotFound.Inc()
			return nil
		default:
			f.found(st, v)
			c.Info().ALPN = f.names[v]
			return nil
		}
		if len(b) >= maxInspected {
			st.ReadError.Inc()
			return errTooLong
		}
		if _, err := c.Peek(len(b) + 1); err != nil {
			return err
		}
	}
}

func (f *Filter) found(st *Stats, v verdict) {
	switch v {
	case http10:
		st.HTTP10.Inc()
	case http11:
		st.HTTP11.Inc()
	case http2:
		st.HTTP2.Inc()
	}
}
