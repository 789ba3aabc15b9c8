package pool

import (
	"context"

	"github.com/weftproxy/weft/internal/scope"
)

// A waiter is a request that waits for a session.
type waiter struct {
	got        chan outcome // holds one
	lane       uint32
	priority   int
	prev, next *waiter
	listed     bool
}

// An outcome is what a waiter gets.
type outcome struct {
	lease Lease
	err   error
}

// A queue is waiters in the order in which they came.
type queue struct {
	first, last *waiter
	n           int
}

func (q *queue) push(w *waiter) {
	w.prev, w.listed = q.last, true
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.n++
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.listed = nil, nil, false
	q.n--
}

func (q *queue) pop() *waiter {
	w := q.first
	if w != nil {
		q.remove(w)
	}
	return w
}

// enqueue joins the queue and sees to it that a connection is on its way. mu is held.
func (p *Pool) enqueue(lane uint32, priority int) (*waiter, error) {
	if p.closed {
		return nil, p.shutError()
	}
	if !p.o.Breaker(priority).Pending.Try() {
		return nil, p.overflow(lane)
	}
	s := p.o.Stats(lane)
	s.RqPendingTotal.Inc()
	s.RqPendingActive.Inc()
	w := &waiter{got: make(chan outcome, 1), lane: lane, priority: priority}
	b := p.band(priority)
	b.waiting.push(w)
	p.grow(b)
	return w, nil
}

// wait blocks until w is served or ctx ends.
func (p *Pool) wait(ctx context.Context, w *waiter) (Lease, error) {
	defer func() {
		p.o.Breaker(w.priority).Pending.Done()
		p.o.Stats(w.lane).RqPendingActive.Dec()
	}()
	select {
	case o := <-w.got:
		return o.lease, o.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if w.listed {
		p.band(w.priority).waiting.remove(w)
		p.checkDrained()
		p.unlock()
		return Lease{}, scope.Cause(ctx)
	}
	if o := <-w.got; o.err == nil { // served at the same moment
		l := o.lease.link
		l.requests--
		p.free(l, scope.Now())
	}
	p.unlock()
	return Lease{}, scope.Cause(ctx)
}

// eject fails everybody who waits. mu is held.
func (p *Pool) eject(b *band, err error) {
	for w := b.waiting.pop(); w != nil; w = b.waiting.pop() {
		p.o.Stats(w.lane).RqPendingFailureEject.Inc()
		w.got <- outcome{err: err}
	}
	p.checkDrained()
}
