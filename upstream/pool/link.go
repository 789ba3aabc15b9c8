package pool

import (
	"errors"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// A link is one open connection and its account. It is the owner of its session. An exclusive link carries one stream at a time, a
// shared one many. Fields are guarded by pool.mu where nothing else is said.
type link struct {
	pool     *Pool
	session  protocol.Session // nil for a Raw; immutable once open
	pulse    pulse            // nil when the session cannot tell; immutable once open
	conn     *conn.Conn
	shared   bool  // immutable once open
	priority int   // immutable
	band     *band // of priority; immutable
	opened   int64 // scope.Now; immutable

	streams   int   // slots handed out and not given back
	most      int   // how many there may be
	requests  int64 // slots handed out so far
	at        int   // index in pool.live
	seat      int   // index in band.room; -1: not there
	idleSince int64 // scope.Now when the last stream ended

	tracked bool  // in pool.live, or was
	usable  bool  // counted in band.usable
	closing bool  // takes no more streams, is ended with its last
	gone    bool  // the session has said so
	told    bool  // the host has said how many streams there may be
	settled bool  // its account is closed
	dead    bool  // ended: not in pool.live any more
	why     error // what the session is closed with

	// Owned by the stream that has the link while it is exclusive.
	lane   uint32 // immutable when shared
	rx, tx uint64 // bytes counted so far
}

// pulse is what a session may have to tell whether the peer has closed it.
type pulse interface{ Alive() bool }

// An ending is who ended a connection.
type ending uint8

const (
	endLocal ending = iota
	endRemote
)

func (l *link) alive() bool { return l.pulse == nil || l.pulse.Alive() }

// carries makes l the link of s.
func (l *link) carries(s protocol.Session) {
	l.session = s
	l.pulse, _ = s.(pulse)
	l.shared = multiplexed(s.Version()) || s.Streams() > 1
}

// multiplexed reports whether sessions of a protocol carry many streams.
func multiplexed(v protocol.Version) bool { return v == protocol.HTTP2 || v == protocol.HTTP3 }

// begin hands out a slot. mu is held.
func (l *link) begin(lane uint32) Lease {
	l.streams++
	l.requests++
	if !l.shared {
		l.lane = lane
	}
	if most := l.pool.o.MaxRequests; most > 0 && l.requests >= most {
		l.pool.o.Stats(lane).CxMaxRequests.Inc()
		l.pool.shut(l)
	} else if l.shared {
		l.band.place(l)
	}
	return Lease{Session: l.session, Reused: l.requests > int64(l.streams), link: l}
}

// fresh reports whether an exclusive link that was just taken can be used, and who has ended it if not.
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

// never is a time that does not come.
const never = int64(1<<63 - 1)

// expires returns when the link is to be closed, or to take no more streams, in scope.Now.
func (l *link) expires() int64 {
	at := never
	if d := int64(l.pool.o.IdleTimeout); d > 0 && l.streams == 0 {
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
	now := int64(0)
	if !l.shared {
		now = scope.Now()
		l.count()
	}
	p.o.Breaker(l.priority).Requests.Done()
	p.mu.Lock()
	p.free(l, now)
	p.unlock()
}

// free takes a slot back. now may be 0 where l is shared. mu is held.
func (p *Pool) free(l *link, now int64) {
	l.streams--
	if l.shared {
		l.count()
		if l.streams == 0 {
			now = scope.Now()
		}
	}
	switch {
	case l.dead:
	case l.closing:
		p.lastOut(l)
	case now != 0 && l.maxed(now):
		p.o.Stats(l.lane).CxMaxDurationReached.Inc()
		p.dismiss(l, ErrRetired)
	default:
		p.offer(l, now)
	}
}

// lastOut ends a closing link that has no stream left. mu is held.
func (p *Pool) lastOut(l *link) {
	if l.streams == 0 {
		p.end(l, endLocal)
		p.grow(l.band)
	}
}

// Resized implements protocol.Owner.
func (l *link) Resized(protocol.Session) {
	p := l.pool
	p.mu.Lock()
	l.told = true
	if l.tracked && l.shared && !l.dead { // before it is tracked only open knows what it is
		p.resize(l)
		if !l.closing {
			p.offer(l, l.idleSince)
		}
		p.grow(l.band)
	}
	p.unlock()
}

// resize notes how many streams a link may carry. mu is held.
func (p *Pool) resize(l *link) {
	if !l.shared {
		l.most = 1
		return
	}
	streams := l.session.Streams() // takes a lock of the session's, under which it never calls its owner
	if most := p.o.MaxStreams; most > 0 {
		streams = min(streams, most)
	}
	if l.told || p.usual == 0 {
		p.usual = max(streams, 1)
	}
	if !l.told { // what the host allowed elsewhere it will allow here: more would be refused
		streams = min(streams, p.usual)
	}
	l.most = streams
}

// Gone implements protocol.Owner. A nil cause means that the peer wants no more, and is no failure.
func (l *link) Gone(_ protocol.Session, cause error) {
	p := l.pool
	p.mu.Lock()
	defer p.unlock()
	if l.gone || l.dead {
		return
	}
	l.gone = true
	if cause != nil {
		l.why = cause
	}
	if !l.tracked {
		return // settle sees it
	}
	switch {
	case l.announced(cause):
		p.o.Stats(l.lane).CxCloseNotify.Inc()
	case byPeer(cause):
		p.closeAccount(l, endRemote) // now, and not when those who still read what has come are done
	default:
		p.closeAccount(l, endLocal)
	}
	p.dismiss(l, l.why)
}

// announced reports whether a session that is gone for cause has told so beforehand: its streams go on.
func (l *link) announced(cause error) bool {
	var code *protocol.ResetError // of a GOAWAY
	return cause == nil || l.shared && errors.As(cause, &code)
}

// shut lets no more streams onto l. mu is held.
func (p *Pool) shut(l *link) {
	l.closing = true
	switch {
	case l.shared:
		l.band.place(l)
	case l.streams == 0:
		l.band.unlist(l)
	}
}

// dismiss lets no more streams onto l, ends it if it has none, and lets new connections take its place. mu is held.
func (p *Pool) dismiss(l *link, why error) {
	p.shut(l)
	if l.why == nil {
		l.why = why
	}
	p.disuse(l)
	if l.streams == 0 {
		p.end(l, endLocal)
	}
	p.grow(l.band)
}

func (p *Pool) disuse(l *link) {
	if l.usable {
		l.usable = false
		l.band.usable--
	}
}

// abandon gives back an exclusive link that was taken and cannot be used.
func (l *link) abandon(how ending) {
	p := l.pool
	p.mu.Lock()
	defer p.unlock()
	if l.streams > 0 { // none where sweep took it
		l.streams--
		l.requests--
	}
	if l.dead {
		return
	}
	l.closing, l.why = true, ErrIdle
	p.end(l, how)
	p.grow(l.band)
}

// end takes a connection out of the pool, closes its account and has unlock close it. mu is held.
func (p *Pool) end(l *link, how ending) {
	p.closeAccount(l, how)
	if !l.closing {
		p.shut(l)
	}
	p.disuse(l)
	p.forget(l)
	if l.why == nil {
		l.why = ErrRetired
	}
	if !l.shared {
		p.doomed = append(p.doomed, l)
		return
	}
	// Who frees a stream may be one of the goroutines that Close of the session waits for. This one ends with that Close.
	p.running.Go(func() { l.session.Close(l.why) })
}

// unlock releases mu and closes what was ended under it.
func (p *Pool) unlock() {
	if p.doomed == nil {
		p.mu.Unlock()
		return
	}
	doomed := p.doomed
	p.doomed = nil
	p.mu.Unlock()
	for _, l := range doomed {
		if l.session != nil {
			l.session.Close(l.why)
		} else {
			_ = l.conn.Close() // nothing is left to lose
		}
	}
}

// closeAccount closes a connection's account, once. mu is held.
func (p *Pool) closeAccount(l *link, how ending) {
	if l.settled {
		return
	}
	l.settled = true
	l.count()
	s := p.o.Stats(l.lane)
	s.CxActive.Dec()
	p.host.CxActive.Dec()
	p.o.Breaker(l.priority).Connections.Done()
	s.CxLengthMs.Record(uint64(scope.Now()-l.opened) / 1e6)
	if l.session != nil {
		s.RqPerCx.Record(uint64(l.requests))
	}
	all, side := &s.CxDestroyWithActive, &s.CxDestroyLocalWithActive
	s.CxDestroy.Inc()
	if how == endRemote {
		side = &s.CxDestroyRemoteWithActive
		s.CxDestroyRemote.Inc()
	} else {
		s.CxDestroyLocal.Inc()
	}
	if l.streams > 0 {
		all.Inc()
		side.Inc()
	}
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
