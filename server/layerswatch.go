package server

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// runtimePoll is how often directories of runtime values are looked at, should nobody have told of a change.
const runtimePoll = 10 * time.Second

// run follows the directories of the layers until ctx ends, and then ends what start began. Its goroutine is the caller's.
func (l *layers) run(ctx context.Context) {
	defer l.stop()
	w := &rootWatcher{layers: l, roots: map[string]bool{}, dirs: map[string]bool{}, poll: time.NewTimer(time.Hour)}
	defer w.close()
	for {
		w.adopt()
		select {
		case <-ctx.Done():
			return
		case <-l.roots:
		case e := <-w.events():
			// A link that is moved into place shows as created.
			if w.roots[filepath.Clean(e.Name)] && e.Has(fsnotify.Create) {
				l.reread(true)
			}
		case err := <-w.errors():
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				l.reread(true)
			}
		case <-w.poll.C:
			w.again()
			l.reread(false)
		}
	}
}

// A rootWatcher is run's state. It is owned by its goroutine.
type rootWatcher struct {
	layers     *layers
	notify     *fsnotify.Watcher // nil where there are no directories, or the system has no more of it
	roots      map[string]bool   // the links, with real directories
	dirs       map[string]bool   // that they are in; whether it is watched
	poll       *time.Timer
	complained bool
}

func (w *rootWatcher) close() {
	w.poll.Stop()
	if w.notify != nil {
		_ = w.notify.Close() // ends its goroutine
	}
}

func (w *rootWatcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *rootWatcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// adopt watches the directories that the layers' roots are in. What has changed since it was read and before it was watched is read again.
func (w *rootWatcher) adopt() {
	roots, dirs := map[string]bool{}, map[string]bool{}
	for _, root := range w.layers.diskRoots() {
		roots[root] = true
		dirs[filepath.Dir(root)] = w.dirs[filepath.Dir(root)]
	}
	for dir, watched := range w.dirs {
		if _, still := dirs[dir]; watched && !still {
			_ = w.notify.Remove(dir) // which fails if it is gone itself
		}
	}
	fresh := len(roots) > len(w.roots)
	for root := range roots {
		fresh = fresh || !w.roots[root]
	}
	w.roots, w.dirs = roots, dirs
	if fresh {
		w.again()
		w.layers.reread(false)
	}
	if len(roots) == 0 {
		w.poll.Stop()
	}
}

// again watches the directories, those too that it did already and that may be others by now, and sets the time of the next look.
func (w *rootWatcher) again() {
	for dir := range w.dirs {
		err := w.add(dir)
		w.dirs[dir] = err == nil
		if err != nil && !w.complained {
			w.complained = true
			w.layers.log.Warn("runtime values cannot be watched; they are looked at every now and then", "directory", dir, "error", err)
		}
	}
	w.poll.Reset(runtimePoll)
}

func (w *rootWatcher) add(dir string) (err error) {
	if w.notify == nil {
		if w.notify, err = fsnotify.NewWatcher(); err != nil {
			return err
		}
	}
	return w.notify.Add(dir)
}

// diskRoots are the links that lead to the directories of the layers.
func (l *layers) diskRoots() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, one := range l.all {
		if one.disk == nil {
			continue
		}
		if root, err := filepath.Abs(one.disk.root); err == nil {
			out = append(out, root)
		}
	}
	return out
}

// reread reads the directories again: always, or if one of them is another than it was.
func (l *layers) reread(always bool) {
	l.loading.Lock()
	defer l.loading.Unlock()
	for _, one := range l.all { // load alone replaces it, and holds loading
		always = always || one.disk != nil && one.disk.stale()
	}
	if !always {
		return
	}
	found := readings(l.all)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range found {
		r.take(l.log)
	}
	l.publish()
}
