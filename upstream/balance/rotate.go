package balance

import (
	"container/heap"
	"math/bits"
	"slices"
	"sync/atomic"
)

// maxSequence is how long a weighted round robin may be to be written out, in picks.
const maxSequence = 4096

// Rotate returns a round robin over len(weights) things, 0 counting as weight 1. Equal weights take turns. Others follow a sequence
// in which everything has exactly its share and the turns of each are spread evenly; where that sequence would be long, a
// rotation that keeps every share to within a few picks takes its place.
func Rotate(weights []uint32, start uint64) Picker {
	switch {
	case len(weights) == 0:
		return none{}
	case len(weights) == 1:
		return only{}
	}
	w := reduce(weights)
	sum := uint64(0)
	for _, x := range w {
		sum += x
	}
	switch {
	case sum == uint64(len(w)):
		r := &turns{n: uint64(len(w))}
		r.at.Store(start % r.n)
		return r
	case sum <= maxSequence:
		r := &sequence{order: spread(w, int(sum))}
		r.at.Store(start % sum)
		return r
	}
	r := &rotation{table: newTable(w, sum)}
	r.at.Store(start)
	return r
}

// reduce returns the weights divided by their greatest common divisor.
func reduce(weights []uint32) []uint64 {
	out := make([]uint64, len(weights))
	common := uint64(0)
	for i, w := range weights {
		out[i] = uint64(max(w, 1))
		for a, b := common, out[i]; ; {
			if b == 0 {
				common = a
				break
			}
			a, b = b, a%b
		}
	}
	for i := range out {
		out[i] /= common
	}
	return out
}

// turns gives everything a turn.
type turns struct {
	n  uint64
	at atomic.Uint64
}

func (t *turns) Pick(*Hints) int { return int((t.at.Add(1) - 1) % t.n) }

// sequence repeats an order.
type sequence struct {
	order []uint16
	at    atomic.Uint64
}

func (s *sequence) Pick(*Hints) int { return int(s.order[(s.at.Add(1)-1)%uint64(len(s.order))]) }

// A turn is when something is due next: the k-th of w turns at (k+1/2)/w of the sequence.
type turn struct {
	thing  int
	k, w   uint64
	before float64
}

type agenda []turn

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].before != a[j].before {
		return a[i].before < a[j].before
	}
	return a[i].thing < a[j].thing
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(turn)) }
func (a *agenda) Pop() any     { panic("balance: nothing leaves the agenda") }

// spread writes out sum picks in which thing i has w[i] turns, evenly spread.
func spread(w []uint64, sum int) []uint16 {
	a := make(agenda, len(w))
	for i := range w {
		a[i] = turn{thing: i, w: w[i], before: 0.5 / float64(w[i])}
	}
	heap.Init(&a)
	order := make([]uint16, sum)
	for i := range order {
		t := &a[0]
		order[i] = uint16(t.thing)
		t.k++
		t.before = (float64(t.k) + 0.5) / float64(t.w)
		heap.Fix(&a, 0)
	}
	return order
}

// rotation walks around a circle on which everything has an arc of its weight, in steps of the golden ratio: any number of
// consecutive steps falls into every arc nearly in proportion.
type rotation struct {
	table table
	at    atomic.Uint64
}

const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio

func (r *rotation) Pick(*Hints) int { return r.table.find(r.at.Add(golden)) }

// A table finds the arc in which a point of the circle lies.
type table struct {
	ends  []uint64 // arc i ends before ends[i], of sum
	guide []uint32 // first arc that may hold points of each equal part of the circle
	sum   uint64
}

func newTable(w []uint64, sum uint64) table {
	t := table{ends: make([]uint64, len(w)), guide: make([]uint32, len(w)), sum: sum}
	end := uint64(0)
	for i, x := range w {
		end += x
		t.ends[i] = end
	}
	for g := range t.guide {
		i, _ := slices.BinarySearch(t.ends, uint64(g)*(sum/uint64(len(w)))+1)
		t.guide[g] = uint32(i)
	}
	return t
}

// find returns the arc of the point x / 2^64 of the circle.
func (t *table) find(x uint64) int {
	at, _ := bits.Mul64(x, t.sum)
	part := min(at/(t.sum/uint64(len(t.ends))), uint64(len(t.guide)-1))
	i := int(t.guide[part])
	for t.ends[i] <= at {
		i++
	}
	return i
}
