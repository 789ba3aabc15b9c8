//go:build interop

package interop

import (
	"strings"
	"testing"
)

// startNode runs the Node server for HTTP/1.1 until the test ends and returns its address.
func startNode(t *testing.T) string {
	t.Helper()
	return startNodeAs(t, "server")
}

// startNodeAs runs it in one of its roles.
func startNodeAs(t *testing.T, role string) string {
	t.Helper()
	addr := freeAddr(t)
	start(t, tool(t, "node"), "testdata/node.mjs", role, port(addr)).ready(addr)
	return addr
}

// TestNodeWithHTTP2 has Node on both sides of Weft, each with either version.
func TestNodeWithHTTP2(t *testing.T) {
	for _, c := range []struct {
		name, client, server string
		upstream             speaks
	}{
		{"HTTP/1 to HTTP/2", "client", "server2", http2},
		{"HTTP/2 to HTTP/1", "client2", "server", http1},
		{"HTTP/2 to HTTP/2", "client2", "server2", http2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startWeft(t, startNodeAs(t, c.server), setup{upstream: c.upstream, faithful: true})
			host, port, _ := strings.Cut(w.addr, ":")
			out, err := run(t, 2*patience, tool(t, "node"), "testdata/node.mjs", c.client, host, port)
			if err != nil {
				t.Errorf("%s%v", out, err)
			}
			for _, name := range []string{"http.main.downstream_rq_active", "cluster.up.upstream_rq_active", "http.main.downstream_cx_upgrades_active"} {
				w.becomes(name, 0)
			}
		})
	}
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
