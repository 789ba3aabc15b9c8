package pool

import (
	"context"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/transport"
)

// grow starts as many dials as there are waiters without one, within the limits. mu is held.
func (p *Pool) grow() {
	w := p.waiting.first
	for range p.waiting.n - len(p.dials) {
		if p.closed || !p.mayConnect(w.lane, w.priority, len(p.live)+len(p.dials)) {
			return
		}
		p.start(w.lane, w.priority)
	}
}

// mayConnect takes a place for one more connection. A host without any gets its first one whatever the breaker says: otherwise
// nothing would ever serve those who wait for it.
func (p *Pool) mayConnect(lane uint32, priority, have int) bool {
	connections := &p.o.Breaker(priority).Connections
	switch {
	case have == 0:
		connections.Force()
		if connections.Active() > connections.Max() {
			p.o.Stats(lane).CxOverflow.Inc()
		}
		return true
	case p.o.MaxConnections > 0 && have >= p.o.MaxConnections, !connections.Try():
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
	p.running.Go(func() {
		defer cancel(nil)
		l, err := p.open(ctx, lane, priority)
		p.settle(d, l, err)
	})
}

// settle hands a new session on, or the failure to everybody who waits.
func (p *Pool) settle(d *dialing, l *link, err error) {
	p.mu.Lock()
	delete(p.dials, d)
	if err != nil {
		p.eject(err)
		p.mu.Unlock()
		return
	}
	if p.closed || (p.draining && p.waiting.n == 0) {
		p.checkDrained()
		p.mu.Unlock()
		l.end(endLocal, ErrClosed)
		return
	}
	p.track(l)
	p.offer(l, scope.Now())
	p.mu.Unlock()
}

// open connects and opens a session. It holds a place of Connections, which it gives back when it fails.
func (p *Pool) open(ctx context.Context, lane uint32, priority int) (*link, error) {
	p.countVersion(p.o.Stats(lane))
	l, err := p.connect(ctx, lane, priority)
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
	l.session = s
	l.pulse, _ = s.(pulse)
	return l, nil
}

// connect dials and opens the connection's account.
func (p *Pool) connect(ctx context.Context, lane uint32, priority int) (*link, error) {
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
		e := failure(ctx, address, err)
		if e.Kind == Timeout {
			s.CxConnectTimeout.Inc()
		}
		if isBind(err) {
			s.BindErrors.Inc()
		}
		p.failed(lane, priority)
		return nil, e
	}
	l := &link{pool: p, conn: conn.New(nc), opened: scope.Now(), slot: priority, lane: lane, priority: priority}
	s.CxConnectMs.Record(uint64(l.opened-began) / 1e6)
	info := l.conn.Info()
	info.Began = time.Now()
	if p.o.NextID != nil {
		info.ID = p.o.NextID()
	}
	l.conn.Lane = lane
	return l, nil
}

func (p *Pool) countVersion(s *Stats) {
	switch p.o.Version.String() {
	case "HTTP/1.1":
		s.CxHTTP1Total.Inc()
	case "HTTP/2":
		s.CxHTTP2Total.Inc()
	case "HTTP/3":
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
