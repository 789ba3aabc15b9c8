package http2

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// Whether a server takes extended CONNECT is not known before its SETTINGS.
func TestExtendedConnectWaitsForSettings(t *testing.T) {
	enough := errors.New("enough")
	for _, tt := range []struct {
		name   string
		at     time.Duration // when SETTINGS come
		allow  uint32
		close  bool // the connection, instead
		cancel time.Duration
		took   time.Duration
		sent   bool
		want   string
	}{
		{name: "late but in time", at: time.Second, allow: 1, took: time.Second, sent: true},
		{name: "late and not allowed", at: time.Second, took: time.Second, want: "the upstream takes no extended CONNECT"},
		{name: "too late", at: 4 * time.Second, allow: 1, took: 3 * time.Second, want: "has not said in time"},
		{name: "never", at: time.Second, close: true, took: time.Second, want: "connection broken"},
		{name: "cancelled", at: 2 * time.Second, cancel: time.Second, took: time.Second, want: "enough"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := inMemory()
				sent := false
				own := newOwner()
				s, err := NewClient(ClientOptions{SettingsTimeout: 3 * time.Second}).Open(context.Background(), conn.New(near), own)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() { // ends with the connection
					defer close(done)
					defer far.Close()
					o := newOrigin(far)
					time.Sleep(tt.at) // the bubble's clock
					if tt.close || !o.greet(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: tt.allow}) {
						return
					}
					if f := o.await(http2.FrameHeaders); f.id != 0 {
						sent = f.fields[":protocol"] == "websocket"
						o.head(f.id, true, ":status", "200")
						_, _ = o.next()
					}
				}()
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, func() { cancel(enough) })
				}
				r := request("GET", "/", "")
				r.Upgrade, r.Length = "websocket", -1
				began := time.Now()
				resp, err := s.RoundTrip(ctx, r)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, %v", took, err)
				}
				if err == nil {
					resp.Body.Close(nil)
				} else if tt.cancel == 0 && !nothingSent(err) {
					t.Errorf("%v may have been sent", err)
				}
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				own.await(t, func(o *owner) bool { return o.freed == 1 })
				s.Close(enough)
				own.await(t, func(o *owner) bool { return o.gone == 1 })
				<-done
				if sent != tt.sent {
					t.Errorf("sent: %v", sent)
				}
			})
		})
	}
}

// nothingSent reports whether an error says that the request can be sent elsewhere.
func nothingSent(err error) bool {
	var e *protocol.Error
	var b *protocol.BrokenError
	return errors.As(err, &e) && e.NothingSent || errors.As(err, &b) && b.NothingSent
}
