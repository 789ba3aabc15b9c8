// Package scope is the context of one exchange: a context.Context that costs nothing until it is needed. It carries a cause, wakes
// what blocks on the exchange's behalf, and keeps several deadlines behind one lazy timer.
package scope

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Waker is something that may block on behalf of a scope and can be woken.
type Waker interface {
	Wake(cause error) // must not block
}

// A Due names one of a scope's deadlines.
type Due uint8

// The deadlines of an exchange. Each is off until set.
const (
	Headers  Due = iota // the request head has to be complete
	Request             // the whole request has to be there
	Idle                // bytes have to move in one direction or the other
	Response            // the route's timeout: the response has to be complete
	Stream              // the exchange has to be over
	Try                 // one attempt
	TryIdle             // bytes of one attempt
	Peek                // time to look whether the client is still there
	dueCount
)

const maxWakers = 4

// A Scope is the context of one exchange. It is reused from exchange to exchange of a connection: Begin starts one, End ends it.
// Done and Value work as in any context; a Done channel that was handed out is closed by End with context.Canceled.
type Scope struct {
	parent context.Context
	fire   func(Due) error // see Init; immutable

	mu     sync.Mutex
	cause  error
	done   chan struct{} // made on demand
	wakers [maxWakers]Waker
	timer  *time.Timer
	armed  atomic.Int64 // when timer fires; 0: not running; stored with mu held

	due [dueCount]atomic.Int64
}

var epoch = time.Now() // immutable

// Now returns monotonic time in nanoseconds, as Arm takes it.
func Now() int64 { return int64(time.Since(epoch)) }

// Init prepares a scope. fire is called on the timer's goroutine for each deadline that has passed and returns the cause to cancel
// the scope with, nil for none. The scope is locked meanwhile: fire may use only Extend and Armed.
func (s *Scope) Init(fire func(Due) error) { s.fire = fire }

// Begin starts an exchange below parent, from which only values are taken: the owner of the connection calls Cancel when the
// parent ends.
func (s *Scope) Begin(parent context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parent = parent
	s.cause, s.done = nil, nil
}

// End ends the exchange. Whoever still waits for Done is released. The timer keeps running, idle, until Close.
func (s *Scope) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.due {
		s.due[i].Store(0)
	}
	if s.cause == nil {
		s.cause = context.Canceled
	}
	if s.done != nil {
		closeOnce(s.done)
		s.done = nil
	}
	s.wakers = [maxWakers]Waker{}
}

// Close stops the timer. The scope can be begun again.
func (s *Scope) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.armed.Store(0)
}

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// Cancel ends what the scope's exchange is doing: it records the cause, closes Done and wakes every registered Waker. Only the first
// cause counts.
func (s *Scope) Cancel(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel(cause)
}

// cancel is Cancel with mu held.
func (s *Scope) cancel(cause error) {
	if s.cause != nil {
		return
	}
	s.cause = cause
	if s.done != nil {
		closeOnce(s.done)
	}
	for _, w := range s.wakers {
		if w != nil {
			w.Wake(cause)
		}
	}
}

// Revive forgets a cause, so that a local reply can still be sent in answer to it.
func (s *Scope) Revive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause, s.done = nil, nil
}

// Watch registers w to be woken by Cancel; w is woken at once when that has happened already. It reports false when the scope is
// cancelled or has no room.
func (s *Scope) Watch(w Waker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		w.Wake(s.cause)
		return false
	}
	for i := range s.wakers {
		if s.wakers[i] == nil {
			s.wakers[i] = w
			return true
		}
	}
	panic("scope: too many wakers")
}

// Unwatch takes w off; it is not woken after Unwatch returns.
func (s *Scope) Unwatch(w Waker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.wakers {
		if s.wakers[i] == w {
			s.wakers[i] = nil
			return
		}
	}
}

// Arm sets a deadline in nanoseconds of Now; 0 turns it off. Moving a deadline later, or off, costs one store.
func (s *Scope) Arm(d Due, at int64) {
	s.due[d].Store(at)
	if at == 0 {
		return
	}
	// The deadline is stored before armed is read, and tick clears armed before it reads the deadlines: one of the two sees the other.
	if armed := s.armed.Load(); armed != 0 && armed <= at {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedule(at)
}

// Extend moves a deadline that is set to a later time without looking at the timer.
func (s *Scope) Extend(d Due, at int64) { s.due[d].Store(at) }

// Disarm turns a deadline off. When it returns, nobody handles the deadline any more.
func (s *Scope) Disarm(d Due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due[d].Store(0)
}

// Armed returns a deadline, 0 when it is off.
func (s *Scope) Armed(d Due) int64 { return s.due[d].Load() }

// schedule makes the timer fire no later than at. mu is held.
func (s *Scope) schedule(at int64) {
	if armed := s.armed.Load(); armed != 0 && armed <= at {
		return
	}
	s.armed.Store(at)
	wait := time.Duration(max(at-Now(), 0))
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.tick)
	} else {
		s.timer.Reset(wait)
	}
}

// tick runs on the timer's goroutine: it fires what is overdue and sleeps until the next deadline.
func (s *Scope) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed.Store(0)
	now := Now()
	var next int64
	for d := range s.due {
		at := s.due[d].Load()
		if at != 0 && at <= now && s.due[d].CompareAndSwap(at, 0) {
			if cause := s.fire(Due(d)); cause != nil {
				s.cancel(cause)
			}
			at = s.due[d].Load()
		}
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if next != 0 {
		s.schedule(next)
	}
}

// Deadline implements context.Context: the deadline by which the exchange has to be over, if one is set.
func (s *Scope) Deadline() (time.Time, bool) {
	at := s.due[Response].Load()
	if st := s.due[Stream].Load(); st != 0 && (at == 0 || st < at) {
		at = st
	}
	if at == 0 {
		return time.Time{}, false
	}
	return epoch.Add(time.Duration(at)), true
}

// Done implements context.Context.
func (s *Scope) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.cause != nil {
			close(s.done)
		}
	}
	return s.done
}

// Err implements context.Context. Its value is the cause itself.
func (s *Scope) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Value implements context.Context.
func (s *Scope) Value(key any) any {
	if key == (scopeKey{}) {
		return s
	}
	return s.parent.Value(key)
}

type scopeKey struct{}

// From returns the scope that ctx is, or is below, nil when there is none.
func From(ctx context.Context) *Scope {
	if s, ok := ctx.(*Scope); ok {
		return s
	}
	s, _ := ctx.Value(scopeKey{}).(*Scope)
	return s
}

// Cause returns why ctx ended, nil while it has not.
func Cause(ctx context.Context) error {
	if s, ok := ctx.(*Scope); ok {
		return s.Err()
	}
	return context.Cause(ctx)
}

// OnCancel registers w with whatever kind of context ctx is and returns a function that takes it off again. For a *Scope
// it allocates nothing.
func OnCancel(ctx context.Context, w Waker) Registration {
	if s, ok := ctx.(*Scope); ok {
		s.Watch(w)
		return Registration{s: s, w: w}
	}
	if ctx.Done() == nil {
		return Registration{}
	}
	return Registration{stop: context.AfterFunc(ctx, func() { w.Wake(context.Cause(ctx)) })}
}

// A Registration is what OnCancel returns. The zero Registration is of nothing.
type Registration struct {
	s    *Scope
	w    Waker
	stop func() bool
}

// Stop takes the Waker off. With a plain context a wake that has begun may still be running.
func (r Registration) Stop() {
	if r.s != nil {
		r.s.Unwatch(r.w)
	} else if r.stop != nil {
		r.stop()
	}
}
