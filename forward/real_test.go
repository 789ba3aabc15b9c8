package forward

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol/http1"
)

// realFixture forwards to an address on the loopback network with the real codec.
func realFixture(t *testing.T, address string) *fixture {
	f := newFixture(t, &routerv3.Router{}, ok)
	f.net.real, f.net.codec = true, http1.NewClient(http1.ClientOptions{})
	f.add(newCluster(f, "c", limits{}, address))
	return f
}

func TestTheRealCodecAgainstNetHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Attempt", r.Header.Get("X-Envoy-Attempt-Count"))
		switch r.Header.Get("X-Envoy-Attempt-Count") {
		case "1":
			w.WriteHeader(503)
		default:
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, b)
		}
	}))
	defer s.Close()
	f := realFixture(t, s.Listener.Addr().String())
	for _, size := range []int{0, 10, 300_000} {
		body := strings.Repeat("x", size)
		c := f.call(func(x *exchange.Exchange) {
			policy(exchange.RetryPolicy{On: exchange.Retry5xx, Base: time.Nanosecond})(x)
			x.Route.IncludeAttempt.Request = true
			x.Request.Method = "POST"
			if size > 0 {
				x.Request.Length, x.Request.Body = -1, &pieces{list: []string{body[:size/2], body[size/2:]}}
			}
		})
		r := c.run()
		if r.Status != 200 || r.body != "POST example.com "+body || r.broken != nil || c.x.Record.Attempts != 2 || c.x.Record.UpstreamBytesOut != uint64(size) {
			t.Errorf("%d bytes: %d, %d bytes back, %v, %d attempts", size, r.Status, len(r.body), r.broken, c.x.Record.Attempts)
		}
		r.Release()
	}
	f.check("cluster.c.", "upstream_rq_total 6 upstream_rq_active 0 upstream_rq_retry 3 upstream_rq_retry_success 3 upstream_rq_200 3 upstream_cx_total 1")
}

// once answers one request on each connection and then closes it without a word, as a server does whose keep-alive timeout is over.
func once(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				br := bufio.NewReader(c)
				for i := range 2 {
					q, err := http.ReadRequest(br)
					if err != nil || i == 1 {
						return
					}
					_, _ = io.Copy(io.Discard, q.Body)
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		done.Wait()
	})
	return l.Addr().String()
}

func TestTheRealCodecOnAConnectionThatDiesUnderTheRequest(t *testing.T) {
	f := realFixture(t, once(t))
	for i := range 6 {
		if r := f.call(nil).run(); r.Status != 200 || r.body != "fine" {
			t.Errorf("GET %d: %d %q", i, r.Status, r.body)
		}
	}
	f.check("cluster.c.", "upstream_rq_retry 0 upstream_rq_active 0 upstream_rq_200 6")
	if r := f.call(func(x *exchange.Exchange) { x.Request.Method = "POST" }).run(); r.Status != 503 && r.Status != 200 {
		t.Errorf("POST: %d %q", r.Status, r.body)
	}
}

func TestTheRealCodecCancelsAWaitingRequest(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	f := realFixture(t, s.Listener.Addr().String())
	c := f.call(func(x *exchange.Exchange) {
		x.Route.Timeout = 50 * time.Millisecond
		x.Request.Body, x.Request.Length = message.NoBody, 0
	})
	if r := c.run(); r.Status != 504 || c.flags() != "UT" {
		t.Errorf("%d %s", r.Status, c.flags())
	}
	f.check("cluster.c.", "upstream_rq_active 0 upstream_rq_timeout 1 upstream_cx_active 0")
}
