package protocol

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
)

// An Idle is how a connection waits for the first byte of a message: without a buffer, to be parked after a while, and ended by its time limits,
// by Drain, or with the context that it is served under. One goroutine awaits; any may call Die.
type Idle struct {
	Conn      *conn.Conn
	Context   context.Context
	Alarm     *scope.Scope  // whose Idle deadline is used; its fire has to wake the connection's reader
	Timeout   time.Duration // idle_timeout; 0: none
	ParkAfter time.Duration // a socket idle for this long is given back with conn.ErrParked; 0: never
	EndAt     int64         // scope.Now when the connection has lived long enough; 0: never

	dead atomic.Bool
}

// Limit sets EndAt to the given time after the connection's beginning (max_connection_duration); 0 is none.
func (i *Idle) Limit(d time.Duration) {
	if d > 0 {
		i.EndAt = scope.Now() + int64(d-time.Since(i.Conn.Info().Began))
	}
}

// Die notes that Context has ended, and wakes whoever reads or writes. It returns the cause.
func (i *Idle) Die() error {
	i.dead.Store(true)
	cause := context.Cause(i.Context)
	i.Conn.Wake(cause)
	return cause
}

// Dead reports whether Die was called.
func (i *Idle) Dead() bool { return i.dead.Load() }

// Await blocks until something is buffered. Before it reads, it yields to other goroutines so many times. It returns conn.ErrParked,
// conn.ErrDraining, ErrIdleTimeout, ErrMaxDuration, the cause of Context, or what the socket said.
func (i *Idle) Await(yields int) error {
	c := i.Conn
	if !c.SetIdle(true) {
		if c.TryFill() != nil {
			return conn.ErrDraining
		}
		i.over() // what was sent before the peer could know
		return nil
	}
	if c.IdleSince == 0 {
		c.IdleSince = scope.Now()
	}
	endAt, parkAt := i.EndAt, int64(0)
	if i.Timeout > 0 {
		endAt = earlier(endAt, c.IdleSince+int64(i.Timeout))
	}
	if i.ParkAfter > 0 && c.Raw() != nil {
		parkAt = c.IdleSince + int64(i.ParkAfter)
	}
	if at := earlier(endAt, parkAt); at != 0 {
		i.Alarm.Arm(scope.Idle, at)
	}
	if i.Dead() {
		return context.Cause(i.Context)
	}
	c.Yield(yields)
	c.Release()
	for {
		err := c.Fill()
		if err == nil {
			break
		}
		if err = i.woken(err, endAt, parkAt); err != nil {
			return err
		}
		if len(c.Buffered()) > 0 {
			break
		}
	}
	i.Alarm.Extend(scope.Idle, 0)
	i.over()
	return nil
}

// over says that the connection is not idle any more.
func (i *Idle) over() {
	i.Conn.SetIdle(false)
	i.Conn.IdleSince = 0
}

// earlier returns the earlier of two times, 0 being never.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// woken decides what to make of a connection that was woken or has ended while it waited; nil: wait on, or go on with what came.
func (i *Idle) woken(err error, endAt, parkAt int64) error {
	c := i.Conn
	if c.Woken() == nil {
		return err
	}
	c.Revive()
	now := scope.Now()
	switch {
	case i.Dead():
		return context.Cause(i.Context)
	case c.Leaving():
		if c.TryFill() == nil {
			return nil
		}
		return conn.ErrDraining
	case i.EndAt != 0 && i.EndAt <= now:
		return ErrMaxDuration
	case endAt != 0 && endAt <= now:
		return ErrIdleTimeout
	case parkAt != 0 && parkAt <= now:
		if err := c.TryFill(); err != conn.ErrWouldBlock {
			return err
		}
		c.WakeAt = endAt
		return conn.ErrParked
	}
	return nil
}
