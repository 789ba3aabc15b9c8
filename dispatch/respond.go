package dispatch

import (
	"sync/atomic"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// prepare gives the response the headers that are the connection manager's, and decides whether the connection goes on after it.
func (d *Dispatcher) prepare(t *stream, resp *message.Response) {
	x := &t.x
	if resp.Local != nil {
		d.revive(x)
	}
	if x.Own(resp) {
		d.cfg.replies.apply(x, resp)
		if t.grpc {
			x.TrailersOnly()
		}
	}
	h := &resp.Header
	d.setServer(h)
	if !h.HasKnown(message.Date) {
		h.AddKnown(message.Date, d.date.at(x.Record.Began))
	}
	if d.cfg.Via != "" {
		appendValue(h, message.Via, d.cfg.Via)
	}
	if x.Record.RequestID != "" && d.cfg.ReturnID {
		h.SetKnown(message.XRequestID, x.Record.RequestID)
	}
	if resp.Tunnel {
		t.upgrade = true
		t.stats.CxUpgradesTotal.Inc()
		t.stats.CxUpgradesActive.Inc()
	}
	if d.cfg.options.Drain.Close(x.Random) || t.s.Conn().Draining() {
		t.stats.CxDrainClose.Inc()
		t.s.CloseAfter()
	}
	if resp.Local != nil && !x.Complete() && exchange.AsError(resp.Local).Status == 408 {
		t.s.CloseAfter()
	}
	if idle := d.idleOf(x); idle > 0 && resp.Length != 0 && x.Scope != nil {
		t.out = flow{Body: resp.Body, scope: x.Scope, idle: int64(idle)}
		resp.Body = &t.out
	}
}

func (d *Dispatcher) idleOf(x *exchange.Exchange) time.Duration {
	if x.Route.IdleTimeout >= 0 {
		return x.Route.IdleTimeout
	}
	return d.cfg.StreamIdle
}

func (d *Dispatcher) setServer(h *message.Header) {
	switch d.cfg.ServerHeader {
	case hcmv3.HttpConnectionManager_OVERWRITE:
		h.SetKnown(message.Server, d.cfg.ServerName)
	case hcmv3.HttpConnectionManager_APPEND_IF_ABSENT:
		if !h.HasKnown(message.Server) {
			h.AddKnown(message.Server, d.cfg.ServerName)
		}
	}
}

// A dateCache holds the Date header of the present second.
type dateCache struct{ now atomic.Pointer[datedSecond] }

type datedSecond struct {
	unix int64
	text string
}

const httpTime = "Mon, 02 Jan 2006 15:04:05 GMT"

func (c *dateCache) at(t time.Time) string {
	sec := t.Unix()
	if d := c.now.Load(); d != nil && d.unix == sec {
		return d.text
	}
	d := &datedSecond{sec, t.UTC().Format(httpTime)}
	c.now.Store(d)
	return d.text
}
