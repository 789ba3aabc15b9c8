package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// yields is how often a goroutine lets others run before a read whose answer may be on its way: the read then finds it, and saves
// one that finds nothing and a turn of the poller.
const yields = 1

// turn is after how many requests a connection goes without yielding, and so most likely to the poller. As long as every goroutine finds its
// read answered the run queue is never empty, and the poller is asked only every 10 ms: connections that wait there would starve.
const turn = 4

// drainTime is how long the rest of a request body is waited for that nobody wants.
const drainTime = time.Second

// Causes of wakes that only the codec knows.
var (
	errAlarm   = errors.New("http1: alarm")
	errHeadDue = errors.New("http1: head alarm")
)

// A serving is one call of Serve.
type serving struct {
	s     *Server
	ctx   context.Context
	c     *conn.Conn
	h     protocol.StreamHandler
	scope scope.Scope
	cur   atomic.Pointer[stream] // what Expired is asked about
	idle  protocol.Idle
	fresh bool // nothing was served yet
}

// Serve implements protocol.Server. It returns nil when the client asked for the end of the connection, and conn.ErrDraining or one of
// protocol's errors when Weft did.
func (s *Server) Serve(ctx context.Context, c *conn.Conn, h protocol.StreamHandler) (err error) {
	v := &serving{s: s, ctx: ctx, c: c, h: h, fresh: true}
	v.scope.Init(v.fire)
	i := &v.idle
	i.Conn, i.Context, i.Alarm, i.Timeout, i.ParkAfter = c, ctx, &v.scope, s.o.IdleTimeout, s.o.ParkAfter
	i.Limit(s.o.MaxDuration)
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, v.die)()
	}
	defer v.scope.Close()
	for err == nil {
		if len(c.Buffered()) == 0 {
			if err = v.await(); err != nil {
				return err
			}
		}
		var again bool
		if again, err = v.exchange(); !again {
			return err
		}
	}
	return err
}

// die ends the connection hard: the process goes away. It runs on a goroutine of its own.
func (v *serving) die() {
	v.scope.Cancel(v.idle.Die())
}

// fire implements the scope's alarms. The scope is locked.
func (v *serving) fire(d scope.Due) error {
	st := v.cur.Load()
	switch {
	case d == scope.Headers:
		v.c.WakeRead(errHeadDue)
	case st == nil:
		v.c.WakeRead(errAlarm)
	case d == scope.Peek:
		v.peek(st)
	default:
		return v.h.Expired(st, d)
	}
	return nil
}

// await waits for the first byte of a request.
func (v *serving) await() error {
	if !v.fresh && v.c.Served%turn != 0 {
		return v.idle.Await(yields)
	}
	return v.idle.Await(0)
}

// exchange serves one request. again reports that the connection may carry another.
func (v *serving) exchange() (again bool, err error) {
	st := v.s.stream(v)
	n, refused, err := v.readHead(st)
	if err != nil {
		st.release()
		return false, err
	}
	if refused == nil {
		st.counts.RequestHead = uint64(n)
		refused = v.s.o.parse(&st.head, &st.req, v.c.Buffered()[:n], &st.scan)
		v.c.Discard(n)
	}
	v.begin(st, refused)
	if refused != nil {
		v.h.RefuseStream(&v.scope, st, refused)
	} else {
		v.h.ServeStream(&v.scope, st)
	}
	again, err = v.finish(st, refused)
	v.scope.End()
	v.cur.Store(nil)
	if again {
		v.c.IdleSince = st.counts.ResponseDone
		v.c.Served++
		v.fresh = false
	}
	st.release()
	return again, err
}

// readHead reads a request head into the buffer and finds its lines.
func (v *serving) readHead(st *stream) (n int, refused *protocol.Error, err error) {
	c, armed := v.c, false
	for skipped := 0; ; {
		b := c.Buffered()
		for skipped < 2 && len(b) >= 2 && b[0] == '\r' && b[1] == '\n' { // RFC 9112 section 2.2
			c.Discard(2)
			b = c.Buffered()
			skipped++
		}
		if len(b) > 0 && classes[b[0]]&classToken == 0 && !(b[0] == '\r' && len(b) == 1) {
			return 0, errRequestLine, nil
		}
		if len(b) > 0 && b[0] != '\r' {
			if n, refused = st.scan.find(b, &v.s.limits); n > 0 || refused != nil {
				break
			}
		}
		if !armed {
			armed = true
			v.armHead()
		}
		if refused, err = v.fillHead(); refused != nil || err != nil {
			break
		}
	}
	if armed {
		v.scope.Extend(scope.Headers, 0)
	}
	return n, refused, err
}

// armHead limits the time that a head may take.
func (v *serving) armHead() {
	d := v.s.o.HeadersTimeout
	if d == 0 {
		d = v.s.o.IdleTimeout
	}
	if d > 0 {
		v.scope.Arm(scope.Headers, scope.Now()+int64(d))
	}
}

// fillHead reads more of a head.
func (v *serving) fillHead() (*protocol.Error, error) {
	c := v.c
	for {
		err := c.Fill()
		if err == conn.ErrBufferFull {
			c.Grow(4 * len(c.Buffered()))
			continue
		}
		if err == nil {
			return nil, nil
		}
		if cause := c.Woken(); cause == nil {
			if err == io.EOF && len(c.Buffered()) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		c.Revive()
		switch {
		case v.idle.Dead():
			return nil, context.Cause(v.ctx)
		case err == errHeadDue && v.s.o.HeadersTimeout == 0:
			return nil, protocol.ErrIdleTimeout
		case err == errHeadDue:
			return errHeadTimeout, nil
		}
	}
}

// begin starts the exchange whose head is decoded, or refused.
func (v *serving) begin(st *stream, refused *protocol.Error) {
	kind := noFraming
	st.body.begin(st, -1)
	st.req.Body = message.NoBody
	switch {
	case refused != nil && !soft(refused):
		st.last = true
	case st.req.Upgrade != "":
		kind, st.body.held = tunnelFraming, true
	case st.head.chunked:
		kind = chunkedFraming
	case st.head.length > 0:
		kind = lengthFraming
	}
	if refused != nil && !v.s.o.KeepAfterRefusal {
		st.last = true
	}
	st.body.r.begin(v.c, kind, st.head.length, &v.s.limits)
	if kind != noFraming {
		st.req.Body = &st.body
	}
	v.scope.Begin(v.ctx)
	v.cur.Store(st)
	if v.idle.Dead() {
		v.scope.Cancel(context.Cause(v.ctx))
	}
	if kind == noFraming {
		st.counts.RequestDone = scope.Now()
	}
	st.pipelined = kind == noFraming && len(v.c.Buffered()) > 0
	if d := v.s.o.PeekAfter; d > 0 && !st.pipelined && kind != tunnelFraming && v.c.Raw() != nil {
		now := st.counts.RequestDone
		if now == 0 {
			now = scope.Now()
		}
		v.scope.Arm(scope.Peek, now+int64(d))
	}
}

// ending returns why the connection takes no further exchange, nil when it does.
func (v *serving) ending() error {
	o := &v.s.o
	switch {
	case v.c.Draining():
		return conn.ErrDraining
	case o.MaxRequests > 0 && v.c.Served+1 >= o.MaxRequests:
		return protocol.ErrMaxRequests
	case v.idle.EndAt != 0 && v.idle.EndAt <= scope.Now():
		return protocol.ErrMaxDuration
	}
	return nil
}

// finish ends an exchange that the handler is done with, and brings the connection behind the request.
func (v *serving) finish(st *stream, refused *protocol.Error) (again bool, err error) {
	c, b := v.c, &st.body
	st.watch.stop(c)
	b.stop(nil)
	b.r.settle()
	c.Revive()
	switch {
	case v.idle.Dead():
		return false, context.Cause(v.ctx)
	case st.failed != nil:
		return false, st.failed
	case !st.started.Load() && refused != nil:
		return false, refused
	case !st.started.Load():
		if err = v.scope.Err(); err == nil {
			err = errNoReply
		}
		return false, err
	case st.tunneled:
		return false, nil
	}
	rest := !b.r.ended
	if rest && !st.last {
		v.scope.Disarm(scope.Peek) // which looks at the body
		rest = !v.drain(b)
	}
	if !rest && !st.last {
		return true, nil
	}
	if rest || !st.head.last || refused != nil || len(c.Buffered()) > 0 {
		v.linger()
	}
	switch why := v.ending(); {
	case refused != nil:
		return false, refused
	case st.head.last:
		return false, nil
	default:
		return false, why
	}
}

// drain reads the rest of a request body that nobody wants, if it is short and there soon.
func (v *serving) drain(b *body) bool {
	if b.rest() > drainMost {
		return false
	}
	v.c.Limit(drainTime)
	defer v.c.Limit(0)
	for n := 0; n <= drainMost; {
		p, err := b.r.take()
		if err != nil {
			return err == io.EOF
		}
		n += len(p)
		if p == nil && b.r.more() != nil {
			return false
		}
	}
	return false
}

// linger ends the connection in such a way that the peer can read the last response: a close with unread input would reset it (RFC
// 9112 section 9.6).
func (v *serving) linger() {
	d := v.s.o.DelayedClose
	if d <= 0 {
		return
	}
	v.c.Limit(d) // for the layer's last words as well: the socket may be full of what nobody reads
	if v.c.CloseWrite() != nil {
		return
	}
	v.c.Discard(len(v.c.Buffered()))
	b := conn.GetBuffer(conn.SmallBuffer)
	defer conn.PutBuffer(b)
	for {
		if _, err := v.c.ReadInto(b, false); err != nil {
			return
		}
	}
}

// gone is the error of a request body that the client did not send to its end.
func gone(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", protocol.ErrPeerGone, err)
}
