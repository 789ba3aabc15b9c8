package listener

import (
	"runtime/debug"
	"time"

	"github.com/weftproxy/weft/internal/scope"
)

// A process whose connections have gone to sleep allocates next to nothing, so that its garbage collector would keep their stacks and pooled
// buffers for minutes. The tidier has them collected and given back to the system when many connections were parked.
type tidier struct {
	parked int         // since the last time; guarded by lot.mu, like all below
	last   int64       // scope.Now of the last time; 0: never
	timer  *time.Timer // nil unless it is going to run
}

const (
	tidyAfter = 256              // connections parked
	tidyWait  = time.Second      // for those that are parked at the same time
	tidyEvery = 20 * time.Second // at most: a collection costs a few milliseconds
)

// note counts a connection that was parked. lot.mu is held.
func (t *lot) note() {
	d := &t.tidier
	if d.parked++; d.parked < tidyAfter || d.timer != nil {
		return
	}
	wait := tidyWait
	if d.last != 0 {
		wait = max(wait, tidyEvery-time.Duration(scope.Now()-d.last))
	}
	d.timer = time.AfterFunc(wait, t.tidy)
}

// tidy runs on the timer's goroutine.
func (t *lot) tidy() {
	t.mu.Lock()
	closed := t.closed
	t.tidier = tidier{last: scope.Now()}
	t.mu.Unlock()
	if closed {
		return
	}
	debug.FreeOSMemory() // pooled buffers survive one collection
	debug.FreeOSMemory()
}
