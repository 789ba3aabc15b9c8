package pool

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/protocol"
)

func TestGoneWithOpenStreams(t *testing.T) {
	for _, tt := range []struct {
		name                                string
		cause                               error
		notify, remote, local, remoteRq, rq uint64
		activeAfterGone                     uint64
	}{
		{"goaway", nil, 1, 0, 1, 0, 0, 1},
		{"goaway with a code", &protocol.ResetError{Code: 11}, 1, 0, 1, 0, 0, 1},
		{"end of the connection", io.EOF, 0, 1, 0, 1, 1, 0},
		{"own timeout", context.DeadlineExceeded, 0, 0, 1, 0, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, multi(10, nil), func(t *testing.T, r *rig) {
				all := r.acquireAll(3)
				s := session(all[0])
				s.owner.Gone(s, tt.cause)
				s.owner.Gone(s, tt.cause) // once is enough
				r.expect("cx_active", uint64(r.stats.CxActive.Value()), tt.activeAfterGone)
				if closed(all[0]) {
					t.Fatal("closed with open streams")
				}
				other := r.acquire()
				if other.Session == all[0].Session {
					t.Fatal("got a session that is gone")
				}
				finishAll(all[:2])
				if closed(all[0]) {
					t.Fatal("closed with an open stream")
				}
				session(all[2]).finish()
				if !closed(all[0]) {
					t.Fatal("open without streams")
				}
				session(other).finish()
				r.expect("cx_close_notify", r.stats.CxCloseNotify.Value(), tt.notify)
				r.expect("cx_destroy_remote", r.stats.CxDestroyRemote.Value(), tt.remote)
				r.expect("cx_destroy_local", r.stats.CxDestroyLocal.Value(), tt.local)
				r.expect("cx_destroy_with_active_rq", r.stats.CxDestroyWithActive.Value(), tt.rq)
				r.expect("cx_destroy_remote_with_active_rq", r.stats.CxDestroyRemoteWithActive.Value(), tt.remoteRq)
				r.pool.Close(ErrClosed)
				r.balanced()
			})
		})
	}
}

func TestAConnectionThatWasAnnouncedGoneBlocksNobody(t *testing.T) {
	inBubble(t, multi(1, func(o *Options, r *rig) { r.limit(1, 10, 10); o.MaxConnections = 1 }), func(t *testing.T, r *rig) {
		long := r.acquire()
		got := make(chan Lease, 1)
		go func() { got <- r.acquire() }()
		synctest.Wait()
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
		session(long).owner.Gone(long.Session, nil)
		next := <-got
		session(next).finish()
		session(long).finish()
		r.pool.Close(ErrClosed)
		r.balanced()
	})
}

func TestOpenStreamsOutliveRetireAndDrain(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*Pool)
		keep bool // the connection that is opened afterwards
	}{{"retire", (*Pool).Retire, true}, {"drain", (*Pool).Drain, false}} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, multi(10, nil), func(t *testing.T, r *rig) {
				all := r.acquireAll(2)
				tt.end(r.pool)
				session(all[0]).finish()
				if closed(all[0]) {
					t.Fatal("closed with an open stream")
				}
				late := r.acquire()
				if late.Session == all[0].Session {
					t.Fatal("got a session that is to end")
				}
				session(late).finish()
				session(all[1]).finish()
				if !closed(all[0]) || closed(late) == tt.keep {
					t.Errorf("the old one is closed: %v; the later one: %v", closed(all[0]), closed(late))
				}
				r.pool.Drain()
				<-r.pool.Drained()
				synctest.Wait()
				r.balanced()
				r.expect("cx_destroy_with_active_rq", r.stats.CxDestroyWithActive.Value(), 0)
			})
		})
	}
}

func TestCloseAndResetEndOpenStreams(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*Pool, error)
	}{{"close", (*Pool).Close}, {"reset", (*Pool).Reset}} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, multi(10, nil), func(t *testing.T, r *rig) {
				all := r.acquireAll(3)
				s := session(all[0])
				tt.end(r.pool, errBroken)
				if !closed(all[0]) || *s.closed.Load() != errBroken {
					t.Fatal("not closed with the cause")
				}
				s.owner.Gone(s, errBroken) // the reader notices it too
				finishAll(all)
				r.balanced()
				r.expect("cx_destroy_local_with_active_rq", r.stats.CxDestroyLocalWithActive.Value(), 1)
			})
		})
	}
}

func TestMaxRequestsOfASharedConnection(t *testing.T) {
	inBubble(t, multi(10, func(o *Options, _ *rig) { o.MaxRequests = 3 }), func(t *testing.T, r *rig) {
		all := r.acquireAll(3)
		r.expect("cx_max_requests", r.stats.CxMaxRequests.Value(), 1)
		other := r.acquire()
		if other.Session == all[0].Session {
			t.Error("a fourth stream")
		}
		finishAll(all[:2])
		if closed(all[0]) {
			t.Fatal("closed with an open stream")
		}
		finishAll(all[2:])
		if !closed(all[0]) || closed(other) {
			t.Error("the worn one is open, or the other closed")
		}
	})
}

func TestMaxDurationOfASharedConnection(t *testing.T) {
	inBubble(t, multi(10, func(o *Options, _ *rig) { o.MaxDuration = 3 * time.Second }), func(t *testing.T, r *rig) {
		busy := r.acquire()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.expect("cx_max_duration_reached", r.stats.CxMaxDurationReached.Value(), 1)
		next := r.acquire()
		if next.Session == busy.Session {
			t.Error("a stream on a connection that is too old")
		}
		if session(busy).finish(); !closed(busy) {
			t.Error("open after its last stream")
		}
		session(next).finish()
		time.Sleep(3 * time.Second)
		if !closed(next) {
			t.Error("open and idle after its time")
		}
		r.balanced()
	})
}

func TestIdleTimeoutOfASharedConnection(t *testing.T) {
	inBubble(t, multi(10, func(o *Options, _ *rig) { o.IdleTimeout = time.Second }), func(t *testing.T, r *rig) {
		all := r.acquireAll(2)
		time.Sleep(10 * time.Second)
		session(all[0]).finish()
		time.Sleep(10 * time.Second)
		if closed(all[0]) {
			t.Fatal("closed with an open stream")
		}
		session(all[1]).finish()
		time.Sleep(900 * time.Millisecond)
		if closed(all[0]) {
			t.Fatal("closed too early")
		}
		again := r.acquire()
		time.Sleep(900 * time.Millisecond)
		session(again).finish()
		time.Sleep(900 * time.Millisecond)
		if closed(again) {
			t.Fatal("closed too early after another use")
		}
		time.Sleep(200 * time.Millisecond)
		if !closed(again) {
			t.Error("open after idle_timeout")
		}
		r.expect("cx_idle_timeout", r.stats.CxIdleTimeout.Value(), 1)
		r.balanced()
	})
}

func TestEachIdleSharedConnectionHasItsOwnTimeout(t *testing.T) {
	inBubble(t, multi(1, func(o *Options, _ *rig) { o.IdleTimeout, o.MaxDuration = time.Second, 10*time.Second }), func(t *testing.T, r *rig) {
		all := r.acquireAll(2)
		session(all[0]).finish()
		time.Sleep(500 * time.Millisecond)
		session(all[1]).finish()
		time.Sleep(600 * time.Millisecond)
		if !closed(all[0]) || closed(all[1]) {
			t.Errorf("after 1.1 s: the first is closed: %v, the second: %v", closed(all[0]), closed(all[1]))
		}
		time.Sleep(500 * time.Millisecond)
		if !closed(all[1]) {
			t.Error("the second is open after 1.1 s without streams")
		}
		r.balanced()
	})
}
