package http1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

func TestRequestsAreWritten(t *testing.T) {
	body := func(r *message.Request, n int64) *message.Request {
		r.Method, r.Body, r.Length = "POST", message.NewBytes([]byte("hello")), n
		return r
	}
	with := func(r *message.Request, name, value string) *message.Request {
		r.Header.Add(name, value)
		return r
	}
	for _, tt := range []struct {
		name string
		o    ClientOptions
		r    *message.Request
		want string
	}{
		{"get", ClientOptions{}, with(get("/x"), "X-Y", "z"), "GET /x HTTP/1.1\nhost: a.example\nX-Y: z\n\n"},
		{"length is added", ClientOptions{}, body(get("/"), 5), "POST / HTTP/1.1\nhost: a.example\ncontent-length: 5\n\nhello"},
		{"length is corrected", ClientOptions{}, with(body(get("/"), 5), "Content-Length", "7"), "POST / HTTP/1.1\nhost: a.example\ncontent-length: 5\n\nhello"},
		{"length keeps its spelling", ClientOptions{}, with(body(get("/"), 5), "Content-LENGTH", "5"), "POST / HTTP/1.1\nhost: a.example\nContent-LENGTH: 5\n\nhello"},
		{"one framing", ClientOptions{}, with(with(body(get("/"), -1), "Content-Length", "5"), "Transfer-Encoding", "gzip"),
			"POST / HTTP/1.1\nhost: a.example\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n"},
		{"post without body", ClientOptions{}, &message.Request{Method: "POST", Authority: "a", Path: "/", Body: message.NoBody}, "POST / HTTP/1.1\nhost: a\ncontent-length: 0\n\n"},
		{"hop by hop", ClientOptions{}, with(with(get("/"), "Connection", "close"), "Keep-Alive", "3"), "GET / HTTP/1.1\nhost: a.example\n\n"},
		{"proper case", ClientOptions{HeaderCase: ProperCase}, with(get("/"), "x-foo_bar-BAZ", "Q"), "GET / HTTP/1.1\nHost: a.example\nX-Foo_bar-Baz: Q\n\n"},
		{"lower case", ClientOptions{HeaderCase: LowerCase}, with(get("/"), "X-Foo", "Q"), "GET / HTTP/1.1\nhost: a.example\nx-foo: Q\n\n"},
		{"absolute-form", ClientOptions{SendFullyQualifiedURL: true}, get("/x"), "GET http://a.example/x HTTP/1.1\nhost: a.example\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			want := wire(tt.want)
			s, own := open(t, tt.o, func(o *origin) {
				b := make([]byte, len(want))
				n, _ := io.ReadFull(o.br, b)
				got <- string(b[:n])
				o.say("HTTP/1.1 204 No Content\r\n\r\n")
			})
			resp, err := s.RoundTrip(under(t), tt.r)
			if err != nil {
				t.Fatal(err)
			}
			consume(t, resp)
			if g := <-got; g != want {
				t.Errorf("got %q\nwant %q", g, want)
			}
			if freed, gone := own.counts(); freed != 1 || gone != 0 {
				t.Errorf("freed %d, gone %d", freed, gone)
			}
		})
	}
}

func TestUnfitRequestIsNotSent(t *testing.T) {
	for _, r := range []*message.Request{
		{Method: "GE T", Path: "/", Body: message.NoBody}, {Method: "GET", Path: "/a b", Body: message.NoBody},
		{Method: "GET", Path: "/\r\nX: y", Body: message.NoBody}, {Method: "GET", Path: "/", Authority: "a\r\nX: y", Body: message.NoBody},
		{Method: "GET", Path: "", Body: message.NoBody}, {Method: "CONNECT", Authority: "a:1", Body: message.NoBody},
	} {
		s, own := open(t, ClientOptions{}, func(*origin) {})
		_, err := s.RoundTrip(context.Background(), r)
		var e *protocol.Error
		if !errors.As(err, &e) || !e.NothingSent {
			t.Errorf("%q %q: %v", r.Method, r.Path, err)
		}
		if freed, _ := own.counts(); freed != 1 || s.Conn().BytesOut() != 0 {
			t.Errorf("freed %d, sent %d", freed, s.Conn().BytesOut())
		}
	}
	for _, f := range [][2]string{{"a b", "c"}, {"a", "b\r\nc: d"}, {"a", "b\x00"}, {"", "x"}, {"a:", "x"}} {
		s, _ := open(t, ClientOptions{}, func(*origin) {})
		r := get("/")
		r.Header.Add(f[0], f[1])
		if _, err := s.RoundTrip(context.Background(), r); err == nil || s.Conn().BytesOut() != 0 {
			t.Errorf("%q: %v, %d bytes sent", f, err, s.Conn().BytesOut())
		}
	}
}

func TestResponsesAreUnderstood(t *testing.T) {
	for _, tt := range []struct {
		name, method, wire string
		status             int
		length             int64
		body, fields       string
		reuse              bool
	}{
		{"length", "GET", "HTTP/1.1 200 OK\nContent-Length: 5\nX: y\n\nhello", 200, 5, "hello", "Content-Length=5;X=y;", true},
		{"no reason", "GET", "HTTP/1.1 200\nContent-Length: 0\n\n", 200, 0, "", "Content-Length=0;", true},
		{"empty reason", "GET", "HTTP/1.1 299 \nContent-Length: 0\n\n", 299, 0, "", "Content-Length=0;", true},
		{"chunked", "GET", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", 200, -1, "hello", "", true},
		{"close", "GET", "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 5\n\nhello", 200, 5, "hello", "Content-Length=5;", false},
		{"until close", "GET", "HTTP/1.1 200 OK\n\nhello", 200, -1, "hello", "", false},
		{"http/1.0", "GET", "HTTP/1.0 200 OK\nContent-Length: 5\n\nhello", 200, 5, "hello", "Content-Length=5;", false},
		{"http/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 5\n\nhello", 200, 5, "hello", "Content-Length=5;", true},
		{"head", "HEAD", "HTTP/1.1 200 OK\nContent-Length: 5\n\n", 200, 0, "", "Content-Length=5;", true},
		{"head chunked", "HEAD", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", 200, 0, "", "", true},
		{"204", "GET", "HTTP/1.1 204 No Content\n\n", 204, 0, "", "", true},
		{"204 with length 0", "GET", "HTTP/1.1 204 No Content\nContent-Length: 0\n\n", 204, 0, "", "", true},
		{"304", "GET", "HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n", 304, 0, "", "Content-Length=5;", true},
		{"extra bytes", "GET", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhelloX", 200, 5, "hello", "Content-Length=5;", false},
		{"hop by hop", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\nConnection: x, upgrade, content-length\nX: y\nUpgrade: h2c\nKeep-Alive: 5\n\n", 200, 0, "", "Content-Length=0;", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, own := open(t, ClientOptions{}, func(o *origin) {
				o.head()
				o.say(wire(tt.wire))
				if !tt.reuse {
					o.Close()
				}
			})
			r := get("/")
			r.Method = tt.method
			resp, err := s.RoundTrip(under(t), r)
			if err != nil {
				t.Fatal(err)
			}
			fields := ""
			for name, value := range resp.Header.All() {
				fields += name + "=" + value + ";"
			}
			if resp.Status != tt.status || resp.Length != tt.length || fields != tt.fields {
				t.Errorf("got %d, length %d, %q", resp.Status, resp.Length, fields)
			}
			if b := consume(t, resp); b != tt.body {
				t.Errorf("body %q", b)
			}
			resp.Release()
			freed, gone := own.counts()
			if freed != 1 || (gone == 0) != tt.reuse {
				t.Errorf("freed %d, gone %d", freed, gone)
			}
		})
	}
}

func TestResponseGarbageIsAnError(t *testing.T) {
	for _, text := range []string{
		"garbage\n\n", "HTTP/1.1 20 OK\n\n", "HTTP/1.1 2000 OK\n\n", "HTTP/1.1  200 OK\n\n", "http/1.1 200 OK\n\n", "HTTP/2.0 200 OK\n\n", "HTTP/1.1 200 O\rK\n\n",
		"HTTP/1.1 099 X\n\n", "\nHTTP/1.1 200 OK\n\n", "HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n",
		"HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5\n\nhello", "HTTP/1.1 200 OK\nContent-Length: +5\n\nhello",
		"HTTP/1.1 200 OK\nTransfer-Encoding: gzip\n\n", "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n0\n\n",
		"HTTP/1.1 204 No\nContent-Length: 5\n\nhello", "HTTP/1.1 204 No\nTransfer-Encoding: chunked\n\n0\n\n", "HTTP/1.1 101 Switch\nUpgrade: x\n\n",
		"HTTP/1.1 100 Continue\nTransfer-Encoding: chunked\n\n", "HTTP/1.1 200 OK\nX : y\n\n", "HTTP/1.1 200 OK\n X: y\n\n", "HTTP/1.1 200 OK\nX: y\n z\n\n",
		"HTTP/1.1 200 OK\\lContent-Length: 0\\l\\l", "HTTP/1.1 200 OK\nX: a\x00\n\n", "HTTP/1.1 200 OK\n" + strings.Repeat("X: y\n", 200) + "\n",
		"HTTP/1.1 200 OK\nX: " + strings.Repeat("y", 64<<10) + "\n\n", strings.Repeat("HTTP/1.1 102 Processing\n\n", 100),
	} {
		s, own := open(t, ClientOptions{}, func(o *origin) { o.head(); o.say(wire(text)) })
		_, err := s.RoundTrip(under(t), get("/"))
		var e *protocol.Error
		if !errors.As(err, &e) || e.Status != 502 || !e.HeadSeen || e.NothingSent {
			t.Errorf("%.60q: %v", text, err)
		}
		if freed, gone := own.counts(); freed != 1 || gone != 1 {
			t.Errorf("%.60q: freed %d, gone %d", text, freed, gone)
		}
	}
}

func TestBrokenConnectionTellsHowFarItCame(t *testing.T) {
	for _, tt := range []struct {
		text  string
		cause error
		seen  bool
	}{{"", io.EOF, false}, {"HTTP/1.1 2", io.ErrUnexpectedEOF, true}, {"HTTP/1.1 100 Continue\r\n\r\n", io.ErrUnexpectedEOF, true}} {
		s, own := open(t, ClientOptions{}, func(o *origin) { o.head(); o.say(tt.text); o.Close() })
		_, err := s.RoundTrip(under(t), get("/"))
		var e *protocol.BrokenError
		if !errors.As(err, &e) || !errors.Is(err, tt.cause) || e.HeadSeen != tt.seen || e.NothingSent {
			t.Errorf("%q: %v %+v", tt.text, err, e)
		}
		if _, gone := own.counts(); gone != 1 || s.Used() {
			t.Errorf("gone %d, used %v", gone, s.Used())
		}
	}
}

func TestResponseThatBreaksOffIsNotComplete(t *testing.T) {
	for _, text := range []string{"HTTP/1.1 200 OK\nContent-Length: 5\n\nhell", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n",
		"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhel"} {
		s, own := open(t, ClientOptions{}, func(o *origin) { o.head(); o.say(wire(text)); o.Close() })
		resp, err := s.RoundTrip(under(t), get("/"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = message.ReadAll(resp.Body, 100)
		var e *protocol.BrokenError
		if !errors.As(err, &e) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", text, err)
		}
		resp.Body.Close(err)
		if freed, gone := own.counts(); freed != 1 || gone != 1 {
			t.Errorf("freed %d, gone %d", freed, gone)
		}
	}
}

func TestResetIsNotTheEndOfACloseDelimitedResponse(t *testing.T) {
	for _, text := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nhello"} {
		for _, early := range []bool{true, false} {
			reset := make(chan bool)
			s, _ := open(t, ClientOptions{}, func(o *origin) {
				o.head()
				o.say(text)
				<-reset
				_ = o.Conn.(*net.TCPConn).SetLinger(0)
				o.Close()
				reset <- true
			})
			resp, err := s.RoundTrip(under(t), get("/"))
			if err != nil {
				t.Fatal(err)
			}
			reset <- true
			<-reset
			if early {
				resp.Body.Ready() // may be the one to meet the reset
			}
			if b, err := message.ReadAll(resp.Body, 100); err == nil {
				t.Errorf("a complete response of %q", b)
			}
			resp.Body.Close(nil)
		}
	}
}

// A layered connection reads what its wire has; last says whether it learns that the peer has ended before the socket has.
type lastWord struct {
	w    *conn.Wire
	last bool
	b    []byte // of the next record
}

func (l *lastWord) Read(p []byte) (int, error) {
	if len(l.b) == 0 {
		b := make([]byte, 512)
		n, err := l.w.Read(b)
		if err != nil {
			return 0, err
		}
		l.b = b[:n]
	}
	if l.last && l.b[0] == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.b)
	if i := bytes.IndexByte(p[:n], 0); l.last && i > 0 {
		n = i
	}
	l.b = l.b[n:]
	return n, nil
}

func (l *lastWord) Write(p []byte) (int, error) { return l.w.Write(p) }
func (l *lastWord) CloseWrite() error           { return nil }

// Whoever is on the way can close a TCP connection; only the peer can say that its stream is over. (RFC 9112 section 9.8)
func TestACutConnectionIsNotTheEndOfACloseDelimitedResponse(t *testing.T) {
	for _, tt := range []struct {
		head, body string
		word, ok   bool
	}{
		{"HTTP/1.1 200 OK\r\n\r\n", "hello", true, true},
		{"HTTP/1.1 200 OK\r\n\r\n", "hello", false, false},
		{"HTTP/1.1 200 OK\r\n\r\n", "", true, true},
		{"HTTP/1.1 200 OK\r\n\r\n", "", false, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", "hello", false, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", false, true},
	} {
		near, far := loopback(t)
		c := conn.New(near)
		c.SetLayer(&lastWord{w: c.Wire(), last: tt.word})
		s, err := NewClient(ClientOptions{}).Open(context.Background(), c, &owner{})
		if err != nil {
			t.Fatal(err)
		}
		text := tt.head + tt.body
		if tt.word {
			text += "\x00"
		}
		_, _ = io.WriteString(far, text)
		_ = far.CloseWrite()
		resp, err := s.RoundTrip(under(t), get("/"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := message.ReadAll(resp.Body, 100)
		if tt.ok && (err != nil || tt.body != "" && string(b) != "hello") {
			t.Errorf("%q, last word %v: %q, %v", text, tt.word, b, err)
		}
		if !tt.ok && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, cut off: %q, %v", text, b, err)
		}
		resp.Body.Close(err)
		s.Close(nil)
		far.Close()
	}
}

func TestSessionIsUsedAgain(t *testing.T) {
	s, own := open(t, ClientOptions{}, func(o *origin) {
		for range 5 {
			o.head()
			o.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	sess := s.(*session)
	for i := range 5 {
		if s.Free() != 1 || s.Used() != (i > 0) || !sess.Alive() {
			t.Fatalf("round %d: free %d, used %v", i, s.Free(), s.Used())
		}
		resp, err := s.RoundTrip(under(t), get("/"))
		if err != nil {
			t.Fatal(err)
		}
		if s.Free() != 0 {
			t.Error("free while busy")
		}
		consume(t, resp)
		resp.Release()
	}
	if freed, gone := own.counts(); freed != 5 || gone != 0 {
		t.Errorf("freed %d, gone %d", freed, gone)
	}
}

func TestIdleSessionKnowsThatThePeerClosed(t *testing.T) {
	s, _ := open(t, ClientOptions{}, func(o *origin) { o.Close() })
	for end := time.Now().Add(patience); s.(*session).Alive(); {
		if time.Now().After(end) {
			t.Fatal("alive")
		}
	}
	s, _ = open(t, ClientOptions{}, func(o *origin) { o.say("HTTP/1.1 408 Request Timeout\r\n\r\n") })
	for end := time.Now().Add(patience); s.(*session).Alive(); {
		if time.Now().After(end) {
			t.Fatal("alive after unasked bytes")
		}
	}
}

// drip is a body whose chunks come from a channel.
type drip struct {
	c      chan string
	err    error
	closed chan struct{}
}

func newDrip() *drip { return &drip{c: make(chan string), closed: make(chan struct{})} }

func (d *drip) Next() ([]byte, error) {
	select {
	case s, ok := <-d.c:
		if !ok {
			if d.err != nil {
				return nil, d.err
			}
			return nil, io.EOF
		}
		return []byte(s), nil
	case <-d.closed:
		return nil, message.ErrBodyClosed
	}
}
func (d *drip) Ready() bool              { return false }
func (d *drip) Trailer() *message.Header { return nil }
func (d *drip) Close(error) {
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
}

func TestSlowBodyIsPumped(t *testing.T) {
	d := newDrip()
	s, own := open(t, ClientOptions{}, func(o *origin) {
		head := o.head()
		want := wire("2\nhe\n3\nllo\n0\n\n")
		b := make([]byte, len(want))
		_, _ = io.ReadFull(o.br, b)
		if !strings.Contains(head, "transfer-encoding: chunked") || string(b) != want {
			t.Errorf("got %q %q", head, b)
		}
		o.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	go func() { d.c <- "he"; d.c <- "llo"; close(d.c) }()
	resp, err := s.RoundTrip(under(t), &message.Request{Method: "POST", Authority: "a", Path: "/", Body: d, Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	consume(t, resp)
	// A pump that has not come round to say that it is done costs the session, and nothing else.
	if freed, gone := own.counts(); freed != 1 || gone > 1 {
		t.Errorf("freed %d, gone %d: want freed once", freed, gone)
	}
}

func TestEarlyResponseStopsThePump(t *testing.T) {
	d := newDrip()
	s, own := open(t, ClientOptions{}, func(o *origin) { o.head(); o.say("HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n") })
	resp, err := s.RoundTrip(under(t), &message.Request{Method: "POST", Authority: "a", Path: "/", Body: d, Length: 10})
	if err != nil || resp.Status != 413 {
		t.Fatal(resp, err)
	}
	consume(t, resp) // joins the pump
	if freed, gone := own.counts(); freed != 1 || gone != 1 {
		t.Errorf("freed %d, gone %d", freed, gone)
	}
}

func TestFailureOfTheRequestBodyIsNotTheUpstreams(t *testing.T) {
	d := newDrip()
	d.err = errors.New("client gone")
	s, own := open(t, ClientOptions{}, func(o *origin) { o.head() })
	go func() { d.c <- "he"; close(d.c) }()
	_, err := s.RoundTrip(under(t), &message.Request{Method: "POST", Authority: "a", Path: "/", Body: d, Length: -1})
	var e *protocol.BodyError
	if !errors.As(err, &e) || e.Cause != d.err {
		t.Errorf("got %v", err)
	}
	if _, gone := own.counts(); gone != 1 {
		t.Errorf("gone %d", gone)
	}
	short, _ := open(t, ClientOptions{}, func(o *origin) { o.head() })
	_, err = short.RoundTrip(under(t), &message.Request{Method: "POST", Authority: "a", Path: "/", Body: message.NewBytes([]byte("abc")), Length: 5})
	if !errors.As(err, &e) || e.Cause != errTooShort {
		t.Errorf("short body: %v", err)
	}
}

func TestCancelWakesRoundTripAndBody(t *testing.T) {
	cause := errors.New("timeout")
	sc := under(t)
	s, own := open(t, ClientOptions{}, func(o *origin) { o.head(); sc.Cancel(cause) })
	if _, err := s.RoundTrip(sc, get("/")); err != cause {
		t.Errorf("RoundTrip: %v", err)
	}
	if _, gone := own.counts(); gone != 1 {
		t.Errorf("gone %d", gone)
	}
	sc2 := under(t)
	s, own = open(t, ClientOptions{}, func(o *origin) { o.head(); o.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"); sc2.Cancel(cause) })
	resp, err := s.RoundTrip(sc2, get("/"))
	if err == nil {
		if _, err = resp.Body.Next(); err != cause {
			t.Errorf("Next: %v", err)
		}
		resp.Body.Close(err)
	}
	if _, gone := own.counts(); gone != 1 {
		t.Errorf("gone %d", gone)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s, _ = open(t, ClientOptions{}, func(o *origin) { o.head(); cancel(cause) })
	if _, err := s.RoundTrip(ctx, get("/")); err != cause {
		t.Errorf("plain context: %v", err)
	}
}

// noted collects informational responses.
type noted []int

func (n *noted) Inform(status int, _ *message.Header) error { *n = append(*n, status); return nil }

func TestInformationalResponsesArePassedOn(t *testing.T) {
	var n noted
	s, own := open(t, ClientOptions{}, func(o *origin) {
		o.head()
		o.say("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	r := get("/")
	r.Informer = &n
	resp, err := s.RoundTrip(under(t), r)
	if err != nil || resp.Header.Has("link") {
		t.Fatal(resp, err)
	}
	consume(t, resp)
	if len(n) != 2 || n[0] != 102 || n[1] != 103 {
		t.Errorf("got %v", n)
	}
	if freed, _ := own.counts(); freed != 1 {
		t.Errorf("freed %d", freed)
	}
}

func TestExpectationWaitsForTheUpstream(t *testing.T) {
	request := func() *message.Request {
		r := &message.Request{Method: "POST", Authority: "a", Path: "/", Body: message.NewBytes([]byte("hello")), Length: 5}
		r.Header.Add("Expect", "100-continue")
		return r
	}
	for _, tt := range []struct {
		name, first string
		body        string // what the origin gets
		status      int
		reuse       bool
	}{
		{"100", "HTTP/1.1 100 Continue\r\n\r\n", "hello", 200, true},
		{"silence", "", "hello", 200, true},
		{"refused", "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", "", 417, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, own := open(t, ClientOptions{ContinueTimeout: 20 * time.Millisecond}, func(o *origin) {
				o.head()
				if o.br.Buffered() > 0 {
					t.Error("the body came with the head")
				}
				o.say(tt.first)
				b := make([]byte, 5)
				n, _ := io.ReadFull(o.br, b)
				if string(b[:n]) != tt.body {
					t.Errorf("the origin got %q", b[:n])
				}
				if n > 0 {
					o.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			resp, err := s.RoundTrip(under(t), request())
			if err != nil || resp.Status != tt.status {
				t.Fatal(resp, err)
			}
			consume(t, resp)
			if freed, gone := own.counts(); freed != 1 || (gone == 0) != tt.reuse {
				t.Errorf("freed %d", freed)
			}
			_ = s.Conn().Conn.(*net.TCPConn).CloseWrite()
		})
	}
}

func TestUpgradeIsATunnelWithHalfClose(t *testing.T) {
	d := newDrip()
	s, own := open(t, ClientOptions{}, func(o *origin) {
		head := o.head()
		if !strings.Contains(head, "connection: Upgrade\r\nupgrade: websocket\r\n") || strings.Contains(head, "transfer-encoding") {
			t.Errorf("head %q", head)
		}
		o.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nhi ")
		b, _ := io.ReadAll(o.br) // until the half-close
		o.say("you said " + string(b))
		o.Close()
	})
	go func() { d.c <- "one "; d.c <- "two"; close(d.c) }()
	resp, err := s.RoundTrip(under(t), &message.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "websocket", Body: d, Length: -1})
	if err != nil || !resp.Tunnel || resp.Status != 101 || resp.Header.Get("upgrade") != "WebSocket" {
		t.Fatal(resp, err)
	}
	if b := consume(t, resp); b != "hi you said one two" {
		t.Errorf("got %q", b)
	}
	if freed, gone := own.counts(); freed != 1 || gone != 1 {
		t.Errorf("freed %d, gone %d", freed, gone)
	}
}

func TestRefusedUpgradeIsAnOrdinaryResponse(t *testing.T) {
	d := newDrip()
	s, _ := open(t, ClientOptions{}, func(o *origin) { o.head(); o.say("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno") })
	resp, err := s.RoundTrip(under(t), &message.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "websocket", Body: d, Length: -1})
	if err != nil || resp.Tunnel {
		t.Fatal(resp, err)
	}
	if b := consume(t, resp); b != "no" {
		t.Errorf("got %q", b)
	}
}

func TestConnectIsATunnel(t *testing.T) {
	d := newDrip()
	s, _ := open(t, ClientOptions{}, func(o *origin) {
		if head := o.head(); !strings.HasPrefix(head, "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n") {
			t.Errorf("head %q", head)
		}
		o.say("HTTP/1.1 200 OK\r\n\r\n")
		b := make([]byte, 4)
		_, _ = io.ReadFull(o.br, b)
		o.say(strings.ToUpper(string(b)))
		o.Close()
	})
	go func() { d.c <- "abcd" }()
	resp, err := s.RoundTrip(under(t), &message.Request{Method: "CONNECT", Authority: "a:443", Upgrade: "connect", Body: d, Length: -1})
	if err != nil || !resp.Tunnel {
		t.Fatal(resp, err)
	}
	if b := consume(t, resp); b != "ABCD" {
		t.Errorf("got %q", b)
	}
}
