package dispatch

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
)

// A Dispatcher serves the connections of a filter chain. Its View is replaced when routes, filters or clusters change; connections
// stay. Safe for concurrent use.
type Dispatcher struct {
	cfg      *Config
	key      string // of the part of the configuration that Config was compiled from
	env      *extension.Env
	server   protocol.Server
	view     atomic.Pointer[View]
	stats    *stats.Group[Stats]
	listener *stats.Group[ListenerStats]
	codec    *CodecStats
	streams  sync.Pool // of *stream
	date     dateCache

	mu        sync.Mutex // held while what is shown changes
	published *binding   // the one in force; guarded by mu
}

// A stream is an exchange with what the dispatcher keeps for it.
type stream struct {
	x       exchange.Exchange
	s       protocol.Stream
	view    *View
	rematch func(*exchange.Exchange) // matches again in the pinned view
	in, out flow
	upgrade bool
	grpc    bool // the client speaks gRPC, whatever filters make of the request
	proxied bool // 100 is the upstream's to say (proxy_100_continue)
	stats   *Stats
	entry   observe.Entry // what the access logs look at; part of the stream so that logging allocates nothing
}

// Inform implements message.Informer: informational responses of the upstream go on to the client, but for 100 where Weft says it
// itself.
func (t *stream) Inform(status int, h *message.Header) error {
	if status == http.StatusContinue && !t.proxied {
		return nil
	}
	return t.s.Inform(status, h)
}

// ServeConn serves a connection until it ends or is parked.
func (d *Dispatcher) ServeConn(ctx context.Context, c *conn.Conn) error {
	st := d.stats.Lane(c.Lane)
	if fresh(c) {
		st.CxTotal.Inc()
		st.CxActive.Inc()
		if c.Info().TLS != nil {
			st.CxSSLTotal.Inc()
			st.CxSSLActive.Inc()
		}
	}
	in, out := c.BytesIn(), c.BytesOut()
	err := d.server.Serve(ctx, c, d)
	st.CxRxBytes.Add(c.BytesIn() - in)
	st.CxTxBytes.Add(c.BytesOut() - out)
	if errors.Is(err, conn.ErrParked) {
		return err
	}
	d.closed(st, c, err)
	return err
}

// closed counts the end of a connection by its reason.
func (d *Dispatcher) closed(st *Stats, c *conn.Conn, err error) {
	st.CxActive.Dec()
	if c.Info().TLS != nil {
		st.CxSSLActive.Dec()
	}
	st.CxDestroy.Inc()
	st.CxLength.Record(uint64(time.Since(c.Info().Began).Milliseconds()))
	var broken *protocol.Error
	var failed *exchange.Error
	switch {
	case errors.Is(err, protocol.ErrPeerGone):
		st.CxDestroyRemote.Inc()
		st.CxDestroyActive.Inc()
		st.CxDestroyRemoteRq.Inc()
		return
	case errors.Is(err, protocol.ErrIdleTimeout):
		st.CxIdleTimeout.Inc()
	case errors.Is(err, protocol.ErrMaxDuration):
		st.CxMaxDuration.Inc()
	case errors.Is(err, protocol.ErrMaxRequests):
		st.CxMaxRequests.Inc()
	case errors.Is(err, conn.ErrDraining):
		st.CxDrainClose.Inc()
	case errors.As(err, &failed) && failed.Side != exchange.Downstream: // cut off: the client must not take a part for the whole
	case errors.Is(err, protocol.ErrHeadersTimeout):
		st.RqHeaderTimeout.Inc()
	case errors.As(err, &broken):
		st.CxProtocolError.Inc()
	case err == nil || remote(err):
		st.CxDestroyRemote.Inc()
		return
	}
	st.CxDestroyLocal.Inc()
}

// ServeStream is the life of one exchange, top to bottom.
func (d *Dispatcher) ServeStream(ctx context.Context, s protocol.Stream) {
	t := d.begin(ctx, s)
	defer d.recovered(t)
	resp, err := d.answer(ctx, t)
	if err != nil {
		resp = d.localReply(t, err)
	}
	if resp == nil {
		d.end(t, nil, nil)
		return
	}
	d.prepare(t, resp)
	t.x.At(exchange.Respond)
	if err = s.Respond(resp); err != nil && resp.Local == nil && !s.Started() {
		resp, err = d.unsent(t, resp, err)
	}
	d.end(t, resp, err)
}

// unsent answers in the place of an upstream's response that failed before any of it was sent.
func (d *Dispatcher) unsent(t *stream, failed *message.Response, cause error) (*message.Response, error) {
	if exchange.AsError(cause).Status == 0 {
		return failed, cause
	}
	resp := d.localReply(t, cause)
	if resp == nil {
		return failed, cause
	}
	d.prepare(t, resp)
	return resp, t.s.Respond(resp)
}

// RefuseStream answers a message that could not be decoded.
func (d *Dispatcher) RefuseStream(ctx context.Context, s protocol.Stream, refused *protocol.Error) {
	t := d.begin(ctx, s)
	defer d.recovered(t)
	d.countRefusal(t, refused)
	t.x.Take(notMatched, nil)
	resp := d.localReply(t, refusal(refused))
	if resp == nil { // the client has left meanwhile
		d.end(t, nil, nil)
		return
	}
	d.prepare(t, resp)
	d.end(t, resp, s.Respond(resp))
}

// begin pins the view and starts the record.
func (d *Dispatcher) begin(ctx context.Context, s protocol.Stream) *stream {
	t, _ := d.streams.Get().(*stream)
	if t == nil {
		t = &stream{}
		t.rematch = func(x *exchange.Exchange) { d.match(x, t.view) }
	}
	x := &t.x
	c := s.Conn()
	t.s, t.view, t.stats = s, d.view.Load(), d.stats.Lane(c.Lane)
	x.Begin(s.Request(), c.Info(), t.rematch)
	x.Request.Informer, t.proxied = t, d.cfg.ProxyContinue
	x.Lane, x.Random, x.Clusters = c.Lane, rand.Uint64(), t.view.Clusters
	x.Scope, _ = ctx.(*scope.Scope)
	x.Record.Began = time.Now()
	if x.Record.Start = s.Counts().RequestDone; x.Record.Start == 0 {
		x.Record.Start = scope.Now()
	}
	x.Record.Protocol = s.Version().String()
	s.SetOwner(t)
	t.stats.RqTotal.Inc()
	if s.Version() == protocol.HTTP2 {
		t.stats.RqHTTP2Total.Inc()
	} else {
		t.stats.RqHTTP1Total.Inc()
	}
	t.stats.RqActive.Inc()
	d.cfg.options.Live.Enter(x)
	return t
}

// answer cleans the request, finds its route and runs it through the filters.
func (d *Dispatcher) answer(ctx context.Context, t *stream) (*message.Response, error) {
	x := &t.x
	t.grpc = grpc.IsRequest(&x.Request.Header)
	if resp, err := d.admit(t); resp != nil || err != nil {
		x.Take(notMatched, nil)
		return resp, err
	}
	d.sanitize(x, t.view.internal(x.Request))
	x.At(exchange.Routing)
	d.match(x, t.view)
	if err := d.allowUpgrade(t); err != nil {
		return nil, err
	}
	d.watchRequest(t)
	if d.cfg.logFirst {
		d.log(t, nil, observe.DownstreamStart)
	}
	x.At(exchange.Filtering)
	return x.Run(ctx)
}

// match gives the exchange its route and that route's filters.
func (d *Dispatcher) match(x *exchange.Exchange, v *View) {
	r := v.match(x.Request, x.Conn, x.Random)
	x.Take(r, v.chain(r))
	x.Record.Route, x.Record.VirtualHost = r.Name, r.VirtualHost
}

// recovered turns a panic in one exchange into the end of its connection.
func (d *Dispatcher) recovered(t *stream) {
	p := recover()
	if p == nil {
		return
	}
	t.stats.RqPanic.Inc()
	d.env.Log.Error("panic in an exchange", "panic", p, "listener", t.x.Conn.Listener, "stack", string(debug.Stack()))
	if t.s != nil {
		t.s.Reset(errPanic)
		d.end(t, nil, errPanic)
	}
}
