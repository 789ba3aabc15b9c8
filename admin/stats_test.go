package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/weftproxy/weft/observe/stats"
)

func someStats() *stats.Store {
	store := stats.NewStore(stats.Options{})
	web := store.Scope("cluster.web", stats.Tag{Name: "envoy.cluster_name", Value: "web"})
	web.Counter("upstream_rq_total").Add(3)
	web.Counter("upstream_rq_timeout")
	web.Gauge("membership_total").Set(2)
	web.Histogram("upstream_rq_time").Record(10)
	web.Text("version").Set("v1")
	return store
}

func TestStats(t *testing.T) {
	for _, tc := range []struct {
		query string
		with  []string
		not   []string
	}{
		{"", []string{"cluster.web.upstream_rq_total: 3\n", "cluster.web.upstream_rq_timeout: 0\n", "cluster.web.membership_total: 2\n", `cluster.web.version: "v1"`, "cluster.web.upstream_rq_time: P0("}, nil},
		{"?format=text&usedonly", []string{"upstream_rq_total: 3"}, []string{"upstream_rq_timeout"}},
		{"?format=html&filter=membership", []string{"membership_total"}, []string{"upstream_rq"}},
		{"?filter=rq_to.%2B$", []string{"upstream_rq_total"}, []string{"timeout"}},
		{"?filter=rq_to.+$", []string{"upstream_rq_total"}, []string{"timeout"}},
		{"?type=Gauges", []string{"membership_total"}, []string{"upstream_rq_total", "version"}},
		{"?type=Histograms&histogram_buckets=cumulative", []string{"upstream_rq_time: B0.5(0,0)"}, []string{"rq_total"}},
		{"?format=json&type=Counters", []string{`{"stats":[`, `{"name":"cluster.web.upstream_rq_total","value":3}`}, []string{"membership"}},
		{"?format=json&pretty&filter=rq_total", []string{"{\n \"stats\": [\n  {\n   \"name\": "}, []string{"membership"}},
		{"?format=prometheus&filter=cluster", []string{`envoy_cluster_upstream_rq_total{envoy_cluster_name="web"} 3`}, []string{"version"}},
		{"/prometheus?filter=cluster&text_readouts", []string{`envoy_cluster_version{`}, nil},
		{"/prometheus?histogram_buckets=summary", []string{`quantile="0.5"`}, []string{"_bucket"}},
	} {
		code, body := get(t, State{Stats: someStats()}, "/stats"+tc.query)
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", tc.query, code, body)
		}
		for _, s := range tc.with {
			if !strings.Contains(body, s) {
				t.Errorf("%s: no %q in\n%s", tc.query, s, body)
			}
		}
		for _, s := range tc.not {
			if strings.Contains(body, s) {
				t.Errorf("%s: %q in\n%s", tc.query, s, body)
			}
		}
		if strings.Contains(tc.query, "json") && !json.Valid([]byte(body)) {
			t.Errorf("%s: not JSON: %s", tc.query, body)
		}
	}
}

func TestStatsRefusesWhatEnvoyRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"?filter=(":                            "Invalid re2 regex",
		"?type=Nothing":                        "invalid &type= param",
		"?format=xml":                          "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n",
		"?histogram_buckets=all":               "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n",
		"/prometheus?filter=(":                 "Invalid re2 regex",
		"/prometheus?histogram_buckets=detail": "usage: /stats/prometheus?histogram_buckets=(cumulative|summary)\n",
	} {
		if code, body := get(t, State{}, "/stats"+query); code != http.StatusBadRequest || body != want {
			t.Errorf("%s: %d %q, want %q", query, code, body, want)
		}
	}
}

func TestStatsContentTypes(t *testing.T) {
	for query, want := range map[string]string{
		"": "text/plain; charset=UTF-8", "?format=json": "application/json", "?format=prometheus": "text/plain; version=0.0.4; charset=utf-8",
		"/prometheus": "text/plain; version=0.0.4; charset=utf-8", "?format=html": "text/plain; charset=UTF-8",
	} {
		if got := do(t, State{}, http.MethodGet, "/stats"+query, "").Header.Get("Content-Type"); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestFlushOnAdminEndsTheInterval(t *testing.T) {
	for _, flush := range []bool{false, true} {
		_, body := get(t, State{Stats: someStats(), FlushOnAdmin: flush}, "/stats?filter=rq_time$")
		if got := strings.Contains(body, "P0(nan,"); got == flush {
			t.Errorf("flush %v: %s", flush, body)
		}
	}
}

func TestResetCounters(t *testing.T) {
	s := State{Stats: someStats()}
	if code, body := post(t, s, "/reset_counters"); code != 200 || body != "OK\n" {
		t.Fatal(code, body)
	}
	if n, _ := s.Stats.Value("cluster.web.upstream_rq_total"); n != 0 {
		t.Errorf("counter is %d", n)
	}
	if n, _ := s.Stats.Value("cluster.web.membership_total"); n != 2 {
		t.Errorf("gauge is %d", n)
	}
}
