package exchange

import (
	"testing"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
)

type runtime map[string]string

func (r runtime) Lookup(key string) (string, bool) { v, ok := r[key]; return v, ok }

func TestTargetChooses(t *testing.T) {
	three := func() *Target {
		return &Target{Weighted: []Weighted{{Name: "a", Weight: 30}, {Name: "b", Weight: 30}, {Name: "c", Weight: 40}}, Total: 100}
	}
	byHeader := three()
	byHeader.RandomHeader = "x-random"
	dynamic, none := three(), three()
	dynamic.SetRuntime("w", runtime{"w.a": "0", "w.b": "50", "w.c": "x"})
	none.SetRuntime("w", runtime{"w.a": "0", "w.b": "0", "w.c": "0"})
	named := &Target{Weighted: []Weighted{{Header: "x-cluster", Weight: 1}}, Total: 1}
	for _, c := range []struct {
		name   string
		t      *Target
		random uint64
		fields []string
		want   string
	}{
		{"fixed", &Target{Cluster: "a"}, 5, nil, "a"},
		{"header", &Target{ClusterHeader: "x-cluster"}, 0, []string{"X-Cluster", "z"}, "z"},
		{"header, first value", &Target{ClusterHeader: "x-cluster"}, 0, []string{"X-Cluster", "z", "x-cluster", "y"}, "z"},
		{"header missing", &Target{ClusterHeader: "x-cluster"}, 0, nil, ""},
		{"authority", &Target{ClusterHeader: ":authority"}, 0, nil, "host"},
		{"first", three(), 129, nil, "a"},
		{"second begins", three(), 30, nil, "b"},
		{"second ends", three(), 59, nil, "b"},
		{"third", three(), 99, nil, "c"},
		{"header decides", byHeader, 0, []string{"x-random", "70"}, "c"},
		{"header twice", byHeader, 0, []string{"x-random", "70", "x-random", "71"}, "a"},
		{"header is no number", byHeader, 0, []string{"x-random", "7O"}, "a"},
		{"runtime", dynamic, 0, nil, "b"},
		{"runtime, other sum", dynamic, 89, nil, "c"},
		{"runtime, no weight left", none, 30, nil, "b"},
		{"weighted header", named, 0, []string{"x-cluster", "z"}, "z"},
	} {
		if got, _ := c.t.Choose(request("http", "host", "/", c.fields...), c.random); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { dynamic.Choose(&message.Request{}, 77) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWeightsHoldInTheLongRun(t *testing.T) {
	target := &Target{Weighted: []Weighted{{Name: "a", Weight: 1}, {Name: "b", Weight: 3}}, Total: 4}
	count := map[string]int{}
	for i := range uint64(4000) {
		name, w := target.Choose(&message.Request{}, i)
		if w == nil || w.Name != name {
			t.Fatal("the weighted cluster is not returned")
		}
		count[name]++
	}
	if count["a"] != 1000 || count["b"] != 3000 {
		t.Errorf("%v", count)
	}
}

func TestParseRetryOn(t *testing.T) {
	for _, c := range []struct {
		list    string
		want    RetryOn
		unknown string
	}{
		{"", 0, ""}, {"5xx", Retry5xx, ""}, {" 5xx , gateway-error,", Retry5xx | RetryGatewayError, ""}, {"5xx,nonsense,more", Retry5xx, "nonsense"},
		{"connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
			RetryConnectFailure | RetryRefusedStream | RetryGRPCUnavailable | RetryGRPCCancelled | RetryRetriableStatusCodes, ""},
	} {
		if got, unknown := ParseRetryOn(c.list); got != c.want || unknown != c.unknown {
			t.Errorf("%q: %b, %q", c.list, got, unknown)
		}
	}
}

func TestVirtualClusterOfNone(t *testing.T) {
	var none *VirtualClusters
	if none.Find(&message.Request{}) != "" {
		t.Error("a virtual host without virtual clusters has one")
	}
	some := &VirtualClusters{List: []VirtualCluster{{Name: "all", Headers: []*match.Header{}}}}
	if some.Find(&message.Request{}) != "all" {
		t.Error("the first that matches is not found")
	}
}
