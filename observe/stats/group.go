package stats

import (
	"reflect"
	"sync/atomic"
	"unsafe"
)

// A Group is a struct of metrics T that exists once per lane of the Store. The fields of T are Counter, Gauge, Histogram,
// Codes or structs of these, with the tags
//
//	stat:"upstream_rq_total"  the name below the scope; on a struct, a prefix for its fields ("ssl."), may be missing
//	unit:"ms"                 of a histogram, shown in the Prometheus help text
//	zero:"hide"               the series is not shown before it was used
//	codes:"class"             of Codes: only the five classes, no series per status
//
// An unused group costs 48 bytes.
type Group[T any] struct {
	group // first: NewGroup finds the Group[T] around a *group
}

// group is a Group without its type.
type group struct {
	scope  *Scope
	layout *layout
	table  atomic.Pointer[laneTable] // nil until a lane was asked for
	next   *group                    // in scope.groups; guarded by the store's mu
	refs   int32                     // NewGroup calls not yet closed; guarded by the store's mu
}

// laneTable is the storage of a group that is in use.
type laneTable struct {
	lanes []unsafe.Pointer // to T; atomic; the length is a power of two
	past  []history        // by item.past; guarded by the store's flushMu
}

// paddedLane keeps a lane's memory away from what the allocator puts before and after it.
type paddedLane[T any] struct {
	_ [64]byte
	v T
	_ [64]byte
}

// NewGroup registers T's series under the scope and returns their group: the one that is there already if this scope has a
// group of T, so that counters outlive a reload. It allocates no T. Each call wants one Close, of the group or the scope. It
// panics if T is not a struct of metrics.
func NewGroup[T any](sc *Scope) *Group[T] {
	s := sc.store
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.layout(reflect.TypeFor[T]())
	for g := sc.groups; g != nil; g = g.next {
		if g.layout == l {
			g.refs++
			return (*Group[T])(unsafe.Pointer(g)) // a layout belongs to one T
		}
	}
	g := &Group[T]{group{scope: sc, layout: l, refs: 1}}
	if sc.refs > 0 { // else a closed scope: the group works, unseen
		g.next, sc.groups = sc.groups, &g.group
	}
	return g
}

// Lane is the metrics of lane i modulo the number of lanes, made on first use. Keep i for a connection's life; which i is
// up to the caller, writers on different lanes never share a cache line.
func (g *Group[T]) Lane(i uint32) *T {
	if t := g.table.Load(); t != nil {
		if p := atomic.LoadPointer(&t.lanes[i&uint32(len(t.lanes)-1)]); p != nil {
			return (*T)(p)
		}
	}
	return g.grow(i)
}

func (g *Group[T]) grow(i uint32) *T {
	t := g.table.Load()
	if t == nil {
		g.table.CompareAndSwap(nil, &laneTable{
			lanes: make([]unsafe.Pointer, g.scope.store.lanes),
			past:  make([]history, len(g.layout.histograms)),
		})
		t = g.table.Load()
	}
	slot := &t.lanes[i&uint32(len(t.lanes)-1)]
	if len(t.lanes) == 1 {
		atomic.CompareAndSwapPointer(slot, nil, unsafe.Pointer(new(T)))
	} else {
		atomic.CompareAndSwapPointer(slot, nil, unsafe.Pointer(&new(paddedLane[T]).v))
	}
	return (*T)(atomic.LoadPointer(slot))
}

// Each calls f with the metrics of each lane that was made.
func (g *Group[T]) Each(f func(*T)) { g.cells(0, func(p unsafe.Pointer) { f((*T)(p)) }) }

// Close gives back one NewGroup; after the last the series are gone from the store. Lanes still held keep working, unseen.
func (g *Group[T]) Close() {
	s := g.scope.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.refs--; g.refs != 0 {
		return
	}
	for at := &g.scope.groups; *at != nil; at = &(*at).next {
		if *at == &g.group {
			*at = g.next
			return
		}
	}
}

// field is the address of a field in lane i, nil if the lane was never used.
func (t *laneTable) field(i int, offset uintptr) unsafe.Pointer {
	if p := atomic.LoadPointer(&t.lanes[i]); p != nil {
		return unsafe.Add(p, offset)
	}
	return nil
}

// cells calls f with the address of a field in each lane that exists.
func (g *group) cells(offset uintptr, f func(unsafe.Pointer)) {
	t := g.table.Load()
	if t == nil {
		return
	}
	for i := range t.lanes {
		if p := t.field(i, offset); p != nil {
			f(p)
		}
	}
}

// number is the value of a counter or gauge of the group, over all lanes, and whether it was ever written.
func (g *group) number(it *item) (n uint64, used bool) {
	t := g.table.Load()
	if t == nil {
		return 0, false
	}
	var sum int64
	for i := range t.lanes {
		p := t.field(i, it.offset)
		switch {
		case p == nil:
		case it.status != 0:
			n += (*Codes)(p).Count(it.status)
		case it.class != 0:
			(*Codes)(p).each(func(status int, count *atomic.Uint64) {
				if status/100 == it.class {
					n += count.Load()
				}
			})
		case it.kind == counter:
			n += (*Counter)(p).Value()
		default:
			sum += (*Gauge)(p).Value()
			used = used || (*Gauge)(p).used.Load()
		}
	}
	if it.kind == gauge {
		if sum < 0 && len(t.lanes) > 1 {
			sum = 0
		}
		return uint64(sum), used
	}
	return n, n != 0
}

// statuses adds to seen the statuses f's Codes have counted.
func (g *group) statuses(f *codesField, seen map[int]bool) {
	g.cells(f.offset, func(p unsafe.Pointer) {
		(*Codes)(p).each(func(status int, _ *atomic.Uint64) { seen[status] = true })
	})
}

// reset sets the group's counters to zero and empties its histograms. Callers hold the store's flushMu.
func (g *group) reset() {
	for _, it := range g.layout.items {
		switch {
		case it.class != 0: // once for each class, which does no harm
			g.cells(it.offset, func(p unsafe.Pointer) {
				(*Codes)(p).each(func(_ int, n *atomic.Uint64) { n.Store(0) })
			})
		case it.kind == counter:
			g.cells(it.offset, func(p unsafe.Pointer) { (*Counter)(p).n.Store(0) })
		}
	}
	for _, it := range g.layout.histograms {
		g.cells(it.offset, func(p unsafe.Pointer) { (*Histogram)(p).reset() })
	}
	if t := g.table.Load(); t != nil {
		clear(t.past)
	}
}
