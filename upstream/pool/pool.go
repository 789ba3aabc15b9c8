package pool

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport"
)

// Options are what the pools of a cluster share. Immutable once a pool was made.
type Options struct {
	Client  protocol.Client  // opens sessions; nil where only Connect is used
	Version protocol.Version // what Client speaks; VersionUnknown: the handshake decides

	Network        transport.Network
	Local          string // source address, host:port; "" for any
	Control        func(network, address string, c syscall.RawConn) error
	ConnectTimeout time.Duration
	IdleTimeout    time.Duration // of a session without streams; 0: none
	MaxDuration    time.Duration // of a connection; 0: unlimited. One that is in use takes no more streams and is closed with its last
	MaxRequests    int64         // a connection; 0: unlimited
	MaxStreams     int           // at once on a connection, max_concurrent_streams; 0: as many as the session may carry
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
	via    Transport

	mu       sync.Mutex
	bands    [2]band               // by routing priority; guarded by mu, like all below
	live     []*link               // all open connections
	shared   int                   // of these carry many streams
	doomed   []*link               // ended, for unlock to close
	dials    map[*dialing]struct{} // under way for sessions
	usual    int                   // streams that the host allowed on a connection the last time it said so; 0: it did not yet
	single   bool                  // the last session carried one stream at a time
	timer    *time.Timer           // runs sweep; nil until there was a session to watch
	armed    bool
	due      int64 // scope.Now when the armed timer fires
	draining bool
	closed   bool
	tidied   bool
	drained  chan struct{} // closed when draining has ended; nil until somebody asks

	running sync.WaitGroup // dials, and sessions that close
}

// A dialing is an attempt to connect that belongs to the pool: whoever waits first gets its connection.
type dialing struct{ cancel context.CancelCauseFunc }

// New returns a pool of connections to the host that target names at the time of each dial, which lie on the transport via.
func New(o *Options, target func() (network, address string), host *HostStats, via Transport) *Pool {
	return &Pool{o: o, target: target, host: host, via: via}
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

// Acquire returns a session to send one request on: an idle one, the one with the fewest streams where they carry many, or the first that
// has a slot free or is connected. lane says where to count, priority whose circuit breaker limits it. The error is a *Error, or
// the cause of ctx. Acquire holds a place of the breaker's Requests until the stream is over; it does not touch the rq_ counters.
func (p *Pool) Acquire(ctx context.Context, lane uint32, priority int) (Lease, error) {
	requests := &p.o.Breaker(priority).Requests
	if !requests.Try() {
		return Lease{}, p.overflow(lane)
	}
	b := p.band(priority)
	p.mu.Lock()
	for l := b.pop(); l != nil; l = b.pop() {
		lease := l.begin(lane)
		p.mu.Unlock()
		how, fresh := l.fresh()
		if fresh {
			return lease, nil
		}
		l.abandon(how)
		p.mu.Lock()
	}
	if l := b.least(); l != nil {
		lease := l.begin(lane)
		p.mu.Unlock()
		return lease, nil
	}
	w, err := p.enqueue(lane, priority)
	p.unlock()
	if err == nil {
		var lease Lease
		if lease, err = p.wait(ctx, w); err == nil {
			return lease, nil
		}
	}
	requests.Done()
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

// offer gives the free slots of a session to those who wait longest, or keeps it for others. mu is held.
func (p *Pool) offer(l *link, now int64) {
	b := l.band
	for l.streams < l.most && !l.closing {
		w := b.waiting.pop()
		if w == nil {
			break
		}
		w.got <- outcome{lease: l.begin(w.lane)}
	}
	if l.closing || l.streams > 0 && !l.shared {
		return
	}
	if l.streams == 0 {
		l.idleSince = now
	}
	if l.shared {
		b.place(l)
	} else {
		b.idle = append(b.idle, l)
	}
	p.arm(l, now)
}

// Drain closes idle sessions now and the others with their last stream. Acquire goes on working for those who have the pool in
// their hands, with connections that are closed after one use.
func (p *Pool) Drain() {
	p.mu.Lock()
	p.draining = true
	p.dismissAll(ErrRetired)
	p.checkDrained()
	p.unlock()
}

// Retire closes idle sessions now and those in use with their last stream. Connections made from now on are not concerned.
func (p *Pool) Retire() {
	p.mu.Lock()
	p.dismissAll(ErrRetired)
	p.unlock()
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

func (p *Pool) empty() bool {
	return len(p.live) == 0 && len(p.dials) == 0 && p.bands[0].waiting.n == 0 && p.bands[1].waiting.n == 0
}

// Tidy closes a pool that nobody uses: one without streams, dials and waiters. Who has it in hand and acquires from it after that gets
// ErrTidied, and asks for the host's pool again. It reports whether the pool is closed now. idle says whether it may have connections.
func (p *Pool) Tidy(idle bool) bool {
	p.mu.Lock()
	defer p.unlock()
	if p.closed {
		return true
	}
	if !p.unused() || len(p.live) > 0 && !idle {
		return false
	}
	p.draining, p.closed, p.tidied = true, true, true
	p.dismissAll(ErrRetired)
	p.checkDrained()
	return true
}

// Unused reports whether there are no streams, no dials and nobody who waits.
func (p *Pool) Unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unused()
}

func (p *Pool) unused() bool {
	for _, l := range p.live {
		if l.streams > 0 {
			return false
		}
	}
	return len(p.dials) == 0 && p.bands[0].waiting.n+p.bands[1].waiting.n == 0
}

// shutError returns the error of a pool that is closed. mu is held.
func (p *Pool) shutError() error {
	e := &Error{Kind: Closed, Address: p.address(), Cause: ErrClosed}
	if p.tidied {
		e.Cause = ErrTidied
	}
	return e
}

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

// Close ends everything: waiters get an error of kind Closed, dials are given up, streams fail with cause. It blocks until the dials and
// the sessions of many streams have ended; those of one at a time are closed by who uses them.
func (p *Pool) Close(cause error) {
	p.mu.Lock()
	p.draining, p.closed = true, true
	for d := range p.dials {
		d.cancel(ErrClosed)
	}
	for i := range p.bands {
		p.eject(&p.bands[i], &Error{Kind: Closed, Address: p.address(), Cause: cause})
	}
	p.breakAll(cause)
	p.unlock()
	p.running.Wait()
}

// Reset closes all connections, those in use with cause, and starts anew: what close_connections_on_host_health_failure asks for.
func (p *Pool) Reset(cause error) {
	p.mu.Lock()
	p.breakAll(cause)
	p.growAll()
	p.unlock()
}

// breakAll ends all connections and lets whoever uses one fail with cause. mu is held.
func (p *Pool) breakAll(cause error) {
	p.dropIdle(cause)
	for i := len(p.live) - 1; i >= 0; i-- { // end moves the last one to i
		l := p.live[i]
		l.why = cause
		if l.shared {
			p.end(l, endLocal)
			continue
		}
		l.closing = true
		p.disuse(l)
		l.conn.Wake(cause)
	}
}

// dismissAll lets all connections end with their last streams. mu is held.
func (p *Pool) dismissAll(why error) {
	p.dropIdle(why)
	for i := len(p.live) - 1; i >= 0; i-- { // end moves the last one to i
		l := p.live[i]
		if !l.usable {
			continue // gone, or not a session
		}
		l.closing, l.why = true, why
		p.disuse(l)
		if l.shared {
			l.band.place(l)
			if l.streams == 0 {
				p.end(l, endLocal)
			}
		}
	}
	p.growAll()
}

// growAll is grow for all bands. mu is held.
func (p *Pool) growAll() {
	for i := range p.bands {
		p.grow(&p.bands[i])
	}
}

// dropIdle ends all idle links of one stream at a time. mu is held.
func (p *Pool) dropIdle(why error) {
	for i := range p.bands {
		idle := p.bands[i].idle
		p.bands[i].idle = nil
		for _, l := range idle {
			l.closing, l.why = true, why
			p.end(l, endLocal)
		}
	}
	if p.timer != nil && p.timer.Stop() {
		p.armed = false
	}
}

// forget takes a connection out of the list of open ones. mu is held.
func (p *Pool) forget(l *link) {
	last := len(p.live) - 1
	p.live[l.at] = p.live[last]
	p.live[l.at].at = l.at
	p.live[last] = nil
	p.live = p.live[:last]
	l.dead = true
	if l.shared {
		p.shared--
	}
	p.checkDrained()
}

// list puts a connection into the list of open ones. mu is held.
func (p *Pool) list(l *link) {
	l.at = len(p.live)
	p.live = append(p.live, l)
	if l.shared {
		p.shared++
	}
}

// track takes charge of a new session. mu is held.
func (p *Pool) track(b *band, l *link) {
	p.list(l)
	l.tracked, l.usable = true, true
	b.usable++
	p.single = !l.shared
	p.resize(l)
}

// Idle returns how many sessions are without streams.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for i := range p.bands {
		n += len(p.bands[i].idle)
		for _, l := range p.bands[i].room {
			if l.streams == 0 {
				n++
			}
		}
	}
	return n
}
