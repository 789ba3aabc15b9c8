package subscription

import (
	"sync"
	"time"

	"github.com/weftproxy/weft/resource"
)

// A Watch is one place's use of a resource. It begins with the first Hold and ends with the last Release; it may begin anew. Safe for
// concurrent use.
type Watch struct {
	hub    *Hub
	source Source
	key    resource.Key
	user   User
	commit func() // what Prepare gave for the version that was in force when the watch was made; nil once used
	seen   uint64 // that version's hash
	ready  chan struct{}

	moving sync.Mutex // held by Hold and Release
	holds  int        // guarded by moving
	topic  *topic     // nil unless held; guarded by moving

	mu       sync.Mutex
	timer    *time.Timer // nil: no limit, or not begun
	settled  bool
	awaited  int                // watches that are not ready, of those of Await
	due      bool               // nothing else is missing than those
	problems []resource.Problem // why the version in force is not this user's
	then     []func()           // to call when settled
}

// Key returns the resource that is watched.
func (w *Watch) Key() resource.Key { return w.key }

// Source returns where it comes from.
func (w *Watch) Source() Source { return w.source }

// look prepares the version in force, so that Hold has little to do, and reports what is wrong with it to p.
func (w *Watch) look(t *topic, p *resource.Problems) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil || t.absent && w.user.Removed != nil {
		return
	}
	w.commit, w.seen = w.user.Prepare(t.current, p), t.current.Hash
}

// Hold makes the resource wanted. If its source has given a version, that takes effect before Hold returns. Each Hold wants a Release.
func (w *Watch) Hold() {
	w.moving.Lock()
	defer w.moving.Unlock()
	w.holds++
	if w.holds > 1 {
		return
	}
	w.topic = w.hub.take(w.source, w.key)
	w.mu.Lock()
	if d := w.source.timeout(); d > 0 && !w.settled {
		w.timer = time.AfterFunc(d, w.late)
	}
	w.mu.Unlock()
	w.topic.join(w)
}

// Release ends what Hold began. The user keeps the version it has.
func (w *Watch) Release() {
	w.moving.Lock()
	defer w.moving.Unlock()
	w.holds--
	if w.holds > 0 {
		return
	}
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	w.topic.leave(w)
	w.hub.give(w.topic)
	w.topic = nil
	if w.user.Released != nil {
		w.user.Released()
	}
}

// Ready returns a channel that is closed once a version is in force for this user, or there is no more waiting for one: the source has
// none, or initial_fetch_timeout is over.
func (w *Watch) Ready() <-chan struct{} { return w.ready }

// Problems returns why the version that its source gave is not in force for this user alone.
func (w *Watch) Problems() []resource.Problem {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problems
}

// WhenReady calls f once when the watch is ready, at once if it is. f must not block, and must not use the watch.
func (w *Watch) WhenReady(f func()) {
	w.mu.Lock()
	if !w.settled {
		w.then = append(w.then, f)
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	f()
}

// Await makes the watch ready no sooner than another one, that a version of the resource has given rise to: it is for Apply and commit. enough
// ends the waiting, for a watch that is given up. A watch that is ready waits for nothing.
func (w *Watch) Await(other *Watch) (enough func()) {
	w.mu.Lock()
	if w.settled {
		w.mu.Unlock()
		return func() {}
	}
	w.awaited++
	w.mu.Unlock()
	var once sync.Once
	enough = func() { once.Do(w.arrived) }
	other.WhenReady(enough)
	return enough
}

// arrived notes that one of the watches of Await is ready, or given up.
func (w *Watch) arrived() {
	w.mu.Lock()
	w.awaited--
	now, problems := w.due && w.awaited == 0, w.problems
	w.mu.Unlock()
	if now {
		w.settle(problems)
	}
}

// late is called when the time for the first version is over.
func (w *Watch) late() {
	w.mu.Lock()
	done := w.settled || w.due
	w.mu.Unlock()
	if done {
		return
	}
	if s := w.user.Stats; s != nil {
		inc(s.TimedOut)
	}
	w.hub.log.Warn("a resource has not come in time; going on without it", "resource", w.key.String(), "source", w.source.String())
	w.settle(nil)
}

// settle notes that nobody has to wait any more.
func (w *Watch) settle(problems []resource.Problem) {
	w.mu.Lock()
	w.problems = problems
	if w.settled {
		w.mu.Unlock()
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.due = w.awaited > 0; w.due {
		w.mu.Unlock()
		return
	}
	w.settled = true
	then := w.then
	w.then = nil
	close(w.ready)
	w.mu.Unlock()
	for _, f := range then {
		f()
	}
}
