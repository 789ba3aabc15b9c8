package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
)

// multi makes the rig's host one whose sessions carry n streams.
func multi(n int, change func(*Options, *rig)) func(*Options, *rig) {
	return func(o *Options, r *rig) {
		o.Client, o.Version = fakeClient{streams: func() int { return n }}, protocol.HTTP2
		if change != nil {
			change(o, r)
		}
	}
}

// acquireAll acquires n leases at once and returns them when all are there.
func (r *rig) acquireAll(n int) []Lease {
	r.t.Helper()
	all := make([]Lease, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			l, err := r.pool.Acquire(r.t.Context(), 0, 0)
			if err != nil {
				r.t.Errorf("acquire: %v", err)
				return
			}
			all[i] = l
		})
		synctest.Wait() // they wait in this order
	}
	wg.Wait()
	if r.t.Failed() {
		r.t.FailNow()
	}
	return all
}

// load returns how many of the leases each session has.
func load(all []Lease) map[*fakeSession]int {
	n := make(map[*fakeSession]int)
	for _, l := range all {
		n[session(l)]++
	}
	return n
}

func finishAll(all []Lease) {
	for _, l := range all {
		session(l).finish()
	}
}

// closed reports whether the pool has closed the session of l, once all is quiet.
func closed(l Lease) bool {
	synctest.Wait()
	return session(l).closed.Load() != nil
}

func TestOneConnectionServesAsManyAsItHasStreams(t *testing.T) {
	inBubble(t, multi(10, nil), func(t *testing.T, r *rig) {
		all := r.acquireAll(10)
		if n := load(all); len(n) != 1 {
			t.Fatalf("%d sessions for 10 streams", len(n))
		}
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
		r.expect("cx_http2_total", r.stats.CxHTTP2Total.Value(), 1)
		r.expect("requests of the breaker", uint64(r.breaker.Requests.Active()), 10)
		more := r.acquireAll(3)
		if n := load(more); len(n) != 1 || more[0].Session == all[0].Session {
			t.Error("the 11th stream did not get another connection")
		}
		r.expect("cx_total", r.stats.CxTotal.Value(), 2)
		finishAll(all)
		finishAll(more)
		r.expect("idle sessions", uint64(r.pool.Idle()), 2)
		r.pool.Drain()
		if !closed(all[0]) || !closed(more[0]) {
			t.Error("open after Drain")
		}
		r.balanced()
		r.expect("cx_destroy_local", r.stats.CxDestroyLocal.Value(), 2)
	})
}

func TestStreamsGoWhereTheFewestAre(t *testing.T) {
	inBubble(t, multi(4, nil), func(t *testing.T, r *rig) {
		all := r.acquireAll(8)
		finishAll(all)
		all = r.acquireAll(6)
		for s, n := range load(all) {
			if n != 3 {
				t.Errorf("%p has %d of 6 streams, want 3", s, n)
			}
			s.finish()
			s.finish()
			break
		}
		late := r.acquireAll(2)
		if n := load(late); len(n) != 1 {
			t.Errorf("streams went to %d sessions, want the one with fewer", len(n))
		}
	})
}

func TestTheFirstStreamOnASessionIsNotReused(t *testing.T) {
	inBubble(t, multi(4, nil), func(t *testing.T, r *rig) {
		all := r.acquireAll(2)
		if all[0].Reused || all[1].Reused {
			t.Error("nothing was served on it yet")
		}
		session(all[0]).finish()
		if l := r.acquire(); !l.Reused {
			t.Error("a stream was served on it")
		}
	})
}

func TestWhileConnectingOneDialIsEnoughForManyWaiters(t *testing.T) {
	for _, tt := range []struct {
		name                       string
		waiters, actual, most, max int
		maxRequests                int64
		first, total               uint64
	}{
		{"assumed", 150, 200, 0, 0, 0, 2, 2},
		{"expected streams", 10, 4, 4, 0, 0, 3, 3},
		{"the host allows less", 10, 5, 0, 0, 0, 1, 2},
		{"the cluster allows less", 6, 100, 2, 0, 0, 3, 3},
		{"requests a connection", 6, 100, 0, 0, 3, 2, 2},
		{"connections to the host", 10, 10, 5, 1, 0, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, multi(tt.actual, func(o *Options, _ *rig) {
				o.MaxStreams, o.MaxConnections, o.MaxRequests = tt.most, tt.max, tt.maxRequests
			}), func(t *testing.T, r *rig) {
				r.net.Hang(address)
				got := make(chan Lease, tt.waiters)
				for range tt.waiters {
					go func() {
						l, err := r.pool.Acquire(t.Context(), 0, 0)
						if err != nil {
							t.Error(err)
							return
						}
						got <- l
					}()
				}
				synctest.Wait()
				r.expect("dials", r.stats.CxTotal.Value(), tt.first)
				r.net.Answer(address)
				for range tt.waiters {
					l := <-got
					if tt.max > 0 {
						session(l).finish() // others wait for it
					} else {
						defer session(l).finish()
					}
				}
				r.expect("connections", r.stats.CxTotal.Value(), tt.total)
			})
		})
	}
}

func TestWaitersForStreamsAreServedInOrder(t *testing.T) {
	inBubble(t, multi(2, func(_ *Options, r *rig) { r.limit(1, 1024, 1024) }), func(t *testing.T, r *rig) {
		first := r.acquireAll(2)
		served := make(chan int, 4)
		leases := make(chan Lease, 4)
		for i := range 4 {
			go func() {
				l, err := r.pool.Acquire(t.Context(), 0, 0)
				if err != nil {
					t.Error(err)
					return
				}
				served <- i
				leases <- l
			}()
			synctest.Wait()
		}
		finishAll(first[:1])
		for i := range 4 {
			synctest.Wait()
			if got := <-served; got != i {
				t.Fatalf("waiter %d was served as number %d", got, i)
			}
			session(<-leases).finish()
		}
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
	})
}

func TestResized(t *testing.T) {
	inBubble(t, multi(2, func(_ *Options, r *rig) { r.limit(1, 1024, 1024) }), func(t *testing.T, r *rig) {
		all := r.acquireAll(2)
		s := session(all[0])
		got := make(chan Lease, 8)
		ask := func() {
			go func() {
				if l, err := r.pool.Acquire(t.Context(), 0, 0); err == nil {
					got <- l
				}
			}()
			synctest.Wait()
		}
		for range 3 {
			ask()
		}
		s.resize(4)
		synctest.Wait()
		r.expect("served after growing to 4", uint64(len(got)), 2)
		s.resize(1)
		s.finish() // 3 of 1
		s.finish() // 2 of 1
		s.finish() // 1 of 1
		synctest.Wait()
		r.expect("served while above the limit", uint64(len(got)), 2)
		s.finish()
		synctest.Wait()
		r.expect("served below the limit", uint64(len(got)), 3)
		s.resize(0)
		s.finish()
		ask()
		r.expect("served at 0", uint64(len(got)), 3)
		r.expect("cx_total: a mute host is not asked again", r.stats.CxTotal.Value(), 1)
		s.resize(1)
		synctest.Wait()
		r.expect("served at 1", uint64(len(got)), 4)
	})
}

func TestAHostThatAllowsNoStreamsIsNotDialledAgain(t *testing.T) {
	inBubble(t, multi(0, nil), func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.pool.Acquire(ctx, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
	})
}

func TestDialsCountOnWhatTheHostAllowedBefore(t *testing.T) {
	inBubble(t, multi(2, nil), func(t *testing.T, r *rig) {
		all := r.acquireAll(2)
		r.net.Hang(address)
		got := make(chan Lease)
		for range 4 {
			go func() { got <- r.acquire() }()
		}
		synctest.Wait()
		r.expect("cx_total", r.stats.CxTotal.Value(), 3)
		r.net.Answer(address)
		for range 4 {
			all = append(all, <-got)
		}
		finishAll(all)
	})
}

// Until a host says how many streams it allows on a new connection it gets no more than it allowed on the last: it would refuse them.
func TestANewConnectionBeginsWithWhatTheHostAllowedBefore(t *testing.T) {
	inBubble(t, multi(100, nil), func(t *testing.T, r *rig) {
		first := r.acquire()
		session(first).resize(2)
		session(first).owner.Gone(session(first), nil)
		first.Release()
		all := r.acquireAll(5)
		for s, n := range load(all) {
			if n > 2 {
				t.Errorf("a new session got %d streams", n)
			}
			s.resize(100)
		}
		r.expect("connections", r.stats.CxTotal.Value(), 4)
		more := r.acquireAll(50)
		r.expect("connections, when more is allowed", r.stats.CxTotal.Value(), 4)
		finishAll(append(all, more...))
	})
}

func TestSettingsThatComeBeforeTheSessionIsTheirs(t *testing.T) {
	inBubble(t, multi(0, func(o *Options, r *rig) {
		o.Client = fakeClient{streams: func() int { return 100 }, opened: func(s *fakeSession) { s.resize(2) }}
	}), func(t *testing.T, r *rig) {
		if n := load(r.acquireAll(4)); len(n) != 2 {
			t.Errorf("%d sessions for 4 streams of 2 each", len(n))
		}
	})
}

func TestASessionThatIsGoneAtOnceFailsItsWaiters(t *testing.T) {
	for _, cause := range []error{nil, errBroken} {
		inBubble(t, multi(0, func(o *Options, r *rig) {
			o.Client = fakeClient{streams: func() int { return 100 }, opened: func(s *fakeSession) { s.owner.Gone(s, cause) }}
		}), func(t *testing.T, r *rig) {
			var e *Error
			if _, err := r.pool.Acquire(t.Context(), 0, 0); !errors.As(err, &e) || e.Kind != RemoteFailure {
				t.Errorf("got %v", err)
			}
			synctest.Wait()
			r.balanced()
			r.expect("cx_destroy_remote", r.stats.CxDestroyRemote.Value(), 1)
		})
	}
}

func TestPrioritiesHaveTheirOwnConnections(t *testing.T) {
	var high Breaker
	var gauges [4]stats.Gauge
	high.Connections.Init(10, &gauges[0], nil, nil)
	high.Pending.Init(10, &gauges[1], nil, nil)
	high.Requests.Init(10, &gauges[2], nil, nil)
	inBubble(t, multi(10, func(o *Options, r *rig) {
		o.Breaker = func(priority int) *Breaker { return []*Breaker{&r.breaker, &high}[priority] }
	}), func(t *testing.T, r *rig) {
		low := r.acquire()
		first, err := r.pool.Acquire(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		second, err := r.pool.Acquire(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if first.Session == low.Session || first.Session != second.Session {
			t.Error("connections are shared between priorities, or not within one")
		}
		r.expect("requests of the high priority", uint64(high.Requests.Active()), 2)
		r.expect("connections of the high priority", uint64(high.Connections.Active()), 1)
		session(first).finish()
		session(second).finish()
		session(low).finish()
		r.pool.Drain()
		r.balanced()
		r.expect("requests of the high priority", uint64(high.Requests.Active()), 0)
		r.expect("connections of the high priority", uint64(high.Connections.Active()), 0)
	})
}

func TestBytesAreCountedWhileStreamsAreOpen(t *testing.T) {
	inBubble(t, multi(10, nil), func(t *testing.T, r *rig) {
		all := r.acquireAll(2)
		if _, err := all[0].Session.Conn().Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		session(all[0]).finish()
		r.expect("cx_tx_bytes_total", r.stats.CxTxBytesTotal.Value(), 5)
		if _, err := all[0].Session.Conn().Write([]byte("more")); err != nil {
			t.Fatal(err)
		}
		r.pool.Close(ErrClosed)
		r.expect("cx_tx_bytes_total", r.stats.CxTxBytesTotal.Value(), 9)
		session(all[1]).finish()
	})
}

func TestALeaseThatIsReleasedFreesItsSlot(t *testing.T) {
	inBubble(t, multi(1, func(_ *Options, r *rig) { r.limit(1, 10, 10) }), func(t *testing.T, r *rig) {
		l := r.acquire()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.pool.Acquire(ctx, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		l.Release()
		r.acquire().Release()
		r.expect("cx_total", r.stats.CxTotal.Value(), 1)
		r.pool.Drain()
		r.balanced()
	})
}

func TestASlotThatComesAsItsWaiterGivesUpIsNotLost(t *testing.T) {
	one := func(_ *Options, r *rig) { r.limit(1, 10, 10) }
	for _, change := range []func(*Options, *rig){one, multi(1, one)} {
		inBubble(t, change, func(t *testing.T, r *rig) {
			l := r.acquire()
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error)
			go func() {
				_, err := r.pool.Acquire(ctx, 0, 0)
				failed <- err
			}()
			synctest.Wait()
			r.pool.mu.Lock()
			cancel() // the waiter wants the lock now
			r.pool.free(l.link, scope.Now())
			r.pool.unlock()
			r.breaker.Requests.Done()
			if err := <-failed; err != context.Canceled {
				t.Errorf("got %v", err)
			}
			session(r.acquire()).finish()
			r.expect("cx_total", r.stats.CxTotal.Value(), 1)
			r.pool.Drain()
			r.balanced()
		})
	}
}

func TestAcquireOnAWarmSharedSessionAllocatesNothing(t *testing.T) {
	r := newRig(t, multi(2, nil))
	all := []Lease{r.acquire(), r.acquire(), r.acquire()} // 2 connections
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
	finishAll(all)
}

func TestManyStreamsAtOnce(t *testing.T) {
	inBubble(t, multi(5, func(o *Options, r *rig) {
		r.limit(6, 1000, 1000)
		o.MaxRequests, o.IdleTimeout, o.MaxDuration = 70, 20*time.Millisecond, 50*time.Millisecond
	}), func(t *testing.T, r *rig) {
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
				random := rand.New(rand.NewPCG(uint64(i), 1))
				for range 60 {
					useOnce(t, r, random)
				}
			})
		}
		wg.Wait()
		r.pool.Drain()
		<-r.pool.Drained()
		synctest.Wait()
		r.balanced()
		if r.stats.CxTotal.Value() != r.stats.CxDestroy.Value()+r.stats.CxConnectFail.Value() {
			t.Errorf("%d connections, %d ended", r.stats.CxTotal.Value(), r.stats.CxDestroy.Value())
		}
	})
}

// useOnce takes a stream, if it gets one in time, and does one of the things that may happen to it.
func useOnce(t *testing.T, r *rig, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(7))*time.Millisecond)
	l, err := r.pool.Acquire(ctx, 0, 0)
	cancel()
	if err != nil {
		return
	}
	s := session(l)
	if s.closed.Load() != nil {
		t.Error("got a closed session")
	}
	time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
	switch random.IntN(40) {
	case 0:
		s.owner.Gone(s, errBroken)
	case 1:
		s.owner.Gone(s, nil)
	case 2:
		s.resize(int64(1 + random.IntN(6)))
	case 3:
		r.pool.Retire()
	case 4:
		l.Release()
		return
	}
	if s.closed.Load() != nil {
		t.Error("a session was closed under a stream")
	}
	s.finish()
}

func BenchmarkAcquireShared(b *testing.B) {
	r := newRig(b, multi(100, nil))
	session(r.acquire()).finish()
	b.ReportAllocs()
	for b.Loop() {
		l, err := r.pool.Acquire(b.Context(), 0, 0)
		if err != nil {
			b.Fatal(err)
		}
		session(l).finish()
	}
}
