package stats

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

type clusterStats struct {
	Total  Counter   `stat:"upstream_rq_total"`
	Active Gauge     `stat:"upstream_rq_active"`
	Time   Histogram `stat:"upstream_rq_time" unit:"ms"`
	Codes  Codes     `stat:"upstream_rq"`
	_      [8]byte
	Down   Codes   `stat:"downstream_rq" codes:"class"`
	Retry  Counter `stat:"retry_or_shadow_abandoned" zero:"hide"`
	TLS    struct {
		Handshake Counter `stat:"handshake"`
	} `stat:"ssl."`
	Health healthStats // no prefix
}

type healthStats struct {
	Attempt Counter `stat:"health_check.attempt"`
}

func TestValueIsTheSumOverLanes(t *testing.T) {
	s := NewStore(Options{Lanes: 3})
	if s.Lanes() != 4 {
		t.Fatalf("Lanes() = %d, want 4: rounded up to a power of two", s.Lanes())
	}
	g := NewGroup[clusterStats](s.Scope("cluster.foo."))
	var wg sync.WaitGroup
	for lane := range uint32(8) { // two writers a lane
		wg.Go(func() {
			for range 1000 {
				m := g.Lane(lane)
				m.Total.Inc()
				m.Total.Add(2)
				m.Active.Inc()
				m.Time.Record(uint64(lane) * 100)
				m.Codes.Inc(200 + int(lane)) // more statuses than a block holds
				m.Down.Inc(404)
				m.TLS.Handshake.Inc()
				m.Health.Attempt.Inc()
				g.Lane(lane + 1).Active.Dec()
			}
		})
	}
	wg.Wait()
	for name, want := range map[string]int64{
		"upstream_rq_total": 24000, "upstream_rq_active": 0, "upstream_rq_time": 8000, "upstream_rq_200": 1000, "upstream_rq_207": 1000,
		"upstream_rq_2xx": 8000, "upstream_rq_5xx": 0,
		"downstream_rq_4xx": 8000, "ssl.handshake": 8000, "health_check.attempt": 8000,
	} {
		if got, ok := s.Value("cluster.foo." + name); got != want || !ok {
			t.Errorf("%s = %d, %v, want %d", name, got, ok, want)
		}
	}
	for _, name := range []string{"cluster.foo.upstream_rq_404", "cluster.foo.none", "cluster.foo.downstream_rq_404",
		"cluster.bar.upstream_rq_total", "", "cluster.foo.",
		"cluster.foo.retry_or_shadow_abandoned", "cluster.foo.upstream_rq_2x", "cluster.foo.upstream_rq_099"} {
		if _, ok := s.Value(name); ok {
			t.Errorf("%q has a value", name)
		}
	}
}

func TestReadersRunBesideWriters(t *testing.T) {
	s := NewStore(Options{Lanes: 2})
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for lane := range uint32(2) {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				sc := s.Scope(fmt.Sprintf("cluster.c%d.", n%5), Tag{"envoy.cluster_name", fmt.Sprintf("c%d", n%5)})
				g := NewGroup[clusterStats](sc)
				m := g.Lane(lane)
				m.Total.Inc()
				m.Time.Record(uint64(n))
				m.Codes.Inc(200 + n%20)
				m.Active.Inc()
				sc.Counter("dynamic").Inc()
				sc.Scope("outlier_detection.").Gauge("ejections_active").Set(1)
				g.Close()
				sc.Close()
			}
		})
	}
	var out strings.Builder
	for range 20 {
		out.Reset()
		for _, write := range []func(q Query) error{
			func(q Query) error { return s.WriteText(&out, q) },
			func(q Query) error { return s.WriteJSON(&out, q) },
			func(q Query) error { return s.WritePrometheus(&out, q) },
		} {
			if err := write(Query{}); err != nil {
				t.Error(err)
			}
		}
		s.Flush()
		s.ResetCounters()
	}
	close(stop)
	writers.Wait()
}

func TestGroupIsSharedByScopeAndType(t *testing.T) {
	s := NewStore(Options{})
	before := NewGroup[clusterStats](s.Scope("cluster.foo."))
	before.Lane(0).Total.Inc()
	after := NewGroup[clusterStats](s.Scope("cluster.foo")) // a reload; the dot is added
	if before != after {
		t.Fatal("the second group of the same type and prefix is another one")
	}
	after.Lane(0).Total.Inc()
	before.Close()
	if n, ok := s.Value("cluster.foo.upstream_rq_total"); n != 2 || !ok {
		t.Errorf("after one of two closes: %d, %v, want 2", n, ok)
	}
	after.Close()
	if _, ok := s.Value("cluster.foo.upstream_rq_total"); ok {
		t.Error("the group is still there after its last Close")
	}
	after.Lane(0).Total.Inc() // must not crash
	if g := NewGroup[clusterStats](s.Scope("cluster.foo.")); g == after || g.Lane(0).Total.Value() != 0 {
		t.Error("a closed group came back")
	}
}

func TestNewGroupPanicsOnWhatIsNoStructOfMetrics(t *testing.T) {
	sc := NewStore(Options{}).Scope("a.")
	for name, f := range map[string]func(){
		"other field": func() {
			NewGroup[struct {
				N int `stat:"n"`
			}](sc)
		},
		"no name": func() { NewGroup[struct{ N Counter }](sc) },
		"twice": func() {
			NewGroup[struct {
				A Counter `stat:"n"`
				B Gauge   `stat:"n"`
			}](sc)
		},
		"no struct": func() { NewGroup[int](sc) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestLanesShareNoCacheLine(t *testing.T) {
	g := NewGroup[struct {
		N Counter `stat:"n"`
	}](NewStore(Options{Lanes: 64}).Scope("a."))
	lines := make(map[uintptr]uint32)
	for i := range uint32(64) {
		line := uintptr(unsafe.Pointer(g.Lane(i))) / 64
		if other, ok := lines[line]; ok {
			t.Fatalf("lanes %d and %d are on one cache line", other, i)
		}
		lines[line] = i
	}
	if g.Lane(64) != g.Lane(0) {
		t.Error("lane 64 of 64 is not lane 0")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	g := NewGroup[clusterStats](NewStore(Options{Lanes: 2}).Scope("cluster.foo."))
	one := func() {
		m := g.Lane(1)
		m.Total.Inc()
		m.Active.Inc()
		m.Time.Record(12)
		m.Codes.Inc(200)
		m.Codes.Inc(503)
		m.Active.Dec()
	}
	one()
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestSeriesIsFoundWithoutAllocation(t *testing.T) {
	sc := NewStore(Options{}).Scope("cluster.foo.")
	sc.Counter("a").Inc()
	if n := testing.AllocsPerRun(1000, func() { sc.Counter("a").Inc() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A cluster that was configured and never used should cost next to nothing; there are tens of thousands of them.
func TestUnusedGroupsAreSmall(t *testing.T) {
	const n = 10000
	prefixes := make([]string, n)
	names := make([]string, n)
	for i := range prefixes {
		names[i] = fmt.Sprintf("service-%05d", i)
		prefixes[i] = "cluster." + names[i] + "."
	}
	s := NewStore(Options{Lanes: 8})
	scopes := make([]*Scope, n)
	groups := make([]*Group[clusterStats], n)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	at0 := heap()
	for i := range scopes {
		scopes[i] = s.Scope(prefixes[i], Tag{"envoy.cluster_name", names[i]})
	}
	at1 := heap()
	for i := range groups {
		groups[i] = NewGroup[clusterStats](scopes[i])
	}
	at2 := heap()
	perScope, perGroup := float64(at1-at0)/n, float64(at2-at1)/n
	t.Logf("bytes: scope with a tag %.0f, group %.0f", perScope, perGroup)
	if perScope > 220 || perGroup > 64 {
		t.Errorf("bytes: scope with a tag %.0f, group %.0f, want at most 220 and 64", perScope, perGroup)
	}
	runtime.KeepAlive(groups)
}
