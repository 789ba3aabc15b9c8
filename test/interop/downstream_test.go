//go:build interop

package interop

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// fronts runs a test with other proxies in front of Weft: front is their address, prefix the path below which they pass on to it.
func fronts(t *testing.T, s setup, f func(t *testing.T, w *weft, front, prefix string)) {
	for _, c := range []struct {
		name  string
		words []string // of HAProxy's server line
	}{{"haproxy", nil}, {"haproxy send-proxy", []string{"send-proxy"}}, {"haproxy send-proxy-v2", []string{"send-proxy-v2", "proxy-v2-options", "unique-id,crc32c"}}} {
		t.Run(c.name, func(t *testing.T) {
			s := s
			s.proxyProtocol = c.words != nil
			w := startWeft(t, serve(t, origin()), s)
			f(t, w, startHAProxy(t, w.addr, c.words...).addr, "")
		})
	}
	for _, version := range []string{"1.0", "1.1"} {
		t.Run("nginx with HTTP/"+version, func(t *testing.T) {
			w := startWeft(t, serve(t, http.StripPrefix("/next", origin())), s)
			f(t, w, startNginx(t, w.addr, version).addr, "/next")
		})
	}
}

func TestOtherProxiesInFront(t *testing.T) {
	fronts(t, setup{}, func(t *testing.T, w *weft, front, prefix string) {
		c := client(t)
		for range 20 {
			a := ask(t, c, "GET", "http://"+front+prefix+"/a?b=c", nil, nil)
			if a.status != 200 || !strings.HasPrefix(a.body, "GET 127.0.0.1:") || !strings.HasSuffix(a.body, prefix+"/a?b=c") {
				t.Fatalf("GET: %d %q", a.status, a.body)
			}
		}
		if a := ask(t, c, "HEAD", "http://"+front+prefix+"/a", nil, nil); a.status != 200 || a.body != "" {
			t.Errorf("HEAD: %d %q", a.status, a.body)
		}
	})
}

func TestBodiesThroughOtherProxies(t *testing.T) {
	fronts(t, setup{}, func(t *testing.T, w *weft, front, prefix string) {
		file := filepath.Join(t.TempDir(), "big.bin")
		want := noise(t, file, 4<<20)
		c := client(t)
		for _, known := range []bool{true, false} {
			var body io.Reader = bytes.NewReader(read(t, file))
			if !known {
				body = io.NopCloser(body) // chunked
			}
			if a := ask(t, c, "POST", "http://"+front+prefix+"/sum", nil, body); a.status != 200 || a.body != want {
				t.Errorf("with a length %t: %d %.100q, want the sum %s", known, a.status, a.body, want)
			}
		}
		if a := ask(t, c, "POST", "http://"+front+prefix+"/echo", nil, bytes.NewReader(read(t, file))); sum(t, strings.NewReader(a.body)) != want {
			t.Errorf("echo: %d, %d bytes", a.status, len(a.body))
		}
	})
}

// TestClientAddressOfTheProxyProtocol has HAProxy say who the client is; Weft appends that to x-forwarded-for.
func TestClientAddressOfTheProxyProtocol(t *testing.T) {
	for _, words := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(words, func(t *testing.T) {
			w := startWeft(t, serve(t, origin()), setup{proxyProtocol: true, edge: true})
			h := startHAProxy(t, w.addr, words)
			// The connection comes from 127.0.0.7, HAProxy's own from 127.0.0.1.
			got, err := run(t, patience, tool(t, "curl"), "-sSi", "--interface", "127.0.0.7", "http://"+h.addr+"/")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.ToLower(got), "x-peer: 127.0.0.7\r\n") {
				t.Errorf("got %s", got)
			}
			if n := w.stat("proxy_proto.versions." + map[string]string{"send-proxy": "v1", "send-proxy-v2": "v2"}[words] + ".found"); n < 1 {
				t.Errorf("%d connections with that version counted", n)
			}
		})
	}
}

// TestHealthChecksOfHAProxy has HAProxy check Weft; with version 2 of the PROXY protocol by its LOCAL command, without addresses.
func TestHealthChecksOfHAProxy(t *testing.T) {
	for _, words := range []string{"check inter 50ms", "check inter 50ms send-proxy-v2", "check inter 50ms send-proxy"} {
		t.Run(words, func(t *testing.T) {
			w := startWeft(t, serve(t, origin()), setup{proxyProtocol: strings.Contains(words, "send-proxy")})
			h := startHAProxy(t, w.addr, words)
			w.eventually(func() error {
				if w.stat("http.main.downstream_rq_2xx") < 3 {
					return errNotYet
				}
				return nil
			})
			if a := ask(t, client(t), "GET", "http://"+h.addr+"/", nil, nil); a.status != 200 {
				t.Errorf("status %d", a.status)
			}
		})
	}
}
