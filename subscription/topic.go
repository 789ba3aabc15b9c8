package subscription

import (
	"slices"
	"sync"
	"time"

	"github.com/weftproxy/weft/resource"
)

// A topic is one resource of one source that somebody wants.
type topic struct {
	source  Source
	key     resource.Key
	holders int // guarded by Hub.mu

	mu       sync.Mutex // held while a version takes effect
	watches  []*Watch
	current  *resource.Resource
	updated  time.Time // when current came
	since    time.Time // since when it is wanted
	absent   bool
	rejected *Rejected
	members  map[string]*member // of a collection
}

func (t *topic) deliver(r *resource.Resource) []resource.Problem {
	began := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil && t.current.Hash == r.Hash && !t.absent {
		t.accept(r, began)
		for _, w := range t.watches {
			if w.user.Again != nil {
				w.user.Again()
			}
		}
		return nil
	}
	p := resource.NewProblems(r.Key.String())
	commits := make([]func(), len(t.watches))
	for i, w := range t.watches {
		commits[i] = w.user.Prepare(r, p)
		if p.HasErrors() {
			t.refuse(r, p.All())
			return p.All()
		}
	}
	t.accept(r, began)
	for i, w := range t.watches {
		if commits[i] != nil {
			commits[i]()
		}
		w.settle(nil)
	}
	return p.All()
}

// accept notes the version in force. mu is held.
func (t *topic) accept(r *resource.Resource, began time.Time) {
	t.current, t.updated, t.absent, t.rejected = r, time.Now(), false, nil
	for _, w := range t.watches {
		w.user.Stats.Accepted(r.Version, t.updated.Sub(began))
	}
}

// refuse notes a version that is not accepted. mu is held.
func (t *topic) refuse(r *resource.Resource, problems []resource.Problem) {
	t.rejected = &Rejected{Resource: r, Problems: problems, At: time.Now()}
	for _, w := range t.watches {
		w.user.Stats.Refused()
	}
}

func (t *topic) remove() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.absent = true
	for _, w := range t.watches {
		if w.user.Removed != nil && t.current != nil {
			w.user.Removed()
		}
		w.settle(nil)
	}
}

// join adds a watch, and gives it the version in force.
func (t *topic) join(w *Watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watches = append(t.watches, w)
	if w.user.Apply != nil {
		t.joinAll(w)
		return
	}
	if t.current == nil || t.absent && w.user.Removed != nil {
		if t.absent {
			w.settle(nil)
		}
		return
	}
	commit := w.commit
	if commit == nil || w.seen != t.current.Hash {
		p := resource.NewProblems(t.key.String())
		if commit = w.user.Prepare(t.current, p); p.HasErrors() {
			w.user.Stats.Refused()
			w.hub.log.Error("a resource does not fit one of its users", "resource", t.key.String(), "error", p.All()[0].Error())
			w.settle(p.All())
			return
		}
	}
	w.commit = nil
	w.user.Stats.Accepted(t.current.Version, 0)
	if commit != nil {
		commit()
	}
	w.settle(nil)
}

func (t *topic) leave(w *Watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watches = slices.DeleteFunc(t.watches, func(x *Watch) bool { return x == w })
}

func (t *topic) status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Source: t.source, Key: t.key, Current: t.current, Updated: t.updated, Absent: t.absent, Rejected: t.rejected}
	if t.current == nil {
		s.Updated = t.since
	}
	return s
}
