package http1

import (
	"context"
	"sync/atomic"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// A session is an upstream connection: one request at a time.
type session struct {
	cl    *Client
	c     *conn.Conn
	owner protocol.Owner
	used  bool // a request was sent and answered before
	busy  atomic.Bool
	gone  atomic.Bool
}

// Open implements protocol.Client. It does not block.
func (cl *Client) Open(_ context.Context, c *conn.Conn, o protocol.Owner) (protocol.Session, error) {
	return &session{cl: cl, c: c, owner: o}, nil
}

func (s *session) Used() bool                { return s.used }
func (s *session) Conn() *conn.Conn          { return s.c }
func (s *session) Version() protocol.Version { return protocol.HTTP11 }

// Streams implements protocol.Session.
func (s *session) Streams() int { return 1 }

// Free implements protocol.Session.
func (s *session) Free() int {
	if s.busy.Load() || s.gone.Load() {
		return 0
	}
	return 1
}

// Alive reports whether an idle session can still be used: the peer has neither closed it nor sent anything unasked. It costs a system
// call, so pools ask it only of sessions that have been idle for a while.
func (s *session) Alive() bool { return s.c.Woken() == nil && s.c.TryFill() == conn.ErrWouldBlock }

// Close implements protocol.Session. Nobody may be in RoundTrip or read a response.
func (s *session) Close(error) {
	s.gone.Store(true)
	_ = s.c.Close() // nobody is left to be told
}

// Wake implements scope.Waker while the session carries a request.
func (s *session) Wake(cause error) { s.c.Wake(cause) }

// RoundTrip implements protocol.Session. Errors are *protocol.Error, *protocol.BrokenError, *protocol.BodyError or the cause of ctx. The
// response is the caller's until its Release.
func (s *session) RoundTrip(ctx context.Context, r *message.Request) (*message.Response, error) {
	x := s.cl.call(s, ctx, r)
	if err := x.encode(r); err != nil {
		unfit := *err
		unfit.NothingSent = true
		s.owner.Freed(s)
		return nil, &unfit
	}
	s.busy.Store(true)
	x.reg = scope.OnCancel(ctx, s)
	err := x.send()
	if err == nil {
		err = x.receive()
	}
	if err != nil {
		x.abandon(err)
		return nil, err
	}
	return &x.resp, nil
}
