package scope

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errTest = errors.New("test cause")

type waker struct{ cause atomic.Value }

func (w *waker) Wake(cause error) { w.cause.Store(cause) }

func newScope(fire func(Due) error) *Scope {
	s := &Scope{}
	s.Init(fire)
	s.Begin(context.Background())
	return s
}

func never(Due) error { return nil }

func TestCancelWakesWatchersAndClosesDone(t *testing.T) {
	s := newScope(never)
	var w waker
	if !s.Watch(&w) {
		t.Fatal("Watch on a live scope reports false")
	}
	done := s.Done()
	s.Cancel(errTest)
	s.Cancel(errors.New("a second cause"))
	<-done
	if got := w.cause.Load(); got != errTest {
		t.Errorf("woken with %v, want %v", got, errTest)
	}
	if s.Err() != errTest || Cause(s) != errTest {
		t.Errorf("Err() = %v, want the first cause", s.Err())
	}
}

func TestWatchOnACancelledScopeWakesAtOnce(t *testing.T) {
	s := newScope(never)
	s.Cancel(errTest)
	var w waker
	if s.Watch(&w) {
		t.Error("Watch on a cancelled scope reports true")
	}
	if w.cause.Load() != errTest {
		t.Error("not woken")
	}
}

func TestUnwatchedWakerIsLeftAlone(t *testing.T) {
	s := newScope(never)
	var w waker
	r := OnCancel(s, &w)
	r.Stop()
	s.Cancel(errTest)
	if w.cause.Load() != nil {
		t.Error("woken after Stop")
	}
}

func TestEndReleasesWhoeverWaitsAndBeginStartsAnew(t *testing.T) {
	s := newScope(never)
	done := s.Done()
	s.End()
	<-done
	s.Begin(context.Background())
	if s.Err() != nil {
		t.Errorf("after Begin, Err() = %v", s.Err())
	}
	select {
	case <-s.Done():
		t.Error("after Begin, Done is closed")
	default:
	}
}

func TestDeadlinesFireInOrderWithTheirOwnCauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired []Due
		s := newScope(func(d Due) error {
			fired = append(fired, d)
			if d == Response {
				return errTest
			}
			return nil
		})
		defer s.Close()
		now := Now()
		s.Arm(Response, now+int64(3*time.Second))
		s.Arm(Idle, now+int64(time.Second))
		<-s.Done()
		if len(fired) != 2 || fired[0] != Idle || fired[1] != Response {
			t.Errorf("fired %v, want [Idle Response]", fired)
		}
		if got := time.Duration(Now() - now); got != 3*time.Second {
			t.Errorf("cancelled after %v, want 3s", got)
		}
	})
}

func TestExtendedDeadlineFiresAtTheLaterTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScope(func(Due) error { return errTest })
		defer s.Close()
		start := Now()
		s.Arm(Idle, start+int64(time.Second))
		for range 5 {
			time.Sleep(900 * time.Millisecond)
			s.Extend(Idle, Now()+int64(time.Second))
		}
		<-s.Done()
		if got, want := time.Duration(Now()-start), 5*900*time.Millisecond+time.Second; got != want {
			t.Errorf("fired after %v, want %v", got, want)
		}
	})
}

func TestDeadlineOfAnEndedExchangeDoesNotCancelTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScope(func(Due) error { return errTest })
		defer s.Close()
		s.Arm(Response, Now()+int64(time.Second))
		s.End()
		s.Begin(context.Background())
		time.Sleep(2 * time.Second)
		if s.Err() != nil {
			t.Errorf("the next exchange was cancelled: %v", s.Err())
		}
	})
}

func TestReviveLetsAReplyBeSent(t *testing.T) {
	s := newScope(never)
	s.Cancel(errTest)
	s.Revive()
	var w waker
	if !s.Watch(&w) || s.Err() != nil {
		t.Error("still cancelled after Revive")
	}
}

func TestOnCancelWithAPlainContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		var w waker
		r := OnCancel(ctx, &w)
		defer r.Stop()
		cancel(errTest)
		synctest.Wait()
		if w.cause.Load() != errTest {
			t.Errorf("woken with %v, want the context's cause", w.cause.Load())
		}
	})
}

func TestFromFindsTheScopeBelowOtherContexts(t *testing.T) {
	s := newScope(never)
	if From(context.WithValue(s, scopeKeyOfAnother{}, 1)) != s {
		t.Error("From does not find the scope")
	}
	if From(context.Background()) != nil {
		t.Error("From finds a scope where there is none")
	}
}

type scopeKeyOfAnother struct{}

func TestAllocOfAnUneventfulExchange(t *testing.T) {
	s := newScope(never)
	defer s.Close()
	var w waker
	s.Arm(Idle, Now()+int64(time.Hour))
	n := testing.AllocsPerRun(100, func() {
		s.Begin(context.Background())
		s.Arm(Response, Now()+int64(2*time.Hour))
		r := OnCancel(s, &w)
		r.Stop()
		s.End()
	})
	if n != 0 {
		t.Errorf("%v allocations an exchange, want 0", n)
	}
}
