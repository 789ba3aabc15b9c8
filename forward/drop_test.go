package forward

import (
	"strconv"
	"testing"
	"testing/synctest"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// dropping is the cluster c, which drops so many of a million requests and has no hosts.
func dropping(f *fixture, millionths uint32) *upstream.Cluster {
	p := resource.NewProblems("c")
	c := upstream.Compile(upstream.CompileEnv{Stats: f.store, Network: f.net, HTTP1: func(upstream.HTTP1Options) protocol.Client { return f.net }},
		&clusterv3.Cluster{Name: "c", LoadAssignment: &endpointv3.ClusterLoadAssignment{Policy: &endpointv3.ClusterLoadAssignment_Policy{
			DropOverloads: []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{{
				Category: "all", DropPercentage: &typev3.FractionalPercent{Numerator: millionths, Denominator: typev3.FractionalPercent_MILLION},
			}},
		}}}, "", p)
	if p.HasErrors() {
		f.t.Fatal(p.All())
	}
	f.t.Cleanup(c.Close)
	return c
}

func TestRequestsAreDroppedWhereTheControlPlaneSaysSo(t *testing.T) {
	for _, c := range []struct {
		name                       string
		millionths                 uint32
		suppress                   bool
		body, details, flag, named string
	}{
		{"none", 0, false, "no healthy upstream", "no_healthy_upstream", "UH", ""},
		{"nearly all", 999_999, false, "drop overload", "drop_overload", "DO", "x-envoy-drop-overload"},
		{"all", 1_000_000, false, "unconditional drop overload", "unconditional_drop_overload", "UDO", "x-envoy-unconditional-drop-overload"},
		{"all, without headers", 1_000_000, true, "unconditional drop overload", "unconditional_drop_overload", "UDO", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, &routerv3.Router{SuppressEnvoyHeaders: c.suppress}, ok)
				f.add(dropping(f, c.millionths))
				tries := 0
				for {
					tries++
					call := f.call(nil)
					r := call.run()
					if c.name == "nearly all" && call.x.Record.Details == "no_healthy_upstream" && tries < 10 {
						continue // one of a million
					}
					if r.Status != 503 || r.body != c.body || call.x.Record.Details != c.details || call.flags() != c.flag {
						t.Errorf("got %d %q\ndetails %s flags %s", r.Status, r.body, call.x.Record.Details, call.flags())
					}
					for _, name := range []string{"x-envoy-drop-overload", "x-envoy-unconditional-drop-overload"} {
						if got := r.Header.Get(name) == "true"; got != (name == c.named) {
							t.Errorf("%s: %v", name, got)
						}
					}
					break
				}
				f.check("cluster.c.", "upstream_rq_total 0 upstream_rq_503 "+strconv.Itoa(tries))
			})
		})
	}
}
