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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake(cause)
}

// wake is Wake with mu held.
func (c *Conn) wake(cause error) {
	c.noteRead(cause)
	if c.writeCause == nil {
		c.writeCause = cause
	}
	_ = c.Conn.SetDeadline(past) // fails only on a closed socket, which wakes as well
}

// WakeRead is Wake for reads only. A read that waits inside the layer, which has something to write or waits for somebody else's
// write, is not woken by that: after layerWait whoever writes is woken too.
func (c *Conn) WakeRead(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteRead(cause)
	_ = c.Conn.SetReadDeadline(past)
	if at := c.pulls.Load(); at&1 != 0 {
		c.unblockLater(at)
	}
}

// noteRead notes why reads are woken. mu is held.
func (c *Conn) noteRead(cause error) {
	if c.readCause == nil {
		c.readCause = cause
	}
	c.woken.Store(true)
}

// layerWait is how long a read that was woken may go on waiting for a write.
const layerWait = 2 * time.Second

// unblockLater wakes whoever writes when the read through the layer that is under way does not end although it was woken.
func (c *Conn) unblockLater(at uint32) {
	time.AfterFunc(layerWait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.readCause != nil && c.pulls.Load() == at {
			c.wake(c.readCause)
		}
	})
}

// Revive undoes Wake and WakeRead. It is for those who know that nobody else reads or writes: a goroutine that blocks may not have noticed
// yet that it was woken, and would go on blocking.
func (c *Conn) Revive() {
	if !c.woken.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readCause, c.writeCause = nil, nil
	c.woken.Store(false)
	_ = c.Conn.SetDeadline(time.Time{})
}

// ReviveRead is Revive for a goroutine that reads while another may write: who writes stays woken. It returns why reads were woken,
// nil when they were not.
func (c *Conn) ReviveRead() error {
	if !c.woken.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cause := c.readCause
	if cause != nil {
		c.readCause = nil
		c.woken.Store(c.writeCause != nil)
		_ = c.Conn.SetReadDeadline(time.Time{})
	}
	return cause
}

// Limit makes reads and writes that still block after d fail; d 0 takes the limit off. What was woken, or is meanwhile, stays woken.
func (c *Conn) Limit(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readCause == nil {
		_ = c.Conn.SetReadDeadline(at) // like the other fails only on a closed socket
	}
	if c.writeCause == nil {
		_ = c.Conn.SetWriteDeadline(at)
	}
}

// Woken returns the cause of Wake or WakeRead, nil when there was none since the last Revive.
func (c *Conn) Woken() error {
	if !c.woken.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readCause != nil {
		return c.readCause
	}
	return c.writeCause
}

// readError replaces the error of an expired deadline by the cause of the wake that expired it.
func (c *Conn) readError(err error) error { return c.wakeCause(err, &c.readCause) }

// writeError is readError for writes.
func (c *Conn) writeError(err error) error { return c.wakeCause(err, &c.writeCause) }

func (c *Conn) wakeCause(err error, side *error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) || !c.woken.Load() {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if *side != nil {
		return *side
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

// Idle reports whether the connection is between messages.
func (c *Conn) Idle() bool { return c.state.Load()&stateIdle != 0 }

// SetTold says that Drain and DrainGently may wake the connection at any time, because its protocol can announce an end. It reports false when
// the connection is draining.
func (c *Conn) SetTold() bool { return c.state.Or(stateTold)&stateDraining == 0 }
