package listener

import (
	"sync"
	"time"

	"github.com/weftproxy/weft/internal/scope"
)

// The lot is where idle connections wait without a goroutine: one watcher for all of them. A connection leaves it, on a new goroutine,
// when it is readable or the peer has closed it, when its WakeAt has passed, or when it is resumed by hand. Connections that are not
// sockets never get in.
type lot struct {
	l *Listener

	mu      sync.Mutex
	watch   *watcher   // nil until the first connection is parked; guarded by mu, like all below
	spots   []*session // by file descriptor
	parked  int
	due     int64 // scope.Now when the first of the parked ones is to be woken; 0: none
	timer   *time.Timer
	closed  bool
	tidier  tidier
	running sync.WaitGroup // the watcher's goroutine
}

// sweepEvery is how often, at most, overdue connections are looked for.
const sweepEvery = int64(time.Second)

// park takes a connection in. It reports false when the connection has to be served on at once, or cannot be watched.
func (t *lot) park(s *session) bool {
	raw := s.c.Raw()
	if raw == nil {
		return false
	}
	s.c.Rest()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || s.c.Leaving() || s.c.Woken() != nil || len(s.c.Buffered()) > 0 {
		return false
	}
	if t.watch == nil && !t.open() {
		return false
	}
	ok := false
	err := raw.Control(func(fd uintptr) {
		for int(fd) >= len(t.spots) {
			t.spots = append(t.spots, nil)
		}
		if ok = t.watch.add(int(fd)); ok {
			s.fd, s.parked = int32(fd), true
			t.spots[fd] = s
		}
	})
	if err != nil || !ok {
		return false
	}
	t.parked++
	s.stats.Lane(s.c.Lane).Parked.Inc()
	t.note()
	if s.c.WakeAt != 0 && (t.due == 0 || s.c.WakeAt < t.due) {
		t.schedule(s.c.WakeAt)
	}
	return true
}

// open makes the watcher. mu is held.
func (t *lot) open() bool {
	w, err := newWatcher()
	if err != nil {
		t.l.log.Warn("idle connections cannot be parked", "error", err)
		return false
	}
	t.watch = w
	t.running.Go(func() { w.run(t.ready) }) // ends when close closes the watcher
	return true
}

// ready resumes the connection on a file descriptor.
func (t *lot) ready(fd int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fd < len(t.spots) && t.spots[fd] != nil {
		t.leave(t.spots[fd])
	}
}

// resume makes a connection be served if it is parked.
func (t *lot) resume(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.parked {
		t.leave(s)
	}
}

// leave takes a connection out and gives it a goroutine. mu is held.
func (t *lot) leave(s *session) {
	t.watch.remove(int(s.fd))
	t.spots[s.fd] = nil
	s.parked = false
	t.parked--
	s.stats.Lane(s.c.Lane).Parked.Dec()
	t.l.running.Go(func() { t.l.resumed(s) }) // ends when the connection has, or when it is parked again
}

// schedule makes sweep run at a time. mu is held.
func (t *lot) schedule(at int64) {
	t.due = at
	wait := time.Duration(max(at-scope.Now(), 0))
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.sweep)
	} else {
		t.timer.Reset(wait)
	}
}

// sweep resumes the connections that are overdue, and sleeps until the next one is, at least for sweepEvery. It runs on the timer's
// goroutine.
func (t *lot) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.due = 0
	if t.closed {
		return
	}
	now := scope.Now()
	var next int64
	for _, s := range t.spots {
		if s == nil || s.c.WakeAt == 0 {
			continue
		}
		if s.c.WakeAt <= now {
			t.leave(s)
		} else if next == 0 || s.c.WakeAt < next {
			next = s.c.WakeAt
		}
	}
	if next != 0 {
		t.schedule(max(next, now+sweepEvery))
	}
}

// len returns how many connections are parked.
func (t *lot) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.parked
}

// close ends the watcher. Connections that are still parked stay where they are.
func (t *lot) close() {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	if t.tidier.timer != nil {
		t.tidier.timer.Stop()
	}
	w := t.watch
	t.mu.Unlock()
	if w != nil {
		w.close()
		t.running.Wait()
	}
}
