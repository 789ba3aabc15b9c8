package pool

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weftproxy/weft/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func inBubble(t *testing.T, change func(*Options, *rig), test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t, change)) })
}

func TestSessionsAreUsedAgainLastInFirstOut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		a, b := r.acquire(), r.acquire()
		if a.Reused || b.Reused {
			t.Error("new sessions are called reused")
		}
		session(a).finish()
		session(b).finish()
		c := r.acquire()
		if c.Session != b.Session || !c.Reused {
			t.Errorf("got another session than the one used last, or it is not called reused")
		}
		session(c).finish()
		r.expect("cx_total", r.stats.CxTotal.Value(), 2)
		r.expect("cx_http1_total", r.stats.CxHTTP1Total.Value(), 2)
		r.expect("cx_active", uint64(r.stats.CxActive.Value()), 2)
		r.expect("rq_pending_total", r.stats.RqPendingTotal.Value(), 2)
		r.pool.Drain()
		r.balanced()
		r.expect("cx_destroy_local", r.stats.CxDestroyLocal.Value(), 2)
		r.expect("cx_destroy_with_active_rq", r.stats.CxDestroyWithActive.Value(), 0)
	})
}

func TestAcquireOfAnIdleSessionAllocatesNothing(t *testing.T) {
	r := newRig(t, nil)
	session(r.acquire()).finish()
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		l, err := r.pool.Acquire(ctx, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		session(l).finish()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestIdleSessionsCloseAfterIdleTimeout(t *testing.T) {
	inBubble(t, func(o *Options, _ *rig) { o.IdleTimeout = time.Minute }, func(t *testing.T, r *rig) {
		a, b := r.acquire(), r.acquire()
		session(a).finish()
		time.Sleep(30 * time.Second)
		session(b).finish()
		time.Sleep(29 * time.Second)
		synctest.Wait()
		r.expect("idle sessions", uint64(r.pool.Idle()), 2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.expect("idle sessions", uint64(r.pool.Idle()), 1)
		r.expect("cx_idle_timeout", r.stats.CxIdleTimeout.Value(), 1)
		if session(a).closed.Load() == nil || session(b).closed.Load() != nil {
			t.Error("the wrong session was closed")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		r.expect("cx_idle_timeout", r.stats.CxIdleTimeout.Value(), 2)
		r.balanced()
	})
}

func TestDeadSessionsAreNotHandedOut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		a := r.acquire()
		session(a).finish()
		session(a).dead.Store(true)
		time.Sleep(time.Second)
		b := r.acquire()
		if b.Session == a.Session {
			t.Fatal("got the dead session")
		}
		r.expect("cx_destroy_remote", r.stats.CxDestroyRemote.Value(), 1)
		session(b).finish()
		session(b).dead.Store(true)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		r.expect("idle sessions after a sweep", uint64(r.pool.Idle()), 0)
		r.expect("cx_destroy_remote", r.stats.CxDestroyRemote.Value(), 2)
		r.balanced()
	})
}

func TestSweepKeepsManySessionsInOrder(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		var all []Lease
		for range 50 {
			all = append(all, r.acquire())
		}
		for _, l := range all {
			session(l).finish()
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for i := len(all) - 1; i >= 0; i-- {
			if l := r.acquire(); l.Session != all[i].Session {
				t.Fatalf("session %d is not where it was", i)
			}
		}
		for _, l := range all {
			session(l).finish()
		}
	})
}

func TestConnectionsEndAfterTheirRequestsOrTheirTime(t *testing.T) {
	inBubble(t, func(o *Options, _ *rig) { o.MaxRequests, o.MaxDuration = 2, time.Minute }, func(t *testing.T, r *rig) {
		a := r.acquire()
		session(a).finish()
		session(r.acquire()).finish()
		if session(a).closed.Load() == nil {
			t.Error("open after two requests")
		}
		r.expect("cx_max_requests", r.stats.CxMaxRequests.Value(), 1)
		b := r.acquire()
		time.Sleep(2 * time.Minute)
		session(b).finish()
		r.expect("cx_max_duration_reached", r.stats.CxMaxDurationReached.Value(), 1)
		c := r.acquire()
		session(c).finish()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.expect("cx_max_duration_reached", r.stats.CxMaxDurationReached.Value(), 2)
		r.balanced()
	})
}

func TestConnectTimeout(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.Hang(address)
		began := time.Now()
		_, err := r.pool.Acquire(t.Context(), 0, 0)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Timeout {
			t.Fatalf("got %v", err)
		}
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("after %v", d)
		}
		r.expect("cx_connect_timeout", r.stats.CxConnectTimeout.Value(), 1)
		r.expect("cx_connect_fail", r.stats.CxConnectFail.Value(), 1)
		r.expect("host cx_connect_fail", r.host.CxConnectFail.Value(), 1)
		r.expect("rq_pending_failure_eject", r.stats.RqPendingFailureEject.Value(), 1)
		r.balanced()
	})
}

func TestRefusedConnection(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		_ = r.ln.Close()
		_, err := r.pool.Acquire(t.Context(), 0, 0)
		var e *Error
		if !errors.As(err, &e) || e.Kind != RemoteFailure || !errors.Is(err, syscall.ECONNREFUSED) || e.Address != address {
			t.Fatalf("got %v", err)
		}
		r.balanced()
	})
}

func TestASessionThatCannotBeOpenedIsAConnectionFailure(t *testing.T) {
	inBubble(t, func(o *Options, _ *rig) { o.Client = fakeClient{fail: errBroken} }, func(t *testing.T, r *rig) {
		if _, err := r.pool.Acquire(t.Context(), 0, 0); !errors.Is(err, errBroken) {
			t.Fatalf("got %v", err)
		}
		r.expect("cx_connect_fail", r.stats.CxConnectFail.Value(), 1)
		r.balanced()
	})
}

func TestAConnectionThatOutlivesItsWaiterServesTheNext(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.net.Hang(address)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("client gone")
		go func() {
			time.Sleep(time.Second)
			cancel(gone)
		}()
		if _, err := r.pool.Acquire(ctx, 0, 0); err != gone {
			t.Fatalf("got %v", err)
		}
		r.expect("rq_pending_active", uint64(r.stats.RqPendingActive.Value()), 0)
		r.net.Answer(address)
		synctest.Wait()
		r.expect("idle sessions", uint64(r.pool.Idle()), 1)
		if l := r.acquire(); l.Reused {
			t.Error("nobody had used it")
		} else {
			l.Release()
		}
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	inBubble(t, func(_ *Options, r *rig) { r.limit(1, 1024, 1024) }, func(t *testing.T, r *rig) {
		first := r.acquire()
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				l, err := r.pool.Acquire(t.Context(), 0, 0)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				session(l).finish()
			})
			synctest.Wait()
		}
		r.expect("cx_overflow", r.stats.CxOverflow.Value(), 5)
		r.expect("cx_open", uint64(r.gauges[0].Value()), 1)
		session(first).finish()
		wg.Wait()
		for i := range order {
			if order[i] != i {
				t.Fatalf("served in the order %v", order)
			}
		}
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
	})
}

func TestAFailedConnectionMakesRoomForWaiters(t *testing.T) {
	inBubble(t, func(_ *Options, r *rig) { r.limit(1, 1024, 1024) }, func(t *testing.T, r *rig) {
		first := r.acquire()
		got := make(chan Lease)
		go func() { got <- r.acquire() }()
		synctest.Wait()
		session(first).fail(errBroken)
		session(<-got).finish()
		r.expect("cx_total", r.stats.CxTotal.Value(), 2)
		r.expect("cx_destroy_remote_with_active_rq", r.stats.CxDestroyRemoteWithActive.Value(), 1)
		r.pool.Drain()
		r.balanced()
	})
}

func TestBreakersOverflow(t *testing.T) {
	isOverflow := func(t *testing.T, err error) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Kind != Overflow {
			t.Fatalf("got %v, want an overflow", err)
		}
	}
	t.Run("requests", func(t *testing.T) {
		inBubble(t, func(_ *Options, r *rig) { r.limit(10, 10, 1) }, func(t *testing.T, r *rig) {
			l := r.acquire()
			r.expect("rq_open", uint64(r.gauges[2].Value()), 1)
			_, err := r.pool.Acquire(t.Context(), 0, 0)
			isOverflow(t, err)
			r.expect("rq_pending_overflow", r.stats.RqPendingOverflow.Value(), 1)
			session(l).finish()
			r.expect("rq_open", uint64(r.gauges[2].Value()), 0)
			session(r.acquire()).finish()
		})
	})
	t.Run("pending", func(t *testing.T) {
		inBubble(t, func(_ *Options, r *rig) { r.limit(1, 1, 10) }, func(t *testing.T, r *rig) {
			l := r.acquire()
			got := make(chan Lease)
			go func() { got <- r.acquire() }()
			synctest.Wait()
			_, err := r.pool.Acquire(t.Context(), 0, 0)
			isOverflow(t, err)
			session(l).finish()
			session(<-got).finish()
		})
	})
	t.Run("a host without connections gets its first", func(t *testing.T) {
		inBubble(t, func(_ *Options, r *rig) { r.limit(0, 10, 10) }, func(t *testing.T, r *rig) {
			l := r.acquire()
			r.expect("cx_overflow", r.stats.CxOverflow.Value(), 1)
			session(l).finish()
			r.pool.Drain()
			r.balanced()
		})
	})
	t.Run("connections to one host", func(t *testing.T) {
		inBubble(t, func(o *Options, _ *rig) { o.MaxConnections = 1 }, func(t *testing.T, r *rig) {
			l := r.acquire()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := r.pool.Acquire(ctx, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			session(l).finish()
		})
	})
}

func TestRetryBudget(t *testing.T) {
	r := newRig(t, nil)
	r.breaker.Retries.Init(0, &r.gauges[3], nil, func() int64 { return max(2, r.breaker.Requests.Active()/5) })
	for i := range 3 {
		if got := r.breaker.Retries.Try(); got != (i < 2) {
			t.Errorf("try %d: %v", i, got)
		}
	}
	for range 20 {
		r.breaker.Requests.Force()
	}
	if !r.breaker.Retries.Try() || !r.breaker.Retries.Try() || r.breaker.Retries.Try() {
		t.Error("20 requests allow 4 retries")
	}
	r.expect("rq_retry_open", uint64(r.gauges[3].Value()), 0)
}

func TestDrainLetsRequestsEnd(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		a, b := r.acquire(), r.acquire()
		session(a).finish()
		r.pool.Drain()
		if session(a).closed.Load() == nil {
			t.Error("the idle session is open")
		}
		select {
		case <-r.pool.Drained():
			t.Error("drained with a request under way")
		default:
		}
		late := r.acquire() // somebody who had found the host before
		session(late).finish()
		if session(late).closed.Load() == nil {
			t.Error("a session that was opened late is kept")
		}
		session(b).finish()
		<-r.pool.Drained()
		r.balanced()
	})
}

func TestCloseEndsWaitersAndWakesUsers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		l := r.acquire()
		r.net.Hang(address)
		failed := make(chan error)
		go func() {
			_, err := r.pool.Acquire(t.Context(), 0, 0)
			failed <- err
		}()
		synctest.Wait()
		go r.pool.Close(errBroken)
		var e *Error
		if err := <-failed; !errors.As(err, &e) || e.Kind != Closed {
			t.Errorf("the waiter got %v", err)
		}
		if _, err := l.Session.Conn().Read(make([]byte, 1)); err != errBroken {
			t.Errorf("the user reads %v", err)
		}
		session(l).fail(errBroken)
		synctest.Wait()
		r.balanced()
		if _, err := r.pool.Acquire(t.Context(), 0, 0); !errors.As(err, &e) || e.Kind != Closed {
			t.Errorf("after Close: %v", err)
		}
		r.balanced()
	})
}

func TestRetireConcernsOnlyPresentConnections(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		old := r.acquire()
		r.pool.Retire()
		fresh := r.acquire()
		session(old).finish()
		session(fresh).finish()
		if session(old).closed.Load() == nil || session(fresh).closed.Load() != nil {
			t.Error("the wrong one is closed")
		}
	})
}

func TestGoneOfAnIdleSession(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		a := r.acquire()
		session(a).finish()
		session(a).owner.Gone(a.Session, errBroken)
		session(a).owner.Gone(a.Session, errBroken) // once is enough
		r.expect("idle sessions", uint64(r.pool.Idle()), 0)
		r.balanced()
		r.expect("cx_destroy", r.stats.CxDestroy.Value(), 1)
	})
}

func TestCloseNotifyIsNotAFailure(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		a := r.acquire()
		session(a).fail(nil)
		r.expect("cx_close_notify", r.stats.CxCloseNotify.Value(), 1)
		r.expect("cx_destroy_with_active_rq", r.stats.CxDestroyWithActive.Value(), 0)
		r.balanced()
	})
}

func TestAResetOfTheStreamIsNoCloseNotify(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		session(r.acquire()).fail(&protocol.ResetError{Code: 8}) // the downstream's, with which the exchange was cancelled
		r.expect("cx_close_notify", r.stats.CxCloseNotify.Value(), 0)
		r.expect("cx_destroy_local_with_active_rq", r.stats.CxDestroyLocalWithActive.Value(), 1)
		r.balanced()
	})
}

func TestSessionsInUseAtAResetAreNotUsedAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		l := r.acquire()
		r.pool.Reset(errBroken)
		session(l).finish() // it had its whole response already
		if session(l).closed.Load() == nil {
			t.Error("kept")
		}
		r.balanced()
	})
}

func TestRawConnections(t *testing.T) {
	inBubble(t, func(_ *Options, r *rig) { r.limit(1, 1, 1) }, func(t *testing.T, r *rig) {
		raw, err := r.pool.Connect(t.Context(), 0, 0, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var e *Error
		if _, err := r.pool.Connect(t.Context(), 0, 0, nil, nil); !errors.As(err, &e) || e.Kind != Overflow {
			t.Errorf("got %v", err)
		}
		if _, err := raw.Conn().Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		raw.Close(true)
		raw.Close(true)
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
		r.expect("cx_http1_total", r.stats.CxHTTP1Total.Value(), 0)
		r.expect("cx_tx_bytes_total", r.stats.CxTxBytesTotal.Value(), 5)
		r.expect("cx_destroy_remote_with_active_rq", r.stats.CxDestroyRemoteWithActive.Value(), 1)
		r.balanced()
		r.net.Hang(address)
		if _, err := r.pool.Connect(t.Context(), 0, 0, nil, nil); !errors.As(err, &e) || e.Kind != Timeout {
			t.Errorf("got %v", err)
		}
		r.balanced()
	})
}

func TestManyUsersAtOnce(t *testing.T) {
	inBubble(t, func(o *Options, r *rig) {
		r.limit(8, 1000, 1000)
		o.MaxRequests = 7
	}, func(t *testing.T, r *rig) {
		go func() { // the host accepts everything
			for {
				if _, err := r.ln.Accept(); err != nil {
					return
				}
			}
		}()
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for j := range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+(i+j)%7)*time.Millisecond)
					l, err := r.pool.Acquire(ctx, 0, 0)
					cancel()
					if err != nil {
						continue
					}
					time.Sleep(time.Duration(j%3) * time.Millisecond)
					switch (i + j) % 11 {
					case 0:
						session(l).fail(errBroken)
					case 1:
						l.Release()
					default:
						session(l).finish()
					}
				}
			})
		}
		wg.Wait()
		r.pool.Drain()
		<-r.pool.Drained()
		r.balanced()
		if r.stats.CxTotal.Value() != r.stats.CxDestroy.Value()+r.stats.CxConnectFail.Value() {
			t.Errorf("%d connections, %d ended", r.stats.CxTotal.Value(), r.stats.CxDestroy.Value())
		}
	})
}

func BenchmarkAcquire(b *testing.B) {
	r := newRig(b, nil)
	l, err := r.pool.Acquire(b.Context(), 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	session(l).finish()
	b.ReportAllocs()
	for b.Loop() {
		l, err := r.pool.Acquire(b.Context(), 0, 0)
		if err != nil {
			b.Fatal(err)
		}
		session(l).finish()
	}
}
