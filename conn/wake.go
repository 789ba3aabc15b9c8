package conn

import (
	"errors"
	"os"
	"time"
)

// ErrDraining is the cause with which Drain wakes an idle connection.
var ErrDraining = errors.New("conn: draining")

const (
	stateIdle     uint32 = 1 << iota
	stateTold            // may be told of a drain at any time
	stateDraining        // no exchange after the next
	stateLeaving         // no exchange after the present one
)

// long past, so that a deadline set to it has expired.
var past = time.Unix(1, 0) // immutable

// Wake makes reads and writes that block, and later ones until Revive, return cause. It never blocks and may be called from any
// goroutine. The first cause counts.
func (c *Conn) Wake(cause error) {
	c.note(cause)
	_ = c.Conn.SetDeadline(past) // fails only on a closed socket, which wakes as well
}

// WakeRead is Wake for reads only.
func (c *Conn) WakeRead(cause error) {
	c.note(cause)
	_ = c.Conn.SetReadDeadline(past)
}

func (c *Conn) note(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
	}
	c.woken.Store(true)
}

// Revive undoes Wake and WakeRead.
func (c *Conn) Revive() {
	if !c.woken.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause = nil
	c.woken.Store(false)
	_ = c.Conn.SetDeadline(time.Time{})
}

// Woken returns the cause of Wake or WakeRead, nil when there was none since the last Revive.
func (c *Conn) Woken() error {
	if !c.woken.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// wakeCause replaces the error of an expired deadline by the cause of the wake that expired it.
func (c *Conn) wakeCause(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if cause := c.Woken(); cause != nil {
			return cause
		}
	}
	return err
}

// Drain asks whoever serves the connection to finish what is under way and take on no more. An idle connection is woken with
// ErrDraining.
func (c *Conn) Drain() {
	if c.state.Or(stateDraining|stateLeaving)&(stateIdle|stateTold) != 0 {
		c.WakeRead(ErrDraining)
	}
}

// DrainGently asks whoever serves the connection to end it with the next exchange, whose answer can say so: a peer that may send a request at
// any moment would lose it with a connection that is closed while idle. A connection that may be told at any time is.
func (c *Conn) DrainGently() {
	if c.state.Or(stateDraining)&stateTold != 0 {
		c.WakeRead(ErrDraining)
	}
}

// Draining reports whether Drain or DrainGently was called.
func (c *Conn) Draining() bool { return c.state.Load()&stateDraining != 0 }

// Leaving reports whether Drain was called.
func (c *Conn) Leaving() bool { return c.state.Load()&stateLeaving != 0 }

// SetIdle says that the connection is between messages, where Drain may wake it, or no longer. Entering idle it reports false when
// the connection is leaving.
func (c *Conn) SetIdle(idle bool) bool {
	if !idle {
		c.state.And(^stateIdle)
		return true
	}
	return c.state.Or(stateIdle)&stateLeaving == 0
}

// SetTold says that Drain and DrainGently may wake the connection at any time, because its protocol can announce an end. It reports false when
// the connection is draining.
func (c *Conn) SetTold() bool { return c.state.Or(stateTold)&stateDraining == 0 }
