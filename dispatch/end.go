package dispatch

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

// end records the exchange; t is dead after it. resp is nil when there was none, err is why the downstream did not get all
// of it.
func (d *Dispatcher) end(t *stream, resp *message.Response, err error) {
	x := &t.x
	x.At(exchange.Recording)
	if t.upgrade {
		t.stats.CxUpgradesActive.Dec()
	}
	d.settle(t, resp, err)
	d.count(t)
	d.log(t, resp, observe.DownstreamEnd)
	d.noteFailure(t, resp, err)
	d.cfg.options.Live.Leave(x)
	t.stats.RqActive.Dec()
	if resp != nil {
		resp.Release()
	}
	d.release(t)
}

// settle completes the record.
func (d *Dispatcher) settle(t *stream, resp *message.Response, err error) {
	r, n := &t.x.Record, t.s.Counts()
	if r.Done = n.ResponseDone; r.Done == 0 {
		r.Done = scope.Now()
	}
	r.RequestDone, r.FirstSent = n.RequestDone, n.ResponseBegan
	r.BytesIn, r.BytesOut = n.RequestBody, n.ResponseBody
	r.HeadIn, r.HeadOut, r.WireIn, r.WireOut = n.RequestHead, n.ResponseHead, n.RequestWire, n.ResponseWire
	r.Status = 0
	if resp != nil && t.s.Started() {
		r.Status = resp.Status
	}
	if resp != nil && resp.Local == nil && r.Details == "" {
		r.Details = "via_upstream"
	}
	if err != nil {
		blame(r, err)
	}
	switch {
	case r.Flags&(observe.DC|observe.DR) != 0:
		t.stats.RqRxReset.Inc()
	case resp == nil || err != nil:
		t.stats.RqTxReset.Inc()
	}
}

// blame notes why the downstream did not get all of the response.
func blame(r *observe.Record, err error) {
	var e *exchange.Error
	if errors.As(err, &e) {
		r.Flags |= e.Flag
		r.Details = e.Details
		return
	}
	flag, details, ok := exchange.Departed(err)
	if !ok && remote(err) {
		flag, details, ok = exchange.Departed(protocol.ErrPeerGone)
	}
	if ok {
		r.Flags |= flag
		r.Details = details
	}
}

// count adds the exchange to the statistics.
func (d *Dispatcher) count(t *stream) {
	r := &t.x.Record
	t.stats.count(r.Status)
	d.listener.Lane(t.x.Lane).count(r.Status)
	t.stats.RqTime.Record(uint64((r.Done - r.Start) / int64(time.Millisecond)))
	if r.RequestDone == 0 && r.Status != 0 {
		t.stats.RqBeforeComplete.Inc()
	}
}

// log writes the access logs.
func (d *Dispatcher) log(t *stream, resp *message.Response, kind observe.LogType) {
	if len(d.cfg.logs) == 0 {
		return
	}
	t.entry = t.x.Entry(resp)
	t.entry.Type = kind
	if resp != nil {
		t.entry.Trailer = resp.Body.Trailer()
	}
	for _, w := range d.cfg.logs {
		w.Log(&t.entry)
	}
}

// noteFailure keeps an exchange that failed for /failures: Weft answered in an error's place, or the response broke off.
func (d *Dispatcher) noteFailure(t *stream, resp *message.Response, err error) {
	cause := err
	if cause == nil && resp != nil {
		cause = resp.Local
	}
	if cause == nil || d.cfg.options.Failures == nil {
		return
	}
	x := &t.x
	r := &x.Record
	e := exchange.AsError(cause)
	f := exchange.Failure{
		At: r.Began, Listener: x.Conn.Listener, Method: strings.Clone(x.Request.Method), Host: strings.Clone(x.Request.Authority),
		Path: strings.Clone(x.Request.Path), Status: r.Status, Flags: r.Flags, Stage: e.Stage.String(), Side: e.Side.String(),
		Details: r.Details, Cause: cause.Error(), Route: r.Route, Cluster: r.Cluster, Remote: x.Conn.Remote,
		RequestID: strings.Clone(r.RequestID), Attempts: r.Attempts, Duration: time.Duration(r.Done - r.Start),
	}
	if x.Route != nil {
		f.Place = x.Route.Origin + x.Route.Place
	}
	if x.Host != nil {
		f.Upstream = x.Host.Address()
	}
	d.cfg.options.Failures.Add(f)
}

// release forgets everything about the exchange and keeps its memory.
func (d *Dispatcher) release(t *stream) {
	t.s.SetOwner(nil)
	t.x.Reset()
	t.s, t.view, t.stats, t.upgrade, t.grpc = nil, nil, nil, false, false
	t.in, t.out, t.entry = flow{}, flow{}, observe.Entry{}
	d.streams.Put(t)
}

// remote reports whether an error of a connection means that the peer went away.
func remote(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
