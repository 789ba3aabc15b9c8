package subscription

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/resource"
)

// Options are what a Hub is made with. The zero value works.
type Options struct {
	Log *slog.Logger // nil discards
	// Check reports what is wrong with a source, or where it cannot be used; nil: every source will do.
	Check func(cs *corev3.ConfigSource, at resource.Path, p *resource.Problems)
}

// A Hub knows who uses what. Safe for concurrent use. It holds nothing that nobody uses.
type Hub struct {
	log   *slog.Logger
	check func(cs *corev3.ConfigSource, at resource.Path, p *resource.Problems)
	news  chan struct{} // has a value when Changes has something

	mu      sync.Mutex
	topics  map[topicKey]*topic // guarded by mu
	changes map[topicKey]change // not yet taken; guarded by mu
}

// A change of what is wanted.
type change struct {
	want Want
	was  bool // wanted before
}

// A Want says that a resource is wanted from now on, or no longer.
type Want struct {
	Source Source
	resource.Key
	On bool
}

// New returns a Hub.
func New(o Options) *Hub {
	h := &Hub{log: o.Log, check: o.Check, news: make(chan struct{}, 1), topics: map[topicKey]*topic{}, changes: map[topicKey]change{}}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	return h
}

// News has a value when Changes has something.
func (h *Hub) News() <-chan struct{} { return h.news }

// Changes returns what has come to be wanted, or is no longer, since it was last called. What has gone and come back is wanted again: those
// who want it now have no version of it yet. What has come and gone is not among it.
func (h *Hub) Changes() []Want {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Want, 0, len(h.changes))
	for _, c := range h.changes {
		if c.want.On || c.was {
			out = append(out, c.want)
		}
	}
	clear(h.changes)
	return out
}

// want notes a change. mu is held.
func (h *Hub) want(k topicKey, s Source, on bool) {
	c, pending := h.changes[k]
	if !pending {
		c.was = !on
	}
	c.want = Want{Source: s, Key: k.key, On: on}
	h.changes[k] = c
	select {
	case h.news <- struct{}{}:
	default: // one is enough
	}
}

// take returns the topic of a key, made if need be, and counts one more who holds it.
func (h *Hub) take(s Source, key resource.Key) *topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := topicKey{s.ID, key}
	t := h.topics[k]
	if t == nil {
		t = &topic{source: s, key: key, since: time.Now()}
		h.topics[k] = t
		h.want(k, s, true)
	}
	t.holders++
	return t
}

// give counts one less.
func (h *Hub) give(t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.holders--
	if t.holders == 0 {
		k := topicKey{t.source.ID, t.key}
		delete(h.topics, k)
		h.want(k, t.source, false)
	}
}

// find returns the topic of a key, nil when nobody wants it.
func (h *Hub) find(s Source, key resource.Key) *topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.topics[topicKey{s.ID, key}]
}

// Deliver gives those who use a resource its new version. With problems that are errors nothing has changed for any of them. asked is false
// when nobody wants the resource. Nothing is compiled of a version whose content is the one in force.
func (h *Hub) Deliver(s Source, r *resource.Resource) (problems []resource.Problem, asked bool) {
	t := h.find(s, r.Key)
	if t == nil {
		return nil, false
	}
	return t.deliver(r), true
}

// Reject notes that a source has sent a version of a resource that does not even get to its users; the version in force stays. The message of
// r is nil where it could not be read.
func (h *Hub) Reject(s Source, r *resource.Resource, problems []resource.Problem) {
	if t := h.find(s, r.Key); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.refuse(r, problems)
	}
}

// DeliverAll gives those who use a collection what is new in it, and returns what was rejected: by them, or already when it was read. The
// others are in force. What has not changed reaches nobody. asked is false when nobody wants the collection.
func (h *Hub) DeliverAll(s Source, key resource.Key, d Delta) (rejected []resource.Rejection, asked bool) {
	t := h.find(s, key)
	if t == nil {
		return nil, false
	}
	return t.deliverAll(d), true
}

// Members returns the state of the resources of a collection, in no order.
func (h *Hub) Members(s Source, key resource.Key) []Status {
	t := h.find(s, key)
	if t == nil {
		return nil
	}
	return t.all()
}

// Remove notes that the source says a resource does not exist. Who waits for its first version goes on without.
func (h *Hub) Remove(s Source, key resource.Key) {
	if t := h.find(s, key); t != nil {
		t.remove()
	}
}

// Fail notes that the source could not be asked for a resource.
func (h *Hub) Fail(s Source, key resource.Key) {
	if t := h.find(s, key); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, w := range t.watches {
			w.user.Stats.Failed()
		}
	}
}

// A Status is what is known of a resource that somebody wants.
type Status struct {
	Source   Source
	Key      resource.Key
	Current  *resource.Resource // nil: none has come
	Updated  time.Time          // when it came; else since when it is wanted
	Absent   bool               // the source says that it does not exist
	Rejected *Rejected          // nil: the last version was good
}

// A Rejected is a version that was not accepted.
type Rejected struct {
	Resource *resource.Resource // its message is nil when it could not be read
	Problems []resource.Problem
	At       time.Time
}

// All returns the state of all that is wanted of a type, "" for every type, in no order.
func (h *Hub) All(kind string) []Status {
	h.mu.Lock()
	var topics []*topic
	for _, t := range h.topics {
		if kind == "" || t.key.Type == kind {
			topics = append(topics, t)
		}
	}
	h.mu.Unlock()
	out := make([]Status, len(topics))
	for i, t := range topics {
		out[i] = t.status()
	}
	return out
}

// Watch returns a watch on a resource, not yet held, for a place in the configuration that names it; nil after reporting to p what is
// wrong with the source. Where the present version of the resource does not fit this user, that is reported, too. Watch starts nothing.
func (h *Hub) Watch(cs *corev3.ConfigSource, key resource.Key, at resource.Path, p *resource.Problems, u User) *Watch {
	if h.check != nil {
		q := resource.NewProblems("")
		if h.check(cs, at, q); q.HasErrors() {
			p.Append(q)
			return nil
		}
	}
	w := &Watch{hub: h, source: NewSource(cs), key: key, user: u, ready: make(chan struct{})}
	if u.NoWait {
		w.settle(nil)
	}
	if u.Apply != nil {
		return w
	}
	if t := h.find(w.source, key); t != nil {
		w.look(t, p)
	}
	return w
}

// Wait waits until all watches are ready, or ctx ends.
func Wait(ctx context.Context, all []*Watch) error {
	for _, w := range all {
		select {
		case <-w.Ready():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
