//go:build interop

package interop

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// An answer is what a client gets, without what differs between two times of asking.
type answer struct {
	status  int
	length  int64
	coding  []string
	header  http.Header
	body    string
	trailer http.Header
}

// ask sends a request and reads the answer.
func ask(t *testing.T, c *http.Client, method, url string, header http.Header, body io.Reader) answer {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", method, url, err)
	}
	a := answer{resp.StatusCode, resp.ContentLength, resp.TransferEncoding, resp.Header.Clone(), string(text), resp.Trailer}
	for _, name := range []string{"Date", "Server", "X-Envoy-Upstream-Service-Time", "Connection", "Keep-Alive"} {
		a.header.Del(name)
	}
	return a
}

// client is a client with connections of its own that neither decodes nor follows anything.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{DisableCompression: true, ResponseHeaderTimeout: patience}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 2 * patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// differ tells how two answers differ, "" if they do not. What a proxy may change is not compared: the framing of a body whose length the
// upstream did not say, and the boundary of multipart ranges, which nginx counts.
func differ(direct, via answer) string {
	if ct := direct.header.Get("content-type"); strings.HasPrefix(ct, "multipart/byteranges") {
		for _, a := range []*answer{&direct, &via} {
			_, boundary, _ := strings.Cut(a.header.Get("content-type"), "boundary=")
			a.body = strings.ReplaceAll(a.body, boundary, "BOUNDARY")
			a.header.Set("content-type", "multipart/byteranges")
		}
	}
	switch {
	case direct.status != via.status:
		return fmt.Sprintf("status %d, directly %d", via.status, direct.status)
	case direct.body != via.body:
		return fmt.Sprintf("body of %d bytes %.80q, directly %d bytes %.80q", len(via.body), via.body, len(direct.body), direct.body)
	case direct.length != via.length:
		return fmt.Sprintf("content-length %d, directly %d", via.length, direct.length)
	case !reflect.DeepEqual(direct.header, via.header):
		return fmt.Sprintf("header %v, directly %v", via.header, direct.header)
	case len(direct.trailer)+len(via.trailer) > 0 && !reflect.DeepEqual(direct.trailer, via.trailer):
		return fmt.Sprintf("trailers %v, directly %v", via.trailer, direct.trailer)
	}
	return ""
}

// upstreams runs a test with nginx, and with HAProxy in front of nginx, as the upstream: both with HTTP/1.1 and with HTTP/2. upstream is what
// Weft connects to, direct the address of the same with HTTP/1.1.
func upstreams(t *testing.T, f func(t *testing.T, n *nginx, direct, upstream string, s setup)) {
	for _, s := range []setup{{}, {upstream: http2}} {
		t.Run(fmt.Sprintf("nginx with HTTP/%d", s.upstream+1), func(t *testing.T) {
			n := startNginx(t, "", "1.1")
			if s.upstream == http2 {
				f(t, n, n.addr, n.http2, s)
				return
			}
			f(t, n, n.addr, n.addr, s)
		})
		t.Run(fmt.Sprintf("haproxy with HTTP/%d", s.upstream+1), func(t *testing.T) {
			n := startNginx(t, "", "1.1")
			h := startHAProxy(t, n.addr) // its listener takes both versions
			f(t, n, h.addr, h.addr, s)
		})
	}
}

// downstreams runs a test with a client of each version.
func downstreams(t *testing.T, f func(t *testing.T, version int, c *http.Client)) {
	t.Run("from HTTP/1", func(t *testing.T) { f(t, 1, client(t)) })
	t.Run("from HTTP/2", func(t *testing.T) { f(t, 2, client2(t)) })
}

// client2 is a client as client's is, with HTTP/2 by prior knowledge.
func client2(t *testing.T) *http.Client {
	c := client(t)
	tr := c.Transport.(*http.Transport)
	tr.Protocols = &http.Protocols{}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return c
}

func TestAnswersThroughWeftAreThoseOfTheUpstream(t *testing.T) {
	upstreams(t, func(t *testing.T, n *nginx, address, upstream string, s setup) {
		w := startWeft(t, upstream, s)
		direct := client(t)
		if s.upstream == http2 {
			direct, address = client2(t), upstream
		}
		first := ask(t, direct, "GET", "http://"+address+"/plain/text.txt", nil, nil)
		etag, modified := first.header.Get("etag"), first.header.Get("last-modified")
		gzip := http.Header{"Accept-Encoding": {"gzip"}}
		cases := []struct {
			name, method, path string
			header             http.Header
			body               string
			status             int
		}{
			{"a small file", "GET", "/plain/small.txt", nil, "", 200},
			{"an empty file", "GET", "/plain/empty.txt", nil, "", 200},
			{"a file", "GET", "/plain/text.txt", nil, "", 200},
			{"HEAD", "HEAD", "/plain/text.txt", nil, "", 200},
			{"HEAD of nothing", "HEAD", "/none", nil, "", 404},
			{"HEAD with gzip", "HEAD", "/text.txt", gzip, "", 200},
			{"gzip, chunked", "GET", "/text.txt", gzip, "", 200},
			{"gzip, delimited by the end", "GET", "/closed/text.txt", gzip, "", 200},
			{"trailers", "GET", "/trailer/text.txt", gzip, "", 200},
			{"trailers without a length", "GET", "/trailer/small.txt", http.Header{"Te": {"trailers"}}, "", 200},
			{"a range", "GET", "/plain/text.txt", http.Header{"Range": {"bytes=10-99"}}, "", 206},
			{"the last bytes", "GET", "/plain/text.txt", http.Header{"Range": {"bytes=-7"}}, "", 206},
			{"two ranges", "GET", "/plain/text.txt", http.Header{"Range": {"bytes=0-9,100-119"}}, "", 206},
			{"no such range", "GET", "/plain/text.txt", http.Header{"Range": {"bytes=9999999-"}}, "", 416},
			{"a range if it is still that", "GET", "/plain/text.txt", http.Header{"Range": {"bytes=0-4"}, "If-Range": {etag}}, "", 206},
			{"a range if it were another", "GET", "/plain/text.txt", http.Header{"Range": {"bytes=0-4"}, "If-Range": {`"x"`}}, "", 200},
			{"not modified by tag", "GET", "/plain/text.txt", http.Header{"If-None-Match": {etag}}, "", 304},
			{"not modified by date", "GET", "/plain/text.txt", http.Header{"If-Modified-Since": {modified}}, "", 304},
			{"HEAD not modified", "HEAD", "/plain/text.txt", http.Header{"If-None-Match": {etag}}, "", 304},
			{"precondition failed", "GET", "/plain/text.txt", http.Header{"If-Match": {`"x"`}}, "", 412},
			{"not found", "GET", "/none", nil, "", 404},
			{"moved", "GET", "/moved", nil, "", 301},
			{"no content", "GET", "/nothing", nil, "", 204},
			{"no content after a body", "POST", "/nothing", nil, "body", 204},
			{"method not allowed", "POST", "/plain/small.txt", nil, "body", 405},
			{"another method", "PROPFIND", "/plain/small.txt", nil, "", 405},
			{"escapes", "GET", "/plain/%73mall.txt?a=%20b&c", nil, "", 200},
			{"create", "PUT", "/put/a.txt", nil, "written", 201},
			{"create again", "PUT", "/put/a.txt", nil, "written", 204},
			{"delete", "DELETE", "/put/none.txt", nil, "", 404},
		}
		downstreams(t, func(t *testing.T, version int, via *http.Client) {
			for _, c := range cases {
				path := strings.Replace(c.path, "a.txt", fmt.Sprintf("from%d.txt", version), 1)
				t.Run(c.name, func(t *testing.T) {
					body := func() io.Reader {
						if c.body == "" {
							return nil
						}
						return strings.NewReader(c.body)
					}
					got := ask(t, via, c.method, "http://"+w.addr+path, c.header, body())
					if got.status != c.status {
						t.Errorf("status %d, want %d", got.status, c.status)
					}
					if c.status == 201 {
						return // once only
					}
					want := ask(t, direct, c.method, "http://"+address+path, c.header, body())
					if version == 1 && s.upstream == http2 && want.length >= 0 {
						want.trailer = nil // after a body with a length HTTP/1.1 has none
					}
					if diff := differ(want, got); diff != "" {
						t.Error(diff)
					}
				})
			}
		})
	})
}

func TestConnectionsToTheUpstreamAreReused(t *testing.T) {
	upstreams(t, func(t *testing.T, n *nginx, _, upstream string, s setup) {
		downstreams(t, func(t *testing.T, _ int, c *http.Client) {
			w := startWeft(t, upstream, s)
			w.becomes("http.main.downstream_cx_total", 1) // the one that found Weft ready
			gzip := http.Header{"Accept-Encoding": {"gzip"}}
			for i := range 50 {
				for _, path := range []string{"/plain/small.txt", "/text.txt", "/nothing", "/none"} {
					if a := ask(t, c, "GET", "http://"+w.addr+path, gzip, nil); a.status >= 500 {
						t.Fatalf("%d %s: %d", i, path, a.status)
					}
				}
				ask(t, c, "HEAD", "http://"+w.addr+"/plain/text.txt", nil, nil)
			}
			if n := w.stat("cluster.up.upstream_cx_total"); n != 1 {
				t.Errorf("%d connections to the upstream for 250 requests one after another, want 1", n)
			}
			if n := w.stat("http.main.downstream_cx_total") - 1; n != 1 {
				t.Errorf("%d connections from the client, want 1", n)
			}
		})
	})
}

func TestBigFilesArriveWhole(t *testing.T) {
	upstreams(t, func(t *testing.T, n *nginx, _, upstream string, s setup) {
		w := startWeft(t, upstream, s)
		file := filepath.Join(n.root, "files", "big.bin")
		want := noise(t, file, big)
		downstreams(t, func(t *testing.T, version int, c *http.Client) {
			resp, err := c.Get("http://" + w.addr + "/plain/big.bin")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := sum(t, resp.Body); got != want || resp.ContentLength != big {
				t.Errorf("down: %d bytes with sum %s, want %s", resp.ContentLength, got, want)
			}
			for _, length := range []int64{big, -1} {
				f, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprintf("up%d.from%d.bin", length, version)
				r, err := http.NewRequest("PUT", "http://"+w.addr+"/put/"+name, io.NopCloser(f))
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = length
				resp, err := c.Do(r)
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if got := fileSum(t, filepath.Join(n.root, "put", name)); got != want || resp.StatusCode != 201 {
					t.Errorf("up with length %d: %s, sum %s, want %s", length, resp.Status, got, want)
				}
			}
		})
	})
}

// TestTrailersPassThroughHAProxy has HAProxy between Weft and a server that sends trailers and 103.
func TestTrailersPassThroughHAProxy(t *testing.T) {
	o := serve(t, origin())
	h := startHAProxy(t, o)
	w := startWeft(t, h.addr, setup{})
	c := client(t)
	for _, path := range []string{"/trailer", "/hints"} {
		if diff := differ(ask(t, c, "GET", "http://"+h.addr+path, nil, nil), ask(t, c, "GET", "http://"+w.addr+path, nil, nil)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	r, err := http.NewRequest("POST", "http://"+w.addr+"/echo", io.NopCloser(strings.NewReader("with trailers")))
	if err != nil {
		t.Fatal(err)
	}
	r.Trailer = http.Header{"X-Check": {"7"}}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != "with trailers" || !slices.Equal(resp.Trailer["X-Check"], []string{"7"}) {
		t.Errorf("got %q and trailers %v", body, resp.Trailer)
	}
}
