package http2

import (
	"time"

	"github.com/weftproxy/weft/internal/scope"
)

// restTime is how long a worker waits for another stream before its connection lets it go.
const restTime = int64(time.Second)

// A worker is a goroutine that serves one stream after another: its stack has grown already, and growing one costs more than serving a
// small request.
type worker struct {
	next chan *serverStream // holds one; nil sends the worker home
}

// A crew is the workers of a connection that have nothing to do. Guarded by the mux's mu.
type crew struct {
	idle   []*worker // the one that rested last at the end
	fewest int       // length of idle since the last trim
	armed  bool
	closed bool
}

// work serves streams until the worker is not needed any more.
func (v *serving) work(st *serverStream) {
	defer v.running.Done()
	w := &worker{next: make(chan *serverStream, 1)}
	for st != nil && st.run(w) {
		st = <-w.next
	}
}

// rest puts a worker among the idle ones. It reports false when the connection needs no workers any more.
func (c *crew) rest(w *worker) bool {
	if c.closed {
		return false
	}
	c.idle = append(c.idle, w)
	return true
}

// pop takes an idle worker, nil when there is none.
func (c *crew) pop() *worker {
	n := len(c.idle) - 1
	if n < 0 {
		return nil
	}
	w := c.idle[n]
	c.idle[n] = nil
	c.idle = c.idle[:n]
	c.fewest = min(c.fewest, n)
	return w
}

// dismiss sends the n workers home that have rested longest.
func (c *crew) dismiss(n int) {
	for _, w := range c.idle[:n] {
		w.next <- nil
	}
	rest := copy(c.idle, c.idle[n:])
	clear(c.idle[rest:])
	c.idle = c.idle[:rest]
}

// dismissAll sends everybody home, for good.
func (c *crew) dismissAll() {
	c.closed = true
	c.dismiss(len(c.idle))
}

// watchCrew arms the next trim, if there is anybody to send home.
func (v *serving) watchCrew() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := &v.crew; !c.armed && !c.closed {
		c.armed, c.fewest = true, len(c.idle)
		v.alarm.Arm(scope.TryIdle, scope.Now()+restTime)
	}
}

// trim sends home whoever had nothing to do since the last time.
func (v *serving) trim() {
	v.mu.Lock()
	c := &v.crew
	c.dismiss(min(c.fewest, len(c.idle)))
	c.armed = false
	more := len(c.idle) > 0 || v.handlers > 0
	v.mu.Unlock()
	if more {
		v.watchCrew()
	}
}
