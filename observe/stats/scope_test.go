package stats

import (
	"strings"
	"testing"
)

func TestCloseRemovesEverythingBelow(t *testing.T) {
	s := NewStore(Options{})
	keep := s.Scope("cluster.keep.")
	keep.Counter("n").Inc()
	sc := s.Scope("cluster.gone.")
	NewGroup[clusterStats](sc).Lane(0).Total.Inc()
	held := sc.Counter("n")
	child := sc.Scope("circuit_breakers.").Scope("default.")
	child.Gauge("rq_open").Set(1)
	sc.Scope("early.").Close()
	sc.Text("version").Set("1")
	sc.Close()
	sc.Close() // once too often: nothing happens

	var out strings.Builder
	if err := s.WriteText(&out, Query{TextReadouts: true}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "cluster.keep.n: 1\n" {
		t.Errorf("left over:\n%s", out.String())
	}
	held.Inc()
	child.Counter("late").Inc()
	sc.Scope("late.").Gauge("n").Inc()
	NewGroup[clusterStats](sc).Lane(0).Total.Inc()
	if len(s.scopes) != 1 {
		t.Errorf("%d scopes are left, want 1", len(s.scopes))
	}
	if n := s.Scope("cluster.gone.").Counter("n").Value(); n != 0 {
		t.Errorf("a new scope of the same name starts at %d", n)
	}
}

func TestScopeLivesUntilItsLastClose(t *testing.T) {
	s := NewStore(Options{})
	a, b := s.Scope("http.ingress."), s.Scope("http.").Scope("ingress.")
	if a != b || a.Prefix() != "http.ingress." {
		t.Fatal("one prefix, two scopes")
	}
	a.Counter("n").Inc()
	a.Close()
	if _, ok := s.Value("http.ingress.n"); !ok {
		t.Error("gone after the first of two closes")
	}
	b.Close()
	if _, ok := s.Value("http.ingress.n"); ok {
		t.Error("still there after the last close")
	}
}

func TestSameNameIsTheSameSeries(t *testing.T) {
	sc := NewStore(Options{}).Scope("a.")
	if sc.Counter("n") != sc.Counter("n") || sc.Gauge("g") != sc.Gauge("g") || sc.Histogram("h") != sc.Histogram("h") ||
		sc.Text("t") != sc.Text("t") {
		t.Error("asking twice made two series")
	}
	if sc.Counter("n") == sc.Counter("m") {
		t.Error("two names, one series")
	}
}

func TestWithoutTagsLeavesOutTheValues(t *testing.T) {
	for _, tc := range []struct{ name, values, want string }{
		{"cluster.foo.", "foo", "cluster."},
		{"cluster.cluster.", "cluster", "cluster."},
		{"listener.0.0.0.0_80.", "0.0.0.0_80", "listener."},
		{"vhost.v.vcluster.c.", "v c", "vhost.vcluster."},
		{"vhost.x.vcluster.x.", "x x", "vhost.vcluster."},
		{"ssl.ciphers.AES", "AES", "ssl.ciphers"},
		{"food.", "foo", "food."},
		{"a.foo.b", "other", "a.foo.b"},
		{"foo", "foo", ""},
		{"aaa.aa.", "aa", "aaa."},
	} {
		var tags []Tag
		for v := range strings.FieldsSeq(tc.values) {
			tags = append(tags, Tag{"t", v})
		}
		if got := withoutTags(tc.name, tags); got != tc.want {
			t.Errorf("withoutTags(%q, %s) = %q, want %q", tc.name, tc.values, got, tc.want)
		}
	}
}

func TestNamesAreCleanedAsEnvoyDoes(t *testing.T) {
	s := NewStore(Options{})
	s.Scope("listener.[::1]:80", Tag{"envoy.listener_address", "[::1]:80"}).Counter("a:b").Inc()
	var out strings.Builder
	if err := s.WritePrometheus(&out, Query{}); err != nil {
		t.Fatal(err)
	}
	if want := `envoy_listener_a_b{envoy_listener_address="[__1]_80"} 1`; !strings.Contains(out.String(), want) {
		t.Errorf("want %s in\n%s", want, out.String())
	}
	if _, ok := s.Value("listener.[__1]_80.a_b"); !ok {
		t.Error("not found by its cleaned name")
	}
}

func TestGaugeSums(t *testing.T) {
	s := NewStore(Options{Lanes: 2})
	g := NewGroup[clusterStats](s.Scope("c."))
	g.Lane(0).Active.Dec() // as when a reader sees the Dec of a pair and not the Inc
	if n, _ := s.Value("c.upstream_rq_active"); n != 0 {
		t.Errorf("negative sum reads %d, want 0", n)
	}
	s.Scope("c.").Gauge("version").Set(-1)
	var out strings.Builder
	if err := s.WriteText(&out, Query{Type: Gauges, UsedOnly: true}); err != nil {
		t.Fatal(err)
	}
	if want := "c.upstream_rq_active: 0\nc.version: 18446744073709551615\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestStatusInANameIsATag(t *testing.T) {
	for _, tc := range []struct{ name, metric, value string }{
		{"downstream_rq_2xx", "downstream_rq_xx", "2"},
		{"upstream_rq_503", "upstream_rq", "503"},
		{"canary.upstream_rq_503", "canary.upstream_rq", "503"},
		{"upstream_rq_5x3", "upstream_rq_5x3", ""},
		{"upstream_rq_xxx", "upstream_rq_xxx", ""},
		{"upstream_rq_total", "upstream_rq_total", ""},
		{"upstream_cx_503", "upstream_cx_503", ""},
		{"rq_503", "rq_503", ""},
		{"503", "503", ""},
		{"", "", ""},
	} {
		metric, tags := splitStatus(tc.name)
		value := ""
		if len(tags) > 0 {
			value = tags[0].Value
		}
		if metric != tc.metric || value != tc.value {
			t.Errorf("%q: %q, %q, want %q, %q", tc.name, metric, value, tc.metric, tc.value)
		}
	}
	s := NewStore(Options{})
	g := NewGroup[struct {
		Rq2xx Counter `stat:"downstream_rq_2xx"`
	}](s.Scope("http.in.", Tag{"envoy.http_conn_manager_prefix", "in"}))
	g.Lane(0).Rq2xx.Inc()
	s.Scope("http.in.").Counter("downstream_rq_404").Inc()
	var out strings.Builder
	if err := s.WritePrometheus(&out, Query{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="in"} 1`,
		`envoy_http_downstream_rq{envoy_response_code="404",envoy_http_conn_manager_prefix="in"} 1`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}
