//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestPythonClients(t *testing.T) {
	w := startWeft(t, serve(t, origin()), setup{})
	host, port, _ := strings.Cut(w.addr, ":")
	out, err := run(t, 2*patience, tool(t, "python3"), "testdata/client.py", host, port)
	if err != nil {
		t.Errorf("%s%v", out, err)
	}
	w.becomes("http.main.downstream_rq_active", 0)
	w.becomes("cluster.up.upstream_rq_active", 0)
}

func TestPythonServers(t *testing.T) {
	old, new, raw := freeAddr(t), freeAddr(t), freeAddr(t)
	p := start(t, tool(t, "python3"), "testdata/server.py", port(old), port(new), port(raw))
	p.ready(old, new, raw)

	t.Run("HTTP/1.0", func(t *testing.T) {
		w := startWeft(t, old, setup{})
		c := client(t)
		var want strings.Builder
		for i := range 100 {
			want.WriteString(strings.Repeat(fmt.Sprintf("%03d ", i), 100))
		}
		for range 20 {
			if a := ask(t, c, "GET", "http://"+w.addr+"/", nil, nil); a.body != want.String() || a.header.Get("x-version") != "HTTP/1.1" {
				t.Fatalf("%d, %d bytes, %v", a.status, len(a.body), a.header)
			}
			body := bytes.Repeat([]byte("body"), 20000)
			if a := ask(t, c, "POST", "http://"+w.addr+"/", nil, bytes.NewReader(body)); a.body != string(body) {
				t.Fatalf("%d, %d bytes", a.status, len(a.body))
			}
		}
	})
	t.Run("HTTP/1.1", func(t *testing.T) {
		w := startWeft(t, new, setup{})
		c := client(t)
		for range 20 {
			if a := ask(t, c, "GET", "http://"+w.addr+"/", nil, nil); len(a.body) != 200 || !strings.HasSuffix(a.body, "049 ") {
				t.Fatalf("%d, %d bytes", a.status, len(a.body))
			}
			for _, body := range []io.Reader{strings.NewReader("known"), io.NopCloser(strings.NewReader("known"))} {
				if a := ask(t, c, "POST", "http://"+w.addr+"/", nil, body); a.body != "known" {
					t.Fatalf("%d %q", a.status, a.body)
				}
			}
		}
		if n := w.stat("cluster.up.upstream_cx_total"); n != 1 {
			t.Errorf("%d connections to the upstream, want 1", n)
		}
	})
	t.Run("raw", func(t *testing.T) { rawServer(t, raw) })
}

// rawServer asks a server that answers right and wrong.
func rawServer(t *testing.T, addr string) {
	w := startWeft(t, addr, setup{})
	for _, c := range []struct {
		path   string
		status int
		body   string // "-": broken off
	}{
		{"/short", 200, "-"},
		{"/half-chunk", 200, "-"},
		{"/no-last-chunk", 200, "-"},
		{"/garbage", 502, ""},
		{"/nothing", 503, ""},
		{"/half-head", 503, ""},
		{"/two-lengths", 502, ""},
		{"/both", 502, ""},
		{"/nul", 502, ""},
		{"/status", 502, ""},
		{"/no-reason", 200, "ok"},
		{"/old", 200, "to the end"},
		{"/empty-old", 200, ""},
		{"/1xx", 200, "ok"},
		{"/more", 200, "ok"},
		{"/204", 204, ""},
		{"/304", 304, ""},
		{"/weird-status", 799, "ok"},
		{"/latin", 200, "ok"},
	} {
		t.Run(c.path[1:], func(t *testing.T) {
			for range 3 {
				resp, err := client(t).Get("http://" + w.addr + c.path)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode != c.status:
					t.Errorf("status %d, want %d", resp.StatusCode, c.status)
				case c.body == "-":
					if err == nil {
						t.Errorf("%q looks complete", body)
					}
				case err != nil || c.status < 500 && string(body) != c.body:
					t.Errorf("body %q, %v, want %q", body, err, c.body)
				}
			}
		})
	}
	if n := ask(t, client(t), http.MethodGet, "http://"+w.addr+"/no-reason", nil, nil); n.status != 200 {
		t.Errorf("status %d after all that", n.status)
	}
}
