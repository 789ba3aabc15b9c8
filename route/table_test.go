package route

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

// configOf reads a RouteConfiguration from YAML.
func configOf(t testing.TB, text string) *routev3.RouteConfiguration {
	t.Helper()
	var cfg routev3.RouteConfiguration
	if err := protojson.Unmarshal(toJSON(t, []byte(text)), &cfg); err != nil {
		t.Fatal(err)
	}
	return &cfg
}

// compile compiles a configuration that must have no errors.
func compile(t testing.TB, cfg *routev3.RouteConfiguration) *Table {
	t.Helper()
	p := resource.NewProblems("")
	table := Compile(Env{Format: format.Options{}}, cfg, "rc", p)
	for _, problem := range p.All() {
		t.Error(problem)
	}
	return table
}

// get returns a GET request with header fields given as name, value, name, value.
func get(authority, path string, fields ...string) *message.Request {
	r := &message.Request{Method: "GET", Scheme: "http", Authority: authority, Path: path, Body: message.NoBody}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func TestHostsAreFoundAsEnvoyFindsThem(t *testing.T) {
	host := func(name string, domains ...string) *routev3.VirtualHost {
		return &routev3.VirtualHost{Name: name, Domains: domains, Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}}}}}
	}
	hosts := []*routev3.VirtualHost{
		host("exact", "Foo.com", "bar.com:8080"), host("suffix", "*.foo.com"), host("dash", "*-bar.foo.com"), host("longer", "*.baz.foo.com"),
		host("prefix", "foo.*"), host("longer prefix", "foo.bar.*"), host("v6", "[::1]:80"),
	}
	any := append(hosts[:len(hosts):len(hosts)], host("any", "*"))
	for _, c := range []struct {
		hosts      []*routev3.VirtualHost
		ignorePort bool
		authority  string
		want       string // "": none
	}{
		{any, false, "foo.com", "exact"}, {any, false, "FOO.Com", "exact"}, {any, false, "foo.com:80", "prefix"}, {any, true, "foo.com:80", "exact"},
		{any, false, "bar.com:8080", "exact"}, {any, false, "bar.com", "any"}, {any, true, "bar.com:8080", "any"},
		{any, false, "a.foo.com", "suffix"}, {any, false, "A.B.foo.com", "suffix"}, {any, false, ".foo.com", "any"}, {any, false, "a-bar.foo.com", "dash"},
		{any, false, "x.baz.foo.com", "longer"}, {any, false, "foo.org", "prefix"}, {any, false, "foo.", "any"}, {any, false, "foo.bar.org", "longer prefix"},
		{any, false, "[::1]:80", "v6"}, {any, true, "[::2]:80", "any"}, {any, false, "", "any"}, {hosts, false, "other.com", ""}, {hosts, false, "", ""},
		{any, false, strings.Repeat("A", 300) + ".foo.com", "suffix"}, {[]*routev3.VirtualHost{host("any", "*")}, false, "x", "any"},
	} {
		table := compile(t, &routev3.RouteConfiguration{VirtualHosts: c.hosts, IgnorePortInHostMatching: c.ignorePort})
		if got := table.Match(get(c.authority, "/"), nil, 0).VirtualHost; got != c.want {
			t.Errorf("%q (ignore port: %v): %q, want %q", c.authority, c.ignorePort, got, c.want)
		}
	}
}

func TestRoutesAreMatchedAsWritten(t *testing.T) {
	table := compile(t, configOf(t, `
ignore_path_parameters_in_path_matching: true
virtual_hosts:
- name: h
  domains: ['*']
  routes:
  - {name: connect, match: {connect_matcher: {}}, route: {cluster: c}}
  - {name: grpc, match: {prefix: /g, grpc: {}}, route: {cluster: c}}
  - {name: header, match: {prefix: /h, headers: [{name: x, string_match: {exact: a}}, {name: ':method', string_match: {exact: POST}, invert_match: true}]}, route: {cluster: c}}
  - {name: query, match: {path: /h, query_parameters: [{name: q, string_match: {prefix: '1'}}]}, route: {cluster: c}}
  - {name: cookie, match: {prefix: /h, cookies: [{name: s, string_match: {exact: a}}]}, route: {cluster: c}}
  - {name: fraction, match: {prefix: /f, runtime_fraction: {default_value: {numerator: 10}}}, route: {cluster: c}}
  - {name: separated, match: {path_separated_prefix: /sep}, route: {cluster: c}}
  - {name: folded separated, match: {path_separated_prefix: /Fold, case_sensitive: false}, route: {cluster: c}}
  - {name: folded, match: {path: /Any/Case, case_sensitive: false}, route: {cluster: c}}
  - {name: regex, match: {safe_regex: {regex: '/re/\d+'}}, route: {cluster: c}}
  - {name: exact, match: {path: /re/x}, route: {cluster: c}}
  - {name: shadowed, match: {path: /re/1}, route: {cluster: c}}
  - {name: dot, match: {safe_regex: {regex: '.*\.php'}}, route: {cluster: c}}
  - {name: rest, match: {prefix: /r}, route: {cluster: c}}
`))
	connect := get("h:1", "")
	connect.Method, connect.Upgrade = "CONNECT", "connect"
	for _, c := range []struct {
		r      *message.Request
		random uint64
		want   string
	}{
		{connect, 0, "connect"}, {get("h", ""), 0, ""},
		{get("h", "/g", "content-type", "application/grpc"), 0, "grpc"}, {get("h", "/g", "content-type", "application/grpc+proto"), 0, "grpc"},
		{get("h", "/g", "content-type", "application/grpc-web"), 0, ""}, {get("h", "/g"), 0, ""},
		{get("h", "/h", "x", "a"), 0, "header"}, {get("h", "/h", "x", "b"), 0, ""}, {get("h", "/h?q=12"), 0, "query"}, {get("h", "/h?p=1&q=2"), 0, ""},
		{get("h", "/h/x?q=12"), 0, ""}, {get("h", "/h", "cookie", "s=a"), 0, "cookie"},
		{get("h", "/f"), 9, "fraction"}, {get("h", "/f"), 10, ""},
		{get("h", "/sep"), 0, "separated"}, {get("h", "/sep/a"), 0, "separated"}, {get("h", "/sep?a"), 0, "separated"}, {get("h", "/separate"), 0, ""},
		{get("h", "/sep;a=b"), 0, "separated"}, {get("h", "/FOLD/x"), 0, "folded separated"}, {get("h", "/FOLDx"), 0, ""},
		{get("h", "/aNY/cASE?x"), 0, "folded"}, {get("h", "/aNY/cASE/"), 0, ""}, {get("h", "/any/case;p=1?x"), 0, "folded"},
		{get("h", "/re/1"), 0, "regex"}, {get("h", "/re/1?x"), 0, "regex"}, {get("h", "/re/1/"), 0, "rest"}, {get("h", "/re/x"), 0, "exact"},
		{get("h", "/re/x#frag"), 0, "exact"}, {get("h", "/re/a.php"), 0, "dot"}, {get("h", "/re/a.php5"), 0, "rest"}, {get("h", "/R"), 0, ""},
	} {
		got := table.Match(c.r, nil, c.random)
		if got.Name != c.want {
			t.Errorf("%s: %q, want %q", c.r.Path, got.Name, c.want)
		}
		if x := table.Explain(c.r, nil, c.random); x.Route != got {
			t.Errorf("%s: explained by %q", c.r.Path, x.Route.Name)
		}
	}
}

// TestTheIndexKeepsTheOrder compares the indexed match with a walk, on routes that overlap as much as they can.
func TestTheIndexKeepsTheOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	path := func(n int) string {
		var b strings.Builder
		b.WriteByte('/')
		for range rnd.IntN(n) {
			b.WriteByte("abAB/;"[rnd.IntN(6)])
		}
		return b.String()
	}
	for round := range 300 {
		vh := &routev3.VirtualHost{Name: "h", Domains: []string{"*"}}
		for i := range 1 + rnd.IntN(120) {
			m := &routev3.RouteMatch{}
			if rnd.IntN(3) == 0 {
				m.CaseSensitive = wrapperspb.Bool(false)
			}
			p := path(6)
			if round%10 == 0 {
				p = "/" + strings.Repeat("a", i) // deeper than the index follows
			}
			switch rnd.IntN(8) {
			case 0, 1, 2:
				m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p}
			case 3, 4:
				m.PathSpecifier = &routev3.RouteMatch_Path{Path: p}
			case 5:
				m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimRight(p, "/") + "a"}
			case 6:
				m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p + []string{"", ".*", "[ab]+", "(?i)a"}[rnd.IntN(4)]}}
			default:
				m.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
			}
			if rnd.IntN(3) == 0 {
				m.Headers = []*routev3.HeaderMatcher{{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: fmt.Sprint(rnd.IntN(3))}}}
			}
			vh.Routes = append(vh.Routes, &routev3.Route{Name: fmt.Sprint(i), Match: m,
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}}})
		}
		table := compile(t, &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{vh}, IgnorePathParametersInPathMatching: round%2 == 0})
		h := table.domains.any.host
		for range 200 {
			r := get("h", path(9), "x", fmt.Sprint(rnd.IntN(4)))
			if round%10 == 0 {
				r.Path = "/" + strings.Repeat("a", rnd.IntN(120))
			}
			if rnd.IntN(10) == 0 {
				r.Method, r.Path = "CONNECT", ""
			}
			q := table.query(r, nil, 0)
			if got, want := h.find(&q), h.walk(&q); got != want {
				t.Fatalf("%s %s: %v, want %v", r.Method, r.Path, got, want)
			}
		}
	}
}

// big is a table of n virtual hosts with one route each, and one with n routes.
func big(n int) *routev3.RouteConfiguration {
	cfg := &routev3.RouteConfiguration{Name: "big"}
	all := &routev3.VirtualHost{Name: "all", Domains: []string{"all.example.com"}}
	for i := range n {
		m := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprintf("/service/%d/", i)}}
		switch i % 3 {
		case 1:
			m.PathSpecifier = &routev3.RouteMatch_Path{Path: fmt.Sprintf("/service/%d", i)}
		case 2:
			m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: fmt.Sprintf("/separated/%d", i)}
		}
		r := &routev3.Route{Name: fmt.Sprint(i), Match: m, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: fmt.Sprintf("cluster-%d", i)}}}}
		all.Routes = append(all.Routes, r)
	}
	cfg.VirtualHosts = append(cfg.VirtualHosts, all)
	return cfg
}

func bigHosts(n int) *routev3.RouteConfiguration {
	cfg := &routev3.RouteConfiguration{Name: "hosts"}
	for i := range n {
		domain := fmt.Sprintf("h%d.example.com", i)
		if i%2 == 1 {
			domain = fmt.Sprintf("*.h%d.example.com", i)
		}
		cfg.VirtualHosts = append(cfg.VirtualHosts, &routev3.VirtualHost{Name: fmt.Sprint(i), Domains: []string{domain}, Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}}}}})
	}
	return cfg
}

func TestMatchAllocatesNothing(t *testing.T) {
	table := compile(t, configOf(t, `
virtual_hosts:
- name: h
  domains: ['*.Example.com']
  require_tls: EXTERNAL_ONLY
  routes:
  - {name: a, match: {prefix: /A, case_sensitive: false, headers: [{name: x, string_match: {safe_regex: {regex: 'a+|b+'}}}]}, route: {cluster: c}}
  - {name: b, match: {safe_regex: {regex: '/a/\d+/.*'}, query_parameters: [{name: q, string_match: {exact: '1'}}]}, route: {cluster: c}}
`))
	r := get("WWW.example.com", "/a/12/c?q=1", "x", "c", "x-envoy-internal", "true")
	upper := get("WWW.example.com", "/A/12/C?q=1", "x", "aa", "x-envoy-internal", "true")
	if n := testing.AllocsPerRun(200, func() {
		if table.Match(r, nil, 0).Name != "b" || table.Match(upper, nil, 0).Name != "a" {
			t.Fatal("wrong route")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManyRoutesAreCheap(t *testing.T) {
	const n = 10_000
	cfg := big(n)
	before := heap()
	began := time.Now()
	table := compile(t, cfg)
	took := time.Since(began)
	size := (heap() - before) / n
	t.Logf("%d routes: %v, %d bytes each", n, took, size)
	if size > 1536 {
		t.Errorf("%d bytes a route, want at most 1536", size)
	}
	runtime.KeepAlive(cfg)
	for _, path := range []string{"/service/9999/x", "/service/4000", "/separated/9998/y"} {
		if table.Match(get("all.example.com", path), nil, 0).Target == nil {
			t.Errorf("%s: no route", path)
		}
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		table, hosts := compile(b, big(n)), compile(b, bigHosts(n))
		last := n - 1 - (n-1)%3
		for name, r := range map[string]*message.Request{
			"prefix": get("all.example.com", fmt.Sprintf("/service/%d/x?a=b", last)), "exact": get("all.example.com", fmt.Sprintf("/service/%d", last-2)),
			"none": get("all.example.com", "/nowhere"),
		} {
			b.Run(fmt.Sprintf("%s/routes=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					table.Match(r, nil, 0)
				}
			})
		}
		r := get(fmt.Sprintf("www.h%d.example.com", n-1), "/")
		b.Run(fmt.Sprintf("suffix domain/hosts=%d", n), func(b *testing.B) {
			for b.Loop() {
				hosts.Match(r, nil, 0)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	cfg := big(10_000)
	b.ReportAllocs()
	for b.Loop() {
		Compile(Env{}, cfg, "static_resources.listeners[0].route_config", resource.NewProblems(""))
	}
}
