package auto

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// errAlarm wakes a connection whose time is up.
var errAlarm = errors.New("auto: alarm")

// A waiting is a connection whose version is not known yet.
type waiting struct {
	s     *Server
	ctx   context.Context
	c     *conn.Conn
	scope scope.Scope
	maxAt int64       // scope.Now when the connection has lived long enough; 0: never
	dead  atomic.Bool // ctx is done
}

// wait blocks until the first bytes say which codec is meant.
func (s *Server) wait(ctx context.Context, c *conn.Conn) (protocol.Server, error) {
	w := &waiting{s: s, ctx: ctx, c: c}
	w.scope.Init(func(scope.Due) error { c.WakeRead(errAlarm); return nil })
	defer w.scope.Close()
	if d := s.o.MaxDuration; d > 0 {
		w.maxAt = scope.Now() + int64(d-time.Since(c.Info().Began))
	}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, w.die)()
	}
	if len(c.Buffered()) == 0 {
		if err := w.first(); err != nil {
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

// die ends the wait: the process goes away. It runs on a goroutine of its own.
func (w *waiting) die() {
	w.dead.Store(true)
	w.c.Wake(context.Cause(w.ctx))
}

// first waits for a byte, without a buffer. Drain ends it; after a while the connection is parked.
func (w *waiting) first() error {
	c, o := w.c, &w.s.o
	if !c.SetIdle(true) {
		return conn.ErrDraining
	}
	if c.IdleSince == 0 {
		c.IdleSince = scope.Now()
	}
	endAt := w.maxAt
	if o.IdleTimeout > 0 {
		endAt = earlier(endAt, c.IdleSince+int64(o.IdleTimeout))
	}
	parkAt := int64(0)
	if o.ParkAfter > 0 && c.Raw() != nil {
		parkAt = c.IdleSince + int64(o.ParkAfter)
	}
	if at := earlier(endAt, parkAt); at != 0 {
		w.scope.Arm(scope.Idle, at)
	}
	c.Release()
	for len(c.Buffered()) == 0 {
		err := c.Fill()
		if err == nil {
			break
		}
		if err = w.idled(err, endAt, parkAt); err != nil {
			return err
		}
	}
	w.scope.Extend(scope.Idle, 0)
	c.SetIdle(false)
	c.IdleSince = 0
	return nil
}

// earlier returns the earlier of two times, 0 being never.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// idled decides what to make of a connection that was woken or has ended before its first byte; nil: wait on, or go on with what came.
func (w *waiting) idled(err error, endAt, parkAt int64) error {
	c := w.c
	if c.Woken() == nil {
		return err
	}
	c.Revive()
	now := scope.Now()
	switch {
	case w.dead.Load():
		return context.Cause(w.ctx)
	case c.Draining():
		return conn.ErrDraining
	case w.maxAt != 0 && w.maxAt <= now:
		return protocol.ErrMaxDuration
	case endAt != 0 && endAt <= now:
		return protocol.ErrIdleTimeout
	case parkAt != 0 && parkAt <= now:
		if err := c.TryFill(); err != conn.ErrWouldBlock {
			return err
		}
		c.WakeAt = endAt
		return conn.ErrParked
	}
	return nil
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
		case w.dead.Load():
			return nil, context.Cause(w.ctx)
		case !woken && err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case !woken:
			return nil, err
		case endAt != 0 && endAt <= scope.Now():
			return nil, late
		}
	}
}
