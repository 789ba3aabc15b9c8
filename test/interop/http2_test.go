//go:build interop

package interop

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// pairs runs a test with upstreams of both versions; the downstream speaks HTTP/2.
func pairs(t *testing.T, f func(t *testing.T, s setup)) {
	for _, s := range []setup{{}, {upstream: http2}} {
		t.Run(fmt.Sprintf("to HTTP/%d", s.upstream+1), func(t *testing.T) { f(t, s) })
	}
}

// securePairs is pairs, and once more with TLS for both connections.
func securePairs(t *testing.T, p *papers, f func(t *testing.T, s setup)) {
	pairs(t, f)
	for _, s := range []setup{{}, {upstream: http2}} {
		s.socket, s.upSocket = p.localSocket(""), p.toLocal()
		t.Run(fmt.Sprintf("TLS to HTTP/%d in TLS", s.upstream+1), func(t *testing.T) { f(t, s) })
	}
}

// TestCurlWithHTTP2 has a connection a request: curl 7.88 fails on the second with --http2-prior-knowledge, whatever the server.
func TestCurlWithHTTP2(t *testing.T) {
	pairs(t, func(t *testing.T, s setup) {
		o := serve(t, origin())
		w := startWeft(t, o, s)
		s.faithful = true
		faithful := startWeft(t, o, s)
		url, same := "http://"+w.addr, "http://"+faithful.addr
		body := write(t, "body", strings.Repeat("0123456789abcdef", 1<<14))
		want := sum(t, strings.NewReader(string(read(t, body))))
		for _, c := range []struct {
			name, want string // want is part of what curl prints
			args       []string
		}{
			{"GET", "GET " + w.addr + " /a?b", []string{url + "/a?b"}},
			{"the version", "2 200", []string{"-o", os.DevNull, "-w", "%{http_version} %{http_code}", url + "/a"}},
			{"upgrade from HTTP/1.1, which Weft ignores", "1.1 200", []string{"--http2", "-o", os.DevNull, "-w", "%{http_version} %{http_code}", url + "/a"}},
			{"HEAD", "200 0", []string{"-I", "-o", os.DevNull, "-w", "%{http_code} %{size_download}", url + "/a"}},
			{"OPTIONS *, which no route takes", "404", []string{"-X", "OPTIONS", "--request-target", "*", "-o", os.DevNull, "-w", "%{http_code}", url}},
			{"upload", want, []string{"-T", body, url + "/sum"}},
			{"upload without a length", want, []string{"-T", "-", url + "/sum"}},
			{"upload that waits for 100", want, []string{"-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", body, url + "/sum"}},
			{"100 from the upstream", want, []string{"-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", body, same + "/sum"}},
			{"form", `name="f"; filename="body"`, []string{"-F", "f=@" + body, "-F", "g=h", url + "/echo"}},
			{"trailer", "body200", []string{"-w", "%{http_code}", url + "/trailer"}},
			{"early hints", "HTTP/2 103 \r\nlink: ", []string{"-i", url + "/hints"}},
			{"early hints and what follows", "\r\n\r\nHTTP/2 200", []string{"-i", same + "/hints"}},
			{"events", "data: 9", []string{"-N", url + "/events"}},
			{"empty headers", "GET " + w.addr + " /", []string{"-H", "X-Empty;", url}},
			{"60 headers", "GET " + w.addr + " /", append(headers(60), url)},
			{"a header of 20 KB", "GET " + w.addr + " /", []string{"-H", "X-Long: " + strings.Repeat("long", 5<<10), url}},
			{"a path with all sorts", "GET " + faithful.addr + " /!$&'()*+,;=:@-._~/%7e%2f", []string{"-g", "--path-as-is", same + "/!$&'()*+,;=:@-._~/%7e%2f"}},
			{"dots", "GET " + w.addr + " /b", []string{"--path-as-is", url + "/a/../b"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				args := append([]string{"--http2-prior-knowledge"}, c.args...)
				if got := curlWith(t, body, args...); !strings.Contains(got, c.want) {
					t.Errorf("curl prints %.500q, want %q in it", got, c.want)
				}
			})
		}
		w.atRest()
		faithful.atRest()
	})
}

// curlWith runs curl with a file as its standard input.
func curlWith(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	script := `exec "$0" -sS --max-time 25 "$@" <"$STDIN"`
	t.Setenv("STDIN", stdin)
	out, err := run(t, patience, "/bin/sh", append([]string{"-c", script, tool(t, "curl")}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// nghttpOK matches the requests that nghttp's statistics tell of.
var nghttpOK = regexp.MustCompile(`(?m)^ *\d+ +\+.* 200 +\S+ /`)

func TestNghttp(t *testing.T) {
	path := tool(t, "nghttp")
	p := newPapers(t)
	securePairs(t, p, func(t *testing.T, s setup) {
		up := serve(t, origin())
		if s.upSocket != "" {
			up = serveTLS(t, origin(), p.local)
		}
		w := startWeft(t, up, s)
		url := w.url()
		body := write(t, "body", strings.Repeat("0123456789abcdef", 1<<14))
		want := sum(t, strings.NewReader(string(read(t, body))))
		for _, c := range []struct {
			name, want string
			args       []string
		}{
			{"GET", "GET " + w.addr + " /a", []string{url + "/a"}},
			{"upgrade from HTTP/1.1, which Weft ignores", "", []string{"--upgrade", url + "/a"}},
			{"without priorities", "GET " + w.addr + " /a", []string{"--no-rfc7540-pri", url + "/a"}},
			{"CONTINUATION", "GET " + w.addr + " /a", []string{"--continuation", url + "/a"}},
			{"padding", want, []string{"--padding", "255", "-d", body, url + "/sum"}},
			{"a small window", "GET " + w.addr + " /a", []string{"-w", "1", "-W", "20", url + "/a"}},
			{"a changing table of headers", "GET " + w.addr + " /a", []string{"-c", "0", "-c", "4096", url + "/a"}},
			{"upload", want, []string{"-d", body, url + "/sum"}},
			{"upload without a length", want, []string{"--no-content-length", "-d", body, url + "/sum"}},
			{"upload that waits for 100", want, []string{"--expect-continue", "-d", body, url + "/sum"}},
			{"trailers up", "0123456789abcdef", []string{"--trailer", "x-check: 7", "-d", body, url + "/echo"}},
			{"trailers both ways", "x-check: 7", []string{"-v", "-n", "-H", "trailer: x-check", "--trailer", "x-check: 7", "-d", body, url + "/echo"}},
			{"trailers down", "x-sum: 42", []string{"-v", url + "/trailer"}},
			{"early hints", ":status: 103", []string{"-v", url + "/hints"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				out, err := run(t, patience, path, append([]string{"-t", "20"}, c.args...)...)
				if c.want == "" {
					return // nghttp gives up
				}
				if err != nil || !strings.Contains(out, c.want) {
					t.Errorf("%v; nghttp prints %q, want %q in it", err, tail(out), c.want)
				}
			})
		}
		t.Run("1,000 requests", func(t *testing.T) {
			out, err := run(t, patience, path, "-ns", "-m", "1000", url+"/a")
			if n := len(nghttpOK.FindAllString(out, -1)); err != nil || n != 1000 {
				t.Errorf("%v; %d of 1000 requests got 200\n%s", err, n, tail(out))
			}
		})
		w.becomes("http.main.downstream_rq_active", 0)
		w.becomes("cluster.up.upstream_rq_active", 0)
	})
}

func TestH2loadWithHTTP2(t *testing.T) {
	path := tool(t, "h2load")
	p := newPapers(t)
	securePairs(t, p, func(t *testing.T, s setup) {
		n := startSecureNginx(t, p, "", "1.1")
		upstream, haproxy := n.addr, []string{"proto", "h2"}
		switch {
		case s.upSocket != "":
			upstream, haproxy = n.tls, []string{"ssl", "verify", "required", "ca-file", p.ca, "verifyhost", "localhost", "alpn", "h2"}
		case s.upstream == http2:
			upstream = n.http2
		}
		w := startWeft(t, upstream, s)
		body := write(t, "body", strings.Repeat("x", 5000))
		for _, c := range []struct {
			name string
			n    int
			args []string
		}{
			{"one at a time", 5000, []string{"-c", "20", "-m", "1", w.url() + "/plain/small.txt"}},
			{"many at a time", 20000, []string{"-c", "8", "-m", "32", w.url() + "/plain/small.txt"}},
			{"as many as are allowed", 10000, []string{"-c", "4", "-m", "100", w.url() + "/plain/small.txt"}},
			{"200 KB", 1000, []string{"-c", "10", "-m", "10", w.url() + "/plain/text.txt"}},
			{"200 KB in small windows", 200, []string{"-c", "4", "-m", "10", "-w", "10", "-W", "12", w.url() + "/plain/text.txt"}},
			{"gzip", 2000, []string{"-c", "10", "-m", "10", "-H", "accept-encoding: gzip", w.url() + "/text.txt"}},
			{"uploads", 2000, []string{"-c", "10", "-m", "10", "-d", body, w.url() + "/hints"}},
			{"nginx closes after seven", 1000, []string{"-c", "4", "-m", "4", w.url() + "/few/small.txt"}},
			{"through HAProxy", 5000, []string{"-c", "8", "-m", "16", "http://" + startHAProxy(t, w.addr, haproxy...).addr + "/plain/small.txt"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				out, err := run(t, patience, path, append([]string{"-n", strconv.Itoa(c.n)}, c.args...)...)
				if err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf("%d succeeded, 0 failed, 0 errored, 0 timeout", c.n)
				codes := fmt.Sprintf("status codes: %d 2xx, 0 3xx, 0 4xx, 0 5xx", c.n)
				if !strings.Contains(out, want) || !strings.Contains(out, codes) {
					t.Errorf("h2load prints\n%s", out)
				}
			})
		}
		w.atRest()
	})
}

// TestNghttpd has nghttp2's server upstream of clients of both versions.
func TestNghttpd(t *testing.T) {
	root, addr := t.TempDir(), freeAddr(t)
	for name, size := range map[string]int{"small.txt": 100, "empty.txt": 0, "text.txt": 300 << 10} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(strings.Repeat("n", size)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := noise(t, filepath.Join(root, "big.bin"), big/4)
	start(t, tool(t, "nghttpd"), "--no-tls", "--address", "127.0.0.1", "--htdocs", root, "--echo-upload", "--trailer", "x-check: 7", port(addr)).ready(addr)
	w := startWeft(t, addr, setup{upstream: http2})
	direct := client2(t)
	downstreams(t, func(t *testing.T, version int, c *http.Client) {
		for _, path := range []string{"/small.txt", "/empty.txt", "/text.txt", "/none"} {
			for _, method := range []string{"GET", "HEAD"} {
				before, after := ask(t, direct, method, "http://"+addr+path, nil, nil), ask(t, c, method, "http://"+w.addr+path, nil, nil)
				if version == 1 { // after a body with a length HTTP/1.1 has no trailers; net/http takes the announcement for its own with HTTP/2 only
					after.header.Del("trailer")
					before.trailer = nil
				}
				if diff := differ(before, after); diff != "" {
					t.Errorf("%s %s: %s", method, path, diff)
				}
			}
		}
		body := strings.Repeat("0123456789abcdef", 1<<14)
		if a := ask(t, c, "POST", "http://"+w.addr+"/echo", nil, strings.NewReader(body)); a.body != body {
			t.Errorf("echo: %d, %d bytes", a.status, len(a.body))
		}
		if a := ask(t, c, "GET", "http://"+w.addr+"/big.bin", nil, nil); sum(t, strings.NewReader(a.body)) != want {
			t.Errorf("a big file: %d, %d bytes", a.status, len(a.body))
		}
	})
	w.atRest()
}
