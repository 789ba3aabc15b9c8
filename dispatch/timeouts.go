package dispatch

import (
	"errors"
	"time"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

// watchRequest arms the deadlines of the exchange and watches its request body, so that they follow the bytes.
func (d *Dispatcher) watchRequest(t *stream) {
	x := &t.x
	if x.Scope == nil {
		return
	}
	now := x.Record.Start
	idle := d.idleOf(x)
	if idle > 0 {
		x.Scope.Arm(scope.Idle, now+int64(idle))
	}
	if limit, ok := x.Route.Duration(&x.Request.Header, d.cfg.MaxStream); ok {
		x.Scope.Arm(scope.Stream, now+int64(limit))
	}
	if x.Request.Length == 0 && x.Request.Upgrade == "" {
		x.RequestComplete(now)
		return
	}
	if d.cfg.RequestTimeout > 0 && x.Request.Upgrade == "" {
		x.Scope.Arm(scope.Request, now+int64(d.cfg.RequestTimeout))
	}
	t.in = flow{Body: x.Request.Body, scope: x.Scope, idle: int64(idle), ended: t.requestEnded}
	x.Request.Body = &t.in
}

// requestEnded notes that the last byte of the request has been read. It runs on whichever goroutine reads the body.
func (t *stream) requestEnded() {
	t.x.Scope.Extend(scope.Request, 0)
	t.x.RequestComplete(scope.Now())
}

// Expired says what to cancel the exchange with when one of its deadlines has passed.
func (d *Dispatcher) Expired(s protocol.Stream, due scope.Due) error {
	t, _ := s.Owner().(*stream)
	if t == nil {
		return nil
	}
	complete := t.x.Complete()
	switch due {
	case scope.Request:
		t.stats.RqTimeout.Inc()
		return errRequestTimeout
	case scope.Idle:
		t.stats.RqIdleTimeout.Inc()
		if complete {
			return errIdleResponse
		}
		return errIdleRequest
	case scope.Stream:
		t.stats.RqMaxDuration.Inc()
		if complete {
			return errMaxResponse
		}
		return errMaxRequest
	case scope.Response:
		return errRouteTimeout
	}
	return nil
}

// revive lets a reply be written although the exchange was cancelled, within a time of its own.
func (d *Dispatcher) revive(x *exchange.Exchange) {
	if x.Scope == nil || x.Scope.Err() == nil {
		return
	}
	x.Scope.Revive()
	x.Scope.Extend(scope.Response, 0)
	x.Scope.Extend(scope.Request, 0)
	x.Scope.Extend(scope.Stream, 0)
	x.Scope.Arm(scope.Idle, scope.Now()+int64(max(d.cfg.http1.DelayedClose, time.Second)))
}

// closed reports whether the exchange was cancelled because Weft closes its connection, at the end of a drain. Deadlines say instead
// what is to be answered.
func closed(x *exchange.Exchange) bool {
	if x.Scope == nil || x.Scope.Err() == nil {
		return false
	}
	var e *exchange.Error
	return !errors.As(x.Scope.Err(), &e)
}

// gone reports whether the exchange was cancelled because the downstream went away, and how it is recorded then.
func gone(x *exchange.Exchange) (flag observe.Flag, details string, ok bool) {
	if x.Scope == nil {
		return 0, "", false
	}
	return exchange.Departed(x.Scope.Err())
}
