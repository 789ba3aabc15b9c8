package fswatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// What Options have unless they say otherwise.
const (
	DefaultDebounce = 100 * time.Millisecond
	DefaultPoll     = 10 * time.Second
	blindPoll       = time.Second // where the system does not tell of changes
)

// Options are what to watch.
type Options struct {
	Path string // the file; it need not be there
	Dir  string // a directory all of which counts, too; "" for none

	Debounce time.Duration // how long nothing has to happen before a change counts; 0: 100 ms
	Poll     time.Duration // how often to look in case the system has not told of a change; 0: 10 s

	Blind func(error) // called once when the system tells of no changes, so that only looking finds them, every second; may be nil
}

// Run calls changed, on the caller's goroutine, once watching has begun, and whenever the file may be another than it was at the call before,
// until ctx ends. Changes that follow each other within Debounce count as one, but none waits longer than four times that.
// While there is anything to watch, the notification of the system has a goroutine, which ends with Run.
func Run(ctx context.Context, o Options, changed func()) {
	if o.Debounce <= 0 {
		o.Debounce = DefaultDebounce
	}
	if o.Poll <= 0 {
		o.Poll = DefaultPoll
	}
	w := &watcher{o: o, active: map[string]bool{}, quiet: time.NewTimer(time.Hour)}
	w.quiet.Stop()
	defer w.close()
	w.run(ctx, changed)
}

// A watcher is the state of Run.
type watcher struct {
	o      Options
	notify *fsnotify.Watcher // nil where the system has none
	points []string          // see Trace
	dirs   []string          // all of which counts
	active map[string]bool   // the directories that are watched
	blind  bool
	told   bool

	quiet *time.Timer
	since time.Time // of the first change that changed has not been called for
	seen  string
}

func (w *watcher) close() {
	w.quiet.Stop()
	if w.notify != nil {
		_ = w.notify.Close() // ends its goroutine
	}
}

func (w *watcher) run(ctx context.Context, changed func()) {
	w.plan()
	w.seen = Sign(w.o.Path)
	changed()
	poll := time.NewTimer(w.period())
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events():
			w.event(e)
		case err := <-w.errors():
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.touch()
			}
		case <-w.quiet.C:
			w.since = time.Time{}
			w.plan()
			w.seen = Sign(w.o.Path)
			changed()
		case <-poll.C:
			w.plan()
			if Sign(w.o.Path) != w.seen {
				w.touch()
			}
			poll.Reset(w.period())
		}
	}
}

func (w *watcher) period() time.Duration {
	if w.blind {
		return min(blindPoll, w.o.Poll)
	}
	return w.o.Poll
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

// plan finds out what to look at, as the links lead now, and watches it.
func (w *watcher) plan() {
	w.points, _ = Trace(w.o.Path)
	w.dirs = nil
	if w.o.Dir != "" {
		points, end := Trace(w.o.Dir)
		w.points = append(w.points, points...)
		if end != "" {
			w.dirs = append(w.dirs, end)
		}
	}
	want := map[string]bool{}
	for _, d := range w.dirs {
		want[d] = true
	}
	for _, p := range w.points {
		want[filepath.Dir(p)] = true
	}
	w.blind = false
	for d := range want {
		if err := w.add(d); err != nil {
			w.blind = true
			if !w.told && w.o.Blind != nil {
				w.o.Blind(err)
			}
			w.told = true
		}
	}
	for d := range w.active {
		if !want[d] {
			delete(w.active, d)
			_ = w.notify.Remove(d) // which fails if it is gone itself
		}
	}
}

func (w *watcher) add(dir string) (err error) {
	if w.active[dir] {
		return nil
	}
	if w.notify == nil {
		if w.notify, err = fsnotify.NewWatcher(); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	if err := w.notify.Add(dir); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	w.active[dir] = true
	return nil
}

// event takes what has happened in a directory.
func (w *watcher) event(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod {
		return
	}
	name := filepath.Clean(e.Name)
	if w.active[name] && e.Has(fsnotify.Remove|fsnotify.Rename) { // the directory itself: what has its name now is another one
		delete(w.active, name)
		_ = w.notify.Remove(name)
		w.touch()
	}
	if slices.Contains(w.points, name) || slices.Contains(w.dirs, filepath.Dir(name)) {
		w.touch()
	}
}

// touch makes the change count when nothing else has happened for a moment; but it does not wait for ever.
func (w *watcher) touch() {
	const most = 4
	now, wait := time.Now(), w.o.Debounce
	if w.since.IsZero() {
		w.since = now
	}
	w.quiet.Reset(max(0, min(wait, w.since.Add(most*wait).Sub(now))))
}

// Sign says which file a path leads to, without reading it: another text means that it may have changed.
func Sign(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%d %d %d", info.Size(), info.ModTime().UnixNano(), Inode(info))
}
