package http2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// owner counts what a session tells it.
type owner struct {
	mu                   sync.Mutex
	freed, gone, resized int
	cause                error
	changed              chan struct{}
}

func newOwner() *owner { return &owner{changed: make(chan struct{}, 1000)} }

func (o *owner) note(f func()) {
	o.mu.Lock()
	f()
	o.mu.Unlock()
	o.changed <- struct{}{}
}
func (o *owner) Freed(protocol.Session)           { o.note(func() { o.freed++ }) }
func (o *owner) Gone(_ protocol.Session, e error) { o.note(func() { o.gone++; o.cause = e }) }
func (o *owner) Resized(protocol.Session)         { o.note(func() { o.resized++ }) }

// await waits until the counts satisfy ok.
func (o *owner) await(t testing.TB, ok func(o *owner) bool) {
	t.Helper()
	for {
		o.mu.Lock()
		done := ok(o)
		o.mu.Unlock()
		if done {
			return
		}
		<-o.changed
	}
}

// dial opens a session to a peer that serve plays.
func dial(t testing.TB, o ClientOptions, serve func(nc net.Conn)) (protocol.Session, *owner) {
	near, far := loopback(t)
	done := make(chan struct{})
	go func() { defer close(done); serve(far) }()
	own := newOwner()
	s, err := NewClient(o).Open(context.Background(), conn.New(near), own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close(errors.New("over"))
		far.Close()
		<-done
		own.await(t, func(o *owner) bool { return o.gone == 1 })
	})
	return s, own
}

// goServer serves a connection with Go's server.
func goServer(h http.HandlerFunc) func(nc net.Conn) {
	return func(nc net.Conn) { (&http2.Server{}).ServeConn(nc, &http2.ServeConnOpts{Handler: h}) }
}

func request(method, path, body string) *message.Request {
	r := &message.Request{Method: method, Scheme: "http", Authority: "a", Path: path, Body: message.NoBody}
	if body != "" {
		r.Body, r.Length = message.NewBytes([]byte(body)), int64(len(body))
	}
	return r
}

// consume reads a response to its end.
func consume(t testing.TB, r *message.Response) string {
	t.Helper()
	b, err := message.ReadAll(r.Body, 1<<24)
	if err != nil {
		t.Errorf("body: %v", err)
	}
	r.Body.Close(err)
	return string(b)
}

func TestGoServerAnswers(t *testing.T) {
	s, own := dial(t, ClientOptions{}, goServer(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-T")
		w.WriteHeader(201)
		fmt.Fprintf(w, "%s %s %s %d ", r.Method, r.Host, r.URL, r.ContentLength)
		_, _ = w.Write(b)
		w.Header().Set("X-T", "v")
	}))
	large := strings.Repeat("0123456789", 100_000)
	for i, body := range []string{"", "hello", large} {
		method := "GET"
		if body != "" {
			method = "POST"
		}
		resp, err := s.RoundTrip(context.Background(), request(method, "/p", body))
		if err != nil {
			t.Fatal(err)
		}
		got := consume(t, resp)
		if want := fmt.Sprintf("%s a /p %d %s", method, len(body), body); got != want || resp.Status != 201 {
			t.Errorf("got %d %.100q, want %.100q", resp.Status, got, want)
		}
		if tr := resp.Body.Trailer(); tr == nil || tr.Get("x-t") != "v" {
			t.Errorf("trailer %v", tr)
		}
		resp.Release()
		own.await(t, func(o *owner) bool { return o.freed == i+1 })
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	s, own := dial(t, ClientOptions{}, goServer(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	own.await(t, func(o *owner) bool { return o.resized == 1 })
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			body := strings.Repeat(string(rune('a'+i%26)), 1+i*500)
			resp, err := s.RoundTrip(context.Background(), request("POST", "/", body))
			if err != nil {
				t.Error(err)
				return
			}
			if got := consume(t, resp); got != body {
				t.Errorf("call %d: %d bytes, want %d", i, len(got), len(body))
			}
			resp.Release()
		})
	}
	wg.Wait()
	own.await(t, func(o *owner) bool { return o.freed == 200 })
}

func TestCancelResetsTheStreamAtOnce(t *testing.T) {
	gone := make(chan struct{})
	s, own := dial(t, ClientOptions{}, goServer(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	ctx, cancel := context.WithCancelCause(context.Background())
	resp, err := s.RoundTrip(ctx, request("GET", "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	cancel(why)
	if _, err = resp.Body.Next(); err != why {
		t.Errorf("Next: %v", err)
	}
	resp.Body.Close(why)
	<-gone
	own.await(t, func(o *owner) bool { return o.freed == 1 && o.gone == 0 })
}
