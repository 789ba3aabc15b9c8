package extension

import "sync/atomic"

// Connections counts what all listeners of the process have open, for the global limit, and numbers connections. The zero value is
// ready to use. Safe for concurrent use.
type Connections struct {
	open atomic.Int64
	last atomic.Uint64
}

// NextID returns a number that no other connection has.
func (c *Connections) NextID() uint64 { return c.last.Add(1) }

// Open counts one more connection and returns how many there are with it. Each call wants one Close.
func (c *Connections) Open() int64 { return c.open.Add(1) }

// Close counts one less.
func (c *Connections) Close() { c.open.Add(-1) }

// Active returns how many connections are open.
func (c *Connections) Active() int64 { return c.open.Load() }
