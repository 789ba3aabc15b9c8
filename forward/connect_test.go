package forward

import (
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// gate is a request body whose chunks come when the test says so.
type gate struct {
	chunks chan string // closed at the end of the body
	mu     sync.Mutex
	wake   chan struct{}
	paused bool
	cause  error
}

func newGate() *gate { return &gate{chunks: make(chan string, 8), wake: make(chan struct{})} }

func (g *gate) Next() ([]byte, error) {
	g.mu.Lock()
	wake, paused, cause := g.wake, g.paused, g.cause
	g.mu.Unlock()
	switch {
	case cause != nil:
		return nil, cause
	case paused:
		return nil, message.ErrPaused
	}
	select {
	case s, ok := <-g.chunks:
		if !ok {
			return nil, io.EOF
		}
		return []byte(s), nil
	case <-wake:
		return g.Next()
	}
}

func (g *gate) poke(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
	close(g.wake)
	g.wake = make(chan struct{})
}

func (g *gate) Ready() bool              { return len(g.chunks) > 0 }
func (g *gate) Trailer() *message.Header { return nil }
func (g *gate) Close(cause error) {
	g.poke(func() {
		if g.cause = cause; cause == nil {
			g.cause = message.ErrBodyClosed
		}
	})
}
func (g *gate) Pause()  { g.poke(func() { g.paused = true }) }
func (g *gate) Resume() { g.poke(func() { g.paused = false }) }

// listen serves one connection on the loopback network.
func listen(t *testing.T, serve func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		serve(c.(*net.TCPConn))
	})
	t.Cleanup(func() {
		l.Close()
		done.Wait()
	})
	return l.Addr().String()
}

func terminated(b message.Body) func(x *exchange.Exchange) {
	return func(x *exchange.Exchange) {
		x.Route.ConnectConfig = true
		x.Request.Method, x.Request.Upgrade, x.Request.Length, x.Request.Body = "CONNECT", "connect", -1, b
	}
}

func TestATerminatedCONNECTIsATunnel(t *testing.T) {
	address := listen(t, func(c *net.TCPConn) {
		b, err := io.ReadAll(c) // to the half-close
		if err != nil {
			t.Error(err)
		}
		_, _ = c.Write(append([]byte("you said "), b...))
	})
	f := newFixture(t, &routerv3.Router{}, ok, address)
	f.net.real = true
	g := newGate()
	g.chunks <- "hello, "
	g.chunks <- "world"
	close(g.chunks)
	c := f.call(terminated(g))
	r := c.run()
	if r.Status != 200 || !r.Tunnel || r.body != "you said hello, world" || r.broken != nil {
		t.Errorf("%d %q %v", r.Status, r.body, r.broken)
	}
	f.check("cluster.c.", "upstream_rq_total 1 upstream_rq_active 0 upstream_rq_200 1 upstream_cx_active 0")
}

func TestATunnelEndsWithItsClient(t *testing.T) {
	address := listen(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	f := newFixture(t, &routerv3.Router{}, ok, address)
	f.net.real = true
	g := newGate() // it never sends anything
	c := f.call(terminated(g))
	resp, err := c.x.Run(c.s)
	if err != nil {
		t.Fatal(err)
	}
	go c.s.Cancel(syscall.ECONNRESET)
	if _, err := resp.Body.Next(); err == nil {
		t.Error("the tunnel went on")
	}
	resp.Body.Close(nil)
	c.s.End()
	f.check("cluster.c.", "upstream_rq_active 0 upstream_cx_active 0")
}

func TestATunnelThatCannotBeMadeIsRetried(t *testing.T) {
	f := newFixture(t, &routerv3.Router{}, ok)
	f.net.dial["10.0.0.1:80"] = errRefused
	c := f.call(func(x *exchange.Exchange) {
		terminated(newGate())(x)
		policy(exchange.RetryPolicy{On: exchange.RetryConnectFailure, Retries: 2})(x)
	})
	if r := c.run(); r.Status != 503 || c.x.Record.Attempts != 3 || c.flags() != "UF,URX" {
		t.Errorf("%d after %d attempts, %s", r.Status, c.x.Record.Attempts, c.flags())
	}
}
