//go:build interop

package interop

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// curl runs curl and returns what it prints.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, patience, tool(t, "curl"), append([]string{"-sS", "--max-time", "25"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCurlOptions(t *testing.T) {
	o := serve(t, origin())
	w, faithful := startWeft(t, o, setup{}), startWeft(t, o, setup{faithful: true})
	url, same := "http://"+w.addr, "http://"+faithful.addr
	body := write(t, "body", strings.Repeat("0123456789abcdef", 1<<14))
	want := sum(t, strings.NewReader(string(read(t, body))))
	for _, c := range []struct {
		name, want string // want is part of what curl prints
		args       []string
	}{
		{"GET", "GET " + w.addr + " /a?b", []string{url + "/a?b"}},
		{"HTTP/1.0", "GET " + w.addr + " /a", []string{"--http1.0", url + "/a"}},
		{"HTTP/1.0 without a host", "GET default.example /a", []string{"--http1.0", "-H", "Host:", url + "/a"}},
		{"HTTP/1.0 with keep-alive", "1 0", []string{"--http1.0", "-H", "Connection: keep-alive", "-w", "%{num_connects} ", "-o", "/dev/null", url + "/a",
			"--next", "-sS", "--http1.0", "-H", "Connection: keep-alive", "-w", "%{num_connects}\n", "-o", "/dev/null", url + "/b"}},
		{"absolute target", "GET other.example /a", []string{"-H", "Host: other.example", "--request-target", "http://other.example/a", url}},
		{"HEAD", "200 0", []string{"-I", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", url + "/a"}},
		{"OPTIONS *, which no route takes", "404", []string{"-X", "OPTIONS", "--request-target", "*", "-o", "/dev/null", "-w", "%{http_code}", url}},
		{"upload", want, []string{"-T", body, url + "/sum"}},
		{"upload that waits for 100", want, []string{"-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", body, url + "/sum"}},
		{"chunked upload", want, []string{"-H", "Transfer-Encoding: chunked", "-T", body, url + "/sum"}},
		{"chunked upload that waits for 100", want, []string{"-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", body, url + "/sum"}},
		{"HTTP/1.0 upload", want, []string{"--http1.0", "-T", body, url + "/sum"}},
		{"form", `name="f"; filename="body"`, []string{"-F", "f=@" + body, "-F", "g=h", url + "/echo"}},
		{"trailer", "body200", []string{"-w", "%{http_code}", url + "/trailer"}},
		{"early hints", "HTTP/1.1 103 Early Hints\r\nLink: ", []string{"-i", url + "/hints"}},
		{"early hints and what follows", "\r\n\r\nHTTP/1.1 200 OK", []string{"-i", same + "/hints"}},
		{"100 from the upstream", want, []string{"-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", body, same + "/sum"}},
		{"events", "data: 9", []string{"-N", url + "/events"}},
		{"a port in the host", "GET a.example:80 /", []string{"-H", "Host: a.example:80", url}},
		{"empty headers", "GET " + w.addr + " /", []string{"-H", "X-Empty;", url}},
		{"60 headers", "GET " + w.addr + " /", append(headers(60), url)},
		{"a path with all sorts", "GET " + faithful.addr + " /!$&'()*+,;=:@-._~/%7e%2f", []string{"-g", "--path-as-is", same + "/!$&'()*+,;=:@-._~/%7e%2f"}},
		{"dots", "GET " + w.addr + " /b", []string{"--path-as-is", url + "/a/../b"}},
		{"dots as they are", "GET " + faithful.addr + " /a/%2e%2e/b", []string{"--path-as-is", same + "/a/%2e%2e/b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := curl(t, c.args...); !strings.Contains(got, c.want) {
				t.Errorf("curl prints %.500q, want %q in it", got, c.want)
			}
		})
	}
}

// headers are curl's arguments for n headers.
func headers(n int) (args []string) {
	for i := range n {
		args = append(args, "-H", fmt.Sprintf("X-%d: %d", i, i))
	}
	return args
}

// TestCurlWaitsForContinue uploads with Expect: 100-continue: the 100 comes from nginx, not from curl's patience.
func TestCurlWaitsForContinue(t *testing.T) {
	upstreams(t, func(t *testing.T, n *nginx, _, upstream string, s setup) {
		w := startWeft(t, upstream, s)
		file := filepath.Join(t.TempDir(), "big.bin")
		want := noise(t, file, big)
		out := curl(t, "-i", "-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", file, "http://"+w.addr+"/put/e.bin")
		if !strings.HasPrefix(out, "HTTP/1.1 100 Continue\r\n") || !strings.Contains(out, "HTTP/1.1 201 Created\r\n") {
			t.Errorf("curl prints %q", out)
		}
		if got := fileSum(t, filepath.Join(n.root, "put", "e.bin")); got != want {
			t.Errorf("sum %s, want %s", got, want)
		}
		// Refused before the body: curl neither waits nor sends it.
		s.faithful = true
		asking := startWeft(t, upstream, s)
		out = curl(t, "-i", "-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", file, "http://"+asking.addr+"/plain/e.bin")
		if !strings.HasPrefix(out, "HTTP/1.1 405 ") {
			t.Errorf("curl prints %q", out)
		}
	})
}

func TestCurlThroughConnect(t *testing.T) {
	n := startNginx(t, "", "1.1")
	w := startWeft(t, n.addr, setup{connect: true})
	file := filepath.Join(n.root, "files", "big.bin")
	want := noise(t, file, big)
	got := filepath.Join(t.TempDir(), "got")
	out := curl(t, "--proxytunnel", "-x", "http://"+w.addr, "-o", got, "-w", "%{http_connect} %{http_code}", "http://target.example/plain/big.bin")
	if out != "200 200" || fileSum(t, got) != want {
		t.Errorf("curl prints %q", out)
	}
	// Two requests through one tunnel, and an upload.
	out = curl(t, "--proxytunnel", "-x", "http://"+w.addr, "-o", os.DevNull, "-o", os.DevNull, "-w", "%{num_connects} ", "http://target.example/plain/small.txt", "http://target.example/plain/small.txt")
	if strings.TrimSpace(out) != "1 0" && strings.TrimSpace(out) != "2 0" { // versions of curl count the proxy's differently
		t.Errorf("connections %q, want one", out)
	}
	out = curl(t, "--proxytunnel", "-x", "http://"+w.addr, "-T", file, "-w", "%{http_code}", "http://target.example/put/c.bin")
	if out != "201" || fileSum(t, filepath.Join(n.root, "put", "c.bin")) != want {
		t.Errorf("curl prints %q", out)
	}
	w.becomes("http.main.downstream_cx_upgrades_active", 0)

	off := startWeft(t, n.addr, setup{})
	if out, err := run(t, patience, tool(t, "curl"), "-sS", "--proxytunnel", "-x", "http://"+off.addr, "-w", "%{http_connect}", "http://target.example/"); err == nil || strings.HasPrefix(out, "2") {
		t.Errorf("CONNECT where it is not enabled: %q", out)
	}
}

func TestCurlProxyProtocol(t *testing.T) {
	w := startWeft(t, serve(t, origin()), setup{proxyProtocol: true, edge: true})
	if got := curl(t, "-i", "--haproxy-protocol", "--interface", "127.0.0.9", "http://"+w.addr+"/"); !strings.Contains(strings.ToLower(got), "x-peer: 127.0.0.9\r\n") {
		t.Errorf("curl prints %q", got)
	}
	if out, err := run(t, patience, tool(t, "curl"), "-sS", "--max-time", "10", "http://"+w.addr+"/"); err == nil {
		t.Errorf("without the PROXY protocol curl gets %q", out)
	}
}

func TestCurlInParallel(t *testing.T) {
	w := startWeft(t, serve(t, origin()), setup{})
	out := curl(t, "-Z", "--parallel-max", "50", "-o", os.DevNull, "-w", "%{http_code}\n", "http://"+w.addr+"/[1-500]")
	if n := strings.Count(out, "200\n"); n != 500 {
		t.Errorf("%d of 500 requests got 200", n)
	}
	if n := w.stat("http.main.downstream_rq_2xx"); n != 500 {
		t.Errorf("%d requests counted", n)
	}
}

// TestCurlGetsAnEarlyAnswer uploads to a server that answers before it has read the body.
func TestCurlGetsAnEarlyAnswer(t *testing.T) {
	upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("connection", "close")
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	}))
	w := startWeft(t, upstream, setup{})
	file := filepath.Join(t.TempDir(), "big.bin")
	noise(t, file, 20<<20)
	for i := range 10 {
		out, err := run(t, patience, tool(t, "curl"), "-sS", "-H", "Expect:", "-T", file, "-w", "%{http_code}", "http://"+w.addr+"/")
		if err != nil || out != "too much\n413" {
			t.Errorf("%d: curl prints %q: %v", i, out, err)
		}
	}
}
