package secret

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weftproxy/weft/internal/fswatch"
)

// Run re-reads files that have changed until ctx ends. It returns nil. There is one goroutine for all files, the caller's; while there are
// any, the notification of the system has another.
func (s *Store) Run(ctx context.Context) error {
	w := newWatcher(s)
	defer w.close()
	w.run(ctx)
	return nil
}

func newWatcher(s *Store) *watcher {
	return &watcher{
		store: s, items: map[uint64]*watch{}, points: index{}, dirs: index{}, active: map[string]bool{},
		dirty: set{}, failing: set{}, quiet: stopped(), retry: stopped(), poll: stopped(),
	}
}

// run follows changes until ctx ends.
func (w *watcher) run(ctx context.Context) {
	w.adopt()
	for {
		w.arm()
		select {
		case <-ctx.Done():
			return
		case <-w.store.kick:
			w.adopt()
		case e := <-w.events():
			w.event(e)
		case err := <-w.errors():
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.touch(w.all())
			}
		case <-w.quiet.C:
			w.since = time.Time{}
			w.read()
		case <-w.retry.C:
			w.retrying = false
			w.again()
		case <-w.poll.C:
			w.polling = false
			w.look()
		}
	}
}

// stopped is a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

type set map[uint64]struct{}

// An index is which sources a path is of interest to.
type index map[string]set

func (x index) add(name string, n uint64) {
	if x[name] == nil {
		x[name] = set{}
	}
	x[name][n] = struct{}{}
}

func (x index) drop(name string, n uint64) {
	if delete(x[name], n); len(x[name]) == 0 {
		delete(x, name)
	}
}

// A watch is what one source looks at.
type watch struct {
	points []string // see trace; and directories all of which counts
	dirs   []string // that points are in
}

// A watcher is Run's state. It is owned by its goroutine.
type watcher struct {
	store  *Store
	notify *fsnotify.Watcher // nil where there are no files, or the system has no more of it
	items  map[uint64]*watch
	points index
	dirs   index           // what has to be watched
	active map[string]bool // what is

	dirty   set       // to be read when the files are quiet
	since   time.Time // when dirty got its first; zero without
	failing set       // cannot be used as they are

	quiet, retry, poll *time.Timer
	retrying, polling  bool
	complained         bool // that something cannot be watched
}

func (w *watcher) close() {
	w.quiet.Stop()
	w.retry.Stop()
	w.poll.Stop()
	if w.notify != nil {
		_ = w.notify.Close() // ends its goroutine
	}
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *watcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// blind says whether there is something that should be watched and is not.
func (w *watcher) blind() bool { return len(w.active) < len(w.dirs) }

// arm starts the timers that something waits for.
func (w *watcher) arm() {
	if !w.retrying && (len(w.failing) > 0 || w.blind()) {
		w.retrying = true
		w.retry.Reset(w.store.o.Retry)
	}
	if !w.polling && len(w.dirs) > 0 {
		w.polling = true
		w.poll.Reset(w.store.o.Poll)
	}
}

// adopt looks at the list of sources: those that are gone are forgotten, those that are new watched. One that has changed since it was read
// and before it was watched is read again.
func (w *watcher) adopt() {
	all, moved := w.store.news()
	for n := range w.items {
		if _, ok := all[n]; !ok {
			w.drop(n)
		}
	}
	for n := range all {
		_, known := w.items[n]
		if _, other := moved[n]; known && !other {
			continue
		}
		if src := w.store.find(n); src != nil {
			w.plan(n, src)
			if len(w.items[n].points) > 0 && src.stale() {
				w.touch(set{n: {}})
			}
		}
	}
	w.prune()
}

func (w *watcher) drop(n uint64) {
	w.forget(n)
	delete(w.items, n)
	delete(w.dirty, n)
	delete(w.failing, n)
}

// forget takes a source out of the indexes. What is not watched for anybody any more goes with prune.
func (w *watcher) forget(n uint64) {
	old := w.items[n]
	if old == nil {
		return
	}
	for _, p := range old.points {
		w.points.drop(p, n)
	}
	for _, d := range old.dirs {
		w.dirs.drop(d, n)
	}
}

// plan finds out what a source has to look at, as its links lead now, and watches it.
func (w *watcher) plan(n uint64, src item) {
	files, whole := src.files()
	next := &watch{}
	for _, f := range files {
		points, _ := fswatch.Trace(f)
		next.points = append(next.points, points...)
	}
	for _, d := range whole {
		points, end := fswatch.Trace(d)
		next.points = append(next.points, points...)
		if end != "" {
			next.dirs = append(next.dirs, end)
		}
	}
	for _, p := range next.points {
		next.dirs = append(next.dirs, filepath.Dir(p))
	}
	w.forget(n)
	w.items[n] = next
	for _, p := range next.points {
		w.points.add(p, n)
	}
	for _, d := range next.dirs {
		w.dirs.add(d, n)
		w.add(d)
	}
}

// add watches a directory, if it is not and that is possible.
func (w *watcher) add(dir string) bool {
	if w.active[dir] {
		return true
	}
	err := w.open()
	if err == nil {
		err = w.notify.Add(dir)
	}
	if err != nil {
		if !w.complained {
			w.complained = true
			w.store.log.Warn("files of secrets cannot be watched; they are looked at every now and then", "directory", dir, "error", err)
		}
		return false
	}
	w.active[dir] = true
	return true
}

func (w *watcher) open() (err error) {
	if w.notify == nil {
		w.notify, err = fsnotify.NewWatcher()
	}
	return err
}

// prune stops watching what nobody needs.
func (w *watcher) prune() {
	for dir := range w.active {
		if w.dirs[dir] == nil {
			delete(w.active, dir)
			_ = w.notify.Remove(dir) // which fails if it is gone itself
		}
	}
	if !w.blind() {
		w.complained = false
	}
}

// event notes whom something that happened in a directory concerns.
func (w *watcher) event(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod {
		return
	}
	name := filepath.Clean(e.Name)
	if w.active[name] && e.Has(fsnotify.Remove|fsnotify.Rename) { // the directory itself: what has its name now is another one
		delete(w.active, name)
		_ = w.notify.Remove(name)
		w.touch(w.dirs[name])
	}
	w.touch(w.points[name])
	w.touch(w.points[filepath.Dir(name)])
}

// touch marks sources to be read when there were no more events for a moment; but they do not wait for ever.
func (w *watcher) touch(all set) {
	if len(all) == 0 {
		return
	}
	for n := range all {
		w.dirty[n] = struct{}{}
	}
	const most = 4
	now, wait := time.Now(), w.store.o.Debounce
	if w.since.IsZero() {
		w.since = now
	}
	w.quiet.Reset(max(0, min(wait, w.since.Add(most*wait).Sub(now))))
}

func (w *watcher) all() set {
	out := make(set, len(w.items))
	for n := range w.items {
		out[n] = struct{}{}
	}
	return out
}

// read reads what is dirty. What it is watched at comes first, so that no change after that goes unnoticed.
func (w *watcher) read() {
	now := w.dirty
	w.dirty = set{}
	for n := range now {
		src := w.store.find(n)
		if src == nil {
			w.drop(n)
			continue
		}
		w.plan(n, src)
		if src.refresh() {
			delete(w.failing, n)
		} else {
			w.failing[n] = struct{}{}
		}
	}
	w.prune()
}

// again tries what has failed once more, and looks at what cannot be watched.
func (w *watcher) again() {
	for n := range w.failing {
		w.dirty[n] = struct{}{}
	}
	if w.blind() {
		for dir, all := range w.dirs {
			if w.active[dir] {
				continue
			}
			w.add(dir)
			w.stale(all)
		}
	}
	w.read()
}

// look looks at all sources and files, in case nobody has told of a change.
func (w *watcher) look() {
	w.adopt()
	w.stale(w.all())
	w.read()
}

// stale marks those whose files look different.
func (w *watcher) stale(all set) {
	for n := range all {
		if src := w.store.find(n); src != nil && len(w.items[n].points) > 0 && src.stale() {
			w.dirty[n] = struct{}{}
		}
	}
}
