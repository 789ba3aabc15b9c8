package pool

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport"
)

// Options are what the pools of a cluster share. Immutable once a pool was made.
type Options struct {
	Client  protocol.Client  // opens sessions; nil where only Connect is used
	Version protocol.Version // what Client speaks

	Network        transport.Network
	Local          string // source address, host:port; "" for any
	Control        func(network, address string, c syscall.RawConn) error
	ConnectTimeout time.Duration
	IdleTimeout    time.Duration // of a session without streams; 0: none
	MaxDuration    time.Duration // of a connection; 0: unlimited. One that is in use is closed when it becomes free
	MaxRequests    int64         // a connection; 0: unlimited
	MaxConnections int           // to one host; 0: unlimited

	Breaker func(priority int) *Breaker
	Stats   func(lane uint32) *Stats
	NextID  func() uint64 // numbers connections; nil leaves them without
}

// A Pool is the connections to one host. All methods are safe for concurrent use.
type Pool struct {
	o      *Options
	target func() (network, address string)
	host   *HostStats

	mu       sync.Mutex
	idle     []*link               // free sessions, the one used last at the end; guarded by mu, like all below
	live     []*link               // all open connections
	waiting  queue                 // who waits for a session
	dials    map[*dialing]struct{} // under way for sessions
	timer    *time.Timer           // runs sweep; nil until there was an idle session
	armed    bool
	age      uint32 // connections of an earlier age are closed when they are free
	draining bool
	closed   bool
	drained  chan struct{} // closed when draining has ended; nil until somebody asks

	running sync.WaitGroup // dials
}

// A dialing is an attempt to connect that belongs to the pool: whoever waits first gets its connection.
type dialing struct{ cancel context.CancelCauseFunc }

// New returns a pool of connections to the host that target names at the time of each dial.
func New(o *Options, target func() (network, address string), host *HostStats) *Pool {
	return &Pool{o: o, target: target, host: host}
}

// A session that has been idle for longer than this is asked whether it is still alive before it is used. Under load sessions
// are taken again sooner, and the question would be one more system call a request.
const trust = int64(5 * time.Millisecond)

// A Lease is a session with a slot for one stream reserved. RoundTrip gives the slot back when its stream is over; Release does
// where RoundTrip is never called.
type Lease struct {
	Session protocol.Session
	Reused  bool // a request was sent on it before
	link    *link
}

// Release gives the slot back unused.
func (l Lease) Release() { l.link.Freed(l.Session) }

// Acquire returns a session to send one request on: an idle one, or the first that becomes free or connected. lane says where to
// count, priority whose circuit breaker limits it. The error is a *Error, or the cause of ctx. Acquire holds a place of the
// breaker's Requests until the stream is over; it does not touch the rq_ counters.
func (p *Pool) Acquire(ctx context.Context, lane uint32, priority int) (Lease, error) {
	b := p.o.Breaker(priority)
	if !b.Requests.Try() {
		return Lease{}, p.overflow(lane)
	}
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			break
		}
		l := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		l.begin(lane, priority)
		p.mu.Unlock()
		how, fresh := l.fresh()
		if fresh {
			return Lease{Session: l.session, Reused: l.requests > 1, link: l}, nil
		}
		l.abandon(how)
	}
	w, err := p.enqueue(b, lane, priority) // unlocks
	if err == nil {
		var l *link
		if l, err = p.wait(ctx, w); err == nil {
			return Lease{Session: l.session, Reused: l.requests > 1, link: l}, nil
		}
	}
	b.Requests.Done()
	return Lease{}, err
}

func (p *Pool) overflow(lane uint32) error {
	p.o.Stats(lane).RqPendingOverflow.Inc()
	return &Error{Kind: Overflow, Address: p.address()}
}

func (p *Pool) address() string {
	_, address := p.target()
	return address
}

// offer gives a free session to whoever waits longest, or keeps it. mu is held.
func (p *Pool) offer(l *link, now int64) {
	if w := p.waiting.pop(); w != nil {
		l.begin(w.lane, w.priority)
		w.got <- outcome{link: l}
		return
	}
	l.busy, l.idleSince = false, now
	p.idle = append(p.idle, l)
	p.arm(l, now)
}

// Drain closes idle sessions now and the others when they become free. Acquire goes on working for those who have the pool in
// their hands, with connections that are closed after one use.
func (p *Pool) Drain() {
	p.mu.Lock()
	p.draining = true
	idle := p.dropIdle()
	p.checkDrained()
	p.mu.Unlock()
	for _, l := range idle {
		l.end(endLocal, ErrRetired)
	}
}

// Retire closes idle sessions now and those in use when they become free. Connections made from now on are not concerned.
func (p *Pool) Retire() {
	p.mu.Lock()
	p.age++
	idle := p.dropIdle()
	p.mu.Unlock()
	for _, l := range idle {
		l.end(endLocal, ErrRetired)
	}
}

// Drained returns a channel that is closed when Drain was called and no connection was left.
func (p *Pool) Drained() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drained == nil {
		p.drained = make(chan struct{})
		p.checkDrained()
	}
	return p.drained
}

// Empty reports whether there is no connection, none on its way and nobody who waits for one.
func (p *Pool) Empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.empty()
}

func (p *Pool) empty() bool { return len(p.live) == 0 && len(p.dials) == 0 && p.waiting.n == 0 }

// checkDrained closes drained when it is time. mu is held.
func (p *Pool) checkDrained() {
	if p.drained == nil || !p.draining || !p.empty() {
		return
	}
	select {
	case <-p.drained:
	default:
		close(p.drained)
	}
}

// Close ends everything: waiters get an error of kind Closed, dials are given up, streams fail with cause.
func (p *Pool) Close(cause error) {
	p.mu.Lock()
	p.draining, p.closed = true, true
	idle := p.dropIdle()
	for d := range p.dials {
		d.cancel(ErrClosed)
	}
	p.eject(&Error{Kind: Closed, Address: p.address(), Cause: cause})
	p.wakeAll(cause)
	p.mu.Unlock()
	for _, l := range idle {
		l.end(endLocal, cause)
	}
	p.running.Wait()
}

// Reset closes all connections, those in use with cause, and starts anew: what close_connections_on_host_health_failure asks for.
func (p *Pool) Reset(cause error) {
	p.mu.Lock()
	idle := p.dropIdle()
	p.wakeAll(cause)
	p.mu.Unlock()
	for _, l := range idle {
		l.end(endLocal, cause)
	}
}

// wakeAll makes whoever uses a connection fail with cause. mu is held.
func (p *Pool) wakeAll(cause error) {
	for _, l := range p.live {
		l.conn.Wake(cause)
	}
}

// dropIdle takes all idle sessions out of the pool; the caller ends them. mu is held.
func (p *Pool) dropIdle() []*link {
	idle := p.idle
	p.idle = nil
	for _, l := range idle {
		p.forget(l)
	}
	if p.timer != nil && p.timer.Stop() {
		p.armed = false
	}
	return idle
}

// forget takes a connection out of the list of open ones. mu is held.
func (p *Pool) forget(l *link) {
	last := len(p.live) - 1
	p.live[l.at] = p.live[last]
	p.live[l.at].at = l.at
	p.live[last] = nil
	p.live = p.live[:last]
	l.dead = true
	p.checkDrained()
}

// track puts a new connection into the list of open ones. mu is held.
func (p *Pool) track(l *link) {
	l.at, l.age = len(p.live), p.age
	p.live = append(p.live, l)
}

// Idle returns how many sessions are free.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// sweepEvery is how often idle sessions are looked at, to notice those that the peer has closed.
const sweepEvery = int64(5 * time.Second)

// batch is how many sessions sweep takes out of the pool at a time while it looks at them.
const batch = 16

// arm makes sweep run in time for l. mu is held.
func (p *Pool) arm(l *link, now int64) {
	if p.armed || p.draining {
		return
	}
	p.armed = true
	wait := time.Duration(max(min(l.expires()-now, sweepEvery), int64(time.Millisecond)))
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, p.sweep)
	} else {
		p.timer.Reset(wait)
	}
}

// sweep closes idle sessions that are due or dead. It runs on the timer's goroutine, while there are idle sessions.
func (p *Pool) sweep() {
	now := scope.Now()
	p.mu.Lock()
	left := len(p.idle)
	p.mu.Unlock()
	for left > 0 {
		n := p.sweepBatch(min(left, batch), now)
		if n == 0 {
			break
		}
		left -= n
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	if len(p.idle) == 0 {
		return
	}
	first := p.idle[0]
	for _, l := range p.idle {
		if l.expires() < first.expires() {
			first = l
		}
	}
	p.arm(first, now)
}

// sweepBatch looks at up to n sessions from the idle end. They are out of the pool meanwhile; those that are well go back behind the
// others, so that after the last batch they are in their old order.
func (p *Pool) sweepBatch(n int, now int64) int {
	p.mu.Lock()
	n = min(n, len(p.idle))
	taken := make([]*link, n)
	copy(taken, p.idle)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.mu.Unlock()

	well := taken[:0]
	for _, l := range taken {
		switch {
		case l.maxed(now):
			p.o.Stats(l.lane).CxMaxDurationReached.Inc()
			l.abandon(endLocal)
		case p.o.IdleTimeout > 0 && now-l.idleSince >= int64(p.o.IdleTimeout):
			p.o.Stats(l.lane).CxIdleTimeout.Inc()
			l.abandon(endLocal)
		case !l.alive():
			l.abandon(endRemote)
		default:
			well = append(well, l)
		}
	}
	for _, l := range well {
		p.putBack(l)
	}
	return n
}

// putBack returns a session that was taken out of the idle ones and not used: to whoever began to wait meanwhile, or to the others.
func (p *Pool) putBack(l *link) {
	p.mu.Lock()
	switch {
	case l.dead:
		p.mu.Unlock()
	case p.draining || l.age != p.age:
		p.forget(l)
		p.mu.Unlock()
		l.busy = false
		l.end(endLocal, ErrRetired)
	default:
		p.offer(l, l.idleSince)
		p.mu.Unlock()
	}
}
