package http2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport/memory"
)

// stages tell how far a call came before it failed.
const (
	atHead = "head"
	atBody = "body"
)

// attempt makes a call and reads its response to the end.
func attempt(s protocol.Session, r *message.Request) (resp *message.Response, body, stage string, err error) {
	resp, err = s.RoundTrip(context.Background(), r)
	if err != nil {
		return nil, "", atHead, err
	}
	b, err := message.ReadAll(resp.Body, 1<<24)
	resp.Body.Close(err)
	return resp, string(b), atBody, err
}

func TestMalformedResponses(t *testing.T) {
	const ok = ":status"
	for _, tt := range []struct {
		name   string
		method string
		stage  string
		play   func(o *origin, id uint32)
	}{
		{"no status", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, "x", "y") }},
		{"status of two digits", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "20") }},
		{"status of letters", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "2xx") }},
		{"status below 100", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "099") }},
		{"status twice", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", ok, "200") }},
		{"status late", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, "x", "y", ok, "200") }},
		{"method", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", ":method", "GET") }},
		{"connection", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", "connection", "close") }},
		{"transfer-encoding", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", "transfer-encoding", "chunked") }},
		{"upper case", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", "X-A", "b") }},
		{"line feed", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", "x", "a\nb: c") }},
		{"101", "GET", atHead, func(o *origin, id uint32) { o.head(id, false, ok, "101") }},
		{"informational at the end", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "103") }},
		{"data before the head", "GET", atHead, func(o *origin, id uint32) { o.data(id, true, "x") }},
		{"data after an informational response", "GET", atHead, func(o *origin, id uint32) { o.head(id, false, ok, "103"); o.data(id, true, "x") }},
		{"content-length malformed", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", "content-length", "1,1") }},
		{"content-length twice", "GET", atHead, func(o *origin, id uint32) {
			o.head(id, true, ok, "200", "content-length", "0", "content-length", "0")
		}},
		{"content-length without a body", "GET", atHead, func(o *origin, id uint32) { o.head(id, true, ok, "200", "content-length", "1") }},
		{"body longer than its length", "GET", atBody, func(o *origin, id uint32) {
			o.head(id, false, ok, "200", "content-length", "1")
			o.data(id, true, "xy")
		}},
		{"body shorter than its length", "GET", atBody, func(o *origin, id uint32) {
			o.head(id, false, ok, "200", "content-length", "3")
			o.data(id, true, "xy")
		}},
		{"trailers before the length is reached", "GET", atBody, func(o *origin, id uint32) {
			o.head(id, false, ok, "200", "content-length", "3")
			o.head(id, true, "x", "y")
		}},
		{"body of HEAD", "HEAD", atBody, func(o *origin, id uint32) {
			o.head(id, false, ok, "200", "content-length", "2")
			o.data(id, true, "xy")
		}},
		{"body of 304", "GET", atBody, func(o *origin, id uint32) { o.head(id, false, ok, "304"); o.data(id, true, "xy") }},
		{"trailers that do not end", "GET", atBody, func(o *origin, id uint32) { o.head(id, false, ok, "200"); o.head(id, false, "x", "y") }},
		{"trailers with a status", "GET", atBody, func(o *origin, id uint32) { o.head(id, false, ok, "200"); o.head(id, true, ok, "200") }},
		{"too many fields", "GET", atHead, func(o *origin, id uint32) {
			o.head(id, true, append([]string{ok, "200"}, strings.Split(strings.Repeat("x,y,", 100)[:399], ",")...)...)
		}},
		{"too many informational responses", "GET", atHead, func(o *origin, id uint32) {
			for range most1xx + 1 {
				o.head(id, false, ok, "103")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := make(chan http2.ErrCode, 1)
			s, own, stats := open(t, ClientOptions{}, func(o *origin) {
				tt.play(o, o.await(http2.FrameHeaders).id)
				code <- o.await(http2.FrameRSTStream).code
				id := o.await(http2.FrameHeaders).id // the session goes on
				o.head(id, false, ok, "200")
				o.data(id, true, "fine")
				_, _ = o.next()
			})
			_, _, stage, err := attempt(s, request(tt.method, "/", ""))
			var bad *protocol.Error
			if !errors.As(err, &bad) || stage != tt.stage {
				t.Errorf("got %v at the %s, want a *protocol.Error at the %s", err, stage, tt.stage)
			}
			if got := <-code; got != http2.ErrCodeProtocol {
				t.Errorf("RST_STREAM %v", got)
			}
			if _, body, _, err := attempt(s, request("GET", "/", "")); err != nil || body != "fine" {
				t.Errorf("the next call: %q, %v", body, err)
			}
			own.await(t, func(o *owner) bool { return o.freed == 2 })
			if n := stats.TxReset.Value(); n != 1 {
				t.Errorf("tx_reset %d", n)
			}
		})
	}
}

func TestFaultsThatEndASession(t *testing.T) {
	for _, tt := range []struct {
		name string
		code http2.ErrCode
		play func(o *origin, id uint32)
	}{
		{"PUSH_PROMISE", http2.ErrCodeProtocol, func(o *origin, id uint32) {
			_ = o.fr.WriteRawFrame(http2.FramePushPromise, 4, id, make([]byte, 8))
		}},
		{"head of a stream that was never opened", http2.ErrCodeProtocol, func(o *origin, id uint32) { o.head(id+2, true, ":status", "200") }},
		{"head of an even stream", http2.ErrCodeProtocol, func(o *origin, _ uint32) { o.head(2, true, ":status", "200") }},
		{"data of a stream that was never opened", http2.ErrCodeProtocol, func(o *origin, id uint32) { o.data(id+2, true, "x") }},
		{"reset of a stream that was never opened", http2.ErrCodeProtocol, func(o *origin, id uint32) { _ = o.fr.WriteRSTStream(id+2, 0) }},
		{"header block", http2.ErrCodeCompression, func(o *origin, id uint32) {
			_ = o.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}},
		{"GOAWAY on a stream", http2.ErrCodeProtocol, func(o *origin, id uint32) { _ = o.fr.WriteRawFrame(http2.FrameGoAway, 0, id, make([]byte, 8)) }},
		{"GOAWAY of 7 bytes", http2.ErrCodeFrameSize, func(o *origin, _ uint32) { _ = o.fr.WriteRawFrame(http2.FrameGoAway, 0, 0, make([]byte, 7)) }},
		{"window", http2.ErrCodeFlowControl, func(o *origin, _ uint32) { _ = o.fr.WriteWindowUpdate(0, maxWindow) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := make(chan http2.ErrCode, 1)
			s, own, _ := open(t, ClientOptions{}, func(o *origin) {
				tt.play(o, o.await(http2.FrameHeaders).id)
				code <- o.await(http2.FrameGoAway).code
			})
			_, _, stage, err := attempt(s, request("GET", "/", ""))
			var broken *protocol.BrokenError
			if !errors.As(err, &broken) || stage != atHead || broken.NothingSent || broken.HeadSeen {
				t.Errorf("got %#v at the %s", err, stage)
			}
			if got := <-code; got != tt.code {
				t.Errorf("GOAWAY %v, want %v", got, tt.code)
			}
			own.await(t, func(o *owner) bool { return o.freed == 1 && o.gone == 1 })
			if s.Free() != 0 {
				t.Errorf("Free %d", s.Free())
			}
			if _, err = s.RoundTrip(context.Background(), request("GET", "/", "")); !errors.As(err, &broken) || !broken.NothingSent {
				t.Errorf("the next call: %v", err)
			}
			own.await(t, func(o *owner) bool { return o.freed == 2 })
		})
	}
}

func TestDataBehindTheEndIsNotPartOfTheBody(t *testing.T) {
	ended := make(chan struct{})
	s, _, _ := open(t, ClientOptions{}, func(o *origin) {
		id := o.await(http2.FrameHeaders).id
		o.head(id, false, ":status", "200")
		o.data(id, true, "body")
		o.data(id, true, "smuggled")
		_ = o.fr.WritePing(false, [8]byte{})
		o.await(http2.FramePing)
		close(ended)
		_, _ = o.next()
	})
	resp, err := s.RoundTrip(context.Background(), request("GET", "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	<-ended // everything has arrived before the body is read
	b, err := message.ReadAll(resp.Body, 1<<20)
	resp.Body.Close(err)
	if string(b) != "body" {
		t.Errorf("body %q, %v", b, err)
	}
}

func TestServerThatIgnoresTheWindowIsNotListenedTo(t *testing.T) {
	ended := make(chan struct{})
	s, _, _ := open(t, ClientOptions{}, func(o *origin) {
		id := o.await(http2.FrameHeaders).id
		o.head(id, false, ":status", "200")
		for range 40 {
			o.data(id, false, strings.Repeat("x", maxFrame))
		}
		_ = o.fr.WritePing(false, [8]byte{})
		o.await(http2.FramePing)
		close(ended)
		_, _ = o.next()
	})
	resp, err := s.RoundTrip(context.Background(), request("GET", "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	b, err := message.ReadAll(resp.Body, 1<<24)
	resp.Body.Close(err)
	if len(b) > DefaultStreamWindow || err == nil {
		t.Errorf("%d bytes were kept, %v", len(b), err)
	}
}

func TestGoAwayTellsWhichStreamsMayBeTriedElsewhere(t *testing.T) {
	s, own, _ := open(t, ClientOptions{}, func(o *origin) {
		for range 3 {
			o.await(http2.FrameHeaders)
		}
		_ = o.fr.WriteGoAway(3, http2.ErrCodeNo, nil)
		o.head(1, false, ":status", "200")
		o.data(1, true, "one")
		o.head(3, false, ":status", "200")
		o.data(3, true, "three")
		_, _ = o.next()
	})
	type result struct {
		body string
		err  error
	}
	results := make(chan result, 3)
	for i := range 3 {
		go func() { // ends with the call
			_, body, _, err := attempt(s, request("GET", fmt.Sprint("/", i), ""))
			results <- result{body, err}
		}()
	}
	served, refused := 0, 0
	for range 3 {
		r := <-results
		var reset *protocol.ResetError
		switch {
		case r.err == nil && (r.body == "one" || r.body == "three"):
			served++
		case errors.As(r.err, &reset) && reset.Refused:
			refused++
		default:
			t.Errorf("got %q, %v", r.body, r.err)
		}
	}
	if served != 2 || refused != 1 {
		t.Errorf("served %d, refused %d", served, refused)
	}
	own.await(t, func(o *owner) bool { return o.freed == 3 && o.gone == 1 })
	if own.cause != nil {
		t.Errorf("Gone with %v", own.cause)
	}
	var reset *protocol.ResetError
	if _, err := s.RoundTrip(context.Background(), request("GET", "/", "")); !errors.As(err, &reset) || !reset.Refused || s.Free() != 0 {
		t.Errorf("the next call: %v, Free %d", err, s.Free())
	}
}

func TestResetsOfTheServer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		head    bool
		code    http2.ErrCode
		refused bool
	}{
		{"refused", false, http2.ErrCodeRefusedStream, true},
		{"before the head", false, http2.ErrCodeInternal, false},
		{"in the body", true, http2.ErrCodeCancel, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, own, stats := open(t, ClientOptions{}, func(o *origin) {
				id := o.await(http2.FrameHeaders).id
				if tt.head {
					o.head(id, false, ":status", "200")
					o.data(id, false, "x")
				}
				_ = o.fr.WriteRSTStream(id, tt.code)
				_, _ = o.next()
			})
			_, _, stage, err := attempt(s, request("GET", "/", ""))
			var reset *protocol.ResetError
			// A reset that comes at once may be seen before the head is.
			if !errors.As(err, &reset) || reset.Refused != tt.refused || http2.ErrCode(reset.Code) != tt.code || reset.HeadSeen != tt.head {
				t.Errorf("got %#v at the %s", err, stage)
			}
			own.await(t, func(o *owner) bool { return o.freed == 1 && o.gone == 0 })
			if stats.RxReset.Value() != 1 || stats.TxReset.Value() != 0 {
				t.Errorf("rx_reset %d, tx_reset %d", stats.RxReset.Value(), stats.TxReset.Value())
			}
		})
	}
}

// TestEndOfTheConnectionIsNotTheEndOfABody keeps a response that was cut short from passing for a complete one.
func TestEndOfTheConnectionIsNotTheEndOfABody(t *testing.T) {
	s, _, _ := openInMemory(t, ClientOptions{}, func(o *origin) {
		id := o.await(http2.FrameHeaders).id
		o.head(id, false, ":status", "200")
		o.data(id, false, "half")
		_ = o.nc.(*memory.Conn).CloseWrite() // an orderly end
		_, _ = o.next()
	})
	_, body, stage, err := attempt(s, request("GET", "/", ""))
	var broken *protocol.BrokenError
	if !errors.As(err, &broken) || broken.Cause != io.ErrUnexpectedEOF || stage != atBody {
		t.Errorf("got %q, %v at the %s", body, err, stage)
	}
}

func TestConnectionThatBreaks(t *testing.T) {
	for _, head := range []bool{false, true} {
		t.Run(fmt.Sprint("head ", head), func(t *testing.T) {
			s, own, _ := open(t, ClientOptions{}, func(o *origin) {
				id := o.await(http2.FrameHeaders).id
				if head {
					o.head(id, false, ":status", "200")
				}
				_ = o.nc.Close()
			})
			_, _, stage, err := attempt(s, request("GET", "/", ""))
			var broken *protocol.BrokenError
			if !errors.As(err, &broken) || broken.NothingSent || broken.HeadSeen != head || head && errors.Is(err, io.EOF) {
				t.Errorf("got %#v at the %s", err, stage)
			}
			own.await(t, func(o *owner) bool { return o.freed == 1 && o.gone == 1 })
		})
	}
}
