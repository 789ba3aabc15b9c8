package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

// hostNamed is a virtual host with two routes, one of them with weights, for <name>.com.
func hostNamed(name, cluster string) *routev3.VirtualHost {
	to := func(prefix string, a *routev3.RouteAction) *routev3.Route {
		return &routev3.Route{Name: prefix, Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
			Action: &routev3.Route_Route{Route: a}}
	}
	return &routev3.VirtualHost{Name: name, Domains: []string{name + ".com", "*." + name + ".com"}, RequireTls: routev3.VirtualHost_EXTERNAL_ONLY, Routes: []*routev3.Route{
		to("/w", &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
			Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: cluster, Weight: wrapperspb.UInt32(1)}}}}}),
		to("/", &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}),
	}}
}

// recompile compiles a configuration that must have no errors, after another one. The messages are copies, as a source would send them.
func recompile(t testing.TB, prev *Table, cfg *routev3.RouteConfiguration, found ...*resource.Resource) *Table {
	t.Helper()
	p := resource.NewProblems("")
	table := Recompile(prev, Env{Format: format.Options{ReadFile: func(string) ([]byte, error) { return []byte("text"), nil }}}, proto.CloneOf(cfg), found, "rc", p)
	for _, problem := range p.All() {
		t.Fatal(problem)
	}
	return table
}

// kept counts the routes that two tables have in common.
func kept(a, b *Table) int {
	n := 0
	for _, r := range b.Routes() {
		if r != b.none && slices.Contains(a.Routes(), r) {
			n++
		}
	}
	return n
}

// verify checks that a table is what compiling its configuration afresh gives, but for IDs, and that the IDs are right.
func verify(t *testing.T, got *Table, cfg *routev3.RouteConfiguration, found ...*resource.Resource) {
	t.Helper()
	want := recompile(t, nil, cfg, found...)
	if d := cmp.Diff(want.Clusters(), got.Clusters()); d != "" {
		t.Fatal(d)
	}
	seen := map[int]bool{}
	for i, h := range got.hosts {
		w := want.hosts[i]
		if h.place != w.place || h.name != w.name || len(h.routes) != len(w.routes) || len(h.entries) != len(w.entries) {
			t.Fatalf("host %d: %s %q, want %s %q", i, h.place, h.name, w.place, w.name)
		}
		for k, r := range h.routes {
			if seen[r.ID] || got.Routes()[r.ID] != r {
				t.Fatalf("%s: ID %d is not its own", r.Place, r.ID)
			}
			seen[r.ID] = true
			copied, fresh := *r, *w.routes[k]
			copied.ID, fresh.ID = 0, 0
			if d := cmp.Diff(fresh, copied, cmp.AllowUnexported(exchange.Weighted{})); d != "" {
				t.Fatal(d)
			}
		}
		for _, path := range []string{"/w", "/x"} {
			a, b := get("a."+h.name+".com", path, "x-forwarded-proto", "https"), get(h.name+".com", path)
			for _, request := range []*exchange.Route{got.Match(a, nil, 0), got.Match(b, nil, 0)} {
				if request.VirtualHost != h.name || !slices.Contains(h.routes, request) {
					t.Fatalf("%s%s takes %q of %q", h.name, path, request.Place, request.VirtualHost)
				}
			}
		}
	}
	if none := got.Match(get("nobody.org", "/"), nil, 0); none.Target != nil || got.Routes()[none.ID] != none || seen[none.ID] {
		t.Fatal("the route of no match has no ID of its own")
	}
	for id, r := range got.Routes() {
		if r == nil || !seen[id] && r != got.none {
			t.Fatalf("ID %d: %v", id, r)
		}
	}
}

func TestUnchangedVirtualHostsAreKept(t *testing.T) {
	base := func() *routev3.RouteConfiguration {
		return &routev3.RouteConfiguration{Name: "rc", VirtualHosts: []*routev3.VirtualHost{hostNamed("a", "1"), hostNamed("b", "1"), hostNamed("c", "1"), hostNamed("d", "1")}}
	}
	for _, tc := range []struct {
		name   string
		change func(cfg *routev3.RouteConfiguration)
		kept   int // routes, three a host
	}{
		{"nothing", func(*routev3.RouteConfiguration) {}, 12},
		{"one", func(c *routev3.RouteConfiguration) { c.VirtualHosts[1] = hostNamed("b", "2") }, 9},
		{"added last", func(c *routev3.RouteConfiguration) { c.VirtualHosts = append(c.VirtualHosts, hostNamed("e", "1")) }, 12},
		{"added first", func(c *routev3.RouteConfiguration) {
			c.VirtualHosts = append([]*routev3.VirtualHost{hostNamed("e", "1")}, c.VirtualHosts...)
		}, 0}, // they have moved
		{"removed", func(c *routev3.RouteConfiguration) { c.VirtualHosts = c.VirtualHosts[:3] }, 9},
		{"swapped", func(c *routev3.RouteConfiguration) {
			c.VirtualHosts[0], c.VirtualHosts[3] = c.VirtualHosts[3], c.VirtualHosts[0]
		}, 6},
		{"most removed", func(c *routev3.RouteConfiguration) { c.VirtualHosts = c.VirtualHosts[:1] }, 0},
		{"all removed", func(c *routev3.RouteConfiguration) { c.VirtualHosts = nil }, 0},
		{"what all inherit", func(c *routev3.RouteConfiguration) { c.ResponseHeadersToRemove = []string{"x"} }, 0},
		{"validation", func(c *routev3.RouteConfiguration) { c.ValidateClusters = wrapperspb.Bool(false) }, 0},
		{"its name", func(c *routev3.RouteConfiguration) { c.Name = "other" }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first := recompile(t, nil, base())
			cfg := base()
			tc.change(cfg)
			second := recompile(t, first, cfg)
			verify(t, second, cfg)
			if n := kept(first, second); n != tc.kept {
				t.Errorf("%d routes kept, want %d", n, tc.kept)
			}
			verify(t, first, base()) // as it was
			verify(t, recompile(t, second, base()), base())
		})
	}
}

func TestFilesAreReadAnew(t *testing.T) {
	cfg := configOf(t, "{name: rc, virtual_hosts: [{name: f, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {filename: /f}}}]}]}")
	text := "one"
	env := Env{Format: format.Options{ReadFile: func(string) ([]byte, error) { return []byte(text), nil }}}
	first := Compile(env, cfg, "rc", resource.NewProblems(""))
	text = "two"
	second := Recompile(first, env, cfg, nil, "rc", resource.NewProblems(""))
	if body := second.Match(get("h", "/"), nil, 0).Direct.Body; body != "two" {
		t.Errorf("%q", body)
	}
}

func TestRoutesByRDSNeedNoClusters(t *testing.T) {
	cfg := &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{hostNamed("a", "c")}}
	for _, tc := range []struct {
		dynamic  bool
		validate *wrapperspb.BoolValue
		want     int
	}{{false, nil, 2}, {true, nil, 0}, {true, wrapperspb.Bool(true), 2}, {false, wrapperspb.Bool(false), 0}} {
		cfg.ValidateClusters = tc.validate
		if n := len(Compile(Env{Dynamic: tc.dynamic}, cfg, "", resource.NewProblems("")).Clusters()); n != tc.want {
			t.Errorf("%+v: %d", tc, n)
		}
	}
}

// Any sequence of changes leads to the table that compiling the last configuration gives.
func TestRecompilingIsCompiling(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	cfg := &routev3.RouteConfiguration{Name: "rc"}
	var found []*resource.Resource
	var table *Table
	for step := range 120 {
		hosts := cfg.VirtualHosts
		name := fmt.Sprint("n", step)
		switch at := rnd.IntN(len(hosts) + 1); rnd.IntN(6) {
		case 0, 1:
			hosts = slices.Insert(slices.Clone(hosts), at, hostNamed(name, "c"))
		case 2:
			if len(hosts) > at {
				hosts = slices.Delete(slices.Clone(hosts), at, min(at+1+rnd.IntN(3), len(hosts)))
			}
		case 3:
			if len(hosts) > at {
				hosts = slices.Clone(hosts)
				hosts[at] = hostNamed(hosts[at].GetName(), name)
			}
		case 4:
			hosts = slices.Clone(hosts)
			rnd.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		case 5:
			if len(found) > 3 {
				found = slices.Delete(slices.Clone(found), 1, 2)
			} else {
				found = append(slices.Clone(found), vhost(t, "rc/"+name, hostNamed("v"+name, "c")))
			}
		}
		cfg = &routev3.RouteConfiguration{Name: "rc", VirtualHosts: hosts}
		table = recompile(t, table, cfg, found...)
		verify(t, table, cfg, found...)
	}
}

// vhost is a virtual host as VHDS gives it.
func vhost(t testing.TB, name string, cfg *routev3.VirtualHost) *resource.Resource {
	t.Helper()
	r, err := resource.New(resource.Key{Type: resource.VHost, Name: name}, cfg, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// One virtual host more among many that were discovered costs little: their messages are the same.
func BenchmarkOneDiscoveredHost(b *testing.B) {
	var found []*resource.Resource
	for i := range 10000 {
		found = append(found, vhost(b, fmt.Sprintf("rc/%05d", i), hostNamed(fmt.Sprint("h", i), "c")))
	}
	cfg := &routev3.RouteConfiguration{Name: "rc"}
	prev := Recompile(nil, Env{}, cfg, slices.Delete(slices.Clone(found), 5000, 5001), "rc", resource.NewProblems(""))
	b.ReportAllocs()
	for b.Loop() {
		Recompile(prev, Env{}, cfg, found, "rc", resource.NewProblems(""))
	}
}

func BenchmarkRecompile10000Hosts(b *testing.B) {
	one, two := bigHosts(10000), bigHosts(10000)
	two.VirtualHosts[5000] = hostNamed("changed", "c")
	for name, prev := range map[string]*Table{"fresh": nil, "changed": Compile(Env{}, one, "rc", resource.NewProblems(""))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Recompile(prev, Env{}, two, nil, "rc", resource.NewProblems(""))
			}
		})
	}
}
