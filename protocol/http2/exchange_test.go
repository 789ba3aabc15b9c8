package http2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// answer is a handler that answers everything alike.
func answer(r func() *message.Response) *handler {
	return &handler{serve: func(_ context.Context, s protocol.Stream) { _ = s.Respond(r()) }}
}

// respond is a response with fields given as name, value, ….
func respond(status int, body string, fields ...string) *message.Response {
	r := reply(status, body)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func TestResponsesAsTheyAreSent(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		r            func() *message.Response
		status, body string
		length       string // content-length
	}{
		{"with a body", "GET", func() *message.Response { return respond(200, "body") }, "200", "body", "4"},
		{"of unknown length", "GET", func() *message.Response { r := respond(200, "body"); r.Length = -1; return r }, "200", "body", ""},
		{"empty", "GET", func() *message.Response { return respond(200, "") }, "200", "", ""},
		{"empty and says so", "GET", func() *message.Response { return respond(200, "", "content-length", "0") }, "200", "", "0"},
		{"to HEAD", "HEAD", func() *message.Response { return respond(200, "body") }, "200", "", "4"},
		{"to HEAD, without a body", "HEAD", func() *message.Response { return respond(200, "", "content-length", "9") }, "200", "", "9"},
		{"204", "GET", func() *message.Response { return respond(204, "body", "content-length", "4") }, "204", "", ""},
		{"304", "GET", func() *message.Response { return respond(304, "", "content-length", "4") }, "304", "", "4"},
		{"fields of the connection", "GET", func() *message.Response {
			return respond(200, "b", "connection", "close", "keep-alive", "5", "transfer-encoding", "chunked", "upgrade", "x", "host", "h", "proxy-connection", "x")
		}, "200", "b", "1"},
		{"upper case", "GET", func() *message.Response { return respond(200, "b", "X-Up", "Value") }, "200", "b", "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ServerOptions{}, answer(tt.r)).greet()
			s.head(1, true, s.block(":method", tt.method, ":scheme", "http", ":authority", "a", ":path", "/"))
			tr, dec := newTranscript()
			s.hear(tr, dec, over(1))
			h := tr.streams[1]
			if h == nil || h.get(":status") != tt.status || h.body != tt.body || h.get("content-length") != tt.length || !h.ended || h.reset != nil {
				t.Fatalf("got %+v", h)
			}
			for _, f := range h.fields {
				switch f.Name {
				case ":status", "content-length":
				case "x-up":
					if f.Value != "Value" {
						t.Errorf("x-up: %s", f.Value)
					}
				default:
					t.Errorf("field %s", f.Name)
				}
			}
		})
	}
}

func TestResponsesThatCannotBeSent(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    func() *message.Response
	}{
		{"line feed in a value", func() *message.Response { return respond(200, "x", "a", "b\nc: d") }},
		{"no name", func() *message.Response { return respond(200, "x", "", "b") }},
		{"space in a name", func() *message.Response { return respond(200, "x", "a b", "c") }},
		{"status 100", func() *message.Response { return respond(100, "") }},
		{"status 1000", func() *message.Response { return respond(1000, "") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ServerOptions{}, answer(tt.r)).greet()
			s.head(1, true, s.get("/"))
			tr, dec := newTranscript()
			s.hear(tr, dec, over(1))
			if h := tr.streams[1]; h.fields != nil || h.reset == nil || *h.reset != http2.ErrCodeInternal {
				t.Errorf("got %+v", h)
			}
		})
	}
}

func TestLargeHeaderSectionsAreSplit(t *testing.T) {
	value := strings.Repeat("\x7e", 50_000) // 13 bits in Huffman's code
	s := start(t, ServerOptions{}, answer(func() *message.Response { return respond(200, "x", "large", value) })).greet()
	s.head(1, true, s.get("/"))
	tr := &transcript{streams: map[uint32]*heard{}}
	dec := xhpack.NewDecoder(4096, nil)
	s.hear(tr, dec, over(1))
	if h := tr.streams[1]; h == nil || h.get("large") != value || h.body != "x" {
		t.Errorf("got %d bytes, %v", len(h.get("large")), tr.last)
	}
}

// ask answers with what a function makes of the stream.
func ask(f func(ctx context.Context, s protocol.Stream) string) *handler {
	return &handler{serve: func(ctx context.Context, s protocol.Stream) { _ = s.Respond(reply(200, f(ctx, s))) }}
}

func TestRequestsAsTheyArrive(t *testing.T) {
	all := func(_ context.Context, s protocol.Stream) string {
		r := s.Request()
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s %s %s %q %d", r.Method, r.Scheme, r.Authority, r.Path, r.Upgrade, r.Length)
		for name, value := range r.Header.All() {
			if name != secKey {
				fmt.Fprintf(&b, " %s=%s", name, value)
			}
		}
		return b.String()
	}
	for _, tt := range []struct {
		name   string
		end    bool
		fields []string
		want   string
	}{
		{"crumbs", true, []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "cookie", "a=1", "x", "y", "cookie", "b=2"},
			`GET http a / "" 0 cookie=a=1; b=2 x=y`},
		{"host", true, []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "h:1"}, `GET http h:1 / "" 0`},
		{"host and authority", true, []string{":method", "GET", ":scheme", "http", ":authority", "A", ":path", "/", "host", "a"}, `GET http A / "" 0`},
		{"options", true, []string{":method", "OPTIONS", ":scheme", "http", ":authority", "a", ":path", "*"}, `OPTIONS http a * "" 0`},
		{"length", false, []string{":method", "PUT", ":scheme", "https", ":authority", "a", ":path", "/", "content-length", "7"},
			`PUT https a / "" 7 content-length=7`},
		{"no length", false, []string{":method", "PUT", ":scheme", "https", ":authority", "a", ":path", "/", "te", "trailers"}, `PUT https a / "" -1 te=trailers`},
		{"connect", false, []string{":method", "CONNECT", ":authority", "a:443"}, `CONNECT http a:443  "connect" -1`},
		{"websocket", false, []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/ws"},
			`GET http a /ws "websocket" -1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ServerOptions{Options: Options{AllowConnect: true}}, ask(all)).greet()
			s.head(1, tt.end, s.block(tt.fields...))
			tr, dec := newTranscript()
			s.hear(tr, dec, over(1))
			if h := tr.streams[1]; h == nil || strings.TrimSpace(h.body) != tt.want {
				t.Errorf("got  %q\nwant %q", h.body, tt.want)
			}
		})
	}
}

func TestHundredContinueIsSentWhenTheBodyIsWanted(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       ServerOptions
		serve   func(ctx context.Context, s protocol.Stream)
		interim string
		status  string
	}{
		{"read", ServerOptions{}, echo, "100", "200"},
		{"not read", ServerOptions{}, func(_ context.Context, s protocol.Stream) { _ = s.Respond(reply(417, "")) }, "", "417"},
		{"left to the upstream", ServerOptions{ProxyContinue: true}, func(ctx context.Context, s protocol.Stream) {
			_ = s.Inform(100, nil)
			echo(ctx, s)
		}, "100", "200"},
		{"informed first", ServerOptions{}, func(ctx context.Context, s protocol.Stream) {
			_ = s.Inform(100, nil)
			_ = s.Inform(100, nil)
			echo(ctx, s)
		}, "100", "200"},
		{"early hints", ServerOptions{}, func(ctx context.Context, s protocol.Stream) {
			var h message.Header
			h.Add("link", "</a>")
			_ = s.Inform(103, &h)
			echo(ctx, s)
		}, "103 100", "200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.o, &handler{serve: tt.serve}).greet()
			s.head(1, false, s.get("/", "expect", "100-continue"))
			tr, dec := newTranscript()
			s.hear(tr, dec, func(tr *transcript) bool {
				h := tr.streams[1]
				return over(1)(tr) || h != nil && len(h.interim) > 0 && h.interim[len(h.interim)-1] == "100"
			})
			if tt.status == "200" {
				_ = s.fr.WriteData(1, true, []byte("body"))
				s.hear(tr, dec, over(1))
			}
			h := tr.streams[1]
			if strings.Join(h.interim, " ") != tt.interim || h.get(":status") != tt.status {
				t.Errorf("got %v and %s", h.interim, h.get(":status"))
			}
		})
	}
}

func TestInformRefusesWhatIsNotInformational(t *testing.T) {
	errs := make(chan error, 4)
	s := start(t, ServerOptions{}, &handler{serve: func(_ context.Context, s protocol.Stream) {
		errs <- s.Inform(200, nil)
		errs <- s.Inform(101, nil)
		_ = s.Respond(reply(200, ""))
		errs <- s.Inform(103, nil)
		errs <- s.Respond(reply(200, ""))
	}}).greet()
	s.head(1, true, s.get("/"))
	for i := range 4 {
		if err := <-errs; err == nil {
			t.Errorf("call %d was accepted", i)
		}
	}
}

func TestResponseThatBreaksOffResetsTheStream(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause error
		code  http2.ErrCode
	}{
		{"of a broken source", errSource, http2.ErrCodeInternal},
		{"of a reset upstream", &protocol.ResetError{Code: uint32(CodeCancel)}, http2.ErrCodeCancel},
		{"of a refusal", &protocol.ResetError{Code: uint32(CodeRefused), Refused: true}, http2.ErrCodeInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errs := make(chan error, 1)
			s := start(t, ServerOptions{}, &handler{serve: func(_ context.Context, s protocol.Stream) {
				b := newScript()
				b.fail = tt.cause
				b.pieces <- "piece"
				close(b.pieces)
				errs <- s.Respond(&message.Response{Status: 200, Body: b, Length: -1})
			}}).greet()
			s.head(1, true, s.get("/"))
			tr, dec := newTranscript()
			s.hear(tr, dec, over(1))
			if h := tr.streams[1]; h.get(":status") != "200" || h.body != "piece" || h.reset == nil || *h.reset != tt.code {
				t.Errorf("got %+v", h)
			}
			if err := <-errs; err != tt.cause {
				t.Errorf("Respond: %v", err)
			}
		})
	}
}

func TestStreamWithoutAnAnswerIsReset(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: func(context.Context, protocol.Stream) {}}).greet()
	s.head(1, true, s.get("/"))
	tr, dec := newTranscript()
	s.hear(tr, dec, over(1))
	if h := tr.streams[1]; h.reset == nil || *h.reset != http2.ErrCodeInternal {
		t.Errorf("got %+v", h)
	}
}

func TestResetByTheClientIsTheStreamsCause(t *testing.T) {
	for _, tt := range []struct {
		name  string
		block func(ctx context.Context, s protocol.Stream) error
	}{
		{"reading", func(_ context.Context, s protocol.Stream) error { _, err := s.Request().Body.Next(); return err }},
		{"writing", func(_ context.Context, s protocol.Stream) error {
			return s.Respond(reply(200, strings.Repeat("x", 1<<20)))
		}},
		{"waiting", func(ctx context.Context, _ protocol.Stream) error { <-ctx.Done(); return scope.Cause(ctx) }},
		{"waiting for the source", func(ctx context.Context, s protocol.Stream) error {
			b := newScript()
			sc := scope.From(ctx)
			go func() { <-sc.Done(); b.Close(scope.Cause(ctx)) }() // ends with the scope, as who made the body sees to
			err := s.Respond(&message.Response{Status: 200, Body: b, Length: -1})
			<-b.closed
			if err == nil {
				return nil
			}
			return b.cause
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ready, errs := make(chan struct{}), make(chan error, 1)
			s := start(t, ServerOptions{}, &handler{serve: func(ctx context.Context, s protocol.Stream) {
				if s.Request().Path == "/now" {
					echo(ctx, s)
					return
				}
				close(ready)
				errs <- tt.block(ctx, s)
			}}).greet()
			s.head(1, false, s.get("/"))
			<-ready
			_ = s.fr.WriteRSTStream(1, http2.ErrCodeCancel)
			var reset *protocol.ResetError
			if err := <-errs; !errors.As(err, &reset) || Code(reset.Code) != CodeCancel {
				t.Errorf("got %v", err)
			}
			_ = s.fr.WriteWindowUpdate(0, 1<<20) // what the first has used up
			s.head(3, true, s.get("/now"))
			tr, dec := newTranscript()
			s.hear(tr, dec, over(3))
			if h := tr.streams[3]; h == nil || !h.ended || h.get(":status") != "200" || s.stats.RxReset.Value() != 1 || tr.streams[1] != nil && tr.streams[1].reset != nil {
				t.Errorf("stream 3 %+v, stream 1 %+v, rx_reset %d", h, tr.streams[1], s.stats.RxReset.Value())
			}
		})
	}
}

func TestEarlyResponseTellsTheClientToStop(t *testing.T) {
	s := start(t, ServerOptions{}, answer(func() *message.Response { return reply(403, "no") })).greet()
	tr, dec := newTranscript()
	const streams = 300
	for i := range uint32(streams) {
		id := 2*i + 1
		s.head(id, false, s.get("/"))
		s.hear(tr, dec, func(tr *transcript) bool {
			return tr.last != nil || tr.streams[id] != nil && tr.streams[id].reset != nil
		})
		if h := tr.streams[id]; h == nil || h.get(":status") != "403" || !h.ended || *h.reset != http2.ErrCodeNo {
			t.Fatalf("stream %d: %+v, %v", id, h, tr.last)
		}
		// What was on its way is ignored, and not held against the client.
		*tr.streams[id].reset = 77
		_ = s.fr.WriteData(id, false, []byte("more"))
		s.head(id, true, s.block("x-sum", "1"))
	}
	_ = s.fr.WritePing(false, [8]byte{})
	s.hear(tr, dec, func(tr *transcript) bool { return tr.pings == 1 })
	if tr.pings != 1 || len(tr.goAways) != 0 || s.stats.TxReset.Value() != streams {
		t.Errorf("%v, GOAWAY %v, tx_reset %d", tr.last, tr.goAways, s.stats.TxReset.Value())
	}
}

func TestCountsAreOfTheWire(t *testing.T) {
	counts := make(chan protocol.Counts, 1)
	s := start(t, ServerOptions{}, &handler{serve: func(ctx context.Context, s protocol.Stream) {
		echo(ctx, s)
		counts <- *s.Counts()
	}}).greet()
	block := s.get("/")
	s.head(1, false, block)
	_ = s.fr.WriteData(1, false, []byte("hello"))
	_ = s.fr.WriteDataPadded(1, false, []byte("hello"), make([]byte, 10))
	tail := s.block("x", "y")
	s.head(1, true, tail)
	tr, dec := newTranscript()
	s.hear(tr, dec, over(1))
	n := <-counts
	wire := uint64(len(block) + len(tail) + 5 + 16 + 4*frameHead)
	if n.RequestHead != uint64(len(block)+frameHead) || n.RequestBody != 10 || n.RequestWire != wire {
		t.Errorf("request: %+v, want %d", n, wire)
	}
	if body := uint64(len(tr.streams[1].body)); n.ResponseBody != body || n.ResponseWire < n.ResponseHead+body+frameHead || n.ResponseHead <= frameHead {
		t.Errorf("response: %+v, body %d", n, body)
	}
	if n.RequestDone == 0 || n.ResponseBegan < n.RequestDone || n.ResponseDone < n.ResponseBegan {
		t.Errorf("times: %+v", n)
	}
}

func TestPausedBodyLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan string, 4)
		s := startInMemory(t, ServerOptions{}, &handler{serve: func(ctx context.Context, st protocol.Stream) {
			b := st.Request().Body.(message.Pauser)
			paused := make(chan struct{})
			time.AfterFunc(time.Second, func() { b.Pause(); close(paused) })
			_, err := b.Next()
			<-paused
			got <- fmt.Sprint(err)
			_, err = b.Next()
			got <- fmt.Sprint(err)
			b.Resume()
			echo(ctx, st)
		}}).greet()
		s.head(1, false, s.get("/"))
		for range 2 {
			if err := <-got; err != message.ErrPaused.Error() {
				t.Errorf("Next: %s", err)
			}
		}
		_ = s.fr.WriteData(1, true, []byte("body"))
		tr, dec := newTranscript()
		s.hear(tr, dec, over(1))
		if h := tr.streams[1]; h == nil || !strings.HasSuffix(h.body, "\nbody") {
			t.Errorf("got %+v", h)
		}
	})
}

func TestWebSocketIsATunnelWithKeysMadeUp(t *testing.T) {
	s := start(t, ServerOptions{Options: Options{AllowConnect: true}}, &handler{serve: func(_ context.Context, s protocol.Stream) {
		r := s.Request()
		resp := &message.Response{Status: 101, Tunnel: true, Length: -1, Body: r.Body}
		resp.Header.Add("upgrade", "websocket")
		resp.Header.Add("connection", "upgrade")
		resp.Header.Add(secAccept, accept(r.Header.Get(secKey)))
		if len(r.Header.Get(secKey)) != 24 {
			resp = reply(500, "")
		}
		_ = s.Respond(resp)
	}}).greet()
	s.head(1, false, s.block(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/"))
	tr, dec := newTranscript()
	s.hear(tr, dec, func(tr *transcript) bool { return tr.streams[1] != nil && tr.streams[1].fields != nil })
	if f := tr.streams[1].fields; len(f) != 1 || f[0].Value != "200" {
		t.Errorf("fields %v", f)
	}
	_ = s.fr.WriteData(1, false, []byte("ping"))
	s.hear(tr, dec, func(tr *transcript) bool { return tr.streams[1].body == "ping" })
	_ = s.fr.WriteData(1, true, nil)
	s.hear(tr, dec, over(1))
	if h := tr.streams[1]; !h.ended || h.reset != nil {
		t.Errorf("got %+v", h)
	}
}

func TestAcceptIsTheHashOfTheKey(t *testing.T) {
	if got := accept("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455 section 1.3
		t.Errorf("got %s", got)
	}
}
