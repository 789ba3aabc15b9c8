package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weftproxy/weft/observe/stats"
)

func count(p Picker, n, picks int, h *Hints) []int {
	got := make([]int, n)
	for range picks {
		got[p.Pick(h)]++
	}
	return got
}

func TestRotateGivesEverythingItsShare(t *testing.T) {
	for _, c := range []struct {
		name    string
		weights []uint32
		picks   int
		want    []int
	}{
		{"equal", []uint32{1, 1, 1}, 300, []int{100, 100, 100}},
		{"equal but not one", []uint32{7, 7}, 10, []int{5, 5}},
		{"zero counts as one", []uint32{0, 1}, 10, []int{5, 5}},
		{"unequal", []uint32{5, 1, 2}, 80, []int{50, 10, 20}},
		{"common divisor", []uint32{5000, 1000}, 60, []int{50, 10}},
		{"one", []uint32{3}, 4, []int{4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, start := range []uint64{0, 1, 12345678901} {
				if got := count(Rotate(c.weights, start), len(c.weights), c.picks, nil); !slices.Equal(got, c.want) {
					t.Errorf("start %d: got %v, want %v", start, got, c.want)
				}
			}
		})
	}
}

func TestRotateSpreadsTurnsEvenly(t *testing.T) {
	p := Rotate([]uint32{5, 1, 1}, 0)
	last, most := 0, 0
	for i := range 70 {
		if p.Pick(nil) == 0 {
			last = i
		}
		most = max(most, i-last)
	}
	if most > 2 {
		t.Errorf("the heaviest of 5:1:1 waited for %d turns", most)
	}
}

func TestLongRotationKeepsSharesWithinAFewPicks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		weights := make([]uint32, 2+r.IntN(60))
		sum := 0.0
		for i := range weights {
			weights[i] = 1 + r.Uint32N(1_000_000)
			sum += float64(weights[i])
		}
		p := Rotate(weights, r.Uint64())
		if _, ok := p.(*rotation); !ok {
			t.Fatalf("got a %T for weights %v", p, weights)
		}
		const picks = 20000
		for i, got := range count(p, len(weights), picks, nil) {
			if want := picks * float64(weights[i]) / sum; math.Abs(float64(got)-want) > 8 {
				t.Errorf("weight %d of %.0f: %d picks, want %.1f", weights[i], sum, got, want)
			}
		}
	}
}

func TestTableFindsTheArcOfEveryPoint(t *testing.T) {
	w := []uint64{3, 1, 900, 2, 5, 1}
	table := newTable(w, 912)
	for at := range uint64(912) {
		x := uint64(math.Ceil(float64(at)/912*(1<<32))) << 32
		want, end := 0, w[0]
		for at >= end {
			want++
			end += w[want]
		}
		if got := table.find(x); got != want {
			t.Fatalf("point %d: arc %d, want %d", at, got, want)
		}
	}
	if got := table.find(math.MaxUint64); got != len(w)-1 {
		t.Errorf("last point: arc %d", got)
	}
}

func endpoints(weights ...uint32) []Endpoint {
	out := make([]Endpoint, len(weights))
	for i := range out {
		out[i] = Endpoint{Weight: weights[i], Active: new(stats.Gauge)}
	}
	return out
}

func TestLeastRequestPrefersTheIdle(t *testing.T) {
	e := endpoints(1, 1)
	e[0].Active.Add(10)
	p := Options{Policy: LeastRequest, Choices: 2}.Build(e, 0)
	got := count(p, 2, 10000, nil)
	if got[0] < 2200 || got[0] > 2800 { // both draws must hit it: a quarter
		t.Errorf("the busy one got %d of 10000, want about 2500", got[0])
	}
	got = count(Options{Policy: LeastRequest, Choices: 5}.Build(e, 0), 2, 10000, nil)
	if got[0] < 200 || got[0] > 430 {
		t.Errorf("with five choices the busy one got %d of 10000, want about 312", got[0])
	}
}

func TestLeastRequestSharesByWeightWhenIdle(t *testing.T) {
	got := count(Options{Policy: LeastRequest, Bias: 1}.Build(endpoints(3, 1), 0), 2, 10000, nil)
	if got[0] < 7200 || got[0] > 7800 {
		t.Errorf("weight 3 of 4 got %d of 10000", got[0])
	}
	e := endpoints(3, 1)
	e[0].Active.Add(30)
	e[1].Active.Add(1)
	got = count(Options{Policy: LeastRequest, Bias: 1}.Build(e, 0), 2, 10000, nil)
	if got[0] < 5300 || got[0] > 5950 { // both draws: 9/16
		t.Errorf("the busy heavy one got %d of 10000, want about 5625", got[0])
	}
	got = count(Options{Policy: LeastRequest, Bias: 0}.Build(e, 0), 2, 10000, nil)
	if got[0] < 7200 || got[0] > 7800 {
		t.Errorf("without bias weight 3 of 4 got %d of 10000", got[0])
	}
}

func TestRandomIgnoresWeights(t *testing.T) {
	for i, got := range count(Options{Policy: Random}.Build(endpoints(1, 100, 1), 0), 3, 9000, nil) {
		if got < 2750 || got > 3250 {
			t.Errorf("%d got %d of 9000", i, got)
		}
	}
}

func TestNoEndpointsNoPick(t *testing.T) {
	for _, p := range []Policy{RoundRobin, LeastRequest, Random} {
		if got := (Options{Policy: p}).Build(nil, 0).Pick(nil); got != -1 {
			t.Errorf("%v: got %d", p, got)
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, o := range []Options{{Policy: RoundRobin}, {Policy: LeastRequest}, {Policy: Random}} {
		p := o.Build(endpoints(make([]uint32, 1000)...), 0)
		h := &Hints{}
		if n := testing.AllocsPerRun(100, func() { p.Pick(h) }); n != 0 {
			t.Errorf("%v: %v allocations", o.Policy, n)
		}
	}
}

func TestLoads(t *testing.T) {
	level := func(total, healthy, degraded int) Level {
		return Level{Total: total, Healthy: healthy, Degraded: degraded}
	}
	for _, c := range []struct {
		name              string
		levels            []Level
		threshold         float64
		healthy, degraded []int
		panic             []bool
	}{
		{"all healthy", []Level{level(10, 10, 0), level(10, 10, 0)}, 50, []int{100, 0}, []int{0, 0}, []bool{false, false}},
		{"72 % are enough", []Level{level(100, 72, 0), level(100, 72, 0)}, 50, []int{100, 0}, []int{0, 0}, []bool{false, false}},
		{"71 % are not", []Level{level(100, 71, 0), level(100, 71, 0)}, 50, []int{99, 1}, []int{0, 0}, []bool{false, false}},
		{"half", []Level{level(100, 50, 0), level(100, 60, 0)}, 50, []int{70, 30}, []int{0, 0}, []bool{false, false}},
		{"none in the first", []Level{level(100, 0, 0), level(100, 100, 0)}, 50, []int{0, 100}, []int{0, 0}, []bool{false, false}},
		{"weak together", []Level{level(100, 25, 0), level(100, 25, 0)}, 50, []int{50, 50}, []int{0, 0}, []bool{true, true}},
		{"weak and not enough for all", []Level{level(100, 5, 0), level(100, 65, 0)}, 50, []int{8, 92}, []int{0, 0}, []bool{true, false}},
		{"nobody is healthy", []Level{level(5, 0, 0), level(15, 0, 0)}, 50, []int{25, 75}, []int{0, 0}, []bool{true, true}},
		{"nobody, and no panic", []Level{level(5, 0, 0), level(5, 0, 0)}, 0, []int{100, 0}, []int{0, 0}, []bool{false, false}},
		{"no hosts", []Level{level(0, 0, 0)}, 50, []int{100}, []int{0}, []bool{true}},
		{"degraded take the rest", []Level{level(100, 50, 50)}, 50, []int{70}, []int{30}, []bool{false}},
		{"only degraded", []Level{level(10, 0, 10)}, 50, []int{0}, []int{100}, []bool{false}},
		{"excluded do not count", []Level{{Total: 100, Healthy: 10, Excluded: 90}}, 50, []int{100}, []int{0}, []bool{false}},
		{"other factor", []Level{{Total: 100, Healthy: 50, Factor: 200}, level(100, 100, 0)}, 50, []int{100, 0}, []int{0, 0}, []bool{false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Loads(c.levels, c.threshold)
			if !slices.Equal(s.Healthy, c.healthy) || !slices.Equal(s.Degraded, c.degraded) || !slices.Equal(s.Panic, c.panic) {
				t.Errorf("got %v %v %v, want %v %v %v", s.Healthy, s.Degraded, s.Panic, c.healthy, c.degraded, c.panic)
			}
		})
	}
}

func TestLoadsAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		levels := make([]Level, 1+r.IntN(5))
		for i := range levels {
			l := &levels[i]
			l.Total = r.IntN(20)
			l.Healthy = r.IntN(l.Total + 1)
			l.Degraded = r.IntN(l.Total - l.Healthy + 1)
		}
		s := Loads(levels, 50)
		sum := 0
		for i := range levels {
			sum += s.Healthy[i] + s.Degraded[i]
		}
		if sum != 100 {
			t.Fatalf("%+v: %v %v add up to %d", levels, s.Healthy, s.Degraded, sum)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	weighted := make([]uint32, 1000)
	for i := range weighted {
		weighted[i] = uint32(1 + i%97)
	}
	for _, c := range []struct {
		name string
		p    Picker
	}{
		{"round robin", Options{}.Build(endpoints(make([]uint32, 1000)...), 0)},
		{"round robin, weighted", Options{}.Build(endpoints(weighted...), 0)},
		{"least request", Options{Policy: LeastRequest}.Build(endpoints(make([]uint32, 1000)...), 0)},
		{"least request, weighted", Options{Policy: LeastRequest, Bias: 1}.Build(endpoints(weighted...), 0)},
		{"random", Options{Policy: Random}.Build(endpoints(weighted...), 0)},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := &Hints{}
			for b.Loop() {
				c.p.Pick(h)
			}
		})
	}
}
