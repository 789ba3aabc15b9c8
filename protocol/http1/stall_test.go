package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// polite is a layer that says goodbye.
type polite struct{ *conn.Wire }

func (l polite) CloseWrite() error {
	_, err := io.WriteString(l.Wire, "goodbye")
	return err
}

// piped serves one end of a connection that holds nothing: who writes waits until it is read.
func piped(t *testing.T, o ServerOptions, layered bool, h *handler) (far net.Conn, ended chan error) {
	near, far := net.Pipe()
	c := conn.New(near)
	if layered {
		c.SetLayer(polite{c.Wire()})
	}
	ended = make(chan error, 1)
	go func() {
		err := NewServer(o).Serve(context.Background(), c, h)
		_ = c.Close()
		ended <- err
	}()
	t.Cleanup(func() { _ = far.Close() })
	return far, ended
}

func TestWhoDoesNotReadTheGoodbyeIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := lax()
		o.MaxRequests = 1
		far, ended := piped(t, o, true, &handler{serve: func(_ context.Context, s protocol.Stream) {
			if err := s.Respond(reply(200, "all")); err != nil {
				t.Error(err)
			}
		}})
		if _, err := io.WriteString(far, wire("GET / HTTP/1.1\nHost: a\n\n")); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(far), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := <-ended; err != protocol.ErrMaxRequests {
			t.Errorf("Serve: %v", err)
		}
		if d := time.Since(began); d > 2*o.DelayedClose {
			t.Errorf("the end took %v", d)
		}
	})
}

func TestCancelEndsTheWaitFor100ToBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("enough")
		begun := make(chan *scope.Scope, 1)
		far, ended := piped(t, lax(), false, &handler{serve: func(ctx context.Context, s protocol.Stream) {
			begun <- ctx.(*scope.Scope)
			if _, err := s.Request().Body.Next(); err != cause {
				t.Errorf("Next: %v", err)
			}
		}})
		if _, err := io.WriteString(far, wire("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 2\n\n")); err != nil {
			t.Fatal(err)
		}
		sc := <-begun
		synctest.Wait() // until 100 is being written
		sc.Cancel(cause)
		if err := <-ended; err != cause {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestCancelEndsWhoReadsAndWhoWrites(t *testing.T) {
	cause := errors.New("enough")
	begun := make(chan *scope.Scope, 1)
	s := start(t, lax(), &handler{serve: func(ctx context.Context, s protocol.Stream) {
		begun <- ctx.(*scope.Scope)
		read := make(chan error, 1)
		go func() { _, err := s.Request().Body.Next(); read <- err }()
		big := make([]byte, 64<<20)
		if err := s.Respond(&message.Response{Status: 200, Body: message.NewBytes(big), Length: int64(len(big))}); err != cause {
			t.Errorf("Respond: %v", err)
		}
		if err := <-read; err != cause {
			t.Errorf("Next: %v", err)
		}
	}})
	s.say(t, wire("POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n"))
	if _, err := s.br.ReadByte(); err != nil { // the response has begun, and goes on for longer than it is read
		t.Fatal(err)
	}
	(<-begun).Cancel(cause)
	if err := s.wait(t); err != cause {
		t.Errorf("Serve: %v", err)
	}
}
