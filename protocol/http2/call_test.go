package http2

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// informer notes informational responses.
type informer struct{ got []string }

func (i *informer) Inform(status int, h *message.Header) error {
	i.got = append(i.got, fmt.Sprint(status, h.Get("link")))
	return nil
}

func TestInformationalResponsesAreHandedOn(t *testing.T) {
	s, _, _ := open(t, ClientOptions{}, func(o *origin) {
		id := o.await(http2.FrameHeaders).id
		o.head(id, false, ":status", "103", "link", "a")
		o.head(id, false, ":status", "103", "link", "b")
		o.head(id, true, ":status", "200")
		_, _ = o.next()
	})
	i := &informer{}
	r := request("GET", "/", "")
	r.Informer = i
	if _, _, _, err := attempt(s, r); err != nil || fmt.Sprint(i.got) != "[103a 103b]" {
		t.Errorf("got %v, %v", i.got, err)
	}
}

func TestExpectedContinueHoldsTheBodyBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  bool
		at   time.Duration
	}{{"said", true, 0}, {"not said", false, 2 * time.Second}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var came time.Duration
				s, _, _ := openInMemory(t, ClientOptions{ContinueTimeout: 2 * time.Second}, func(o *origin) {
					id := o.await(http2.FrameHeaders).id
					if tt.say {
						o.head(id, false, ":status", "100")
					}
					o.await(http2.FrameData)
					came = time.Since(began)
					o.head(id, true, ":status", "200")
					_, _ = o.next()
				})
				r := request("POST", "/", "body")
				r.Header.Add("expect", "100-continue")
				if _, _, _, err := attempt(s, r); err != nil || came != tt.at {
					t.Errorf("the body came after %v, %v", came, err)
				}
			})
		})
	}
}

func TestRequestThatBreaksOffResetsItsStream(t *testing.T) {
	code := make(chan http2.ErrCode, 1)
	s, own, _ := open(t, ClientOptions{}, func(o *origin) {
		o.await(http2.FrameData)
		code <- o.await(http2.FrameRSTStream).code
		_, _ = o.next() // the connection stays
	})
	b := newScript()
	b.fail = errSource
	b.pieces <- "piece"
	close(b.pieces)
	r := request("POST", "/", "")
	r.Body, r.Length = b, -1
	_, err := s.RoundTrip(context.Background(), r)
	var fail *protocol.BodyError
	if !errors.As(err, &fail) || fail.Cause != errSource {
		t.Errorf("got %v", err)
	}
	if c := <-code; c != http2.ErrCodeCancel {
		t.Errorf("RST_STREAM %v", c)
	}
	own.await(t, func(o *owner) bool { return o.freed == 1 && o.gone == 0 })
}

func TestEarlyResponseEndsThePump(t *testing.T) {
	s, own, _ := open(t, ClientOptions{}, func(o *origin) {
		id := o.await(http2.FrameHeaders).id
		o.head(id, true, ":status", "413")
		_ = o.fr.WriteRSTStream(id, http2.ErrCodeNo)
		_, _ = o.next()
	})
	b := newScript() // never ends
	r := request("POST", "/", "")
	r.Body, r.Length = b, -1
	resp, _, _, err := attempt(s, r)
	if err != nil || resp.Status != 413 {
		t.Fatal(resp, err)
	}
	select {
	case <-b.closed: // the pump has ended
	default:
		t.Error("the request's body is still open")
	}
	own.await(t, func(o *owner) bool { return o.freed == 1 })
}

func TestCloseOfASessionFailsItsCalls(t *testing.T) {
	seen := make(chan struct{})
	s, own, _ := open(t, ClientOptions{}, func(o *origin) {
		o.await(http2.FrameHeaders)
		close(seen)
		o.await(http2.FrameGoAway)
	})
	errs := make(chan error, 1)
	go func() { // ends with the call
		_, err := s.RoundTrip(context.Background(), request("GET", "/", ""))
		errs <- err
	}()
	<-seen
	why := errors.New("no longer wanted")
	s.Close(why)
	var broken *protocol.BrokenError
	if err := <-errs; !errors.As(err, &broken) || broken.Cause != why || broken.NothingSent {
		t.Errorf("got %#v", err)
	}
	own.await(t, func(o *owner) bool { return o.freed == 1 && o.gone == 1 })
}

func TestSessionKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var asked []time.Duration
		_, own, stats := openInMemory(t, ClientOptions{Options: Options{PingInterval: 10 * time.Second, PingTimeout: 3 * time.Second}}, func(o *origin) {
			for range 2 {
				f := o.await(http2.FramePing)
				asked = append(asked, time.Since(began))
				if len(asked) == 1 {
					_ = o.fr.WritePing(true, f.ping)
				}
			}
			o.await(http2.FrameGoAway)
		})
		own.await(t, func(o *owner) bool { return o.gone == 1 })
		if fmt.Sprint(asked) != "[10s 20s]" || time.Since(began) != 23*time.Second || stats.KeepaliveTimeout.Value() != 1 {
			t.Errorf("asked at %v, over after %v", asked, time.Since(began))
		}
	})
}

func TestIdleSessionIsAskedBeforeItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kinds := make(chan http2.FrameType, 10)
		s, _, _ := openInMemory(t, ClientOptions{Options: Options{PingIdleInterval: 5 * time.Second, PingTimeout: time.Second}}, func(o *origin) {
			for {
				f, err := o.next()
				if err != nil {
					return
				}
				switch f.kind {
				case http2.FrameHeaders:
					o.head(f.id, true, ":status", "200")
				case http2.FramePing:
					_ = o.fr.WritePing(true, f.ping)
					kinds <- f.kind
				}
			}
		})
		for i, wait := range []time.Duration{0, 4 * time.Second, 5 * time.Second} {
			time.Sleep(wait)
			if _, _, _, err := attempt(s, request("GET", "/", "")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if asked := len(kinds) > 0; asked != (i == 2) {
				t.Errorf("call %d: asked %v", i, asked)
			}
		}
	})
}

func TestWebSocketCrossesToExtendedConnect(t *testing.T) {
	s, own, _ := open(t, ClientOptions{}, func(o *origin) {
		f := o.await(http2.FrameHeaders)
		if f.fields[":method"] != "CONNECT" || f.fields[":protocol"] != "websocket" || f.fields[secKey] != "" || f.end {
			_ = o.fr.WriteRSTStream(f.id, http2.ErrCodeProtocol)
			return
		}
		o.head(f.id, false, ":status", "200")
		d := o.await(http2.FrameData)
		o.data(f.id, true, d.data)
		_, _ = o.next()
	}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	own.await(t, func(o *owner) bool { return o.resized == 1 }) // the settings have come
	b := newScript()
	b.pieces <- "ping"
	r := request("GET", "/ws", "")
	r.Upgrade, r.Body, r.Length = "websocket", b, -1
	r.Header.Add(secKey, "dGhlIHNhbXBsZSBub25jZQ==")
	resp, body, _, err := attempt(s, r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != 101 || !resp.Tunnel || resp.Header.Get("upgrade") != "websocket" || body != "ping" ||
		resp.Header.Get(secAccept) != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("got %d, %v, %q", resp.Status, resp.Tunnel, body)
	}
}

func TestWebSocketIsNotForServersWithoutIt(t *testing.T) {
	s, own, _ := open(t, ClientOptions{}, func(o *origin) { o.await(http2.FrameGoAway) })
	own.await(t, func(o *owner) bool { return o.resized == 1 })
	r := request("GET", "/ws", "")
	r.Upgrade, r.Length = "websocket", -1
	_, err := s.RoundTrip(context.Background(), r)
	var e *protocol.Error
	if !errors.As(err, &e) || !e.NothingSent {
		t.Errorf("got %v", err)
	}
	own.await(t, func(o *owner) bool { return o.freed == 1 })
}

func TestConnectIsATunnel(t *testing.T) {
	s, _, _ := open(t, ClientOptions{}, func(o *origin) {
		f := o.await(http2.FrameHeaders)
		if len(f.fields) != 2 || f.fields[":method"] != "CONNECT" || f.fields[":authority"] != "a:1" {
			return
		}
		o.head(f.id, false, ":status", "200")
		o.data(f.id, true, o.await(http2.FrameData).data)
		_, _ = o.next()
	})
	b := newScript()
	b.pieces <- "hello"
	r := &message.Request{Method: "CONNECT", Authority: "a:1", Upgrade: "connect", Body: b, Length: -1}
	resp, body, _, err := attempt(s, r)
	if err != nil || resp.Status != 200 || !resp.Tunnel || body != "hello" {
		t.Errorf("got %v, %q, %v", resp, body, err)
	}
}

// TestCallsAreReused has many calls cancelled and released at once: none may touch another's memory.
func TestCallsAreReused(t *testing.T) {
	near, far := loopback(t)
	srv := startOn(t, ServerOptions{Options: Options{MaxStreams: 1000}}, &handler{serve: echo}, near, far)
	own := silent{make(chan struct{})}
	s := mustOpen(t, srv, own)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				ctx, cancel := context.WithCancel(context.Background())
				body := fmt.Sprint("body ", i, j)
				resp, err := s.RoundTrip(ctx, request("POST", "/", body))
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				got, err := message.ReadAll(resp.Body, 1<<20)
				if err != nil || string(got) != "POST http://a/\ncontent-length="+fmt.Sprint(len(body))+"\n\n"+body {
					t.Errorf("got %q, %v", got, err)
				}
				go cancel() // ends at once
				resp.Body.Close(nil)
				resp.Release()
			}
		})
	}
	wg.Wait()
	s.Close(nil)
	<-own.gone
	_ = srv.wait()
}
