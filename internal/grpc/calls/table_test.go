package calls

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc/grpctest"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/upstream"
)

func to(clusters *upstream.Table, path string) *exchange.Exchange {
	x, _ := grpctest.Exchange(nil, nil, grpctest.Request(path, nil))
	x.Clusters = clusters
	return x
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    Options
		path string
		want string // prefix below cluster.c.; "": not counted
	}{
		{"all", Options{Protocol: "grpc", All: true}, "/pkg.Service/Method?q", "grpc.pkg.Service.Method."},
		{"dots", Options{Protocol: "grpc", All: true, ReplaceDots: true}, "/pkg.Service/Method.x", "grpc.pkg_Service.Method.x."},
		{"web", Options{Protocol: "grpc-web", All: true}, "/s/m", "grpc-web.s.m."},
		{"none", Options{Protocol: "grpc"}, "/s/m", "grpc."},
		{"allowed", Options{Protocol: "grpc", Allowed: map[Method]bool{{"s", "m"}: true}}, "/s/m", "grpc.s.m."},
		{"not allowed", Options{Protocol: "grpc", Allowed: map[Method]bool{{"s", "n"}: true}}, "/s/m", "grpc."},
		{"dots of the list stay", Options{Protocol: "grpc", ReplaceDots: true, Allowed: map[Method]bool{{"s.t", "m"}: true}}, "/s.t/m",
			"grpc.s.t.m."},
		{"no method", Options{Protocol: "grpc"}, "/s", ""},
		{"long name", Options{Protocol: "grpc", All: true}, "/s/" + strings.Repeat("m", maxName+1), "grpc."},
	} {
		store := stats.NewStore(stats.Options{})
		table := NewTable(tc.o)
		x := to(grpctest.Clusters(t, store, "c"), tc.path)
		for range 2 {
			s := table.Find(x)
			if (s == nil) != (tc.want == "") {
				t.Fatalf("%s: %v", tc.name, s)
			}
			s.Charge("0")
		}
		table.Find(x).Charge("14")
		table.Find(x).Charge("99")
		table.Find(x).Charge("")
		if tc.want == "" {
			continue
		}
		at := "cluster.c." + tc.want
		grpctest.Expect(t, store, map[string]int64{at + "success": 2, at + "failure": 2, at + "total": 4, at + "0": 2, at + "14": 1,
			at + "99": 0})
	}
}

func TestNoCluster(t *testing.T) {
	store := stats.NewStore(stats.Options{})
	table := NewTable(Options{Protocol: "grpc", All: true})
	x := to(grpctest.Clusters(t, store, "other"), "/s/m")
	if s := table.Find(x); s != nil {
		t.Error("a call to no cluster is counted")
	}
	x.Clusters = nil
	if s := table.Find(x); s != nil {
		t.Error("a call is counted without clusters")
	}
	x.Take(&exchange.Route{}, nil)
	if s := table.Find(x); s != nil {
		t.Error("a call without a target is counted")
	}
}

func TestMethodsHaveABound(t *testing.T) {
	store := stats.NewStore(stats.Options{})
	table := NewTable(Options{Protocol: "grpc", All: true})
	clusters := grpctest.Clusters(t, store, "c")
	for i := range MaxMethods + 5 {
		table.Find(to(clusters, "/s/m"+strconv.Itoa(i))).Charge("0")
	}
	table.Find(to(clusters, "/s/m0")).Charge("0")
	grpctest.Expect(t, store, map[string]int64{"cluster.c.grpc.s.m0.total": 2, "cluster.c.grpc.s.m" + strconv.Itoa(MaxMethods-1) + ".total": 1,
		"cluster.c.grpc.s.m" + strconv.Itoa(MaxMethods) + ".total": 0, "cluster.c.grpc.total": 5})
}

func TestAClusterThatComesBackIsCounted(t *testing.T) {
	store := stats.NewStore(stats.Options{})
	table := NewTable(Options{Protocol: "grpc", All: true})
	first := grpctest.Clusters(t, store, "c", "gone")
	table.Find(to(first, "/s/m")).Charge("0")
	x := to(first, "/s/m")
	x.Route.Target.Cluster = "gone"
	table.Find(x).Charge("0")

	second := grpctest.Clusters(t, store, "c") // the same cluster, changed: its counters go on
	table.Find(to(second, "/s/m")).Charge("0")
	grpctest.Expect(t, store, map[string]int64{"cluster.c.grpc.s.m.total": 2})

	first.Find("c").Close()
	first.Find("gone").Close()
	second.Find("c").Close()
	third := grpctest.Clusters(t, store, "c")
	table.Find(to(third, "/s/m")).Charge("0")
	grpctest.Expect(t, store, map[string]int64{"cluster.c.grpc.s.m.total": 1, "cluster.gone.grpc.s.m.total": 0})
	if n := len(*table.clusters.Load()); n != 1 {
		t.Errorf("%d clusters are kept", n)
	}
}

func TestPrometheusLabels(t *testing.T) {
	store := stats.NewStore(stats.Options{})
	NewTable(Options{Protocol: "grpc", All: true}).Find(to(grpctest.Clusters(t, store, "c"), "/pkg.S/M")).Charge("0")
	var b bytes.Buffer
	if err := store.WritePrometheus(&b, stats.Query{}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "envoy_cluster_grpc_total{") {
			for _, label := range []string{`envoy_grpc_bridge_service="pkg.S"`, `envoy_grpc_bridge_method="M"`, `envoy_cluster_name="c"`} {
				if !strings.Contains(line, label) {
					t.Errorf("%s is not in %s", label, line)
				}
			}
			return
		}
	}
	t.Errorf("envoy_cluster_grpc_total is not in\n%s", b.String())
}

func TestFindIsSafeAndAllocatesNothing(t *testing.T) {
	store := stats.NewStore(stats.Options{})
	table := NewTable(Options{Protocol: "grpc", All: true})
	clusters := grpctest.Clusters(t, store, "c")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				table.Find(to(clusters, "/s/m"+strconv.Itoa((i+j)%10))).Charge("0")
			}
		})
	}
	wg.Wait()
	sum := int64(0)
	for i := range 10 {
		n, _ := store.Value("cluster.c.grpc.s.m" + strconv.Itoa(i) + ".total")
		sum += n
	}
	if sum != 160 {
		t.Errorf("%d calls were counted", sum)
	}
	x := to(clusters, "/s/m1")
	if n := testing.AllocsPerRun(100, func() { table.Find(x).Charge("0") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
