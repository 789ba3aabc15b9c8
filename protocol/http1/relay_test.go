package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// A relay hands every stream to an upstream, as a proxy does.
type relay struct {
	client *Client
	addr   string
	mu     sync.Mutex
	idle   []protocol.Session
	dials  int
}

func (r *relay) Resized(protocol.Session) {}
func (r *relay) Freed(s protocol.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Free() > 0 {
		r.idle = append(r.idle, s)
	}
}

func (r *relay) Gone(s protocol.Session, err error) { s.Close(err) }

func (r *relay) take() (protocol.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.idle); n > 0 {
		s := r.idle[n-1]
		r.idle = r.idle[:n-1]
		return s, nil
	}
	r.dials++
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	return r.client.Open(context.Background(), conn.New(c), r)
}

func (r *relay) ServeStream(ctx context.Context, s protocol.Stream) {
	sess, err := r.take()
	if err != nil {
		_ = s.Respond(reply(503, err.Error()))
		return
	}
	s.Request().Informer = s
	resp, err := sess.RoundTrip(ctx, s.Request())
	if err != nil {
		ctx.(*scope.Scope).Revive()
		_ = s.Respond(reply(502, err.Error()))
		return
	}
	_ = s.Respond(resp)
	resp.Release()
}

func (r *relay) RefuseStream(_ context.Context, s protocol.Stream, e *protocol.Error) {
	_ = s.Respond(reply(e.Status, e.Details))
}
func (r *relay) Expired(protocol.Stream, scope.Due) error { return nil }

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.idle {
		s.Close(nil)
	}
	r.idle = nil
}

// proxy listens and relays to addr until the test ends.
func proxy(t testing.TB, o ServerOptions, co ClientOptions, addr string) (string, *relay) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{client: NewClient(co), addr: addr}
	srv := NewServer(o)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				c := conn.New(nc)
				c.Info().Began = time.Now()
				_ = srv.Serve(ctx, c, r)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait(); r.close() })
	return l.Addr().String(), r
}

// mirror answers with a digest of what it got and a body as the query asks for it.
func mirror(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var size, chunk int
	_, _ = fmt.Sscanf(r.URL.RawQuery, "size=%d&chunk=%d", &size, &chunk)
	w.Header().Set("X-Got", fmt.Sprintf("%s %s %d %x %q", r.Method, r.Host, n, sum.Sum(nil)[:4], r.Header.Get("X-Send")))
	if chunk == 0 {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		chunk = size
	}
	w.Header().Set("Trailer", "X-After")
	data := bytes.Repeat([]byte("0123456789abcdef"), chunk/16+1)
	for size > 0 && r.Method != "HEAD" {
		k := min(size, chunk)
		_, _ = w.Write(data[:k])
		w.(http.Flusher).Flush()
		size -= k
	}
	w.Header().Set("X-After", "done")
}

func TestRelayGivesWhatDirectGives(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(mirror))
	defer up.Close()
	o, co := lax(), ClientOptions{EnableTrailers: true}
	o.PeekAfter = time.Millisecond
	addr, r := proxy(t, o, co, strings.TrimPrefix(up.URL, "http://"))
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 100, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 70000, 300000}
	ask := func(base, method string, size, chunk, send int, chunked bool) string {
		var body io.Reader
		if send > 0 {
			body = bytes.NewReader(bytes.Repeat([]byte{'x'}, send))
			if chunked {
				body = io.MultiReader(body) // hides the length
			}
		}
		req, _ := http.NewRequest(method, fmt.Sprintf("%s/?size=%d&chunk=%d", base, size, chunk), body)
		req.Host = "some.example"
		req.Header.Set("X-Send", "v")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return "error " + err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %v %d %x %v %q %q", resp.StatusCode, resp.ContentLength, len(b), sha256.Sum256(b), err, resp.Header.Get("X-Got"), resp.Trailer.Get("X-After"))
	}
	for i := range 300 {
		method := []string{"GET", "POST", "PUT", "HEAD", "DELETE"}[rng.IntN(5)]
		size, send := sizes[rng.IntN(len(sizes))], 0
		chunk := []int{0, 1000, 5000, 20000, 100000}[rng.IntN(5)]
		if method == "POST" || method == "PUT" {
			send = sizes[rng.IntN(len(sizes))]
		}
		chunked := rng.IntN(2) == 0
		direct, through := ask(up.URL, method, size, chunk, send, chunked), ask("http://"+addr, method, size, chunk, send, chunked)
		if direct != through {
			t.Fatalf("%d: %s size %d chunk %d send %d chunked %v:\ndirect  %s\nthrough %s", i, method, size, chunk, send, chunked, direct, through)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dials > 30 {
		t.Errorf("%d connections for 300 requests", r.dials)
	}
}

func TestRelayManyAtOnce(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(mirror))
	defer up.Close()
	addr, _ := proxy(t, lax(), ClientOptions{EnableTrailers: true}, strings.TrimPrefix(up.URL, "http://"))
	tr := &http.Transport{MaxIdleConnsPerHost: 32}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 30 {
				send := (w*31 + i*977) % 50000
				req, _ := http.NewRequest("POST", "http://"+addr+"/?size=20000&chunk=3000", io.MultiReader(bytes.NewReader(make([]byte, send))))
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || len(b) != 20000 || !strings.Contains(resp.Header.Get("X-Got"), fmt.Sprintf(" %d ", send)) {
					t.Errorf("got %d bytes, %v, %q, want %d sent", len(b), err, resp.Header.Get("X-Got"), send)
				}
			}
		})
	}
	wg.Wait()
}

// rawOrigin accepts one connection after another and runs script on each.
func rawOrigin(t *testing.T, script func(o *origin)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				script(&origin{c, bufio.NewReader(c)})
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func dial(t *testing.T, addr string) (*net.TCPConn, *bufio.Reader) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn), bufio.NewReader(c)
}

func TestRelayTunnelWithHalfClose(t *testing.T) {
	for _, ask := range []struct{ request, head string }{
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nearly ",
			"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: x\r\n\r\n"},
		{"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nearly ", "HTTP/1.1 200 OK\r\n\r\n"},
	} {
		up := rawOrigin(t, func(o *origin) {
			if strings.HasPrefix(o.head(), "CONNECT") {
				o.say("HTTP/1.1 200 OK\r\n\r\n")
			} else {
				o.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			}
			b, _ := io.ReadAll(o.br)
			o.say("[" + string(b) + "]")
		})
		addr, _ := proxy(t, lax(), ClientOptions{}, up)
		c, br := dial(t, addr)
		_, _ = io.WriteString(c, ask.request)
		head := make([]byte, len(ask.head))
		if _, err := io.ReadFull(br, head); err != nil || string(head) != ask.head {
			t.Fatalf("head %q, %v", head, err)
		}
		big := strings.Repeat("0123456789", 20000)
		go func() { _, _ = io.WriteString(c, big); _ = c.CloseWrite() }()
		b, err := io.ReadAll(br)
		if err != nil || string(b) != "[early "+big+"]" {
			t.Errorf("got %d bytes, %v", len(b), err)
		}
	}
}

func TestRelayRefusedUpgradeKeepsConnection(t *testing.T) {
	up := rawOrigin(t, func(o *origin) {
		for o.head() != "" {
			o.say("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
		}
	})
	addr, _ := proxy(t, lax(), ClientOptions{}, up)
	c, br := dial(t, addr)
	for range 2 {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 403 || resp.Close {
			t.Fatal(resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}

func TestRelayStreamsEventByEvent(t *testing.T) {
	step := make(chan bool)
	up := rawOrigin(t, func(o *origin) {
		o.head()
		o.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range step {
			o.say("6\r\ndata\r\n\r\n")
		}
		o.say("0\r\n\r\n")
	})
	addr, _ := proxy(t, lax(), ClientOptions{}, up)
	c, br := dial(t, addr)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(br, nil) // the head comes though no event did
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	for range 5 {
		step <- true
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "data\r\n" {
			t.Fatalf("event %q, %v", b, err)
		}
	}
	close(step)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("rest %q, %v", rest, err)
	}
}

func TestRelayBrokenResponseNeverLooksComplete(t *testing.T) {
	old := lax()
	old.AcceptHTTP10 = true
	for _, head := range []string{"Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"} {
		for _, version := range []string{"1.1", "1.0"} {
			up := rawOrigin(t, func(o *origin) { o.head(); o.say("HTTP/1.1 200 OK\r\n" + head + "\r\n5\r\nhello\r\n") })
			addr, _ := proxy(t, old, ClientOptions{}, up)
			c, br := dial(t, addr)
			_, _ = io.WriteString(c, "GET / HTTP/"+version+"\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				continue // nothing at all: cannot look complete
			}
			if b, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s HTTP/%s: a complete response of %q", head, version, b)
			}
		}
	}
}

func TestRelayFullDuplex(t *testing.T) {
	up := rawOrigin(t, func(o *origin) {
		o.head()
		o.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for { // echo chunk by chunk while the request goes on
			var n int
			if _, err := fmt.Fscanf(o.br, "%x\r\n", &n); err != nil || n == 0 {
				break
			}
			b := make([]byte, n+2)
			_, _ = io.ReadFull(o.br, b)
			o.say(fmt.Sprintf("%x\r\n%s", n, b))
		}
		o.say("0\r\n\r\n")
	})
	addr, _ := proxy(t, lax(), ClientOptions{}, up)
	c, br := dial(t, addr)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		word := fmt.Sprintf("word%d", i)
		_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(word), word)
		b := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != word {
			t.Fatalf("got %q, %v", b, err)
		}
	}
	_, _ = io.WriteString(c, "0\r\n\r\n")
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 0 {
		t.Errorf("rest %q, %v", b, err)
	}
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Errorf("the connection was not kept: %v", err)
	}
}
