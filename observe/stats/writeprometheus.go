package stats

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// WritePrometheus writes the series as Envoy's /stats/prometheus does, in the Prometheus text format 0.0.4: names begin
// with envoy_, tags are labels, texts are left out unless q.TextReadouts. It streams and holds no lock while it writes. The
// error is w's, or that of a HistogramBuckets this format does not have.
func (s *Store) WritePrometheus(w io.Writer, q Query) error {
	p := promWriter{store: s, q: &q, out: bufio.NewWriterSize(w, writeBuffer), hist: reading{store: s}}
	switch q.HistogramBuckets {
	case "", "cumulative":
	case "summary":
		p.summary = true
	default:
		return fmt.Errorf("unsupported prometheus histogram_buckets %q: want cumulative or summary", q.HistogramBuckets)
	}
	taken := make(map[string]bool)
	for _, m := range s.metrics(&q) {
		name := string(appendPromName(nil, "envoy_"+m.name))
		if taken[name] { // by another kind, or another spelling of the same name: a name has one block and one type
			name += "_" + m.kind.String()
		}
		taken[name] = true
		if !p.metric(name, m) {
			break
		}
	}
	return p.out.Flush()
}

// A metric is all series that one Prometheus name stands for.
type metric struct {
	name  string // with dots, without tags: "cluster.upstream_rq_total"
	kind  kind
	unit  string
	parts []part
}

// A part is the series of one item in all groups that have it.
type part struct {
	owners []owner
	item   *item
	family *family // whose the owners are, nil for a single series
}

type owner struct {
	scope *Scope
	g     *group // nil for a single series
}

// A family is the groups of one type whose metrics have the same names: all clusters, say.
type family struct {
	familyKey
	owners []owner
}

type familyKey struct {
	prefix string // without tags
	layout *layout
}

type metricKey struct {
	name string
	kind kind
}

// metrics is what the query may show, sorted by kind and name. There are as many as names, not as many as series.
func (s *Store) metrics(q *Query) []*metric {
	all := make(map[metricKey]*metric)
	add := func(prefix string, it *item, owners []owner, f *family) {
		if !q.wants(it.kind) || it.kind == text && !q.TextReadouts {
			return
		}
		key := metricKey{prefix + it.metric, it.kind}
		m := all[key]
		if m == nil {
			m = &metric{name: key.name, kind: key.kind, unit: it.unit}
			all[key] = m
		}
		m.parts = append(m.parts, part{owners, it, f})
	}
	for _, f := range s.families(q, add) {
		slices.SortFunc(f.owners, func(a, b owner) int { return strings.Compare(a.scope.prefix, b.scope.prefix) })
		for _, items := range [][]*item{f.layout.items, f.layout.histograms} {
			for _, it := range items {
				add(f.prefix, it, f.owners, f)
			}
		}
		for _, field := range f.layout.codes {
			seen := make(map[int]bool)
			for _, o := range f.owners {
				o.g.statuses(field, seen)
			}
			for _, it := range field.items(seen) {
				add(f.prefix, it, f.owners, f)
			}
		}
	}
	out := make([]*metric, 0, len(all))
	for _, m := range all {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *metric) int {
		if a.kind != b.kind {
			return int(a.kind) - int(b.kind)
		}
		return strings.Compare(a.name, b.name)
	})
	return out
}

// families sorts the store's groups into families, and gives the single series to add.
func (s *Store) families(q *Query, add func(prefix string, it *item, owners []owner, f *family)) []*family {
	index := make(map[familyKey]*family)
	var out []*family
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.scopes {
		prefix := c.metricPrefix()
		for g := c.groups; g != nil; g = g.next {
			if q.UsedOnly && g.table.Load() == nil {
				continue
			}
			key := familyKey{prefix, g.layout}
			f := index[key]
			if f == nil {
				f = &family{familyKey: key}
				index[key] = f
				out = append(out, f)
			}
			f.owners = append(f.owners, owner{c, g})
		}
		if c.more != nil {
			for _, one := range c.more.series {
				add(prefix, &one.item, []owner{{c, nil}}, nil)
			}
		}
	}
	return out
}

// promWriter is the state of one WritePrometheus.
type promWriter struct {
	store   *Store
	q       *Query
	out     *bufio.Writer
	summary bool
	hist    reading

	name   string // of the current metric
	of     *metric
	headed bool // the current metric's HELP and TYPE are written
	full   []byte
	line   []byte
	labels []byte
	counts []uint64
	tags   []Tag
	ref    [1]ref
}

// metric writes one metric and reports whether to go on.
func (p *promWriter) metric(name string, m *metric) bool {
	p.name, p.of, p.headed = name, m, false
	if m.mixed() {
		return p.mixed(m)
	}
	for _, part := range m.parts {
		for _, o := range part.owners {
			p.ref[0] = ref{o.scope, o.g, part.item}
			if !p.series(p.ref[:]) {
				return false
			}
		}
	}
	return true
}

// mixed reports whether two parts could have series with the same labels. Parts of one family cannot: items of one layout
// that share a metric differ in their tags.
func (m *metric) mixed() bool {
	first := m.parts[0].family
	return len(m.parts) > 1 && slices.ContainsFunc(m.parts, func(p part) bool { return p.family == nil || p.family != first })
}

// mixed writes a metric that has several sources: their series are brought into one order, and those with the same labels
// are added up, for a series may appear only once.
func (p *promWriter) mixed(m *metric) bool {
	type labeled struct {
		ref
		labels string
	}
	var all []labeled
	for _, part := range m.parts {
		for _, o := range part.owners {
			r := ref{o.scope, o.g, part.item}
			if part.item.hide {
				if _, used := r.number(); !used {
					continue
				}
			}
			p.labels = p.appendLabels(p.labels[:0], r)
			all = append(all, labeled{r, string(p.labels)})
		}
	}
	slices.SortStableFunc(all, func(a, b labeled) int { return strings.Compare(a.labels, b.labels) })
	var refs []ref
	for i := range all {
		refs = append(refs, all[i].ref)
		if i+1 < len(all) && all[i+1].labels == all[i].labels {
			continue
		}
		if !p.series(refs) {
			return false
		}
		refs = refs[:0]
	}
	return true
}

// series writes one series, unless it is not to be shown, and reports whether to go on.
func (p *promWriter) series(refs []ref) bool {
	r := refs[0]
	p.full = append(append(p.full[:0], r.scope.prefix...), r.item.name...)
	if !p.store.shown(p.q, p.full) {
		return true
	}
	p.line = p.line[:0]
	switch r.item.kind {
	case counter, gauge:
		n, used := number(refs)
		if !p.q.visible(refs, used) {
			return true
		}
		p.labels = p.appendLabels(p.labels[:0], r)
		p.sample("", n)
	case text:
		t := &r.item.single.text
		if !p.q.visible(refs, t.used()) {
			return true
		}
		p.labels = p.appendLabels(p.labels[:0], r)
		p.sample("", 0)
	case histogram:
		p.hist.read(p.full, refs)
		if !p.q.visible(refs, p.hist.total.count != 0) {
			return true
		}
		p.labels = p.appendLabels(p.labels[:0], r)
		p.histogram()
	}
	p.head()
	_, err := p.out.Write(p.line)
	return err == nil
}

// head writes the HELP and TYPE lines before the first series of a metric.
func (p *promWriter) head() {
	if p.headed {
		return
	}
	p.headed = true
	kind := p.of.kind.String()
	switch {
	case p.of.kind == text:
		kind = "gauge"
	case p.of.kind == histogram && p.summary:
		kind = "summary"
	}
	help := promEscape(p.of.name, false)
	if p.of.unit != "" {
		help += " (" + p.of.unit + ")"
	}
	p.out.WriteString("# HELP " + p.name + " " + help + "\n# TYPE " + p.name + " " + kind + "\n") // an error stays in out
}

// histogram writes the current histogram's lines.
func (p *promWriter) histogram() {
	d := &p.hist.total
	if p.summary {
		d = &p.hist.interval
		values := d.quantiles()
		for i, q := range quantiles {
			p.start("", "quantile", q)
			p.line = append(appendPromFloat(append(p.line, ' '), values[i]), '\n')
		}
	} else {
		p.counts = d.cumulative(p.counts, p.hist.bounds)
		for i, bound := range p.hist.bounds {
			p.start("_bucket", "le", bound)
			p.line = append(strconv.AppendUint(append(p.line, ' '), p.counts[i], 10), '\n')
		}
		p.line = append(append(p.line, p.name...), "_bucket{"...)
		p.line = p.appendMore(p.line)
		p.line = append(strconv.AppendUint(append(p.line, `le="+Inf"} `...), d.count, 10), '\n')
	}
	p.sample("_sum", d.sum)
	p.sample("_count", d.count)
}

// start appends `name_suffix{labels,label="v"}`.
func (p *promWriter) start(suffix, label string, v float64) {
	p.line = append(append(append(p.line, p.name...), suffix...), '{')
	p.line = append(append(p.appendMore(p.line), label...), `="`...)
	p.line = append(appendFloat(p.line, v), `"}`...)
}

// appendMore appends the current labels with a comma, for one more to follow.
func (p *promWriter) appendMore(b []byte) []byte {
	if len(p.labels) == 0 {
		return b
	}
	return append(append(b, p.labels...), ',')
}

// sample appends a whole line.
func (p *promWriter) sample(suffix string, n uint64) {
	p.line = append(append(append(p.line, p.name...), suffix...), '{')
	p.line = append(append(p.line, p.labels...), "} "...)
	p.line = append(strconv.AppendUint(p.line, n, 10), '\n')
}

// appendLabels appends the tags of a series as labels: its own, its scopes' from the inside out, the store's. Where a name
// comes twice the first one counts.
func (p *promWriter) appendLabels(b []byte, r ref) []byte {
	p.tags = append(p.tags[:0], r.item.tags...)
	for c := r.scope; c != nil; c = c.parent {
		p.tags = append(p.tags, c.tags...)
	}
	p.tags = append(p.tags, p.store.opts.Tags...)
	if r.item.kind == text {
		p.tags = append(p.tags, Tag{"text_value", r.item.single.text.Value()})
	}
	for i, t := range p.tags {
		if slices.ContainsFunc(p.tags[:i], func(u Tag) bool { return u.Name == t.Name }) {
			continue
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendPromName(b, t.Name), `="`...)
		b = append(append(b, promEscape(t.Value, true)...), '"')
	}
	return b
}

// appendPromName appends s with everything but ASCII letters, digits and _ made a _, and not beginning with a digit.
func appendPromName(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			b = append(b, c)
		case c >= '0' && c <= '9':
			if i == 0 {
				b = append(b, '_')
			}
			b = append(b, c)
		default:
			b = append(b, '_')
		}
	}
	return b
}

// promEscape is s as it stands in a label's quotes or in a help text.
func promEscape(s string, quoted bool) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if !strings.ContainsAny(s, "\\\n\"") {
		return s
	}
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
	if quoted {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}

// appendPromFloat appends f in Go's syntax, which is Prometheus's: NaN, not nan.
func appendPromFloat(b []byte, f float64) []byte {
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}
