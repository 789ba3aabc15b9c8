package http2

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// A session is an upstream connection: many requests at a time.
type session struct {
	mux
	r     reader
	cl    *Client
	owner protocol.Owner
	used  atomic.Bool

	leaving atomic.Bool   // somebody tells the owner that the session is gone
	told    chan struct{} // closed when that is done

	// Guarded by mu.
	nextID uint32
	active int
	limit  int   // of active
	gone   error // why no more streams may start; nil: they may

	settled bool // the server's SETTINGS have come: limit is what it says

	ready chan struct{} // closed when the server's SETTINGS have come, or never will
	pings keepalive     // of the reader's goroutine
	heard int64         // scope.Now at the last stream's end; guarded by mu
}

func (s *session) Conn() *conn.Conn          { return s.c }
func (s *session) Version() protocol.Version { return protocol.HTTP2 }
func (s *session) Used() bool                { return s.used.Load() }

// Streams implements protocol.Session.
func (s *session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit
}

// Free implements protocol.Session.
func (s *session) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil || s.failed != nil {
		return 0
	}
	return max(s.limit-s.active, 0)
}

// Close implements protocol.Session. The session's goroutines end soon after.
func (s *session) Close(cause error) {
	if cause == nil {
		cause = errSessionUp
	}
	s.giveUp(cause)
}

// read reads the connection to its end, and closes it.
func (s *session) read() {
	s.pings.begin(&s.mux)
	err := s.r.run()
	s.mu.Lock()
	var fault *connError
	switch {
	case errors.As(err, &fault):
		s.goAway(0, fault.code)
	case s.failed == nil && !remote(err):
		s.goAway(0, CodeNo)
	}
	s.mu.Unlock()
	if !remote(err) {
		s.c.Revive()
		s.c.Limit(lastWords)
		s.awaitFlusher()
	}
	s.kill(err)
	s.isReady()
	s.c.Wake(err)
	s.awaitFlusher()
	s.alarm.Close()
	_ = s.c.Close() // nothing is left to lose
	s.depart(err)
}

// depart tells the owner, once, that no more streams may start. When it returns the owner knows, whoever has told it.
func (s *session) depart(cause error) {
	if !s.leaving.Swap(true) {
		s.owner.Gone(s, cause)
		close(s.told)
	} else {
		<-s.told
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone == nil {
		s.gone = errSessionUp
		if cause != nil {
			s.gone = cause
		}
	}
}

// over reports whether no more streams may start, and the failure that this is due to, if there is one.
func (s *session) over() (cause error, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed, s.failed != nil || s.gone != nil
}

// RoundTrip implements protocol.Session. Errors are *protocol.Error, *protocol.BrokenError, *protocol.ResetError, *protocol.BodyError or the
// cause of ctx. The response is the caller's until its Release.
func (s *session) RoundTrip(ctx context.Context, r *message.Request) (*message.Response, error) {
	x := s.cl.call(s, ctx, r)
	var err error
	if x.wantsWebSocket() {
		err = s.awaitSettings(ctx)
	}
	if err == nil {
		err = x.begin(r)
	}
	if err == nil {
		err = x.exchange(r)
	}
	if err != nil {
		if cause, over := s.over(); over {
			s.depart(cause) // before the request is made again: it must not come back to this session
		}
		x.abandon(err)
		return nil, err
	}
	return &x.resp, nil
}

// awaitSettings blocks until the server's SETTINGS have come, the connection has ended, or the time for that is up: only they say whether
// the server takes extended CONNECT (RFC 8441 section 3).
func (s *session) awaitSettings(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	default:
	}
	late := time.NewTimer(s.cl.o.SettingsTimeout)
	defer late.Stop()
	select {
	case <-s.ready:
		return nil
	case <-late.C:
		return errNoSettingsYet
	case <-ctx.Done():
		return scope.Cause(ctx)
	}
}

// isReady lets those go on that wait in awaitSettings. Only the reader's goroutine calls it.
func (s *session) isReady() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// head implements side: the head of a response, or trailers.
func (s *session) head(f frame, block []byte) error {
	s.mu.Lock()
	st := s.table.find(f.id)
	if st == nil {
		s.mu.Unlock()
		if s.fresh(f.id) {
			return errStreamID
		}
		s.stats.HeadersCbNoStream.Inc()
		s.r.dec.Begin(block)
		if _, err := s.r.dec.Skip(); err != nil {
			return errCompression
		}
		return nil
	}
	// The section goes into the call's memory, which is its user's to give away: hence under the lock.
	x := st.call
	var q fieldSet
	err := s.r.section(x.whereTo(), block, AllowUnderscores, &q)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	bad := x.took(&q, f, len(block)+frameHead)
	if bad != nil {
		err = s.cutLocked(st, CodeProtocol, bad)
		s.stats.RxMessagingError.Inc()
	}
	s.mu.Unlock()
	return err
}

// cut implements side.
func (s *session) cut(st *stream, code Code, why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cutLocked(st, code, why)
}

// cutLocked is cut with mu held.
func (s *session) cutLocked(st *stream, code Code, why error) error {
	var fault *connError
	if why == errLengthBody {
		why = errDataSurplus
	} else if errors.As(why, &fault) {
		why = &protocol.Error{Status: 502, Details: "http2.protocol_error", Reason: fault.reason}
	}
	st.breakOff(why)
	if st.cutOff {
		return nil
	}
	st.cutOff = true
	return s.resetStream(st.id, code)
}

// reset implements side.
func (s *session) reset(st *stream, code Code) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.cutOff = true
	if st.ended {
		st.halt = message.ErrBodyClosed // the response is complete: the server wants no more of the request
		st.writable.Broadcast()
		return nil
	}
	st.breakOff(&protocol.ResetError{Code: uint32(code), Refused: code == CodeRefused, HeadSeen: st.call.state >= headThere})
	return nil
}

// fresh implements side.
func (s *session) fresh(id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return id&1 == 0 || id >= s.nextID
}

// opened implements side.
func (s *session) opened() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.nextID / 2)
}

// strayed implements side: data for a stream that was given up.
func (s *session) strayed(frame) error { return nil }

// ended implements side. mu is held.
func (s *session) ended(st *stream) { st.call.counts.ResponseDone = s.r.now }

// goneAway implements side: streams that the server will not look at may be tried elsewhere.
func (s *session) goneAway(last uint32, code Code) error {
	var cause error
	if code != CodeNo {
		cause = &protocol.ResetError{Code: uint32(code)}
	}
	s.depart(cause) // first: what is refused below must not come back to this session
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, st := range s.table.all() {
		if id > last {
			st.cutOff = true
			st.breakOff(&protocol.ResetError{Code: uint32(code), Refused: true})
		}
	}
	return nil
}

// resized implements side.
func (s *session) resized() {
	s.mu.Lock()
	limit := int(min(s.o.MaxStreams, s.peerStreams))
	changed := limit != s.limit || !s.settled
	s.settled = true
	s.limit = limit
	s.mu.Unlock()
	s.isReady()
	if changed {
		s.owner.Resized(s)
	}
}

// pong implements side.
func (s *session) pong(p []byte) error {
	s.pings.pong(p)
	return nil
}

// rung implements side.
func (s *session) rung(bits uint32) error {
	if bits&(alarmDead|alarmVerdict) != 0 {
		if err := s.sentence(); err != nil {
			return err
		}
	}
	if bits&alarmPing != 0 {
		s.pings.ping()
	}
	return s.pings.rung(bits&(1<<scope.Request) != 0, bits&(1<<scope.Response) != 0)
}

// broke makes an error of a stream what its user expects of a connection that failed. mu is held.
func (s *session) broke(st *stream, err error) error {
	if err == nil || s.failed == nil || err != s.failed {
		return err
	}
	head := st.call.state >= headThere
	if head && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &protocol.BrokenError{Cause: err, NothingSent: s.begun <= st.call.at, HeadSeen: head}
}
