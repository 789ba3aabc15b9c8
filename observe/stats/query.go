package stats

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Query chooses what is written and how: the parameters of Envoy's /stats.
type Query struct {
	UsedOnly bool           // usedonly: only series that were ever written
	Filter   *regexp.Regexp // filter: only full names this matches; nil is all
	Type     Type           // type: only one kind of series
	// HistogramBuckets is histogram_buckets: "" and "summary" (quantiles), "cumulative", "disjoint" or "detailed" for text and
	// JSON; "" and "cumulative" (buckets) or "summary" for Prometheus.
	HistogramBuckets string
	// TextReadouts is text_readouts: Prometheus output has a gauge of value 0 with the text as a label for each text.
	TextReadouts bool
}

// A Type is a kind of series, or All of them.
type Type uint8

// The values of Envoy's type parameter.
const (
	All Type = iota
	Counters
	Gauges
	Histograms
	TextReadouts
)

// ParseType is the Type that Envoy spells s: "All", "Counters", "Gauges", "Histograms" or "TextReadouts".
func ParseType(s string) (Type, error) {
	for t, name := range [...]string{"All", "Counters", "Gauges", "Histograms", "TextReadouts"} {
		if s == name {
			return Type(t), nil
		}
	}
	return All, fmt.Errorf("unknown stats type %q", s)
}

func (q *Query) wants(k kind) bool {
	return q.Type == All || q.Type == [...]Type{Counters, Gauges, Histograms, TextReadouts}[k]
}

// A ref is one series in its place: an item of a group, or a single series (g is nil).
type ref struct {
	scope *Scope
	g     *group
	item  *item
}

// number is the value of a counter or gauge, for a histogram how many values it has, and whether it was ever written.
func (r ref) number() (n uint64, used bool) {
	switch {
	case r.item.kind == histogram:
		n = new(histogramReader).total(r).count
		return n, n != 0
	case r.g != nil:
		return r.g.number(r.item)
	}
	return r.item.single.number()
}

// number is the sum of the refs, and whether any of them was ever written.
func number(refs []ref) (sum uint64, used bool) {
	for _, r := range refs {
		n, u := r.number()
		sum, used = sum+n, used || u
	}
	return sum, used
}

// visible reports whether refs that were, or were not, used are written.
func (q *Query) visible(refs []ref, used bool) bool {
	if used {
		return true
	}
	return !q.UsedOnly && slices.ContainsFunc(refs, func(r ref) bool { return !r.item.hide })
}

// past is what Flush remembers of a histogram, nil if nothing. Its fields are guarded by the store's flushMu.
func (r ref) past() *history {
	if r.g == nil {
		return &r.item.single.past
	}
	if t := r.g.table.Load(); t != nil {
		return &t.past[r.item.past]
	}
	return nil
}

// A run is a part of a listing that is sorted already: the items of one group, of one Codes in it, or of a scope's single
// series.
type run struct {
	scope *Scope
	g     *group
	items []*item // what is left of it, sorted by name
	name  []byte  // full name of items[0], while the run is being merged
}

// runs is the sorted runs that together hold every series of the given kinds.
func (s *Store) runs(q *Query, kinds ...kind) []run {
	var out []run
	add := func(c *Scope, g *group, items []*item) {
		if len(items) > 0 {
			out = append(out, run{scope: c, g: g, items: items})
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.scopes {
		for g := c.groups; g != nil; g = g.next {
			if q.UsedOnly && g.table.Load() == nil {
				continue
			}
			if slices.Contains(kinds, histogram) {
				add(c, g, g.layout.histograms)
			}
			if slices.Contains(kinds, counter) {
				add(c, g, g.layout.items)
				for _, f := range g.layout.codes {
					add(c, g, g.codeItems(f))
				}
			}
		}
		add(c, nil, c.singles(kinds))
	}
	return out
}

// codeItems is the series of the statuses f has counted, sorted by name.
func (g *group) codeItems(f *codesField) []*item {
	if g.table.Load() == nil {
		return nil
	}
	seen := make(map[int]bool)
	g.statuses(f, seen)
	return f.items(seen)
}

func (f *codesField) items(seen map[int]bool) []*item {
	var out []*item
	for status := range seen {
		out = append(out, f.item(status))
	}
	slices.SortFunc(out, func(a, b *item) int { return a.status - b.status })
	return out
}

// singles is the scope's single series of the given kinds, sorted by name. Callers hold the store's mu.
func (c *Scope) singles(kinds []kind) []*item {
	if c.more == nil {
		return nil
	}
	var out []*item
	for key, one := range c.more.series {
		if slices.Contains(kinds, key.kind) {
			out = append(out, &one.item)
		}
	}
	slices.SortFunc(out, func(a, b *item) int { return strings.Compare(a.name, b.name) })
	return out
}

// walk calls f with each series of the given kinds that the query chooses, in the order of their full names. Series of one name and
// kind, which different groups may have, come together in one call. The name and the slice are valid during the call. It
// stops when f returns false.
//
// It merges runs: they are sorted by their first name, and each is taken into the merge when that name is reached, so that only
// the few runs that overlap are compared.
func (s *Store) walk(q *Query, kinds []kind, f func(name []byte, refs []ref) bool) {
	pending := s.runs(q, kinds...)
	slices.SortFunc(pending, func(a, b run) int {
		return compareJoined(a.scope.prefix, a.items[0].name, b.scope.prefix, b.items[0].name)
	})
	m := merge{pending: pending}
	var refs []ref
	for m.next() {
		refs = refs[:0]
		k := m.top().kind
		for more := true; more; more = m.advance() {
			refs = append(refs, ref{m.run().scope, m.run().g, m.top()})
		}
		if q.wants(k) && s.shown(q, m.name) && !f(m.name, refs) {
			return
		}
	}
}

// shown reports whether the query and the store's options let a full name through.
func (s *Store) shown(q *Query, name []byte) bool {
	return (q.Filter == nil || q.Filter.Match(name)) && (s.opts.Reject == nil || !s.opts.Reject(string(name)))
}

// compareJoined compares a1+a2 with b1+b2.
func compareJoined(a1, a2, b1, b2 string) int {
	n := min(len(a1), len(b1))
	if c := strings.Compare(a1[:n], b1[:n]); c != 0 {
		return c
	}
	switch {
	case len(a1) > n:
		return compareSplit(a1[n:], a2, b2)
	case len(b1) > n:
		return -compareSplit(b1[n:], b2, a2)
	}
	return strings.Compare(a2, b2)
}

// compareSplit compares a1+a2 with b.
func compareSplit(a1, a2, b string) int {
	n := min(len(a1), len(b))
	if c := strings.Compare(a1[:n], b[:n]); c != 0 {
		return c
	}
	if len(a1) > n {
		return 1
	}
	return strings.Compare(a2, b[n:])
}
