package stats

import "sync/atomic"

// A Gauge is a number that goes up and down. The zero value is ready to use. In a Group its series is the sum over the
// lanes, so Set is for gauges from Scope.Gauge, or for a gauge that only ever lives on one lane.
//
// Envoy's gauges are unsigned: a negative value of a single gauge prints as its two's complement, which lets a 64-bit hash be
// one; a negative sum over lanes, seen when an Inc and its Dec on another lane straddle the read, prints as 0.
type Gauge struct {
	v    atomic.Int64
	used atomic.Bool // ever written: usedonly keeps showing a gauge that has returned to 0
}

// Inc adds one.
func (g *Gauge) Inc() { g.Add(1) }

// Dec subtracts one.
func (g *Gauge) Dec() { g.Add(-1) }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) {
	g.v.Add(n)
	if !g.used.Load() {
		g.used.Store(true)
	}
}

// Set replaces the value of this cell.
func (g *Gauge) Set(n int64) {
	g.v.Store(n)
	if !g.used.Load() {
		g.used.Store(true)
	}
}

// Value is this cell's value; for a gauge in a Group that is one lane's part of the series.
func (g *Gauge) Value() int64 { return g.v.Load() }
