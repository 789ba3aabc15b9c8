package subscription

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weftproxy/weft/resource"
)

// All is the name that stands for all resources of a type, in a Key.
const All = "*"

// IsCollection reports whether a key stands for any number of resources: those of the type, or those whose names begin as it does.
func IsCollection(k resource.Key) bool { return strings.HasSuffix(k.Name, All) }

// A Delta is what is new in a collection.
type Delta struct {
	Version string
	Set     []*resource.Resource
	Remove  []string
	Broken  []resource.Rejection // what could not even be read; the versions before stay
	Full    bool                 // what is neither in Set nor in Broken is no more. Users never see it
}

// empty reports whether nothing has changed.
func (d *Delta) empty() bool { return len(d.Set) == 0 && len(d.Remove) == 0 }

// A member is one resource of a collection.
type member struct {
	current  *resource.Resource // nil: never accepted
	updated  time.Time
	rejected *Rejected
}

// deliverAll brings a collection up to date.
func (t *topic) deliverAll(d Delta) []resource.Rejection {
	began := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.members == nil {
		t.members = map[string]*member{}
	}
	rejected := slices.Clone(d.Broken)
	d = t.difference(d)
	if !d.empty() {
		for _, w := range t.watches {
			rejected = append(rejected, w.user.Apply(d)...)
		}
	}
	t.remember(d, rejected, began)
	for _, w := range t.watches {
		if len(rejected) > 0 {
			w.user.Stats.Refused()
		} else {
			w.user.Stats.Accepted(d.Version, time.Since(began))
		}
		w.settle(nil)
	}
	t.updated = began
	return rejected
}

// difference reduces a delta to what is different from what is in force. mu is held.
func (t *topic) difference(d Delta) Delta {
	out := Delta{Version: d.Version}
	named := make(map[string]bool, len(d.Set)+len(d.Broken))
	for _, r := range d.Set {
		named[r.Name] = true
		m := t.members[r.Name]
		if m != nil && m.current != nil && m.current.Hash == r.Hash && m.rejected == nil {
			m.current = r // the same content under another version
			continue
		}
		out.Set = append(out.Set, r)
	}
	for _, b := range d.Broken {
		named[b.Key.Name] = true
	}
	remove := d.Remove
	if d.Full {
		remove = slices.Sorted(maps.Keys(t.members))
	}
	for _, name := range remove {
		if t.members[name] != nil && !named[name] {
			out.Remove = append(out.Remove, name)
		}
	}
	return out
}

// remember notes what is in force now and what was rejected. mu is held.
func (t *topic) remember(d Delta, rejected []resource.Rejection, now time.Time) {
	refused := make(map[string][]resource.Problem, len(rejected))
	for _, r := range rejected {
		refused[r.Key.Name] = append(refused[r.Key.Name], r.Problems...)
	}
	sent := make(map[string]*resource.Resource, len(d.Set))
	for _, r := range rejected {
		if r.Resource != nil {
			sent[r.Key.Name] = r.Resource
		}
	}
	for _, r := range d.Set {
		sent[r.Name] = r
		if refused[r.Name] == nil {
			t.members[r.Name] = &member{current: r, updated: now}
		}
	}
	for name, problems := range refused {
		m := t.members[name]
		if m == nil {
			m = &member{updated: now}
			t.members[name] = m
		}
		r := sent[name]
		if r == nil {
			r = &resource.Resource{Key: resource.Key{Type: t.key.Type, Name: name}, Version: d.Version}
		}
		m.rejected = &Rejected{Resource: r, Problems: problems, At: now}
	}
	for _, name := range d.Remove {
		if refused[name] == nil {
			delete(t.members, name)
		}
	}
}

// joinAll gives a new watch all members there are. mu is held.
func (t *topic) joinAll(w *Watch) {
	if t.members == nil {
		return
	}
	var d Delta
	for _, name := range slices.Sorted(maps.Keys(t.members)) {
		if r := t.members[name].current; r != nil {
			d.Set = append(d.Set, r)
			d.Version = r.Version
		}
	}
	for _, r := range w.user.Apply(d) {
		if m := t.members[r.Key.Name]; m != nil {
			m.rejected = &Rejected{Resource: m.current, Problems: r.Problems, At: time.Now()}
		}
	}
	w.user.Stats.Accepted(d.Version, 0)
	w.settle(nil)
}

// all returns the state of the members.
func (t *topic) all() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Status, 0, len(t.members))
	for name, m := range t.members {
		out = append(out, Status{
			Source: t.source, Key: resource.Key{Type: t.key.Type, Name: name}, Current: m.current, Updated: m.updated, Rejected: m.rejected,
		})
	}
	return out
}
