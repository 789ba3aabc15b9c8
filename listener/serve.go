package listener

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/observe"
)

// What ends a connection before its handler sees it.
var (
	errNoMatch       = errors.New("listener: no filter chain matches")
	errNoFilters     = errors.New("listener: filter chain without filters")
	errFilterTimeout = errors.New("listener: listener filters timeout")
	errIdle          = errors.New("listener: idle connection is due")
	errPanic         = errors.New("listener: panic")
)

// serveConn is the life of one connection, top to bottom. It returns early when the connection is parked; resume goes on then.
func (l *Listener) serveConn(cfg *Config, s *session) {
	defer l.recovered(s)
	if err := l.inspect(cfg, s); err != nil {
		l.end(s, err)
		return
	}
	chain := l.match(cfg, s)
	if chain == nil {
		l.end(s, errNoMatch)
		return
	}
	if err := l.handshake(s, chain); err != nil {
		l.end(s, err)
		return
	}
	l.serve(s)
}

// resumed goes on with a connection that was parked, on a new goroutine.
func (l *Listener) resumed(s *session) {
	defer l.recovered(s)
	l.serve(s)
}

// serve hands the connection to its chain's handler until it ends or is parked.
func (l *Listener) serve(s *session) {
	for {
		err := s.chain.Load().serve(l.ctx, s.c)
		if !errors.Is(err, conn.ErrParked) {
			l.end(s, err)
			return
		}
		if l.lot.park(s) {
			return
		}
		l.wait(s)
	}
}

// wait does with a goroutine what the lot does without.
func (l *Listener) wait(s *session) {
	if s.c.Leaving() || s.c.Woken() != nil || len(s.c.Buffered()) > 0 {
		return
	}
	stop := func() bool { return false }
	if s.c.WakeAt != 0 {
		stop = alarm(s.c, time.Duration(max(s.c.WakeAt-scope.Now(), 1)), errIdle)
	}
	_ = s.c.Fill() // the handler will see the same
	if stop() {
		l.revive(s)
	}
}

// revive undoes an alarm, but not the end of the listener.
func (l *Listener) revive(s *session) {
	s.c.Revive()
	if l.live.closed.Load() {
		s.c.Wake(ErrClosed)
	}
}

func (c *Chain) serve(ctx context.Context, nc *conn.Conn) error {
	if c.handler == nil {
		return errNoFilters
	}
	return c.handler.ServeConn(ctx, nc)
}

// match chooses the filter chain.
func (l *Listener) match(cfg *Config, s *session) *Chain {
	st := s.stats.Lane(s.c.Lane)
	chain := cfg.match(s.c.Info())
	if chain == nil {
		st.NoMatch.Inc()
		return nil
	}
	st.CxTotal.Inc()
	st.CxActive.Inc()
	s.c.Info().Chain = chain.Name
	s.chain.Store(chain)
	if now := l.cfg.Load(); now != cfg && !now.keeps(chain) {
		s.c.DrainGently() // an update came between accept and here
	}
	return chain
}

// inspect runs the listener filters, within their timeout.
func (l *Listener) inspect(cfg *Config, s *session) error {
	if len(cfg.inspectors) == 0 {
		return nil
	}
	st := s.stats.Lane(s.c.Lane)
	st.PreCxActive.Inc()
	defer st.PreCxActive.Dec()
	stop := alarm(s.c, cfg.timeout, errFilterTimeout)
	err := cfg.inspect(l.ctx, s.c)
	if stop() && (err == nil || errors.Is(err, errFilterTimeout)) {
		st.PreCxTimeout.Inc()
		if !cfg.onTimeout {
			return errFilterTimeout
		}
		l.revive(s)
		return nil
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		st.FilterRemote.Inc()
	case errors.As(err, new(syscall.Errno)):
		st.FilterError.Inc()
	}
	return err
}

func (cfg *Config) inspect(ctx context.Context, c *conn.Conn) error {
	for i := range cfg.inspectors {
		in := &cfg.inspectors[i]
		if in.disabled != nil && in.disabled(c.Info()) {
			continue
		}
		if err := in.filter.Inspect(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// end closes a connection and its account.
func (l *Listener) end(s *session, err error) {
	if s.ended {
		return // and what came after it panicked
	}
	s.ended = true
	l.live.leave(s)
	cfg := l.cfg.Load()
	st := s.stats.Lane(s.c.Lane)
	if s.chain.Load() != nil {
		st.CxActive.Dec()
		st.CxDestroy.Inc()
		st.CxLength.Record(uint64(scope.Now()-s.began) / 1e6)
	}
	_ = s.c.Close() // the handler has sent what it had to send
	l.connections.Close()
	if len(cfg.logs) > 0 {
		l.record(cfg, s, err)
	}
	if err != nil && l.log.Enabled(l.ctx, slog.LevelDebug) {
		l.log.Debug("connection ended", "listener", cfg.Name, "id", s.c.Info().ID, "remote", s.c.Info().Remote, "cause", err)
	}
}

// record writes the listener's access log.
func (l *Listener) record(cfg *Config, s *session, err error) {
	info := s.c.Info()
	r := observe.Record{
		Began: info.Began, Start: s.began, Done: scope.Now(),
		BytesIn: s.c.BytesIn(), BytesOut: s.c.BytesOut(), WireIn: s.c.BytesIn(), WireOut: s.c.BytesOut(),
	}
	r.DownstreamFailure = info.TransportFailure
	switch {
	case errors.Is(err, errNoMatch):
		r.Flags, r.Details = observe.NR, "filter_chain_not_found"
	case errors.Is(err, errFilterTimeout):
		r.Terminate = "listener filters timeout was reached"
	case errors.Is(err, errConnectTimeout):
		r.Terminate = "transport socket timeout was reached"
	default:
		var ended interface{ TerminationDetails() string } // of network filters that end connections
		if errors.As(err, &ended) {
			r.Terminate = ended.TerminationDetails()
		}
	}
	e := observe.Entry{Record: &r, Conn: info, Type: observe.TCPConnectionEnd}
	for _, w := range cfg.logs {
		w.Log(&e)
	}
}

// recovered turns a panic into the end of its connection.
func (l *Listener) recovered(s *session) {
	p := recover()
	if p == nil {
		return
	}
	s.stats.Lane(s.c.Lane).Panic.Inc()
	l.log.Error("panic in a connection", "panic", p, "listener", s.c.Info().Listener, "id", s.c.Info().ID, "stack", string(debug.Stack()))
	l.end(s, errPanic)
}
