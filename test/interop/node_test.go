//go:build interop

package interop

import (
	"strings"
	"testing"
)

// startNode runs the Node server until the test ends and returns its address.
func startNode(t *testing.T) string {
	t.Helper()
	addr := freeAddr(t)
	start(t, tool(t, "node"), "testdata/node.mjs", "server", port(addr)).ready(addr)
	return addr
}

// TestNodeClientsAndServer has Node on both sides of Weft, and HAProxy before or after it.
func TestNodeClientsAndServer(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after bool // HAProxy is there
	}{{"alone", false, false}, {"behind HAProxy", true, false}, {"before HAProxy", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			upstream := startNode(t)
			if c.after {
				upstream = startHAProxy(t, upstream).addr
			}
			w := startWeft(t, upstream, setup{})
			front := w.addr
			if c.before {
				front = startHAProxy(t, w.addr).addr
			}
			host, port, _ := strings.Cut(front, ":")
			out, err := run(t, 2*patience, tool(t, "node"), "testdata/node.mjs", "client", host, port)
			if err != nil {
				t.Errorf("%s%v", out, err)
			}
			for _, name := range []string{"http.main.downstream_rq_active", "cluster.up.upstream_rq_active", "http.main.downstream_cx_upgrades_active"} {
				w.becomes(name, 0)
			}
		})
	}
}
