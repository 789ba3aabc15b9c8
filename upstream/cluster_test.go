package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/memory"
	"github.com/weftproxy/weft/upstream/balance"
)

// static is a cluster with the given lines of endpoints.
func static(more string, groups ...string) string {
	return "name: web\ntype: STATIC\n" + more + "\nload_assignment:\n  endpoints:\n" + strings.Join(groups, "")
}

// spot is a locality with hosts; a host is "address" or "address field: value".
func spot(fields string, hosts ...string) string {
	s := "  - lb_endpoints:\n"
	for _, h := range hosts {
		address, more, _ := strings.Cut(h, " ")
		s += "    - endpoint: {address: {socket_address: {address: " + address + ", port_value: 80}}}\n"
		if more != "" {
			s += "      " + more + "\n"
		}
	}
	if fields != "" {
		s += "    " + fields + "\n"
	}
	return s
}

func tally(t *testing.T, c *Cluster, picks int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range picks {
		h, err := c.Pick(nil)
		if err != nil {
			t.Fatal(err)
		}
		got[strings.TrimSuffix(h.Address(), ":80")]++
	}
	return got
}

func near(got, want int) bool { return got > want-want/8-20 && got < want+want/8+20 }

func TestPickFollowsWeightsPrioritiesAndLocalities(t *testing.T) {
	for _, c := range []struct {
		name string
		yaml string
		want map[string]int // of 10000
	}{
		{"weights", static("", spot("", "10.0.0.1 load_balancing_weight: 3", "10.0.0.2")), map[string]int{"10.0.0.1": 7500, "10.0.0.2": 2500}},
		{"the second priority waits", static("", spot("", "10.0.0.1"), spot("priority: 1", "10.0.0.2")), map[string]int{"10.0.0.1": 10000}},
		{"the second priority takes over", static("", spot("", "10.0.0.1", "10.0.0.2 health_status: UNHEALTHY"), spot("priority: 1", "10.0.0.3")),
			map[string]int{"10.0.0.1": 7000, "10.0.0.3": 3000}},
		{"degraded take the rest", static("", spot("", "10.0.0.1", "10.0.0.2 health_status: DEGRADED")),
			map[string]int{"10.0.0.1": 7000, "10.0.0.2": 3000}},
		{"draining gets nothing", static("", spot("", "10.0.0.1", "10.0.0.2 health_status: DRAINING")), map[string]int{"10.0.0.1": 10000}},
		{"localities do not matter", static("", spot("load_balancing_weight: 9", "10.0.0.1"), spot("load_balancing_weight: 1", "10.0.0.2")),
			map[string]int{"10.0.0.1": 5000, "10.0.0.2": 5000}},
		{"localities by weight", static("common_lb_config: {locality_weighted_lb_config: {}}",
			spot("load_balancing_weight: 3", "10.0.0.1", "10.0.0.2"), spot("load_balancing_weight: 1", "10.0.0.3"), spot("", "10.0.0.4")),
			map[string]int{"10.0.0.1": 3750, "10.0.0.2": 3750, "10.0.0.3": 2500}},
		{"localities by what they can take", static("common_lb_config: {locality_weighted_lb_config: {}}",
			spot("load_balancing_weight: 1", "10.0.0.1", "10.0.0.2 health_status: UNHEALTHY"), spot("load_balancing_weight: 1", "10.0.0.3", "10.0.0.4")),
			map[string]int{"10.0.0.1": 4117, "10.0.0.3": 2941, "10.0.0.4": 2941}},
		{"panic", static("", spot("", "10.0.0.1", "10.0.0.2 health_status: UNHEALTHY", "10.0.0.3 health_status: UNHEALTHY")),
			map[string]int{"10.0.0.1": 3333, "10.0.0.2": 3333, "10.0.0.3": 3333}},
		{"random", static("lb_policy: RANDOM", spot("", "10.0.0.1 load_balancing_weight: 3", "10.0.0.2")),
			map[string]int{"10.0.0.1": 5000, "10.0.0.2": 5000}},
		{"least request", static("lb_policy: LEAST_REQUEST", spot("", "10.0.0.1", "10.0.0.2")), map[string]int{"10.0.0.1": 5000, "10.0.0.2": 5000}},
		{"a policy as an extension", static(`load_balancing_policy:
  policies:
  - typed_extension_config:
      name: x
      typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}`,
			spot("", "10.0.0.1 load_balancing_weight: 3", "10.0.0.2")), map[string]int{"10.0.0.1": 5000, "10.0.0.2": 5000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			cluster := w.start(c.yaml)
			got := tally(t, cluster, 10000)
			for address, want := range c.want {
				if !near(got[address], want) {
					t.Errorf("%s got %d, want about %d", address, got[address], want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestPickAvoidsHostsThatWereTried(t *testing.T) {
	w := newWorld(t)
	c := w.start(static("", spot("", "10.0.0.1", "10.0.0.2")))
	h := &balance.Hints{Exclude: func(address string) bool { return address == "10.0.0.1:80" }}
	for range 20 {
		if got, _ := c.Pick(h); got.Address() != "10.0.0.2:80" {
			t.Fatalf("picked %s", got.Address())
		}
	}
	asked := 0
	h = &balance.Hints{Attempts: 3, Exclude: func(string) bool { asked++; return true }}
	if got, err := c.Pick(h); err != nil || got == nil || asked != 3 {
		t.Errorf("got %v, %v after %d questions", got, err, asked)
	}
}

func TestCompileFindsMistakes(t *testing.T) {
	one := spot("", "10.0.0.1")
	for _, c := range []struct{ yaml, path, message string }{
		{static("", spot("", "web.test")), "cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address", "malformed IP address: web.test"},
		{strings.Replace(static("", spot("", "a.test", "b.test")), "STATIC", "LOGICAL_DNS", 1), "cluster.load_assignment.endpoints", "exactly one endpoint, not 2"},
		{static("connect_timeout: 0s", one), "cluster.connect_timeout", "greater than zero"},
		{static("type: EDS\n", one)[len("name: web\ntype: STATIC\n"):] + "name: web\n", "cluster.eds_cluster_config.eds_config", "without an EDS config"},
		{static("lb_policy: MAGLEV", one), "cluster.lb_policy", "not supported"},
		{static("upstream_bind_config: {source_address: {address: nowhere, port_value: 0}}", one), "cluster.upstream_bind_config.source_address.address", "malformed"},
		{static(`health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {send: {text: zz}}}]`, one),
			"cluster.health_checks[0].tcp_health_check.send.text", "not hexadecimal"},
		{static(`health_checks: [{interval: 1s, tcp_health_check: {}}]`, one), "cluster.health_checks[0].timeout", "timeout greater than zero"},
		{static(`health_checks: [{tcp_health_check: {}}, {tcp_health_check: {}}]`, one), "cluster.health_checks", "multiple health checks"},
		{static(`health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /, expected_statuses: [{start: 300, end: 200}]}}]`, one),
			"cluster.health_checks[0].http_health_check.expected_statuses[0]", "not a range"},
		{static(`typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions}}`, one),
			`cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]`, "is required"},
	} {
		t.Run(c.path, func(t *testing.T) {
			p := resource.NewProblems("")
			Compile(newWorld(t).env, parse(t, c.yaml), "cluster", p)
			for _, problem := range p.All() {
				if string(problem.Path) == c.path && strings.Contains(problem.Message, c.message) {
					return
				}
			}
			t.Errorf("got %v, want %s at %s", p.All(), c.message, c.path)
		})
	}
}

func TestCompileTakesOptions(t *testing.T) {
	w := newWorld(t)
	c := w.compile(static(`
alt_stat_name: other
connect_timeout: 0.25s
max_requests_per_connection: 5
per_connection_buffer_limit_bytes: 4096
circuit_breakers:
  thresholds:
  - {max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 4, track_remaining: true}
  - {priority: HIGH, retry_budget: {budget_percent: {value: 50}, min_retry_concurrency: 1}}
  per_host_thresholds: [{max_connections: 7}]
metadata: {filter_metadata: {a: {b: c}}}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}, enable_trailers: true}}
    common_http_protocol_options: {idle_timeout: 0s, max_connection_duration: 60s, max_response_headers_kb: 10, max_headers_count: 20, max_stream_duration: 3s}
`, spot("", "10.0.0.1 metadata: {filter_metadata: {envoy.lb: {canary: true}}}")))
	defer c.Close()
	o := c.Config
	if o.StatName != "other" || c.Scope().Prefix() != "cluster.other." || o.ConnectTimeout.Seconds() != 0.25 || o.BufferLimit != 4096 || o.PerHost != 7 {
		t.Errorf("%+v", o)
	}
	if want := (HTTP{Version: protocol.HTTP11, Client: HTTP1Options{20, 10 << 10, true, true, false, false}, MaxDuration: 60e9, MaxRequests: 5, MaxStream: 3e9}); o.HTTP != want {
		t.Errorf("HTTP options %+v, want %+v", o.HTTP, want)
	}
	if want := (Thresholds{Connections: 1, Pending: 2, Requests: 3, Retries: 4, TrackRemaining: true}); o.Breakers[0] != want {
		t.Errorf("breakers %+v", o.Breakers[0])
	}
	if o.Metadata["a"]["b"] != "c" || !c.Hosts().All()[0].Canary() {
		t.Error("metadata is lost")
	}
	b := c.Breaker(1)
	for range 10 {
		b.Requests.Force()
	}
	for i := range 6 {
		if got := b.Retries.Try(); got != (i < 5) {
			t.Errorf("retry %d of a budget of half of 10: %v", i, got)
		}
	}
	c.Start(t.Context())
	var out bytes.Buffer
	if err := w.store.WriteText(&out, stats.Query{}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"cluster.other.circuit_breakers.default.remaining_cx: 1\n", "cluster.other.membership_total: 1\n",
		"cluster.other.upstream_cx_total: 0\n", "cluster.other.circuit_breakers.high.cx_open: 0\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in the statistics", line)
		}
	}
}

func TestUnixSocketHost(t *testing.T) {
	w := newWorld(t)
	c := w.start("name: web\nload_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /run/web.sock}}}}]}]}\n")
	h, err := c.Pick(nil)
	if err != nil || h.Address() != "/run/web.sock" || h.AddrPort().IsValid() {
		t.Errorf("got %v, %v", h, err)
	}
}

func TestEmptyClusterHasNoHost(t *testing.T) {
	w := newWorld(t)
	c := w.start("name: web\n")
	var e *PickError
	if _, err := c.Pick(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "web") {
		t.Errorf("got %v", err)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	c := w.start(static("", spot("", "10.0.0.1", "10.0.0.2"), spot("priority: 1", "10.0.0.3")))
	h := &balance.Hints{}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := c.Pick(h); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// maxIdleCluster is what a STATIC cluster with one host may cost that nobody uses, in bytes.
const maxIdleCluster = 3 << 10

func TestAnUnusedClusterCostsLittle(t *testing.T) {
	const n = 10000
	env := CompileEnv{Stats: stats.NewStore(stats.Options{Lanes: 2}), Network: memory.New(), HTTP1: func(HTTP1Options) protocol.Client { return nil }}
	m := parse(t, static("", spot("", "10.0.0.1")))
	p := resource.NewProblems("")
	all := make([]*Cluster, n)
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for i := range all {
		m.Name = fmt.Sprintf("cluster_%d", i)
		all[i] = Compile(env, m, "cluster", p)
		all[i].Start(t.Context())
	}
	each := (heap() - before) / n
	t.Logf("%d bytes each", each)
	if each > maxIdleCluster {
		t.Errorf("%d bytes each, want at most %d", each, maxIdleCluster)
	}
	for _, c := range all {
		c.Close()
	}
}

func BenchmarkCompile(b *testing.B) {
	env := CompileEnv{Stats: stats.NewStore(stats.Options{Lanes: 2}), Network: memory.New()}
	m := parse(b, static("", spot("", "10.0.0.1")))
	p := resource.NewProblems("")
	b.ReportAllocs()
	for b.Loop() {
		c := Compile(env, m, "cluster", p)
		c.Start(b.Context())
		c.Close()
	}
}

func BenchmarkPick(b *testing.B) {
	env := CompileEnv{Stats: stats.NewStore(stats.Options{Lanes: 2}), Network: memory.New()}
	hosts := make([]string, 1000)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250)
	}
	c := Compile(env, parse(b, static("", spot("", hosts...))), "cluster", resource.NewProblems(""))
	h := &balance.Hints{}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Pick(h); err != nil {
			b.Fatal(err)
		}
	}
}
