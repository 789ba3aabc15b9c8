package auto

import (
	"context"
	"errors"
	"io"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// errAlarm wakes a connection whose time is up.
var errAlarm = errors.New("auto: alarm")

// A waiting is a connection whose version is not known yet.
type waiting struct {
	s     *Server
	c     *conn.Conn
	scope scope.Scope
	idle  protocol.Idle
}

// wait blocks until the first bytes say which codec is meant.
func (s *Server) wait(ctx context.Context, c *conn.Conn) (protocol.Server, error) {
	w := &waiting{s: s, c: c}
	w.scope.Init(func(scope.Due) error { c.WakeRead(errAlarm); return nil })
	defer w.scope.Close()
	i := &w.idle
	i.Conn, i.Context, i.Alarm, i.Timeout, i.ParkAfter = c, ctx, &w.scope, s.o.IdleTimeout, s.o.ParkAfter
	i.Limit(s.o.MaxDuration)
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { _ = i.Die() })()
	}
	if len(c.Buffered()) == 0 {
		if err := i.Await(0); err != nil {
			return nil, err
		}
	}
	codec, err := w.rest()
	w.scope.Extend(scope.Headers, 0)
	w.scope.Close()
	if err == nil {
		c.Revive() // an alarm, or Drain, may have come with the last byte
	}
	return codec, err
}

// rest waits until the bytes that have begun to come are a preface, or cannot become one.
func (w *waiting) rest() (protocol.Server, error) {
	c, late, endAt := w.c, protocol.ErrHeadersTimeout, int64(0)
	for armed := false; ; {
		if codec := w.s.choose(c.Buffered()); codec != nil {
			return codec, nil
		}
		if !armed {
			armed = true
			d := w.s.o.HeadersTimeout
			if d == 0 {
				d, late = w.s.o.IdleTimeout, protocol.ErrIdleTimeout
			}
			if d > 0 {
				endAt = scope.Now() + int64(d)
				w.scope.Arm(scope.Headers, endAt)
			}
		}
		err := c.Fill()
		if err == nil {
			continue
		}
		woken := c.Woken() != nil
		c.Revive()
		switch {
		case w.idle.Dead():
			return nil, context.Cause(w.idle.Context)
		case !woken && err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case !woken:
			return nil, err
		case endAt != 0 && endAt <= scope.Now():
			return nil, late
		}
	}
}
