package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEveryValueLiesInItsBucket(t *testing.T) {
	check := func(v uint64) {
		t.Helper()
		i := bucketIndex(v)
		if i < 0 || i >= numBuckets {
			t.Fatalf("%d: bucket %d", v, i)
		}
		lower, width := bucketBounds(i)
		// Bounds are exact up to 2^53, and float64(v) rounds the same way above.
		if f := float64(v); f < lower || f > lower+width || v < 1<<53 && width >= 1 && f >= lower+width {
			t.Fatalf("%d: bucket %d is [%g, %g)", v, i, lower, lower+width)
		}
		if v >= 10 && width > lower/10 {
			t.Fatalf("%d: bucket of width %g at %g", v, width, lower)
		}
	}
	for v := range uint64(200_000) {
		check(v)
	}
	for _, p := range powersOfTen {
		check(p - 1)
		check(p)
		check(p + 1)
	}
	for range 100_000 {
		check(rand.Uint64() >> rand.IntN(64))
	}
	check(math.MaxUint64)
	for i := 1; i < numBuckets; i++ {
		a, _ := bucketBounds(i - 1)
		if b, _ := bucketBounds(i); a >= b {
			t.Fatalf("bucket %d begins at %g, the one before at %g", i, b, a)
		}
	}
}

func distributionOf(values ...uint64) distribution {
	s := NewStore(Options{})
	c := s.Scope("s.")
	h := c.Histogram("h")
	for _, v := range values {
		h.Record(v)
	}
	return new(histogramReader).total(c.find("h")...)
}

// The expected numbers are those Envoy's documentation and tests show for the same values.
func TestQuantilesAreEnvoys(t *testing.T) {
	for _, tc := range []struct {
		values []uint64
		want   [len(quantiles)]float64
	}{
		{[]uint64{0}, [...]float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{[]uint64{1}, [...]float64{1, 1.025, 1.05, 1.075, 1.09, 1.095, 1.099, 1.0995, 1.0999, 1.1}},
		{[]uint64{200000}, [...]float64{200000, 202500, 205000, 207500, 209000, 209500, 209900, 209950, 209990, 210000}},
		{[]uint64{3, 2, 17}, [...]float64{2, 2.075, 3.05, 17.25, 17.7, 17.85, 17.97, 17.985, 17.997, 18}},
	} {
		d := distributionOf(tc.values...)
		got := d.quantiles()
		for i := range got {
			if math.Abs(got[i]-tc.want[i]) > 1e-9*tc.want[i] {
				t.Errorf("%v: P%g = %v, want %v", tc.values, 100*quantiles[i], got[i], tc.want[i])
			}
		}
	}
	empty := distributionOf()
	if got := empty.quantiles(); !math.IsNaN(got[0]) || !math.IsNaN(got[9]) {
		t.Errorf("quantiles of nothing: %v", got)
	}
}

func TestQuantilesAreWithinTheBucketWidth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"uniform":     func() float64 { return 10 + 5000*r.Float64() },
		"exponential": func() float64 { return 10 + 300*r.ExpFloat64() },
		"lognormal":   func() float64 { return 10 + math.Exp(5+r.NormFloat64()) },
	} {
		values := make([]uint64, 50_000)
		for i := range values {
			values[i] = uint64(draw())
		}
		d := distributionOf(values...)
		slices.Sort(values)
		for i, got := range d.quantiles() {
			exact := float64(values[int(quantiles[i]*float64(len(values)-1))])
			if math.Abs(got-exact) > 0.1*exact {
				t.Errorf("%s: P%g = %g, exactly %g", name, 100*quantiles[i], got, exact)
			}
		}
	}
}

func TestCumulativeCountsAreEnvoys(t *testing.T) {
	d := distributionOf(0, 1, 1, 100, 1000, 7_000_000)
	got := fmt.Sprint(d.cumulative(nil, defaultBuckets))
	if want := "[1 1 3 3 3 3 3 4 4 4 5 5 5 5 5 5 5 5 5]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if d.count != 6 || d.sum != 7_001_102 {
		t.Errorf("count %d, sum %d", d.count, d.sum)
	}
}

func TestIntervalIsWhatWasRecordedBetweenFlushes(t *testing.T) {
	s := NewStore(Options{Lanes: 2})
	g := NewGroup[clusterStats](s.Scope("c."))
	single := s.Scope("c.").Histogram("single")
	record := func(values ...uint64) {
		for i, v := range values {
			g.Lane(uint32(i)).Time.Record(v)
			single.Record(v)
		}
	}
	want := func(step string, counts ...int) {
		t.Helper()
		for _, name := range []string{"upstream_rq_time", "single"} {
			refs := s.scopes["c."].find(name)
			if len(refs) != 1 {
				t.Fatalf("%s: %d series", name, len(refs))
			}
			interval := new(histogramReader).interval(s, refs)
			total := new(histogramReader).total(refs...)
			if int(interval.count) != counts[0] || int(total.count) != counts[1] || int(interval.sum) != counts[2] {
				t.Errorf("%s: %s: interval %d (sum %d), total %d, want %v", step, name, interval.count, interval.sum, total.count, counts)
			}
		}
	}
	record(5, 50, 500)
	want("before any flush", 0, 3, 0)
	s.Flush()
	want("after the first", 3, 3, 555)
	record(5, 7000)
	want("an interval under way", 3, 5, 555)
	s.Flush()
	want("after the second", 2, 5, 7005)
	s.Flush()
	want("after nothing", 0, 5, 0)
	s.ResetCounters()
	want("after a reset", 0, 0, 0)
	record(1)
	s.Flush()
	want("after a reset and a flush", 1, 1, 1)
}

func TestResetKeepsGauges(t *testing.T) {
	s := NewStore(Options{Lanes: 2})
	g := NewGroup[clusterStats](s.Scope("c."))
	for i := range uint32(2) {
		g.Lane(i).Total.Inc()
		g.Lane(i).Active.Inc()
		g.Lane(i).Codes.Inc(404)
	}
	s.Scope("c.").Counter("n").Inc()
	s.ResetCounters()
	for name, want := range map[string]int64{"upstream_rq_total": 0, "upstream_rq_active": 2, "upstream_rq_4xx": 0, "n": 0} {
		if got, ok := s.Value("c." + name); got != want || !ok {
			t.Errorf("%s = %d, %v, want %d", name, got, ok, want)
		}
	}
	g.Lane(0).Codes.Inc(404)
	if n, _ := s.Value("c.upstream_rq_404"); n != 1 {
		t.Errorf("after the reset: %d, want 1", n)
	}
}

func TestCodesIgnoreWhatIsNoStatus(t *testing.T) {
	var c Codes
	for _, status := range []int{-1, 0, 99, 1000, 1 << 40} {
		c.Inc(status)
	}
	for status := minStatus; status <= maxStatus; status++ {
		c.Inc(status)
	}
	for status := minStatus; status <= maxStatus; status++ {
		if c.Count(status) != 1 {
			t.Fatalf("%d: %d", status, c.Count(status))
		}
	}
}
