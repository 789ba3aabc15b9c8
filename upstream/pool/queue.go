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
	link *link
	err  error
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

// enqueue joins the queue and sees to it that a connection is on its way. mu is held and released.
func (p *Pool) enqueue(b *Breaker, lane uint32, priority int) (*waiter, error) {
	defer p.mu.Unlock()
	if p.closed {
		return nil, &Error{Kind: Closed, Address: p.address(), Cause: ErrClosed}
	}
	if !b.Pending.Try() {
		return nil, p.overflow(lane)
	}
	s := p.o.Stats(lane)
	s.RqPendingTotal.Inc()
	s.RqPendingActive.Inc()
	w := &waiter{got: make(chan outcome, 1), lane: lane, priority: priority}
	p.waiting.push(w)
	p.grow()
	return w, nil
}

// wait blocks until w is served or ctx ends.
func (p *Pool) wait(ctx context.Context, w *waiter) (*link, error) {
	defer func() {
		p.o.Breaker(w.priority).Pending.Done()
		p.o.Stats(w.lane).RqPendingActive.Dec()
	}()
	select {
	case o := <-w.got:
		return o.link, o.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if w.listed {
		p.waiting.remove(w)
		p.checkDrained()
		p.mu.Unlock()
		return nil, scope.Cause(ctx)
	}
	p.mu.Unlock()
	if o := <-w.got; o.link != nil { // served at the same moment
		o.link.requests--
		o.link.idleSince = scope.Now()
		p.putBack(o.link)
	}
	return nil, scope.Cause(ctx)
}

// eject fails everybody who waits. mu is held.
func (p *Pool) eject(err error) {
	for w := p.waiting.pop(); w != nil; w = p.waiting.pop() {
		p.o.Stats(w.lane).RqPendingFailureEject.Inc()
		w.got <- outcome{err: err}
	}
	p.checkDrained()
}
