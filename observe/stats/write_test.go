package stats

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

// goldenStore has every kind of series, in orders that a listing by scope would get wrong.
func goldenStore() *Store {
	s := NewStore(Options{Lanes: 2, Tags: []Tag{{"zone", `a"b`}}, Reject: func(name string) bool { return strings.HasSuffix(name, ".rejected") }})
	for _, name := range []string{"foo", "bar", "idle", "foo.bar"} {
		sc := s.Scope("cluster."+name+".", Tag{"envoy.cluster_name", name})
		g := NewGroup[clusterStats](sc)
		sc.Scope("circuit_breakers.").Scope("default.").Gauge("rq_open")
		if name == "idle" {
			continue
		}
		for lane := range uint32(2) {
			m := g.Lane(lane)
			m.Total.Add(uint64(len(name)))
			m.Active.Inc()
			m.Time.Record(uint64(10 * len(name)))
			m.Codes.Inc(200)
			m.Codes.Inc(503)
		}
		sc.Counter("ssl.ciphers.AES", Tag{"envoy.ssl_cipher", "AES"}).Inc()
	}
	s.Flush()
	s.Scope("cluster.foo.").Histogram("upstream_rq_time").Record(7) // shares a name with the group
	s.Scope("cluster.foo.").Counter("upstream_rq_total").Add(100)   // this too
	s.Scope("server.").Counter("rejected").Inc()
	s.Scope("server.").Text("version").Set("1.2 \"x\"\n")
	s.Scope("server.").Gauge("live").Set(1)
	s.Scope("server.").Counter("live").Inc() // one name, two kinds
	return s
}

func TestOutputIsEnvoys(t *testing.T) {
	s := goldenStore()
	for name, q := range map[string]Query{
		"all":        {TextReadouts: true},
		"used":       {UsedOnly: true},
		"filter":     {Filter: regexp.MustCompile(`^cluster\.foo\..*rq_t`)},
		"gauges":     {Type: Gauges},
		"cumulative": {HistogramBuckets: "cumulative", Type: Histograms},
		"disjoint":   {HistogramBuckets: "disjoint", Type: Histograms},
		"detailed":   {HistogramBuckets: "detailed", Type: Histograms},
		"summary":    {HistogramBuckets: "summary", Type: Histograms, UsedOnly: true},
	} {
		for format, write := range map[string]func(*strings.Builder) error{
			"txt":  func(w *strings.Builder) error { return s.WriteText(w, q) },
			"json": func(w *strings.Builder) error { return s.WriteJSON(w, q) },
			"prom": func(w *strings.Builder) error { return s.WritePrometheus(w, q) },
		} {
			t.Run(name+"."+format, func(t *testing.T) {
				var out strings.Builder
				err := write(&out)
				if format == "prom" && (name == "detailed" || name == "disjoint") {
					if err == nil || out.Len() > 0 {
						t.Errorf("err = %v, want a refusal of the histogram mode", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if format == "json" && !json.Valid([]byte(out.String())) {
					t.Errorf("not JSON: %s", out.String())
				}
				golden(t, filepath.Join("testdata", name+"."+format), out.String())
			})
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s", file, got)
	}
}

func TestTextIsSortedWithinEachKind(t *testing.T) {
	s := NewStore(Options{})
	for _, prefix := range []string{"a.", "a.b.", "a.b.c.", "", "b.", "a.bb."} {
		c := s.Scope(prefix)
		for _, name := range []string{"b.z", "c", "b.c.a", "bb.c", "0", "zz", "a.b.c.d"} {
			c.Counter(name).Inc()
			c.Gauge(name + "g").Inc()
		}
		NewGroup[clusterStats](c).Lane(0).Codes.Inc(404)
	}
	var out strings.Builder
	if err := s.WriteText(&out, Query{Type: Counters}); err != nil {
		t.Fatal(err)
	}
	var names []string
	var sum int
	for line := range strings.Lines(out.String()) {
		name, value, _ := strings.Cut(line, ":")
		if strings.HasSuffix(name, "g") {
			t.Errorf("a gauge among the counters: %s", name)
		}
		names = append(names, name)
		if v := strings.TrimSpace(value); v != "0" {
			sum += int(v[0] - '0')
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("not sorted:\n%s", out.String())
	}
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("a name comes twice:\n%s", out.String())
	}
	if want := 6*7 + 6*2; sum != want { // counters, and 404 with its class
		t.Errorf("the values add up to %d, want %d", sum, want)
	}
}

func TestCompareJoinedComparesTheWhole(t *testing.T) {
	parts := []string{"", "a", "a.", "a.b", "b", "a.b.", "aa", ".", "b.a"}
	for _, a1 := range parts {
		for _, a2 := range parts {
			for _, b1 := range parts {
				for _, b2 := range parts {
					if got, want := compareJoined(a1, a2, b1, b2), strings.Compare(a1+a2, b1+b2); got != want {
						t.Fatalf("%q+%q and %q+%q: %d, want %d", a1, a2, b1, b2, got, want)
					}
				}
			}
		}
	}
}

// A scraper rejects a whole page for one bad line.
func TestPrometheusPageIsWellFormed(t *testing.T) {
	s := goldenStore()
	odd := s.Scope("http.a/b-ü.", Tag{"envoy.http_conn_manager_prefix", "a/b-ü"}, Tag{"1st", "\xff\\\n"}, Tag{"zone", "mine"})
	odd.Counter("x").Inc()
	odd.Gauge("x").Inc()
	odd.Histogram("x").Record(3)
	s.Scope("http.a-b.").Counter("n").Inc()
	s.Scope("http.a_b.").Counter("n").Inc()
	for _, mode := range []string{"", "summary"} {
		var out strings.Builder
		if err := s.WritePrometheus(&out, Query{TextReadouts: true, HistogramBuckets: mode}); err != nil {
			t.Fatal(err)
		}
		checkPage(t, out.String())
	}
}

var sample = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*",?)*)\} (\d+|NaN|\d+\.\d+)$`)

func checkPage(t *testing.T, page string) {
	t.Helper()
	typed, seen := make(map[string]bool), make(map[string]bool)
	current := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if f := strings.Fields(line); f[0] == "#" {
			if f[1] == "TYPE" {
				if current = f[2]; typed[current] {
					t.Errorf("second TYPE of %s", current)
				}
				typed[current] = true
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("bad line: %s", line)
			continue
		}
		if base := strings.TrimPrefix(m[1], current); base != "" && base != "_bucket" && base != "_sum" && base != "_count" {
			t.Errorf("%s in the block of %s", m[1], current)
		}
		if seen[m[1]+m[2]] {
			t.Errorf("twice: %s", line)
		}
		seen[m[1]+m[2]] = true
		labels := make(map[string]bool)
		for _, l := range regexp.MustCompile(`([a-zA-Z0-9_]+)="`).FindAllStringSubmatch(m[2], -1) {
			if labels[l[1]] {
				t.Errorf("label %s twice: %s", l[1], line)
			}
			labels[l[1]] = true
		}
	}
	if len(seen) == 0 {
		t.Error("no samples")
	}
}

type failingWriter struct{ left int }

var errFull = errors.New("full")

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriteErrorStopsTheListing(t *testing.T) {
	s := bigStore(400)
	for name, write := range map[string]func(*failingWriter) error{
		"text":       func(w *failingWriter) error { return s.WriteText(w, Query{}) },
		"json":       func(w *failingWriter) error { return s.WriteJSON(w, Query{}) },
		"prometheus": func(w *failingWriter) error { return s.WritePrometheus(w, Query{}) },
	} {
		if err := write(&failingWriter{left: 70_000}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownParametersAreRefused(t *testing.T) {
	s := NewStore(Options{})
	q := Query{HistogramBuckets: "round"}
	var out strings.Builder
	if s.WriteText(&out, q) == nil || s.WriteJSON(&out, q) == nil || s.WritePrometheus(&out, q) == nil || out.Len() > 0 {
		t.Error("histogram_buckets=round was accepted")
	}
	if _, err := ParseType("Counter"); err == nil {
		t.Error("type=Counter was accepted")
	}
	if typ, err := ParseType("Histograms"); err != nil || typ != Histograms {
		t.Errorf("type=Histograms: %v, %v", typ, err)
	}
}

func TestBucketSettingsApply(t *testing.T) {
	s := NewStore(Options{Buckets: func(name string) []float64 {
		if name == "c.own" {
			return []float64{0.1, 10}
		}
		return nil
	}})
	s.Scope("c.").Histogram("own").Record(9)
	s.Scope("c.").Histogram("default").Record(9)
	var out strings.Builder
	if err := s.WritePrometheus(&out, Query{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`envoy_c_own_bucket{le="0.1"} 0`, `envoy_c_own_bucket{le="10"} 1`, `envoy_c_default_bucket{le="3600000"} 1`} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), `envoy_c_own_bucket{le="25"}`) {
		t.Error("own buckets did not replace the defaults")
	}
}
