package stats

import "sync/atomic"

// A Counter is a number that only grows, except by Store.ResetCounters. The zero value is ready to use.
type Counter struct {
	n atomic.Uint64
}

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value is what this cell has counted; for a counter in a Group that is one lane's part of the series.
func (c *Counter) Value() uint64 { return c.n.Load() }
