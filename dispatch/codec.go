package dispatch

import (
	"context"
	"errors"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/auto"
	"github.com/weftproxy/weft/protocol/http1"
	"github.com/weftproxy/weft/protocol/http2"
)

// newServer returns the codec, or codecs, that codec_type asks for.
func (d *Dispatcher) newServer(env *extension.Env) protocol.Server {
	o1, o2 := d.cfg.http1, d.cfg.http2
	o1.DroppedUnderscore = d.codec.DroppedUnderscore.Inc
	o2.Stats = stats.NewGroup[http2.Stats](env.Stats.Scope("http2.")).Lane
	o2.TooManyResets = d.stats.Lane(0).RqTooManyResets.Inc
	h1 := &counted{http1.NewServer(o1), d.stats, false}
	h2 := &counted{http2.NewServer(o2), d.stats, true}
	switch d.cfg.codec {
	case hcmv3.HttpConnectionManager_HTTP1:
		return h1
	case hcmv3.HttpConnectionManager_HTTP2:
		return h2
	}
	return auto.New(h1, h2, auto.Options{
		IdleTimeout: o1.IdleTimeout, HeadersTimeout: o1.HeadersTimeout, MaxDuration: o1.MaxDuration, ParkAfter: o1.ParkAfter,
	})
}

// A counted codec counts the connections that it serves. It is immutable.
type counted struct {
	codec protocol.Server
	stats *stats.Group[Stats]
	http2 bool
}

// Serve implements protocol.Server.
func (s *counted) Serve(ctx context.Context, c *conn.Conn, h protocol.StreamHandler) error {
	st := s.stats.Lane(c.Lane)
	total, active := &st.CxHTTP1Total, &st.CxHTTP1Active
	if s.http2 {
		total, active = &st.CxHTTP2Total, &st.CxHTTP2Active
	}
	if fresh(c) {
		total.Inc()
		active.Inc()
	}
	err := s.codec.Serve(ctx, c, h)
	if !errors.Is(err, conn.ErrParked) {
		active.Dec()
	}
	return err
}

// fresh reports whether a connection is served for the first time, rather than again after it was parked.
func fresh(c *conn.Conn) bool { return c.Served == 0 && c.IdleSince == 0 }
