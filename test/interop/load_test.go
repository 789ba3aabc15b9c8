//go:build interop

package interop

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// wrkRequests matches wrk's count of complete answers.
var wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in`)

func TestWrkSeesNoErrors(t *testing.T) {
	n := startNginx(t, "", "1.1")
	w := startWeft(t, n.addr, setup{})
	script := write(t, "post.lua", "wrk.method = 'POST'\nwrk.body = string.rep('x', 16384)\n")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"small", []string{"-c", "64", "http://" + w.addr + "/plain/small.txt"}},
		{"200 KB", []string{"-c", "16", "http://" + w.addr + "/plain/text.txt"}},
		{"chunked", []string{"-c", "16", "-H", "Accept-Encoding: gzip", "http://" + w.addr + "/text.txt"}},
		{"to the end", []string{"-c", "16", "-H", "Accept-Encoding: gzip", "http://" + w.addr + "/closed/text.txt"}},
		{"uploads", []string{"-c", "32", "-s", script, "http://" + w.addr + "/hints"}},
		{"a connection a request", []string{"-c", "16", "-H", "Connection: close", "http://" + w.addr + "/plain/small.txt"}},
		{"nginx closes after seven", []string{"-c", "32", "http://" + w.addr + "/few/small.txt"}},
		{"nginx closes always", []string{"-c", "32", "http://" + w.addr + "/once/small.txt"}},
		{"through HAProxy", []string{"-c", "32", "http://" + startHAProxy(t, w.addr).addr + "/plain/small.txt"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run(t, patience, tool(t, "wrk"), append([]string{"-t", "1", "-d", "1s", "--timeout", "10s"}, c.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			count := wrkRequests.FindStringSubmatch(out)
			if count == nil || strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
				t.Fatalf("wrk prints\n%s", out)
			}
			if n, err := strconv.Atoi(count[1]); err != nil || n < 100 {
				t.Errorf("only %d requests: %v", n, err)
			}
			t.Log(count[1], "requests")
		})
	}
	for _, name := range []string{"http.main.downstream_rq_5xx", "http.main.downstream_rq_4xx", "http.main.downstream_cx_protocol_error"} {
		if n := w.stat(name); n != 0 {
			t.Errorf("%s is %d", name, n)
		}
	}
}

func TestH2loadSeesNoErrors(t *testing.T) {
	path := tool(t, "h2load")
	n := startNginx(t, "", "1.1")
	w := startWeft(t, n.addr, setup{})
	body := write(t, "body", strings.Repeat("x", 5000))
	for _, c := range []struct {
		name string
		n    int
		args []string
	}{
		{"one at a time", 5000, []string{"-c", "20", "-m", "1", "http://" + w.addr + "/plain/small.txt"}},
		{"pipelined", 5000, []string{"-c", "20", "-m", "8", "http://" + w.addr + "/plain/small.txt"}},
		{"pipelined gzip", 1000, []string{"-c", "10", "-m", "4", "-H", "accept-encoding: gzip", "http://" + w.addr + "/text.txt"}},
		{"uploads", 2000, []string{"-c", "20", "-m", "1", "-d", body, "http://" + w.addr + "/hints"}},
		{"pipelined uploads", 2000, []string{"-c", "10", "-m", "4", "-d", body, "http://" + w.addr + "/hints"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run(t, patience, path, append([]string{"--h1", "-n", strconv.Itoa(c.n)}, c.args...)...)
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
}
