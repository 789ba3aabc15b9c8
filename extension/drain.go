package extension

import (
	"sync/atomic"
	"time"
)

// Drain tells the data path that the process wants to get rid of its connections: it is shutting down, its listeners are draining, or
// its health check was failed by hand. The zero Drain is not draining. Safe for concurrent use.
type Drain struct {
	began  atomic.Int64 // unix nanoseconds; 0: not draining
	window atomic.Int64 // nanoseconds over which closing becomes certain; 0: at once
	failed atomic.Bool
}

// Begin starts draining. With a window, Close becomes true with a probability that grows to 1 at its end (--drain-strategy gradual).
func (d *Drain) Begin(window time.Duration) {
	d.window.Store(int64(window))
	d.began.CompareAndSwap(0, time.Now().UnixNano())
}

// Draining reports whether Begin was called.
func (d *Drain) Draining() bool { return d != nil && d.began.Load() != 0 }

// Fail makes health checks fail and connections close (POST /healthcheck/fail); Fail(false) undoes it.
func (d *Drain) Fail(failed bool) { d.failed.Store(failed) }

// Failed reports whether the health check was failed by hand.
func (d *Drain) Failed() bool { return d != nil && d.failed.Load() }

// Close reports whether an exchange should be its connection's last. random decides in the window of a gradual drain.
func (d *Drain) Close(random uint64) bool {
	if d == nil {
		return false
	}
	if d.failed.Load() {
		return true
	}
	began := d.began.Load()
	if began == 0 {
		return false
	}
	window := d.window.Load()
	passed := time.Now().UnixNano() - began
	return passed >= window || int64(random%uint64(window)) < passed
}
