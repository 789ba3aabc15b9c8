package upstream

import (
	"strings"
	"testing"

	"github.com/weftproxy/weft/resource"
)

// TestPerHostThresholdsTakeOnlyConnections: Envoy's limits of single hosts have no other field, and none may be ignored.
func TestPerHostThresholdsTakeOnlyConnections(t *testing.T) {
	for _, tc := range []struct{ name, thresholds, problem string }{
		{"connections", "{max_connections: 3}", ""},
		{"the first counts", "{max_connections: 3}, {max_connections: 4}", ""},
		{"requests", "{max_connections: 3, max_requests: 1}", "per_host_thresholds[0]"},
		{"priority", "{max_connections: 3}, {priority: HIGH, max_connections: 1}", "per_host_thresholds[1]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			p := resource.NewProblems("")
			c := Compile(w.env, parse(t, static("circuit_breakers: {per_host_thresholds: ["+tc.thresholds+"]}", spot("", "10.0.0.1"))), "cluster", p)
			if c.Config.PerHost != 3 {
				t.Errorf("%d connections a host", c.Config.PerHost)
			}
			switch {
			case tc.problem == "" && p.Len() > 0:
				t.Error(p.All()[0])
			case tc.problem != "" && (!p.HasErrors() || !strings.Contains(p.All()[0].String(), tc.problem)):
				t.Errorf("problems %v", p.All())
			}
		})
	}
}
