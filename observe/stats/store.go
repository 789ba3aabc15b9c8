package stats

import (
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Options are what a Store is made with. The zero value is one lane and Envoy's defaults.
type Options struct {
	// Lanes is how many copies of a group's metrics there are, rounded up to a power of two; 0 is 1. As many as workers.
	Lanes int
	// Tags are on every series in Prometheus output: StatsConfig.stats_tags with a fixed_value.
	Tags []Tag
	// Reject reports whether the series of this name is left out everywhere: StatsConfig.stats_matcher. Nil leaves out none.
	Reject func(name string) bool
	// Buckets is the upper bounds of a histogram's buckets, ascending: StatsConfig.histogram_bucket_settings. Nil, or a nil
	// answer, are Envoy's defaults, 0.5 to 3,600,000.
	Buckets func(name string) []float64
}

// A Store holds all series of a process (or of one test).
type Store struct {
	opts  Options // immutable
	lanes int     // a power of two

	mu      sync.RWMutex
	scopes  map[string]*Scope        // by prefix; guarded by mu
	layouts map[reflect.Type]*layout // guarded by mu

	flushMu sync.Mutex // guards every history; taken after mu where both are
}

// NewStore makes an empty store. It has no goroutines and needs no closing.
func NewStore(o Options) *Store {
	lanes := 1
	for lanes < o.Lanes {
		lanes *= 2
	}
	return &Store{opts: o, lanes: lanes, scopes: make(map[string]*Scope), layouts: make(map[reflect.Type]*layout)}
}

// Lanes is the number of lanes, a power of two.
func (s *Store) Lanes() int { return s.lanes }

// Scope is the scope of prefix, such as "cluster.foo."; a missing dot is added. The tags are those of the first call that made
// it. Each call wants one Close.
func (s *Store) Scope(prefix string, tags ...Tag) *Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix = cleanPrefix(prefix)
	return s.scope(nil, prefix, cleanTags(prefix, tags))
}

// scope finds or makes the scope of this whole prefix. Callers hold mu.
func (s *Store) scope(parent *Scope, prefix string, tags []Tag) *Scope {
	if c := s.scopes[prefix]; c != nil {
		c.refs++
		return c
	}
	c := &Scope{store: s, parent: parent, prefix: prefix, tags: tags, refs: 1}
	switch {
	case parent == nil:
	case parent.refs == 0:
		c.refs = 0 // below a closed scope: works, unseen
		return c
	default:
		m := parent.members()
		m.children = append(m.children, c)
	}
	s.scopes[prefix] = c
	return c
}

// layout is the layout of a group's type. Callers hold mu.
func (s *Store) layout(t reflect.Type) *layout {
	l := s.layouts[t]
	if l == nil {
		l = newLayout(t)
		s.layouts[t] = l
	}
	return l
}

// Flush ends an interval: what histograms recorded since the previous Flush is what their interval quantiles show until the
// next. Call it every stats_flush_interval (5 s in Envoy).
func (s *Store) Flush() {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.scopes))
	s.mu.RUnlock()
	for some := range slices.Chunk(all, 64) { // ten thousand clusters take a while, and nobody is to wait for them
		s.flushSome(some)
		runtime.Gosched()
	}
}

func (s *Store) flushSome(scopes []*Scope) {
	var r histogramReader
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	for _, c := range scopes {
		for g := c.groups; g != nil; g = g.next {
			if t := g.table.Load(); t != nil {
				for i, it := range g.layout.histograms {
					t.past[i].flush(r.total(ref{c, g, it}))
				}
			}
		}
		if c.more != nil {
			for _, one := range c.more.series {
				if one.kind == histogram {
					one.past.flush(r.total(ref{c, nil, &one.item}))
				}
			}
		}
	}
}

// ResetCounters sets all counters to zero and empties all histograms; gauges and texts stay: Envoy's /reset_counters. A counter
// that was reset counts as unused until it moves again.
func (s *Store) ResetCounters() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	for _, c := range s.scopes {
		for g := c.groups; g != nil; g = g.next {
			g.reset()
		}
		if c.more != nil {
			for _, one := range c.more.series {
				one.reset()
			}
		}
	}
}

// Value is the value of the counter or gauge of this full name, or how many values the histogram of that name has
// recorded; false if there is none or it is not shown.
func (s *Store) Value(name string) (int64, bool) {
	if s.opts.Reject != nil && s.opts.Reject(name) {
		return 0, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var sum uint64
	found := false
	for end := len(name); end >= 0; end = strings.LastIndexByte(name[:max(end-1, 0)], '.') + 1 {
		if c := s.scopes[name[:end]]; c != nil {
			for _, r := range c.find(name[end:]) {
				n, used := r.number()
				if r.item.hide && !used {
					continue
				}
				sum, found = sum+n, true
			}
		}
		if end == 0 {
			break
		}
	}
	return int64(sum), found
}

// find is the series of this name below the scope. Callers hold the store's mu.
func (c *Scope) find(name string) []ref {
	var refs []ref
	for g := c.groups; g != nil; g = g.next {
		if it := g.layout.find(name); it != nil {
			refs = append(refs, ref{c, g, it})
		}
	}
	if c.more != nil {
		for _, k := range []kind{counter, gauge, histogram} {
			if one := c.more.series[seriesKey{k, name}]; one != nil {
				refs = append(refs, ref{c, nil, &one.item})
			}
		}
	}
	return refs
}
