package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport/socket"
)

// A handshaker is a transport socket whose handshake a test makes.
type handshaker struct {
	do   func(c *conn.Conn, o socket.Options) error
	seen chan socket.Options
}

func (h *handshaker) Features() socket.Features { return socket.Features{Secure: true} }

func (h *handshaker) Handshake(c *conn.Conn, o socket.Options) error {
	if h.seen != nil {
		h.seen <- o
	}
	return h.do(c, o)
}

// over makes the rig's connections lie on a transport.
func over(h *handshaker, change func(*Options, *rig)) func(*Options, *rig) {
	return func(o *Options, r *rig) {
		r.via = Transport{Socket: h, Options: socket.Options{SNI: "sni", HostName: "host", Fallback: []string{"h2"}}}
		if change != nil {
			change(o, r)
		}
	}
}

// waits waits for bytes that do not come.
func waits(c *conn.Conn, _ socket.Options) error { return c.Fill() }

func TestHandshakeComesBeforeTheSession(t *testing.T) {
	h := &handshaker{seen: make(chan socket.Options, 2), do: func(c *conn.Conn, _ socket.Options) error {
		c.Info().TLS = &conn.TLS{ALPN: "made"}
		return nil
	}}
	inBubble(t, over(h, nil), func(t *testing.T, r *rig) {
		l := r.acquire()
		if tls := l.Session.Conn().Info().TLS; tls == nil || tls.ALPN != "made" {
			t.Errorf("the session's connection has %+v", tls)
		}
		if o := <-h.seen; o.SNI != "sni" || o.HostName != "host" || o.Downstream != nil || len(o.Fallback) != 1 {
			t.Errorf("options %+v", o)
		}
		session(l).finish()
		down := &conn.Info{ID: 7}
		raw, err := r.pool.Connect(t.Context(), 0, 0, down, nil)
		if err != nil {
			t.Fatal(err)
		}
		if o := <-h.seen; o.Downstream != down || o.SNI != "sni" || o.Fallback != nil {
			t.Errorf("options %+v", o)
		}
		raw.Close(false)
		r.pool.Drain()
		r.balanced()
	})
}

func TestFailedHandshakeIsTheHostsFailure(t *testing.T) {
	h := &handshaker{do: func(c *conn.Conn, _ socket.Options) error {
		c.Info().TransportFailure = "TLS_error:|no"
		return errBroken
	}}
	inBubble(t, over(h, nil), func(t *testing.T, r *rig) {
		_, err := r.pool.Acquire(t.Context(), 0, 0)
		var e *Error
		if !errors.As(err, &e) || e.Kind != RemoteFailure || e.Reason != "TLS_error:|no" || !errors.Is(err, errBroken) {
			t.Errorf("%v", err)
		}
		r.expect("cx_connect_fail", r.stats.CxConnectFail.Value(), 1)
		r.expect("cx_connect_timeout", r.stats.CxConnectTimeout.Value(), 0)
		r.expect("cx_destroy", r.stats.CxDestroy.Value(), 0)
		r.balanced()
	})
}

func TestHandshakeCountsForTheConnectTimeout(t *testing.T) {
	inBubble(t, over(&handshaker{do: waits}, nil), func(t *testing.T, r *rig) {
		began := time.Now()
		_, err := r.pool.Acquire(t.Context(), 0, 0)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Timeout || time.Since(began) != r.o.ConnectTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := r.pool.Connect(t.Context(), 0, 0, nil, nil); !errors.As(err, &e) || e.Kind != Timeout {
			t.Errorf("raw: %v", err)
		}
		r.expect("cx_connect_timeout", r.stats.CxConnectTimeout.Value(), 2)
		r.balanced()
	})
}

func TestWhoConnectsMayGiveUpInTheHandshake(t *testing.T) {
	inBubble(t, over(&handshaker{do: waits}, nil), func(t *testing.T, r *rig) {
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := r.pool.Connect(ctx, 0, 0, nil, nil); !errors.Is(err, gone) {
			t.Errorf("%v", err)
		}
		r.balanced()
	})
}

func TestCloseEndsAHandshake(t *testing.T) {
	inBubble(t, over(&handshaker{do: waits}, nil), func(t *testing.T, r *rig) {
		got := make(chan error)
		go func() { // ends with Close
			_, err := r.pool.Acquire(t.Context(), 0, 0)
			got <- err
		}()
		synctest.Wait()
		go r.pool.Close(ErrClosed)
		var e *Error
		if err := <-got; !errors.As(err, &e) || e.Kind != Closed {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		r.balanced()
	})
}

// negotiated makes the rig's host one whose handshake decides between sessions of one stream and of many.
func negotiated(many func() bool) func(*Options, *rig) {
	return func(o *Options, _ *rig) {
		o.Version = protocol.VersionUnknown
		o.Client = clientFunc(func(ctx context.Context, c *conn.Conn, owner protocol.Owner) (protocol.Session, error) {
			if many() {
				return fakeClient{streams: func() int { return 10 }}.Open(ctx, c, owner)
			}
			return fakeClient{}.Open(ctx, c, owner)
		})
	}
}

type clientFunc func(context.Context, *conn.Conn, protocol.Owner) (protocol.Session, error)

func (f clientFunc) Open(ctx context.Context, c *conn.Conn, o protocol.Owner) (protocol.Session, error) {
	return f(ctx, c, o)
}

func TestTheFirstConnectionSaysHowManyAreNeeded(t *testing.T) {
	for _, tt := range []struct {
		name     string
		many     bool
		sessions int
		counter  func(*Stats) *stats.Counter
	}{
		{"many streams", true, 1, func(s *Stats) *stats.Counter { return &s.CxHTTP2Total }},
		{"one stream", false, 6, func(s *Stats) *stats.Counter { return &s.CxHTTP1Total }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, negotiated(func() bool { return tt.many }), func(t *testing.T, r *rig) {
				all := r.acquireAll(6)
				if n := len(load(all)); n != tt.sessions {
					t.Errorf("%d sessions for 6 streams, want %d", n, tt.sessions)
				}
				r.expect("cx_total", r.stats.CxTotal.Value(), uint64(tt.sessions))
				r.expect("the version's counter", tt.counter(&r.stats).Value(), uint64(tt.sessions))
				finishAll(all)
				r.pool.Drain()
				synctest.Wait()
				r.balanced()
			})
		})
	}
}

func TestAHostMayChangeItsMind(t *testing.T) {
	many := true
	inBubble(t, negotiated(func() bool { return many }), func(t *testing.T, r *rig) {
		finishAll(r.acquireAll(3))
		r.pool.Retire()
		many = false
		all := r.acquireAll(3)
		if n := len(load(all)); n != 3 {
			t.Errorf("%d sessions of one stream for 3", n)
		}
		finishAll(all)
		r.pool.Retire()
		many = true
		finishAll(r.acquireAll(3))
		r.pool.Drain()
		synctest.Wait()
		r.balanced()
	})
}

func TestTidyClosesWhatNobodyUses(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		l := r.acquire()
		if r.pool.Unused() || r.pool.Tidy(true) {
			t.Fatal("tidied under a stream")
		}
		session(l).finish()
		if !r.pool.Unused() || r.pool.Tidy(false) {
			t.Fatal("an idle connection is more than nothing")
		}
		if !r.pool.Tidy(true) || !closed(l) {
			t.Fatal("not tidied")
		}
		if _, err := r.pool.Acquire(t.Context(), 0, 0); !errors.Is(err, ErrTidied) {
			t.Errorf("acquired: %v", err)
		}
		r.balanced()
	})
}
