package stats

import "bytes"

// merge is the state of a walk over sorted runs.
type merge struct {
	pending []run    // not reached yet, sorted by first name
	active  []*run   // those that the name has reached; few
	spare   [][]byte // name buffers of finished runs
	name    []byte   // the current full name
	low     int      // in active: the run whose first item has the lowest name
}

// next moves to the lowest name that is left; false if there is none.
func (m *merge) next() bool {
	if len(m.active) == 0 {
		if len(m.pending) == 0 {
			return false
		}
		m.activate()
	}
	m.low = 0
	for i, r := range m.active {
		if less(r, m.active[m.low]) {
			m.low = i
		}
	}
	for len(m.pending) > 0 {
		p, low := &m.pending[0], m.active[m.low]
		if compareJoined(p.scope.prefix, p.items[0].name, low.scope.prefix, low.items[0].name) > 0 {
			break
		}
		m.activate()
		if last := len(m.active) - 1; less(m.active[last], m.active[m.low]) {
			m.low = last
		}
	}
	m.name = append(m.name[:0], m.run().name...)
	return true
}

// less orders by name, then by kind, so that series of one kind and name follow each other.
func less(a, b *run) bool {
	if c := bytes.Compare(a.name, b.name); c != 0 {
		return c < 0
	}
	return a.items[0].kind < b.items[0].kind
}

// run is the run that holds the current item.
func (m *merge) run() *run { return m.active[m.low] }

// top is the current item.
func (m *merge) top() *item { return m.run().items[0] }

// advance moves past the current item and reports whether there is another of its name and kind.
func (m *merge) advance() bool {
	r, k := m.run(), m.top().kind
	if r.items = r.items[1:]; len(r.items) > 0 {
		r.setName()
	} else {
		m.spare = append(m.spare, r.name)
		last := len(m.active) - 1
		m.active[m.low], m.active[last] = m.active[last], nil
		m.active = m.active[:last]
	}
	for i, r := range m.active {
		if r.items[0].kind == k && bytes.Equal(r.name, m.name) {
			m.low = i
			return true
		}
	}
	return false
}

// activate takes the first pending run into the merge.
func (m *merge) activate() {
	r := &m.pending[0]
	m.pending = m.pending[1:]
	if last := len(m.spare) - 1; last >= 0 {
		r.name, m.spare = m.spare[last], m.spare[:last]
	}
	r.setName()
	m.active = append(m.active, r)
}

func (r *run) setName() {
	r.name = append(append(r.name[:0], r.scope.prefix...), r.items[0].name...)
}
