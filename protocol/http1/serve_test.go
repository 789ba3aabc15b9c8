package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

func TestRequestsAreUnderstood(t *testing.T) {
	old := lax()
	old.AcceptHTTP10, old.DefaultHost = true, "default.example"
	custom := lax()
	custom.AllowCustomMethods = true
	both := lax()
	both.AllowChunkedLength = true
	drop := lax()
	drop.Underscores = DropUnderscores
	plain := lax()
	plain.EnableTrailers = false
	ignore := lax()
	ignore.IgnoreUpgrades = []string{"foo/1"}
	for _, tt := range []struct {
		name string
		o    ServerOptions
		wire string
		want string
	}{
		{"get", lax(), "GET /p?q HTTP/1.1\nHost: a:8080\nX-Y: z\n\n", "GET http://a:8080/p?q\nX-Y=z\n\n"},
		{"spelling and space", lax(), "GET / HTTP/1.1\nHOST:  a \naB:\t c d\t \nE:\n\n", "GET http://a/\naB=c d\nE=\n\n"},
		{"obs-text", lax(), "GET / HTTP/1.1\nHost: a\nX: \xe9\n\n", "GET http://a/\nX=\xe9\n\n"},
		{"two empty lines", lax(), "\n\nGET / HTTP/1.1\nHost: a\n\n", "GET http://a/\n\n"},
		{"length", lax(), "POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", "POST http://a/\nContent-Length=5\n\nhello"},
		{"body on GET", lax(), "GET / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", "GET http://a/\nContent-Length=5\n\nhello"},
		{"chunked", lax(), "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: Chunked\n\n2\nhe\n3;x=\"y z\"\nllo\n0\n\n", "POST http://a/\n\nhello"},
		{"trailers", lax(), "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nA\n0123456789\n00\nX-T: v\nAuthorization: x\nCookie: y\n\n",
			"POST http://a/\n\n0123456789\ntrailer X-T=v"},
		{"trailers off", plain, "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\nX-T: v\n\n", "POST http://a/\n\n"},
		{"both lengths", both, "POST / HTTP/1.1\nHost: a\nContent-Length: 3\nTransfer-Encoding: chunked\n\n2\nhe\n0\n\n", "POST http://a/\n\nhe"},
		{"hop by hop", lax(), "GET / HTTP/1.1\nHost: a\nConnection: x-a, keep-alive\nConnection: TE\nX-A: 1\nX-B: 2\nKeep-Alive: 5\n" +
			"Proxy-Connection: close\nTE: gzip, trailers\n\n", "GET http://a/\nX-B=2\nte=trailers\n\n"},
		{"te without trailers", lax(), "GET / HTTP/1.1\nHost: a\nTE: gzip\n\n", "GET http://a/\n\n"},
		{"absolute-form", lax(), "GET http://A.example/x HTTP/1.1\nHost: a.example:80\n\n", "GET http://A.example/x\n\n"},
		{"absolute-form without path", lax(), "GET http://a?q HTTP/1.1\nHost: a\n\n", "GET http://a/?q\n\n"},
		{"absolute-form bare", lax(), "GET http://a HTTP/1.1\nHost: a\n\n", "GET http://a/\n\n"},
		{"options star", lax(), "OPTIONS * HTTP/1.1\nHost: a\n\n", "OPTIONS http://a*\n\n"},
		{"fragment and backslash are for the router", lax(), "GET /a\\b#c HTTP/1.1\nHost: a\n\n", "GET http://a/a\\b#c\n\n"},
		{"ipv6", lax(), "GET / HTTP/1.1\nHost: [::1]:80\n\n", "GET http://[::1]:80/\n\n"},
		{"custom method", custom, "FROB / HTTP/1.1\nHost: a\n\n", "FROB http://a/\n\n"},
		{"rare method", lax(), "M-SEARCH / HTTP/1.1\nHost: a\n\n", "M-SEARCH http://a/\n\n"},
		{"http/1.0", old, "GET / HTTP/1.0\n\n", "GET http://default.example/\n\n"},
		{"http/1.0 with host", old, "GET / HTTP/1.0\nHost: a\n\n", "GET http://a/\n\n"},
		{"underscore", lax(), "GET / HTTP/1.1\nHost: a\nA_B: c\n\n", "GET http://a/\nA_B=c\n\n"},
		{"underscore dropped", drop, "GET / HTTP/1.1\nHost: a\nA_B: c\nD: e\n\n", "GET http://a/\nD=e\n\n"},
		{"upgrade without option", lax(), "GET / HTTP/1.1\nHost: a\nUpgrade: websocket\n\n", "GET http://a/\n\n"},
		{"h2c", lax(), "GET / HTTP/1.1\nHost: a\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAA\n\n", "GET http://a/\n\n"},
		{"ignored upgrade", ignore, "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: Foo/1\n\n", "GET http://a/\n\n"},
		{"upgrade with a body", lax(), "POST / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\nContent-Length: 2\n\nhi",
			"POST http://a/\nContent-Length=2\n\nhi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.o, &handler{serve: echo})
			s.say(t, wire(tt.wire))
			resp, body := s.hear(t, "GET")
			if resp.StatusCode != 200 || body != tt.want {
				t.Errorf("got %d %q\nwant %q", resp.StatusCode, body, tt.want)
			}
		})
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	s := start(t, lax(), &handler{serve: echo})
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", i)
		fmt.Fprintf(&b, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	go func() { _, _ = io.WriteString(s.Conn, b.String()) }()
	for i := range 50 {
		if _, body := s.hear(t, "POST"); !strings.HasPrefix(body, fmt.Sprintf("POST http://a/%d\n", i)) {
			t.Fatalf("response %d: %q", i, body)
		}
		if _, body := s.hear(t, "GET"); !strings.HasPrefix(body, fmt.Sprintf("GET http://a/%d\n", i)) {
			t.Fatalf("response %d: %q", i, body)
		}
	}
}

func TestRequestSplitAtEveryByteIsTheSame(t *testing.T) {
	msg := wire("POST /x HTTP/1.1\nHost: a\nX: y\nTransfer-Encoding: chunked\n\n2;e=f\nhe\n3\nllo\n0\nT: u\n\n")
	var want string
	for i := 0; i < len(msg); i++ {
		s := start(t, lax(), &handler{serve: echo})
		s.say(t, msg[:i])
		if i%3 == 0 {
			awaitRead(t, s.c, uint64(i))
		}
		s.say(t, msg[i:])
		_, body := s.hear(t, "POST")
		if want == "" {
			want = body
		}
		if body != want {
			t.Fatalf("split at %d: %q, want %q", i, body, want)
		}
		s.Close()
		s.wait(t)
	}
}

// awaitRead waits until a connection has read n bytes.
func awaitRead(t *testing.T, c *conn.Conn, n uint64) {
	t.Helper()
	for end := time.Now().Add(patience); c.BytesIn() < n; {
		if time.Now().After(end) {
			t.Fatalf("%d bytes read, want %d", c.BytesIn(), n)
		}
	}
}

func TestConnectionEndsAsAsked(t *testing.T) {
	one := lax()
	one.MaxRequests = 1
	old := lax()
	old.AcceptHTTP10 = true
	age := func(ctx context.Context, st protocol.Stream) { // the connection's time is up while the handler is busy
		st.(*stream).v.idle.EndAt = scope.Now()
		echo(ctx, st)
	}
	for _, tt := range []struct {
		name, wire string
		o          ServerOptions
		want       error
		header     string
	}{
		{"close", "GET / HTTP/1.1\nHost: a\nConnection: close\n\n", lax(), nil, "connection: close"},
		{"close among others", "GET / HTTP/1.1\nHost: a\nConnection: x, CLOSE\n\n", lax(), nil, "connection: close"},
		{"http/1.0", "GET / HTTP/1.0\nHost: a\n\n", old, nil, "connection: close"},
		{"max requests", "GET / HTTP/1.1\nHost: a\n\n", one, protocol.ErrMaxRequests, "connection: close"},
		{"max duration", "GET / HTTP/1.1\nHost: a\n\n", lax(), protocol.ErrMaxDuration, "connection: close"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			serve := echo
			if tt.want == protocol.ErrMaxDuration {
				serve = age
			}
			s := start(t, tt.o, &handler{serve: serve})
			s.say(t, wire(tt.wire)+"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
			_ = s.Conn.(*net.TCPConn).CloseWrite()
			got := s.rest(t)
			if err := s.wait(t); !errors.Is(err, tt.want) || (err != nil) != (tt.want != nil) {
				t.Errorf("Serve returned %v, want %v", err, tt.want)
			}
			if !strings.Contains(got, tt.header+"\r\n") || strings.Count(got, "HTTP/1.") != 1 {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestConnectionThatIsTooOldEndsBetweenRequests(t *testing.T) {
	o := lax()
	o.MaxDuration = 30 * time.Millisecond
	s := start(t, o, &handler{serve: echo})
	if got := s.rest(t); got != "" {
		t.Errorf("got %q", got)
	}
	if err := s.wait(t); err != protocol.ErrMaxDuration {
		t.Errorf("Serve returned %v", err)
	}
}

func TestHTTP10KeepsAliveWhenAsked(t *testing.T) {
	o := lax()
	o.AcceptHTTP10 = true
	s := start(t, o, &handler{serve: echo})
	for range 3 {
		s.say(t, wire("GET / HTTP/1.0\nHost: a\nConnection: keep-alive\n\n"))
		resp, _ := s.hear(t, "GET")
		if resp.Proto != "HTTP/1.0" || resp.Header.Get("Connection") != "keep-alive" {
			t.Fatalf("got %s %v", resp.Proto, resp.Header)
		}
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	o := lax()
	o.IdleTimeout = 30 * time.Millisecond
	s := start(t, o, &handler{serve: echo})
	s.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
	s.hear(t, "GET")
	if err := s.wait(t); err != protocol.ErrIdleTimeout {
		t.Errorf("Serve returned %v", err)
	}
}

func TestSlowHeadIsAnsweredWith408(t *testing.T) {
	o := lax()
	o.HeadersTimeout = 30 * time.Millisecond
	s := start(t, o, &handler{serve: echo})
	s.say(t, "GET / HTTP/1.1\r\nHo")
	resp, body := s.hear(t, "GET")
	if resp.StatusCode != 408 || body != "request_header_timeout" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	s.Close()
	if err := s.wait(t); err != errHeadTimeout {
		t.Errorf("Serve returned %v", err)
	}
}

func TestIdleConnectionParksAndGoesOn(t *testing.T) {
	near, far := loopback(t)
	c := conn.New(far)
	c.Info().Began = time.Now()
	o := lax()
	o.ParkAfter, o.IdleTimeout = 20*time.Millisecond, time.Hour
	srv := NewServer(o)
	h := &handler{serve: echo}
	br := bufio.NewReader(near)
	for i := range 3 {
		_, _ = io.WriteString(near, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if err := srv.Serve(context.Background(), c, h); err != conn.ErrParked {
			t.Fatalf("round %d: %v", i, err)
		}
		if c.WakeAt <= scope.Now() || len(c.Buffered()) > 0 || c.IdleSince == 0 {
			t.Fatalf("parked with WakeAt %d, IdleSince %d, %d bytes", c.WakeAt, c.IdleSince, len(c.Buffered()))
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	if c.Served != 3 {
		t.Errorf("served %d", c.Served)
	}
	c.Drain()
	if err := srv.Serve(context.Background(), c, h); err != conn.ErrDraining {
		t.Errorf("after Drain: %v", err)
	}
}

func TestParkedConnectionKeepsItsIdleTime(t *testing.T) {
	_, far := loopback(t)
	c := conn.New(far)
	o := lax()
	o.ParkAfter, o.IdleTimeout = time.Millisecond, time.Hour
	srv := NewServer(o)
	if err := srv.Serve(context.Background(), c, &handler{}); err != conn.ErrParked {
		t.Fatal(err)
	}
	c.IdleSince -= int64(2 * time.Hour)
	if err := srv.Serve(context.Background(), c, &handler{}); err != protocol.ErrIdleTimeout {
		t.Errorf("resumed after the idle time: %v", err)
	}
}

func TestDrainEndsIdleConnectionAndFinishesBusyOne(t *testing.T) {
	idle := start(t, lax(), &handler{serve: echo})
	idle.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
	idle.hear(t, "GET")
	idle.c.Drain()
	if err := idle.wait(t); err != conn.ErrDraining {
		t.Errorf("idle: %v", err)
	}

	var busy *served
	enter, leave := make(chan bool), make(chan bool)
	busy = start(t, lax(), &handler{serve: func(ctx context.Context, s protocol.Stream) { enter <- true; <-leave; echo(ctx, s) }})
	busy.say(t, wire("POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n"))
	<-enter
	busy.c.Drain()
	leave <- true
	busy.say(t, "hi")
	resp, body := busy.hear(t, "POST")
	if !strings.HasSuffix(body, "hi") || !resp.Close {
		t.Errorf("busy: %q, close %v", body, resp.Close)
	}
	busy.Close()
	if err := busy.wait(t); err != conn.ErrDraining {
		t.Errorf("busy: %v", err)
	}
}

func TestEndOfProcessEndsEverything(t *testing.T) {
	for _, idle := range []bool{true, false} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cause := errors.New("going away")
		near, far := loopback(t)
		enter := make(chan bool, 1)
		s := startOn(t, ctx, lax(), &handler{serve: func(ctx context.Context, _ protocol.Stream) {
			enter <- true
			<-ctx.Done()
		}}, near, far)
		if !idle {
			s.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
			<-enter
		}
		cancel(cause)
		if err := s.wait(t); err != cause {
			t.Errorf("idle %v: %v", idle, err)
		}
	}
}

func TestContinueIsSentWhenSomebodyWaitsForTheBody(t *testing.T) {
	s := start(t, lax(), &handler{serve: echo})
	for range 2 {
		s.say(t, wire("POST / HTTP/1.1\nHost: a\nExpect: 100-Continue\nContent-Length: 5\n\n"))
		line, _ := s.br.ReadString('\n')
		if line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q", line)
		}
		_, _ = s.br.ReadString('\n')
		s.say(t, "hello")
		if _, body := s.hear(t, "POST"); !strings.HasSuffix(body, "\nhello") {
			t.Fatalf("got %q", body)
		}
	}
	// The body came along: no 100 is needed.
	s.say(t, wire("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 5\n\nhello"))
	if resp, _ := s.hear(t, "POST"); resp.StatusCode != 200 {
		t.Fatalf("got %d", resp.StatusCode)
	}
	// The handler does not want the body: nobody knows whether it will come, so the connection ends.
	s2 := start(t, lax(), &handler{serve: func(_ context.Context, s protocol.Stream) { _ = s.Respond(reply(403, "no")) }})
	s2.say(t, wire("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 5\n\n"))
	if resp, _ := s2.hear(t, "POST"); resp.StatusCode != 403 || !resp.Close {
		t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
	}
}

func TestContinueIsProxiedWhenWanted(t *testing.T) {
	o := lax()
	o.ProxyContinue = true
	s := start(t, o, &handler{serve: func(ctx context.Context, s protocol.Stream) {
		h := message.Header{}
		h.Add("X", "y")
		_ = s.Inform(103, &h)
		_ = s.Inform(100, nil)
		echo(ctx, s)
	}})
	s.say(t, wire("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 5\n\n"))
	want := "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
	b := make([]byte, len(want))
	if _, err := io.ReadFull(s.br, b); err != nil || string(b) != want {
		t.Fatalf("got %q, %v", b, err)
	}
	s.say(t, "hello")
	if _, body := s.hear(t, "POST"); !strings.HasSuffix(body, "hello") {
		t.Errorf("got %q", body)
	}
}

func TestUnreadBodyIsDrainedOrTheConnectionEnds(t *testing.T) {
	for _, tt := range []struct {
		name, wire string
		keep       bool
		local      bool
	}{
		{"short", "POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", true, false},
		{"short chunked", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", true, false},
		{"half a mebibyte", "POST / HTTP/1.1\nHost: a\nContent-Length: 500000\n\n" + strings.Repeat("x", 500000), true, false},
		{"half a mebibyte, chunked", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n7a120\n" + strings.Repeat("x", 500000) + "\n0\n\n", true, false},
		{"long", "POST / HTTP/1.1\nHost: a\nContent-Length: 10000000\n\nhello", false, false},
		{"long, refused here", "POST / HTTP/1.1\nHost: a\nContent-Length: 10000000\n\nhello", false, true},
		{"chunked, refused here", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, lax(), &handler{serve: func(_ context.Context, s protocol.Stream) {
				r := reply(413, "no")
				if tt.local {
					r.Local = errStarted
				}
				_ = s.Respond(r)
			}})
			s.say(t, wire(tt.wire))
			resp, _ := s.hear(t, "POST")
			if resp.Close != tt.local {
				t.Errorf("close %v", resp.Close)
			}
			if tt.keep {
				s.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
				s.hear(t, "GET")
				return
			}
			if got := s.rest(t); got != "" {
				t.Errorf("then %q", got)
			}
		})
	}
}

func TestRefusalKeepsConnectionWhenFramingIsSound(t *testing.T) {
	o := lax()
	o.KeepAfterRefusal, o.Underscores = true, RejectUnderscores
	s := start(t, o, &handler{serve: echo})
	s.say(t, wire("POST / HTTP/1.1\nHost: a\nA_B: c\nContent-Length: 5\n\nhello"))
	if resp, _ := s.hear(t, "POST"); resp.StatusCode != 400 || resp.Close {
		t.Fatalf("got %d, close %v", resp.StatusCode, resp.Close)
	}
	s.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
	if resp, _ := s.hear(t, "GET"); resp.StatusCode != 200 {
		t.Fatalf("got %d", resp.StatusCode)
	}
}

func TestVanishedClientCancelsTheExchange(t *testing.T) {
	o := lax()
	o.PeekAfter = 10 * time.Millisecond
	cause := make(chan error, 1)
	s := start(t, o, &handler{serve: func(ctx context.Context, s protocol.Stream) {
		_, _ = message.ReadAll(s.Request().Body, 10)
		select {
		case <-ctx.Done():
		case <-time.After(patience):
		}
		cause <- scope.Cause(ctx)
	}})
	s.say(t, wire("POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi"))
	awaitRead(t, s.c, 30)
	s.Close()
	if err := <-cause; err != protocol.ErrPeerGone {
		t.Errorf("cause %v", err)
	}
	if err := s.wait(t); err != protocol.ErrPeerGone {
		t.Errorf("Serve returned %v", err)
	}
}

func TestWatchLeavesPipelinedRequestAlone(t *testing.T) {
	o := lax()
	o.PeekAfter = 5 * time.Millisecond
	first := true
	s := start(t, o, &handler{serve: func(ctx context.Context, s protocol.Stream) {
		if first {
			first = false
			<-time.After(30 * time.Millisecond)
		}
		if err := scope.Cause(ctx); err != nil {
			t.Errorf("cancelled: %v", err)
		}
		echo(ctx, s)
	}})
	s.say(t, wire("GET /1 HTTP/1.1\nHost: a\n\n"))
	awaitRead(t, s.c, 28)
	s.say(t, wire("GET /2 HTTP/1.1\nHost: a\n\n"))
	for _, want := range []string{"/1", "/2"} {
		if _, body := s.hear(t, "GET"); !strings.Contains(body, want) {
			t.Errorf("got %q", body)
		}
	}
}

func TestDeadlineOfTheHandlerCancels(t *testing.T) {
	late := errors.New("too late")
	s := start(t, lax(), &handler{
		serve: func(ctx context.Context, s protocol.Stream) {
			sc := ctx.(*scope.Scope)
			s.SetOwner("me")
			sc.Arm(scope.Response, scope.Now()+int64(20*time.Millisecond))
			<-ctx.Done()
			if err := s.Respond(reply(500, "")); err == nil || s.Started() {
				t.Errorf("responded although cancelled: %v", err)
			}
			sc.Revive()
			if err := s.Respond(reply(504, "late")); err != nil {
				t.Errorf("local reply: %v", err)
			}
		},
		expired: func(s protocol.Stream, d scope.Due) error {
			if d != scope.Response || s.Owner() != "me" {
				t.Errorf("expired %d of %v", d, s.Owner())
			}
			return late
		},
	})
	for range 2 { // the connection goes on after the reply
		s.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
		if resp, _ := s.hear(t, "GET"); resp.StatusCode != 504 {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
}

func TestSlowDownstreamDoesNotHoldACancelledExchange(t *testing.T) {
	cause := errors.New("enough")
	s := start(t, lax(), &handler{serve: func(ctx context.Context, s protocol.Stream) {
		time.AfterFunc(30*time.Millisecond, func() { ctx.(*scope.Scope).Cancel(cause) })
		big := make([]byte, 64<<20)
		if err := s.Respond(&message.Response{Status: 200, Body: message.NewBytes(big), Length: int64(len(big))}); err != cause {
			t.Errorf("Respond: %v", err)
		}
	}})
	s.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
	if err := s.wait(t); err != cause {
		t.Errorf("Serve: %v", err)
	}
}

func TestHandlerThatDoesNotAnswerClosesTheConnection(t *testing.T) {
	s := start(t, lax(), &handler{serve: func(context.Context, protocol.Stream) {}})
	s.say(t, wire("GET / HTTP/1.1\nHost: a\n\n"))
	if got := s.rest(t); got != "" {
		t.Errorf("got %q", got)
	}
	if err := s.wait(t); err != errNoReply {
		t.Errorf("Serve: %v", err)
	}
}
