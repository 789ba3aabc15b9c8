package file

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/resource"
)

// large is a bootstrap with n routes and n clusters.
func large(n int) string {
	var b strings.Builder
	b.WriteString(`
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: routes
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
`)
	for i := range n {
		fmt.Fprintf(&b, `              - match:
                  prefix: /service-%d/
                route:
                  cluster: cluster-%d
                  timeout: 15s
`, i, i)
	}
	b.WriteString("  clusters:\n")
	for i := range n {
		fmt.Fprintf(&b, `  - name: cluster-%d
    type: STATIC
    connect_timeout: 0.25s
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: cluster-%d
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address:
                address: 127.0.0.1
                port_value: %d
`, i, i, 10000+i)
	}
	return b.String()
}

func TestLargeConfigurationLoadsWhole(t *testing.T) {
	n := 10000
	if race.Enabled {
		n = 500 // the detector makes it slow and adds nothing
	}
	path := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(path, []byte(large(n)), 0o600); err != nil {
		t.Fatal(err)
	}
	support := everything()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	set, problems := Load(Options{Path: path, Support: support})
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	t.Logf("%d routes and %d clusters in %v, %d MiB allocated", n, n, took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20)
	for _, problem := range problems.All() {
		t.Error(problem)
	}
	if got := len(set.All(resource.Cluster)); got != n {
		t.Errorf("%d clusters, want %d", got, n)
	}
}
