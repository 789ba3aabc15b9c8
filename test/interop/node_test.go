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

func TestNodeClientsAndServer(t *testing.T) {
	w := startWeft(t, startNode(t), setup{})
	host, port, _ := strings.Cut(w.addr, ":")
	out, err := run(t, 2*patience, tool(t, "node"), "testdata/node.mjs", "client", host, port)
	if err != nil {
		t.Errorf("%s%v", out, err)
	}
	for _, name := range []string{"http.main.downstream_rq_active", "cluster.up.upstream_rq_active", "http.main.downstream_cx_upgrades_active"} {
		w.becomes(name, 0)
	}
}
