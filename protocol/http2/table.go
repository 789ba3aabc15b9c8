package http2

import "iter"

// tableSlots is how many streams a table finds without a map; a power of two.
const tableSlots = 64

// A table finds the open streams of a connection by their number. Streams that are open at the same time have numbers close to each
// other, so that each has a slot of its own; others go to a map.
type table struct {
	slots *[tableSlots]*stream // nil until there was a stream
	over  map[uint32]*stream
	n     int
}

func slotOf(id uint32) uint32 { return id >> 1 & (tableSlots - 1) }

func (t *table) find(id uint32) *stream {
	if t.n == 0 {
		return nil
	}
	if s := t.slots[slotOf(id)]; s != nil && s.id == id {
		return s
	}
	return t.over[id]
}

func (t *table) add(s *stream) {
	if t.slots == nil {
		t.slots = new([tableSlots]*stream)
	}
	t.n++
	if p := &t.slots[slotOf(s.id)]; *p == nil {
		*p = s
		return
	}
	if t.over == nil {
		t.over = map[uint32]*stream{}
	}
	t.over[s.id] = s
}

func (t *table) remove(s *stream) {
	if p := &t.slots[slotOf(s.id)]; *p == s {
		*p = nil
		t.n--
		return
	}
	if t.over[s.id] == s {
		delete(t.over, s.id)
		t.n--
	}
}

// all yields every stream. Streams may be removed meanwhile.
func (t *table) all() iter.Seq2[uint32, *stream] {
	return func(yield func(uint32, *stream) bool) {
		if t.n == 0 {
			return
		}
		for _, s := range t.slots {
			if s != nil && !yield(s.id, s) {
				return
			}
		}
		for id, s := range t.over {
			if !yield(id, s) {
				return
			}
		}
	}
}
