package balance

import (
	"math"
	"math/bits"

	"github.com/weftproxy/weft/observe/stats"
)

// uniform picks at random, without regard to weights, as Envoy's RANDOM does.
type uniform struct{ n uint64 }

func (u uniform) Pick(h *Hints) int { return below(h.Draw(), u.n) }

// below maps a random number to 0 ... n-1.
func below(random, n uint64) int {
	hi, _ := bits.Mul64(random, n)
	return int(hi)
}

// leastRequest draws a few endpoints and takes the one with the fewest requests under way. Where weights differ it draws in
// proportion to them, and compares active^bias / weight, so that idle endpoints share by weight alone.
type leastRequest struct {
	active  []*stats.Gauge
	weights []float64 // nil when all are equal
	table   table     // where weights differ
	choices int
	bias    float64
}

func newLeastRequest(endpoints []Endpoint, o Options) *leastRequest {
	l := &leastRequest{active: make([]*stats.Gauge, len(endpoints)), choices: max(o.Choices, 0), bias: o.Bias}
	if l.choices == 0 {
		l.choices = 2
	}
	weights := make([]uint32, len(endpoints))
	for i, e := range endpoints {
		l.active[i], weights[i] = e.Active, e.Weight
	}
	w := reduce(weights)
	sum := uint64(0)
	for _, x := range w {
		sum += x
	}
	if sum == uint64(len(w)) {
		return l
	}
	l.table = newTable(w, sum)
	l.weights = make([]float64, len(w))
	for i, x := range w {
		l.weights[i] = float64(x)
	}
	return l
}

func (l *leastRequest) Pick(h *Hints) int {
	if l.weights != nil {
		return l.pickWeighted(h)
	}
	n := uint64(len(l.active))
	best := below(h.Draw(), n)
	least := l.active[best].Value()
	for range l.choices - 1 {
		i := below(h.Draw(), n)
		if a := l.active[i].Value(); a < least {
			best, least = i, a
		}
	}
	return best
}

func (l *leastRequest) pickWeighted(h *Hints) int {
	best := l.table.find(h.Draw())
	if l.bias == 0 {
		return best
	}
	least := l.load(best)
	for range l.choices - 1 {
		i := l.table.find(h.Draw())
		if load := l.load(i); load < least {
			best, least = i, load
		}
	}
	return best
}

func (l *leastRequest) load(i int) float64 {
	a := float64(max(l.active[i].Value(), 0))
	if l.bias != 1 {
		a = math.Pow(a, l.bias)
	}
	return a / l.weights[i]
}
