package listener

import (
	"errors"
	"net"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
)

// The wait after an accept that failed, which doubles while it goes on failing.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// globalLimitKey is the runtime key of the limit of downstream connections of the process.
const globalLimitKey = "overload.global_downstream_max_connections"

// accept takes connections from a socket until it is closed.
func (l *Listener) accept(s socket) {
	backoff := minBackoff
	for {
		nc, err := s.Accept()
		if err == nil {
			backoff = minBackoff
			l.accepted(nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) || l.isStopped() {
			return
		}
		l.cfg.Load().stats.Lane(0).AcceptError.Inc()
		if backoff == minBackoff {
			l.log.Error("accept failed", "listener", l.Config().Name, "address", s.Addr(), "error", err)
		}
		if !l.pause(backoff) {
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (l *Listener) isStopped() bool {
	select {
	case <-l.stopped:
		return true
	default:
		return false
	}
}

// pause waits; it reports false when the listener was stopped meanwhile.
func (l *Listener) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.stopped:
		return false
	}
}

// accepted counts a new connection against the limits and gives it a goroutine.
func (l *Listener) accepted(nc net.Conn) {
	cfg := l.cfg.Load()
	id := l.connections.NextID()
	st := cfg.stats.Lane(uint32(id))
	all := l.connections.Open()
	if limit := l.limit(globalLimitKey); limit >= 0 && all > limit && !cfg.ignoreLimit {
		st.GlobalOverflow.Inc()
		l.refuse(nc)
		return
	}
	if limit := l.limit(cfg.limitKey); limit >= 0 && l.live.open.Load() >= limit {
		st.CxOverflow.Inc()
		l.refuse(nc)
		return
	}
	s := &session{c: conn.New(nc), stats: cfg.stats, began: scope.Now()}
	s.c.Lane = uint32(id)
	info := s.c.Info()
	info.ID, info.Began, info.Listener, info.TransportProtocol = id, time.Now(), cfg.Name, "raw_buffer"
	l.live.enter(s)
	l.running.Go(func() { l.serveConn(cfg, s) }) // ends when the connection has, or when it is parked
}

func (l *Listener) refuse(nc net.Conn) {
	l.connections.Close()
	_ = nc.Close() // it was never served
}
