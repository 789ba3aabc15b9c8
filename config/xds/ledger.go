package xds

import (
	"strings"
	"sync"
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A ledger is what is wanted of one source, and what it has given that is in force. Safe for concurrent use.
type ledger struct {
	source  subscription.Source
	changed chan struct{} // has a value when what is wanted has changed

	mu      sync.Mutex
	shelves map[string]*shelf // by resource type; guarded by mu
}

// A shelf is the part of a ledger about one type. Its fields are guarded by the ledger's mu, but taking and checker.
type shelf struct {
	kind    *kind
	taking  sync.Mutex          // held while something of the shelf takes effect
	checker *resource.Checker   // nil until something comes; guarded by taking
	names   map[string]bool     // wanted
	globs   map[string]bool     // wanted collections; they are among names, too
	every   bool                // what comes is kept for those who may come to want it: it was asked for without names
	pending []subscription.Want // changes that the source has not seen
	entries map[string]*entry   // by the resource's name
}

// An entry is a resource that is in force.
type entry struct {
	sum    uint64 // of the serialized resource as it came
	res    *resource.Resource
	parts  map[uint64]part // of a large route configuration, by the hash of their bytes
	expiry *time.Timer     // nil: it does not expire
	due    time.Time
}

func newLedger(s subscription.Source) *ledger {
	return &ledger{source: s, changed: make(chan struct{}, 1), shelves: map[string]*shelf{}}
}

// shelf returns the shelf of a kind, made if need be. The lock must not be held.
func (l *ledger) shelf(k *kind) *shelf {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shelfLocked(k)
}

func (l *ledger) shelfLocked(k *kind) *shelf {
	sh := l.shelves[k.name]
	if sh == nil {
		sh = &shelf{kind: k, names: map[string]bool{}, globs: map[string]bool{}, entries: map[string]*entry{}}
		l.shelves[k.name] = sh
	}
	return sh
}

// note notes what is wanted from now on, or no longer.
func (l *ledger) note(w subscription.Want) {
	k := kindOf(w.Type)
	if k == nil {
		return // nobody can be asked for it
	}
	l.mu.Lock()
	sh := l.shelfLocked(k)
	if w.On {
		sh.names[w.Name] = true
		if subscription.IsCollection(w.Key) {
			sh.globs[w.Name] = true
		}
	} else {
		delete(sh.names, w.Name)
		delete(sh.globs, w.Name)
	}
	sh.pending = append(sh.pending, w)
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// news returns what has changed of a kind since it was last asked.
func (l *ledger) news(k *kind) []subscription.Want {
	l.mu.Lock()
	defer l.mu.Unlock()
	sh := l.shelfLocked(k)
	out := sh.pending
	sh.pending = nil
	return out
}

// wanted returns the names of a kind that are wanted, as the hub has them ("*" for all), in no order.
func (l *ledger) wanted(k *kind) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	sh := l.shelves[k.name]
	if sh == nil {
		return nil
	}
	out := make([]string, 0, len(sh.names))
	for name := range sh.names {
		out = append(out, name)
	}
	return out
}

// idle reports whether nothing is wanted.
func (l *ledger) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sh := range l.shelves {
		if len(sh.names) > 0 {
			return false
		}
	}
	return true
}

// askers returns under which names a resource is wanted: its own or an alias, and the collections it is in.
func (l *ledger) askers(sh *shelf, name string, aliases []string) (single, globs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sh.names[name] && !sh.globs[name] {
		single = append(single, name)
	}
	for _, a := range aliases {
		if a != name && sh.names[a] && !sh.globs[a] {
			single = append(single, a)
		}
	}
	for g := range sh.globs {
		if matches(g, name) {
			globs = append(globs, g)
		}
	}
	return single, globs
}

// matches reports whether a resource is in a collection. The whole of a type has all but those with xdstp names, which have their own.
func matches(glob, name string) bool {
	if glob == subscription.All {
		return !strings.HasPrefix(name, "xdstp:")
	}
	return strings.HasPrefix(name, strings.TrimSuffix(glob, subscription.All))
}

// get returns what is in force under a name, nil if nothing is.
func (l *ledger) get(sh *shelf, name string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sh.entries[name]
}

// put notes what is in force. A timer of the entry before is stopped.
func (l *ledger) put(sh *shelf, name string, e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := sh.entries[name]; old != nil && old != e && old.expiry != nil {
		old.expiry.Stop()
	}
	sh.entries[name] = e
}

// drop forgets entries.
func (l *ledger) drop(sh *shelf, names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		if e := sh.entries[name]; e != nil {
			if e.expiry != nil {
				e.expiry.Stop()
			}
			delete(sh.entries, name)
		}
	}
}

// keep has all that comes of a kind kept from now on, whether anybody wants it or not; or no longer.
func (l *ledger) keep(k *kind, every bool) {
	l.mu.Lock()
	was := l.shelfLocked(k).every
	l.shelfLocked(k).every = every
	l.mu.Unlock()
	if was && !every {
		l.leave(k)
	}
}

// kept reports whether a resource that nobody wants is kept.
func (l *ledger) kept(sh *shelf, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sh.every && matches(subscription.All, name)
}

// leave forgets the entries that nobody wants any more, now that something of the kind is no longer wanted.
func (l *ledger) leave(k *kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sh := l.shelfLocked(k)
next:
	for name, e := range sh.entries {
		if sh.names[name] || sh.every && matches(subscription.All, name) {
			continue
		}
		for g := range sh.globs {
			if matches(g, name) {
				continue next
			}
		}
		if e.expiry != nil {
			e.expiry.Stop()
		}
		delete(sh.entries, name)
	}
}

// members returns the entries of a collection, in no order.
func (l *ledger) members(sh *shelf, glob string) map[string]*resource.Resource {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]*resource.Resource{}
	for name, e := range sh.entries {
		if matches(glob, name) {
			out[name] = e.res
		}
	}
	return out
}

// versions returns the versions of what is in force of a kind, by name: what a delta stream begins with.
func (l *ledger) versions(k *kind) map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	sh := l.shelfLocked(k)
	out := make(map[string]string, len(sh.entries))
	for name, e := range sh.entries {
		out[name] = e.res.Version
	}
	return out
}

// close stops the timers.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sh := range l.shelves {
		for _, e := range sh.entries {
			if e.expiry != nil {
				e.expiry.Stop()
			}
		}
		clear(sh.entries)
	}
}
