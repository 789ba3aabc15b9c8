package stats

// A Scope is a prefix in the store with its tags. It is shared: asking for the same prefix again gives the same Scope, and
// it lives until each of those calls was matched by a Close.
type Scope struct {
	store  *Store
	parent *Scope // nil at the top
	prefix string // whole, with the dot at its end
	tags   []Tag  // of the part that follows the parent's prefix

	// guarded by store.mu
	refs   int32
	groups *group
	more   *members // nil until needed
}

// members is what only some scopes have.
type members struct {
	children []*Scope
	series   map[seriesKey]*series
}

// Scope is the scope of prefix below this one. The tags are those of the first call that made it. Like every other call for
// the same prefix it wants one Close, or that of the parent.
func (c *Scope) Scope(prefix string, tags ...Tag) *Scope {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	prefix = cleanPrefix(prefix)
	return c.store.scope(c, c.prefix+prefix, cleanTags(prefix, tags))
}

// Prefix is the scope's whole prefix, with the dot at its end; "" for the root.
func (c *Scope) Prefix() string { return c.prefix }

// Counter is the counter of this name, made if there was none. It takes a lock: keep the result.
func (c *Scope) Counter(name string, tags ...Tag) *Counter {
	return &c.series(counter, name, tags).counter
}

// Gauge is the gauge of this name, made if there was none. It takes a lock: keep the result.
func (c *Scope) Gauge(name string, tags ...Tag) *Gauge {
	return &c.series(gauge, name, tags).gauge
}

// Histogram is the histogram of this name, made if there was none. It takes a lock: keep the result.
func (c *Scope) Histogram(name string, tags ...Tag) *Histogram {
	return &c.series(histogram, name, tags).histogram
}

// Text is the text readout of this name, made if there was none. It takes a lock: keep the result.
func (c *Scope) Text(name string) *Text {
	return &c.series(text, name, nil).text
}

func (c *Scope) series(k kind, name string, tags []Tag) *series {
	name = cleanName(name)
	key := seriesKey{k, name}
	c.store.mu.RLock()
	if c.more != nil {
		if s := c.more.series[key]; s != nil {
			c.store.mu.RUnlock()
			return s
		}
	}
	c.store.mu.RUnlock()

	s := &series{item: item{name: name, tags: cleanTags(name, tags), kind: k}}
	s.metric, s.single = withoutTags(name, s.tags), s
	if k == counter {
		metric, status := splitStatus(s.metric)
		s.metric, s.tags = metric, append(status, s.tags...)
	}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if c.refs == 0 {
		return s // a closed scope: the series works, unseen
	}
	m := c.members()
	if old := m.series[key]; old != nil {
		return old
	}
	if m.series == nil {
		m.series = make(map[seriesKey]*series)
	}
	m.series[key] = s
	return s
}

// members is c.more. Callers hold the store's mu.
func (c *Scope) members() *members {
	if c.more == nil {
		c.more = new(members)
	}
	return c.more
}

// Close gives back one call of Scope. After the last, everything registered under the scope and under the scopes below it is
// gone from the store, whoever else still holds those. Metrics still held keep working, unseen.
func (c *Scope) Close() {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if c.refs == 0 {
		return
	}
	if c.refs--; c.refs != 0 {
		return
	}
	if c.parent != nil {
		c.parent.forget(c)
	}
	c.remove()
}

// forget drops a child. Callers hold the store's mu.
func (c *Scope) forget(child *Scope) {
	all := c.members().children
	for i := range all {
		if all[i] == child {
			last := len(all) - 1
			all[i], all[last] = all[last], nil
			c.more.children = all[:last]
			return
		}
	}
}

// remove takes the scope and all below it out of the store. Callers hold the store's mu.
func (c *Scope) remove() {
	c.refs = 0
	delete(c.store.scopes, c.prefix)
	if c.more != nil {
		for _, child := range c.more.children {
			child.remove()
		}
	}
	c.groups, c.more = nil, nil
}

// metricPrefix is the prefix without the parts that are values of tags: "cluster." for "cluster.foo.".
func (c *Scope) metricPrefix() string {
	if c.parent == nil {
		return withoutTags(c.prefix, c.tags)
	}
	return c.parent.metricPrefix() + withoutTags(c.prefix[len(c.parent.prefix):], c.tags)
}
