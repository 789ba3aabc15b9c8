package http2

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// A gate is a handler whose streams wait for it to be opened.
type gate struct{ open chan struct{} }

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) serve(ctx context.Context, s protocol.Stream) {
	select {
	case <-g.open:
		_ = s.Respond(reply(200, "late"))
	case <-ctx.Done():
		s.Reset(context.Cause(ctx))
	}
}

// goAways returns a condition for hear.
func goAways(n int) func(*transcript) bool {
	return func(tr *transcript) bool { return len(tr.goAways) >= n }
}

// endless reads until the connection ends.
func endless(*transcript) bool { return false }

func TestDrainLetsStreamsEndThatAreOpenOrOnTheirWay(t *testing.T) {
	for name, begin := range map[string]func(s *served, st protocol.Stream){
		"drained":        func(s *served, _ protocol.Stream) { s.c.Drain() },
		"by the handler": func(_ *served, st protocol.Stream) { st.CloseAfter() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				streams := make(chan protocol.Stream, 2)
				s := startInMemory(t, ServerOptions{}, &handler{serve: func(ctx context.Context, st protocol.Stream) {
					streams <- st
					g.serve(ctx, st)
				}}).greet()
				s.head(1, true, s.get("/1"))
				begin(s, <-streams)
				tr, dec := newTranscript()
				s.hear(tr, dec, goAways(1))
				if g := tr.goAways[0]; g.LastStreamID != maxStreamID || g.ErrCode != http2.ErrCodeNo {
					t.Fatalf("first GOAWAY %v", g)
				}
				s.head(3, true, s.get("/3")) // was on its way
				<-streams
				if err := s.fr.WritePing(true, drainPing); err != nil {
					t.Fatal(err)
				}
				s.hear(tr, dec, goAways(2))
				if g := tr.goAways[1]; g.LastStreamID != 3 || g.ErrCode != http2.ErrCodeNo {
					t.Fatalf("last GOAWAY %v", g)
				}
				s.head(5, true, s.get("/5")) // too late
				synctest.Wait()
				close(g.open)
				s.hear(tr, dec, endless)
				if !over(1, 3)(tr) || tr.streams[1].body != "late" || tr.streams[3].body != "late" || tr.streams[5] != nil {
					t.Errorf("streams %v", tr.streams)
				}
				want := map[string]error{"drained": conn.ErrDraining}[name]
				if err := s.wait(); err != want || tr.last != io.EOF {
					t.Errorf("Serve: %v, want %v; the peer read %v", err, want, tr.last)
				}
			})
		})
	}
}

func TestDrainOfAnIdleConnectionEndsItAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, ServerOptions{}, &handler{serve: echo}).greet()
		s.head(1, true, s.get("/"))
		tr, dec := newTranscript()
		s.hear(tr, dec, over(1))
		began := time.Now()
		s.c.Drain()
		s.hear(tr, dec, goAways(1))
		if err := s.fr.WritePing(true, drainPing); err != nil {
			t.Fatal(err)
		}
		s.hear(tr, dec, endless)
		if len(tr.goAways) != 2 || tr.goAways[1].LastStreamID != 1 || time.Since(began) != 0 {
			t.Errorf("GOAWAY %v after %v", tr.goAways, time.Since(began))
		}
		if err := s.wait(); err != conn.ErrDraining {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestDrainEndsWithoutAnAnswerToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, ServerOptions{DrainTime: 3 * time.Second}, &handler{serve: echo}).greet()
		s.head(1, true, s.get("/"))
		tr, dec := newTranscript()
		s.hear(tr, dec, over(1))
		began := time.Now()
		s.c.Drain()
		s.hear(tr, dec, endless)
		if len(tr.goAways) != 2 || time.Since(began) != 3*time.Second {
			t.Errorf("GOAWAY %v after %v", tr.goAways, time.Since(began))
		}
		if err := s.wait(); err != conn.ErrDraining {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestTrailersBehindTheLastGoAwayDoNotEndTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		s := startInMemory(t, ServerOptions{}, &handler{serve: g.serve}).greet()
		s.head(1, true, s.get("/"))
		synctest.Wait()
		s.c.Drain()
		tr, dec := newTranscript()
		s.hear(tr, dec, goAways(1))
		_ = s.fr.WritePing(true, drainPing)
		s.hear(tr, dec, goAways(2))
		s.head(3, false, s.get("/")) // sent before the last GOAWAY was seen
		s.head(3, true, s.block("x", "y"))
		synctest.Wait()
		close(g.open)
		s.hear(tr, dec, endless)
		if h := tr.streams[1]; h == nil || h.body != "late" || len(tr.goAways) != 2 {
			t.Errorf("stream 1: %+v, GOAWAY %v", h, tr.goAways)
		}
	})
}

func TestMaxRequestsDrainsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, ServerOptions{MaxRequests: 2}, &handler{serve: echo}).greet()
		s.head(1, true, s.get("/"))
		tr, dec := newTranscript()
		s.hear(tr, dec, over(1))
		if len(tr.goAways) != 0 {
			t.Errorf("after the first: GOAWAY %v", tr.goAways)
		}
		s.head(3, true, s.get("/"))
		s.hear(tr, dec, endless)
		if h := tr.streams[3]; h == nil || h.get(":status") != "200" || len(tr.goAways) != 2 {
			t.Errorf("the last request: %+v, GOAWAY %v", h, tr.goAways)
		}
		if err := s.wait(); err != protocol.ErrMaxRequests {
			t.Errorf("Serve: %v", err)
		}
	})
}

// TestTimeouts has connections that end by themselves, and when.
func TestTimeouts(t *testing.T) {
	headers := func(s *served) {
		_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.get("/")})
	}
	exchange := func(s *served) {
		time.Sleep(2 * time.Second)
		s.head(1, true, s.get("/now"))
	}
	for _, tt := range []struct {
		name string
		o    ServerOptions
		do   func(s *served)
		want error
		at   time.Duration
		away int
	}{
		{"idle from the start", ServerOptions{IdleTimeout: 5 * time.Second}, func(*served) {}, protocol.ErrIdleTimeout, 5 * time.Second, 1},
		{"idle after a request", ServerOptions{IdleTimeout: 5 * time.Second}, exchange, protocol.ErrIdleTimeout, 7 * time.Second, 1},
		{"an open stream is not idle", ServerOptions{IdleTimeout: 5 * time.Second, MaxDuration: 20 * time.Second, DrainTime: time.Second}, func(s *served) {
			s.head(1, true, s.get("/hold"))
			time.Sleep(24 * time.Second)
			_ = s.fr.WriteRSTStream(1, http2.ErrCodeCancel)
		}, protocol.ErrMaxDuration, 24 * time.Second, 2},
		{"header section that does not end", ServerOptions{HeadersTimeout: 3 * time.Second}, headers, protocol.ErrHeadersTimeout, 3 * time.Second, 1},
		{"header section in time", ServerOptions{HeadersTimeout: 3 * time.Second, IdleTimeout: 10 * time.Second}, func(s *served) {
			headers(s)
			time.Sleep(2 * time.Second)
			_ = s.fr.WriteContinuation(1, true, nil)
			time.Sleep(2 * time.Second)
			_ = s.fr.WriteRSTStream(1, http2.ErrCodeCancel)
		}, protocol.ErrIdleTimeout, 14 * time.Second, 1},
		{"max duration", ServerOptions{MaxDuration: 4 * time.Second, DrainTime: time.Second}, func(*served) {}, protocol.ErrMaxDuration, 5 * time.Second, 2},
		{"no answer to PING", ServerOptions{Options: Options{PingInterval: 10 * time.Second, PingTimeout: time.Second}}, func(*served) {}, errKeepalive, 11 * time.Second, 1},
		{"delayed close", ServerOptions{IdleTimeout: 5 * time.Second, DelayedClose: 3 * time.Second}, func(*served) {}, protocol.ErrIdleTimeout, 8 * time.Second, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := startInMemory(t, tt.o, &handler{serve: hold}).greet()
				go tt.do(s) // ends by itself
				tr, dec := newTranscript()
				s.hear(tr, dec, endless)
				err := s.wait()
				if err != tt.want || time.Since(began) != tt.at {
					t.Errorf("Serve: %v after %v; want %v after %v", err, time.Since(began), tt.want, tt.at)
				}
				if len(tr.goAways) != tt.away {
					t.Errorf("GOAWAY %v, want %d", tr.goAways, tt.away)
				}
			})
		})
	}
}

func TestKeepaliveAsksAtIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, ServerOptions{Options: Options{PingInterval: 10 * time.Second, PingTimeout: time.Second}}, &handler{serve: echo}).greet()
		began := time.Now()
		for i := 1; i <= 3; {
			f, err := s.fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			p, ok := f.(*http2.PingFrame)
			if !ok {
				continue
			}
			if got := time.Since(began); got != time.Duration(i)*10*time.Second {
				t.Errorf("PING %d after %v", i, got)
			}
			if err = s.fr.WritePing(true, p.Data); err != nil {
				t.Fatal(err)
			}
			i++
		}
		if n := s.stats.KeepaliveTimeout.Value(); n != 0 {
			t.Errorf("keepalive_timeout %d", n)
		}
	})
}

func TestEndOfServesContextEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 1)
		s := startInMemory(t, ServerOptions{}, &handler{serve: func(ctx context.Context, s protocol.Stream) {
			_, err := s.Request().Body.Next()
			causes <- err
		}}).greet()
		s.head(1, false, s.get("/"))
		synctest.Wait()
		why := errors.New("the process ends")
		s.cancel(why)
		if err := s.wait(); err != why {
			t.Errorf("Serve: %v", err)
		}
		if err := <-causes; err != why {
			t.Errorf("the body: %v", err)
		}
	})
}

func TestPeerThatLeavesCancelsItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 2)
		s := startInMemory(t, ServerOptions{}, &handler{serve: func(ctx context.Context, s protocol.Stream) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
		}}).greet()
		s.head(1, true, s.get("/"))
		s.head(3, false, s.get("/"))
		synctest.Wait()
		s.nc.Close()
		if err := s.wait(); err != protocol.ErrPeerGone {
			t.Errorf("Serve: %v", err)
		}
		for range 2 {
			if err := <-causes; err != protocol.ErrPeerGone && err != context.Canceled {
				t.Errorf("cause %v", err)
			}
		}
	})
}
