package pool

import (
	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// A link is one open connection and its account. It is the owner of its session.
type link struct {
	pool    *Pool
	session protocol.Session // nil for a Raw
	pulse   pulse            // nil when the session cannot tell
	conn    *conn.Conn

	at        int    // index in pool.live; guarded by pool.mu
	dead      bool   // not in pool.live any more; guarded by pool.mu
	busy      bool   // a stream has it; guarded by pool.mu
	opened    int64  // scope.Now; immutable
	age       uint32 // pool.age when it was made; immutable
	slot      int    // priority whose Connections it counts in; immutable
	idleSince int64  // scope.Now when it became free; guarded by pool.mu

	// Owned by the stream that has the link, or by whoever took it out of the pool.
	lane     uint32
	priority int // of the stream's Requests
	requests int64
	rx, tx   uint64 // bytes counted so far
}

// pulse is what a session may have to tell whether the peer has closed it.
type pulse interface{ Alive() bool }

// An ending is who ended a connection.
type ending uint8

const (
	endLocal ending = iota
	endRemote
	endNotified // the peer had announced it
)

// begin marks the link as used by a stream. pool.mu is held.
func (l *link) begin(lane uint32, priority int) {
	l.busy, l.lane, l.priority = true, lane, priority
	l.requests++
}

func (l *link) alive() bool { return l.pulse == nil || l.pulse.Alive() }

// fresh reports whether a link that was just taken can be used, and who has ended it if not.
func (l *link) fresh() (ending, bool) {
	now := scope.Now()
	if l.maxed(now) {
		l.pool.o.Stats(l.lane).CxMaxDurationReached.Inc()
		return endLocal, false
	}
	return endRemote, now-l.idleSince < trust || l.alive()
}

// maxed reports whether the connection has lived for max_connection_duration.
func (l *link) maxed(now int64) bool {
	d := int64(l.pool.o.MaxDuration)
	return d > 0 && now-l.opened >= d
}

// expires returns when an idle link is to be closed, in scope.Now.
func (l *link) expires() int64 {
	at := int64(1<<63 - 1)
	if d := int64(l.pool.o.IdleTimeout); d > 0 {
		at = l.idleSince + d
	}
	if d := int64(l.pool.o.MaxDuration); d > 0 {
		at = min(at, l.opened+d)
	}
	return at
}

// Freed implements protocol.Owner.
func (l *link) Freed(protocol.Session) {
	p := l.pool
	now := scope.Now()
	l.count()
	p.o.Breaker(l.priority).Requests.Done()
	p.mu.Lock()
	if l.dead {
		p.mu.Unlock()
		return
	}
	if !p.draining && l.age == p.age && !l.worn(now) {
		p.offer(l, now)
		p.mu.Unlock()
		return
	}
	p.forget(l)
	p.grow()
	p.mu.Unlock()
	l.busy = false
	l.end(endLocal, ErrRetired)
}

// worn reports whether the connection has served for long enough, and counts why.
func (l *link) worn(now int64) bool {
	if most := l.pool.o.MaxRequests; most > 0 && l.requests >= most {
		l.pool.o.Stats(l.lane).CxMaxRequests.Inc()
		return true
	}
	if l.maxed(now) {
		l.pool.o.Stats(l.lane).CxMaxDurationReached.Inc()
		return true
	}
	return false
}

// Resized implements protocol.Owner.
func (l *link) Resized(protocol.Session) {}

// Gone implements protocol.Owner. A nil cause means that the last stream ended well and the peer wants no more.
func (l *link) Gone(_ protocol.Session, cause error) {
	p := l.pool
	p.mu.Lock()
	if l.dead {
		p.mu.Unlock()
		return
	}
	p.forget(l)
	if !l.busy {
		p.unlist(l)
	}
	p.grow()
	p.mu.Unlock()
	how := endLocal
	switch {
	case cause == nil:
		how, l.busy = endNotified, false
	case byPeer(cause):
		how = endRemote
	}
	l.end(how, cause)
}

// unlist takes a link out of the idle ones. mu is held.
func (p *Pool) unlist(l *link) {
	for i := range p.idle {
		if p.idle[i] == l {
			copy(p.idle[i:], p.idle[i+1:])
			p.idle[len(p.idle)-1] = nil
			p.idle = p.idle[:len(p.idle)-1]
			return
		}
	}
}

// abandon ends a link that was taken out of the idle ones.
func (l *link) abandon(how ending) {
	p := l.pool
	p.mu.Lock()
	if l.dead {
		p.mu.Unlock()
		return
	}
	p.forget(l)
	p.mu.Unlock()
	l.busy = false
	l.end(how, ErrIdle)
}

// end closes a connection that is out of the pool and closes its account.
func (l *link) end(how ending, cause error) {
	p := l.pool
	l.count()
	s := p.o.Stats(l.lane)
	s.CxActive.Dec()
	p.host.CxActive.Dec()
	p.o.Breaker(l.slot).Connections.Done()
	s.CxLengthMs.Record(uint64(scope.Now()-l.opened) / 1e6)
	s.CxDestroy.Inc()
	if how == endNotified {
		s.CxCloseNotify.Inc()
	}
	remote := how == endRemote
	if remote {
		s.CxDestroyRemote.Inc()
	} else {
		s.CxDestroyLocal.Inc()
	}
	if l.busy {
		s.CxDestroyWithActive.Inc()
		if remote {
			s.CxDestroyRemoteWithActive.Inc()
		} else {
			s.CxDestroyLocalWithActive.Inc()
		}
	}
	if l.session != nil {
		s.RqPerCx.Record(uint64(l.requests))
		l.session.Close(cause)
		return
	}
	_ = l.conn.Close() // nothing is left to lose
}

// count adds the bytes that moved since the last time.
func (l *link) count() {
	rx, tx := l.conn.BytesIn(), l.conn.BytesOut()
	s := l.pool.o.Stats(l.lane)
	if rx != l.rx {
		s.CxRxBytesTotal.Add(rx - l.rx)
	}
	if tx != l.tx {
		s.CxTxBytesTotal.Add(tx - l.tx)
	}
	l.rx, l.tx = rx, tx
}
