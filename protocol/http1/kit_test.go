package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// loopback returns the two ends of a TCP connection.
func loopback(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// handler is a StreamHandler made of functions.
type handler struct {
	serve   func(ctx context.Context, s protocol.Stream)
	refused func(e *protocol.Error)
	expired func(s protocol.Stream, d scope.Due) error
}

func (h *handler) ServeStream(ctx context.Context, s protocol.Stream) { h.serve(ctx, s) }

func (h *handler) RefuseStream(_ context.Context, s protocol.Stream, e *protocol.Error) {
	if h.refused != nil {
		h.refused(e)
	}
	_ = s.Respond(reply(e.Status, e.Details))
}

func (h *handler) Expired(s protocol.Stream, d scope.Due) error {
	if h.expired == nil {
		return nil
	}
	return h.expired(s, d)
}

// reply is a response with a body in memory.
func reply(status int, body string) *message.Response {
	return &message.Response{Status: status, Body: message.NewBytes([]byte(body)), Length: int64(len(body))}
}

// echo answers with the request as the codec understood it.
func echo(_ context.Context, s protocol.Stream) {
	r := s.Request()
	body, err := message.ReadAll(r.Body, 1<<20)
	if err != nil {
		var e *protocol.Error
		if errors.As(err, &e) {
			_ = s.Respond(&message.Response{Status: e.Status, Body: message.NoBody, Local: err})
			return
		}
		s.Reset(err)
		return
	}
	var b strings.Builder
	b.WriteString(r.Method + " " + r.Scheme + "://" + r.Authority + r.Path + "\n")
	for name, value := range r.Header.All() {
		b.WriteString(name + "=" + value + "\n")
	}
	if r.Upgrade != "" {
		b.WriteString("upgrade " + r.Upgrade + "\n")
	}
	b.WriteString("\n" + string(body))
	if tr := r.Body.Trailer(); tr != nil {
		for name, value := range tr.All() {
			b.WriteString("\ntrailer " + name + "=" + value)
		}
	}
	_ = s.Respond(reply(200, b.String()))
}

// A served is a Serve that runs on one end of a connection.
type served struct {
	net.Conn
	br   *bufio.Reader
	c    *conn.Conn
	done chan struct{}
	err  error
}

// start serves one end of a connection until the test ends.
func start(t testing.TB, o ServerOptions, h *handler) *served {
	t.Helper()
	near, far := loopback(t)
	return startOn(t, context.Background(), o, h, near, far)
}

func startOn(t testing.TB, ctx context.Context, o ServerOptions, h protocol.StreamHandler, near, far net.Conn) *served {
	c := conn.New(far)
	c.Info().Began = time.Now()
	s := &served{Conn: near, br: bufio.NewReader(near), c: c, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer c.Close()
		s.err = NewServer(o).Serve(ctx, c, h)
	}()
	_ = near.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { near.Close(); s.wait(t) })
	return s
}

// wait returns what Serve returned.
func (s *served) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Error("Serve does not return")
	}
	return s.err
}

func (s *served) say(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(s.Conn, text); err != nil {
		t.Fatal(err)
	}
}

// hear reads one response; method is that of the request.
func (s *served) hear(t testing.TB, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(s.br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("response: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("response body: %v", err)
	}
	return resp, string(body)
}

// rest reads to the end of the connection.
func (s *served) rest(t testing.TB) string {
	t.Helper()
	b, err := io.ReadAll(s.br)
	if err != nil {
		t.Fatalf("rest: %v (%q)", err, b)
	}
	return string(b)
}

// lax are options that let much through.
func lax() ServerOptions {
	return ServerOptions{AllowAbsoluteURL: true, DelayedClose: time.Second, EnableTrailers: true}
}

// owner is a protocol.Owner that remembers.
type owner struct {
	mu          sync.Mutex
	freed, gone int
}

func (o *owner) Resized(protocol.Session)     {}
func (o *owner) Freed(protocol.Session)       { o.mu.Lock(); o.freed++; o.mu.Unlock() }
func (o *owner) Gone(protocol.Session, error) { o.mu.Lock(); o.gone++; o.mu.Unlock() }

func (o *owner) counts() (freed, gone int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.freed, o.gone
}

// An origin is the far end of a session: a script reads and writes it.
type origin struct {
	net.Conn
	br *bufio.Reader
}

// open opens a session to an origin that runs script on a goroutine.
func open(t testing.TB, o ClientOptions, script func(o *origin)) (protocol.Session, *owner) {
	t.Helper()
	near, far := loopback(t)
	_ = far.SetDeadline(time.Now().Add(patience))
	own := &owner{}
	s, err := NewClient(o).Open(context.Background(), conn.New(near), own)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		script(&origin{far, bufio.NewReader(far)})
	}()
	t.Cleanup(func() {
		s.Close(nil)
		far.Close()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the origin's script does not end")
		}
	})
	return s, own
}

// head reads a request head as text.
func (o *origin) head() string {
	var b bytes.Buffer
	for {
		line, err := o.br.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

func (o *origin) say(s string) { _, _ = io.WriteString(o.Conn, s) }

// get is a request without a body.
func get(path string) *message.Request {
	return &message.Request{Method: "GET", Scheme: "http", Authority: "a.example", Path: path, Body: message.NoBody}
}

// under runs f with a scope that has begun.
func under(t testing.TB) *scope.Scope {
	sc := &scope.Scope{}
	sc.Init(func(scope.Due) error { return nil })
	sc.Begin(context.Background())
	t.Cleanup(func() { sc.End(); sc.Close() })
	return sc
}

// all reads a response's body and closes it.
func consume(t testing.TB, r *message.Response) string {
	t.Helper()
	b, err := message.ReadAll(r.Body, 1<<30)
	if err != nil {
		t.Fatalf("body: %v after %d bytes", err, len(b))
	}
	r.Body.Close(nil)
	return string(b)
}
