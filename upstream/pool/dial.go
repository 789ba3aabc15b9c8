package pool

import (
	"context"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport"
)

// grow starts dials for the waiters of a band that the dials under way will not serve, within the limits. mu is held.
func (p *Pool) grow(b *band) {
	for b.waiting.n > b.dials*p.expected() && !p.closed && !p.mute(b) {
		w := b.waiting.first
		if !p.mayConnect(w.lane, w.priority, b.usable+b.dials) {
			return
		}
		p.start(w.lane, w.priority)
	}
}

// assumed is how many streams a host is taken to allow on a connection until it says so (RFC 9113 section 6.5.2 asks for no fewer).
const assumed = 100

// multiplexes reports whether a connection that is on its way will probably carry many streams. Where the handshake decides that, the
// last one tells; before the first one everybody waits for it. mu is held.
func (p *Pool) multiplexes() bool {
	if p.o.Version == protocol.VersionUnknown && p.o.Client != nil {
		return !p.single
	}
	return multiplexed(p.o.Version)
}

// expected returns how many waiters a connection that is on its way will probably serve. mu is held.
func (p *Pool) expected() int {
	if !p.multiplexes() {
		return 1
	}
	n := p.usual
	if n == 0 {
		n = assumed
		if p.o.MaxStreams > 0 {
			n = p.o.MaxStreams
		}
	}
	if p.o.MaxRequests > 0 {
		n = int(min(int64(n), p.o.MaxRequests))
	}
	return n
}

// mute reports whether there is a connection on which the host allows no stream at all for the time being: it would hardly on another
// one. mu is held.
func (p *Pool) mute(b *band) bool {
	if !p.multiplexes() {
		return false
	}
	for _, l := range p.live {
		if l.shared && !l.closing && l.most <= 0 && l.band == b {
			return true
		}
	}
	return false
}

// mayConnect takes a place for one more connection. Where have is 0 there is none that could serve, and the first one comes whatever the
// breaker says: otherwise nothing would ever serve those who wait for it. mu is held.
func (p *Pool) mayConnect(lane uint32, priority, have int) bool {
	connections := &p.o.Breaker(priority).Connections
	switch {
	case have == 0:
		connections.Force()
		if connections.Active() > connections.Max() {
			p.o.Stats(lane).CxOverflow.Inc()
		}
		return true
	case p.o.MaxConnections > 0 && len(p.live)+len(p.dials) >= p.o.MaxConnections, !connections.Try():
		p.o.Stats(lane).CxOverflow.Inc()
		return false
	}
	return true
}

// start dials on a goroutine of its own, which ends when the connection is there, has failed, timed out or Close gave it up. mu
// is held.
func (p *Pool) start(lane uint32, priority int) {
	// A dial belongs to the pool: the request that asked for it may be gone when it is done.
	ctx, cancel := context.WithCancelCause(context.Background())
	d := &dialing{cancel}
	if p.dials == nil {
		p.dials = make(map[*dialing]struct{})
	}
	p.dials[d] = struct{}{}
	b := p.band(priority)
	b.dials++
	p.running.Go(func() {
		defer cancel(nil)
		l, err := p.open(ctx, lane, priority)
		p.mu.Lock()
		delete(p.dials, d)
		b.dials--
		p.settle(b, l, err)
		p.unlock()
	})
}

// settle hands a new session on, or the failure to everybody who waits. mu is held.
func (p *Pool) settle(b *band, l *link, err error) {
	switch {
	case err != nil:
		p.eject(b, err)
		return
	case p.closed || p.draining && b.waiting.n == 0:
		p.track(b, l)
		l.why = ErrClosed
		p.end(l, endLocal)
		return
	case l.gone:
		p.track(b, l)
		p.end(l, endRemote)
		p.eject(b, &Error{Kind: RemoteFailure, Address: p.address(), Cause: l.why})
		return
	}
	p.track(b, l)
	p.offer(l, scope.Now())
	if p.draining {
		p.dismiss(l, ErrRetired)
		return
	}
	p.grow(b)
}

// open connects and opens a session. It holds a place of Connections, which it gives back when it fails.
func (p *Pool) open(ctx context.Context, lane uint32, priority int) (*link, error) {
	countVersion(p.o.Stats(lane), p.o.Version)
	l, err := p.connect(ctx, lane, priority, p.via)
	if err != nil {
		return nil, err
	}
	s, err := p.o.Client.Open(ctx, l.conn, l)
	if err != nil {
		_, address := p.target()
		p.failed(lane, priority)
		_ = l.conn.Close() // it never served
		return nil, failure(ctx, address, err)
	}
	if p.o.Version == protocol.VersionUnknown {
		countVersion(p.o.Stats(lane), s.Version())
	}
	l.carries(s)
	return l, nil
}

// connect dials, makes the handshake and opens the connection's account.
func (p *Pool) connect(ctx context.Context, lane uint32, priority int, via Transport) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.ConnectTimeout, errConnectTimeout)
	defer cancel()
	s := p.o.Stats(lane)
	s.CxTotal.Inc()
	s.CxActive.Inc()
	p.host.CxTotal.Inc()
	p.host.CxActive.Inc()
	began := scope.Now()
	network, address := p.target()
	local := p.o.Local
	if network == "unix" {
		local = ""
	}
	nc, err := p.o.Network.Dial(ctx, transport.DialOptions{Network: network, Address: address, Local: local, Control: p.o.Control})
	if err != nil {
		if isBind(err) {
			s.BindErrors.Inc()
		}
		return nil, p.unconnected(lane, priority, failure(ctx, address, err))
	}
	c := conn.New(nc)
	c.Lane = lane
	info := c.Info()
	info.Began = time.Now()
	if p.o.NextID != nil {
		info.ID = p.o.NextID()
	}
	if err := via.Handshake(ctx, c); err != nil {
		e := failure(ctx, address, err)
		if e.Kind == RemoteFailure || e.Kind == LocalFailure { // what the peer does to a handshake is the peer's doing
			e.Kind, e.Reason = RemoteFailure, info.TransportFailure
		}
		_ = c.Close() // it never served
		return nil, p.unconnected(lane, priority, e)
	}
	l := &link{pool: p, conn: c, opened: scope.Now(), lane: lane, priority: priority, band: p.band(priority), seat: -1}
	s.CxConnectMs.Record(uint64(l.opened-began) / 1e6)
	return l, nil
}

// unconnected closes the account of a connection that could not be made, and returns why.
func (p *Pool) unconnected(lane uint32, priority int, e *Error) error {
	if e.Kind == Timeout {
		p.o.Stats(lane).CxConnectTimeout.Inc()
	}
	p.failed(lane, priority)
	return e
}

func countVersion(s *Stats, v protocol.Version) {
	switch v {
	case protocol.HTTP11:
		s.CxHTTP1Total.Inc()
	case protocol.HTTP2:
		s.CxHTTP2Total.Inc()
	case protocol.HTTP3:
		s.CxHTTP3Total.Inc()
	}
}

// failed closes the account of a connection that never came to be.
func (p *Pool) failed(lane uint32, priority int) {
	s := p.o.Stats(lane)
	s.CxActive.Dec()
	s.CxConnectFail.Inc()
	p.host.CxActive.Dec()
	p.host.CxConnectFail.Inc()
	p.o.Breaker(priority).Connections.Done()
}
