package grpctest

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// Clusters returns a table of clusters without hosts. They are closed when the test ends.
func Clusters(t testing.TB, store *stats.Store, names ...string) *upstream.Table {
	t.Helper()
	all := make([]*upstream.Cluster, len(names))
	for i, name := range names {
		p := resource.NewProblems("")
		all[i] = upstream.Compile(upstream.CompileEnv{Stats: store}, &clusterv3.Cluster{Name: name}, "cluster", p)
		for _, problem := range p.All() {
			t.Fatal(problem)
		}
		t.Cleanup(all[i].Close)
	}
	return upstream.NewTable(all...)
}

// Expect checks counters by their whole names. 0 is also what a counter that does not exist has.
func Expect(t testing.TB, store *stats.Store, want map[string]int64) {
	t.Helper()
	for name, n := range want {
		if got, _ := store.Value(name); got != n {
			t.Errorf("%s is %d, want %d", name, got, n)
		}
	}
}
