package http1

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

const (
	// inline is how much of a request body is written before the response is looked for, in bytes. It is no more than socket buffers hold:
	// two peers that both write and do not read would wait for each other.
	inline = 64 << 10
	// max1xx bounds the informational responses before a final one.
	max1xx = 64
	// spins is how often a finished response lets a pump run that is about to end.
	spins = 100
)

var errNoContinue = errors.New("http1: no 100 came") // cause of a wake

// A call is one request and its response on a session. It is pooled: it belongs to RoundTrip's caller until the response is released.
type call struct {
	s      *session
	ctx    context.Context
	resp   message.Response
	head   responseHead
	body   body
	scan   scan
	w      writer
	out    outgoing
	asked  asked
	counts protocol.Counts
	reg    scope.Registration

	informer message.Informer
	expects  bool   // the request body waits for 100
	written  uint64 // bytes that the connection had sent before

	pumping  bool
	pump     sync.WaitGroup
	sentAt   atomic.Int64 // scope.Now when the whole request was written; 0: it is not
	finished atomic.Bool  // the session is no longer ours
}

// call takes a call from the pool.
func (cl *Client) call(s *session, ctx context.Context, r *message.Request) *call {
	x, _ := cl.calls.Get().(*call)
	if x == nil {
		x = &call{}
	}
	x.s, x.ctx, x.informer = s, ctx, r.Informer
	x.w.c, x.w.names = s.c, cl.o.HeaderCase
	x.asked = asked{head: r.Method == "HEAD", connect: r.Upgrade == "connect", upgrade: r.Upgrade != "" && r.Upgrade != "connect"}
	x.written = s.c.BytesOut()
	return x
}

// encode appends the request head and decides how the body is sent.
func (x *call) encode(r *message.Request) *protocol.Error {
	w, o := &x.w, &x.s.cl.o
	target := r.Path
	if x.asked.connect {
		target = r.Authority
	}
	if !all(r.Method, classToken) || !all(target, classTarget) || r.Authority != "" && !all(r.Authority, classTarget) ||
		(r.Method == "CONNECT") != x.asked.connect {
		return errUnfit
	}
	w.out = append(append(w.out, r.Method...), ' ')
	if o.SendFullyQualifiedURL && !x.asked.connect && target != "*" {
		w.out = append(append(append(w.out, r.Scheme...), "://"...), r.Authority...)
	}
	w.out = append(append(w.out, target...), " HTTP/1.1\r\n"...)
	w.field("host", r.Authority)
	x.out = outgoing{w: w, b: r.Body, left: r.Length, trailers: o.EnableTrailers}
	rule := noLength
	switch {
	case r.Upgrade != "":
		x.out.kind = tunnelFraming
	case r.Length > 0:
		x.out.kind, rule = lengthFraming, setLength
	case r.Length < 0:
		x.out.kind = chunkedFraming
	case r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH":
		rule = setLength // RFC 9110 section 8.6
	}
	if w.fields(&r.Header, rule, r.Length) != nil || x.asked.upgrade && !upgradeToken(r.Upgrade) {
		return errUnfit
	}
	switch {
	case x.out.kind == chunkedFraming:
		w.field("transfer-encoding", "chunked")
	case x.asked.upgrade:
		w.field("connection", "Upgrade")
		w.field("upgrade", r.Upgrade)
	}
	w.crlf()
	x.expects = x.out.kind != noFraming && r.Upgrade == "" && fold(r.Header.Known(message.Expect), "100-continue")
	x.counts.RequestHead = uint64(len(w.out))
	return nil
}

// send writes the head, and the body if it is there and small. It leaves the rest to a pump.
func (x *call) send() error {
	var err error
	switch {
	case x.out.kind == noFraming:
		err = x.w.flush()
		x.allSent()
	case x.out.kind == tunnelFraming || x.expects:
		err = x.w.flush()
	default:
		err = x.sendBody()
	}
	return err
}

// sendBody writes the body while it is there.
func (x *call) sendBody() error {
	for x.w.bytes < inline {
		if !x.out.b.Ready() {
			if len(x.w.out) > 0 {
				if err := x.w.flush(); err != nil {
					return x.sendFailed(err)
				}
			}
			x.s.c.Yield(yields)
			if !x.out.b.Ready() {
				break
			}
		}
		done, err := x.out.step()
		if err != nil {
			return x.sendFailed(err)
		}
		if done {
			x.allSent()
			return nil
		}
	}
	x.startPump()
	return nil
}

func (x *call) allSent() {
	x.sentAt.Store(scope.Now())
}

// sendFailed decides what to make of a request that could not be written to its end. A peer that closes the connection may have said why:
// then its response counts.
func (x *call) sendFailed(err error) error {
	if source := (sourceError{}); errors.As(err, &source) {
		return &protocol.BodyError{Cause: source.error}
	}
	if x.s.c.Woken() == nil && x.s.c.BytesOut() > x.written && x.s.c.TryFill() == nil {
		return nil // receive reads it; the request stays unsent, so that the connection is not used again
	}
	return x.broken(err)
}

// startPump hands the rest of the body to a goroutine. It ends with the body, or when its body or its connection is woken; join waits for
// it.
func (x *call) startPump() {
	x.pumping = true
	x.pump.Add(1)
	go x.pumpBody()
}

func (x *call) pumpBody() {
	defer x.pump.Done()
	err := x.out.all()
	if source := (sourceError{}); errors.As(err, &source) {
		x.s.c.Wake(&protocol.BodyError{Cause: source.error})
		return
	}
	if err != nil {
		return // whoever reads the response finds the connection broken, or an answer
	}
	if x.out.kind == tunnelFraming {
		_ = x.s.c.CloseWrite() // a transport without half-close: the peer learns it at the end
	}
	x.allSent()
}

// receive reads the response head. Informational responses go to the request's Informer.
func (x *call) receive() error {
	if x.expects {
		return x.receiveContinue()
	}
	return x.receiveFinal(0)
}

// receiveContinue waits for 100 before the body is sent, but not for ever.
func (x *call) receiveContinue() error {
	c := x.s.c
	t := time.AfterFunc(x.s.cl.o.ContinueTimeout, func() { c.WakeRead(errNoContinue) })
	n := 0
	for x.expects {
		err := x.readHead()
		if err == errNoContinue {
			break
		}
		if err != nil {
			t.Stop()
			return err
		}
		if x.resp.Status >= 200 || x.resp.Tunnel {
			t.Stop()
			return x.begun()
		}
		if n++; n > max1xx {
			t.Stop()
			return x.refused(errTooMany1xx)
		}
		x.expects = x.resp.Status != 100
		x.inform()
	}
	t.Stop()
	x.expects = false
	if err := x.sendBody(); err != nil {
		return err
	}
	return x.receiveFinal(n)
}

// receiveFinal reads on to the final response; n informational ones have come.
func (x *call) receiveFinal(n int) error {
	if !x.pumping {
		x.s.c.Yield(yields)
	}
	for ; ; n++ {
		if err := x.readHead(); err != nil {
			if err == errNoContinue {
				continue
			}
			return err
		}
		if x.resp.Status >= 200 || x.resp.Tunnel {
			return x.begun()
		}
		if n >= max1xx {
			return x.refused(errTooMany1xx)
		}
		x.inform()
	}
}

// inform hands on an informational response and forgets it.
func (x *call) inform() {
	if x.informer != nil {
		_ = x.informer.Inform(x.resp.Status, &x.resp.Header) // a downstream that is gone shows elsewhere
	}
	x.resp.Header.Reset()
	x.scan.reset()
	x.head = responseHead{}
}

// statusStart is what every response begins with.
const statusStart = "HTTP/1."

// readHead reads and decodes one head.
func (x *call) readHead() error {
	c := x.s.c
	for {
		if b := c.Buffered(); len(b) > 0 {
			if n := min(len(b), len(statusStart)); string(b[:n]) != statusStart[:n] {
				return x.refused(errStatusLine) // at once: who speaks another protocol may wait for us
			}
			n, refused := x.scan.find(b, &x.s.cl.limits)
			if refused == nil && n > 0 {
				refused = x.decode(n)
			}
			if refused != nil {
				return x.refused(refused)
			}
			if n > 0 {
				return nil
			}
		}
		err := c.Fill()
		if err == conn.ErrBufferFull {
			c.Grow(4 * len(c.Buffered()))
			continue
		}
		if err != nil {
			return x.headFailed(err)
		}
	}
}

func (x *call) decode(n int) *protocol.Error {
	c := x.s.c
	if len(x.scan.lines) == 0 {
		return errStatusLine
	}
	err := x.s.cl.o.parse(&x.head, &x.resp, c.Buffered()[:n], &x.scan, x.asked)
	c.Discard(n)
	x.counts.ResponseHead += uint64(n)
	return err
}

// headFailed is the error of a connection that ends or is woken inside a head. It may be errNoContinue, when nothing else happened.
func (x *call) headFailed(err error) error {
	c := x.s.c
	if c.Woken() == errNoContinue {
		c.Revive()
		if cause := scope.Cause(x.ctx); cause != nil {
			return cause
		}
		return errNoContinue
	}
	return x.broken(err)
}

// broken is the error of a connection that failed, or the cause of the wake that made it fail.
func (x *call) broken(err error) error {
	c := x.s.c
	if cause := c.Woken(); cause != nil {
		return cause
	}
	seen := x.resp.Body != nil || len(c.Buffered()) > 0 || x.counts.ResponseHead > 0
	if seen && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &protocol.BrokenError{Cause: err, NothingSent: c.BytesOut() == x.written, HeadSeen: seen}
}

// refused is the error of a response that breaks the protocol.
func (x *call) refused(e *protocol.Error) error {
	r := *e
	r.Status, r.HeadSeen = 502, true
	return &r
}

// begun prepares the body of the response whose head is there.
func (x *call) begun() error {
	b := &x.body
	b.begin(x, 1)
	b.r.begin(x.s.c, x.head.kind, x.head.length, &x.s.cl.limits)
	x.resp.Body, x.resp.Owner = b, x
	x.counts.ResponseBegan = scope.Now()
	if x.resp.Tunnel {
		x.startPump()
	}
	return nil
}

// wait implements producer for the response's body.
func (x *call) wait(b *body) error {
	for {
		err := b.r.more()
		if err == nil {
			return nil
		}
		if x.s.c.Woken() == errNoContinue {
			x.s.c.Revive()
			if err = b.stopped(); err != nil {
				return err
			}
			if err = scope.Cause(x.ctx); err != nil {
				return err
			}
			continue
		}
		return x.broken(err)
	}
}

// ended implements producer.
func (x *call) ended() { x.counts.ResponseDone = scope.Now() }

// closed implements producer: the session goes back to its owner.
func (x *call) closed(cause error) {
	if x.finished.Swap(true) {
		return
	}
	complete := x.body.r.ended && x.body.r.err == nil
	x.join(complete, cause)
	x.reg.Stop()
	s := x.s
	x.body.r.settle()
	x.body.r.drop()
	free := complete && x.sentAt.Load() != 0 && !x.head.last && len(s.c.Buffered()) == 0 && s.c.Woken() == nil
	if _, ok := x.ctx.(*scope.Scope); !ok && x.ctx.Err() != nil {
		free = false // a wake may still be on its way
	}
	if !free {
		s.gone.Store(true)
		s.owner.Gone(s, cause)
		s.owner.Freed(s)
		return
	}
	s.c.Release()
	s.used = true
	s.busy.Store(false)
	s.owner.Freed(s)
}

// join waits for the pump. One that has more to send than the peer waits for is stopped.
func (x *call) join(complete bool, cause error) {
	if !x.pumping {
		return
	}
	if complete && !x.resp.Tunnel {
		for i := 0; i < spins && x.sentAt.Load() == 0; i++ {
			runtime.Gosched()
		}
	}
	if x.sentAt.Load() == 0 {
		if cause == nil {
			cause = message.ErrBodyClosed
		}
		x.s.c.Wake(cause)
		x.out.b.Close(cause)
	}
	x.pump.Wait()
}

// abandon ends a call that has no response.
func (x *call) abandon(cause error) {
	x.finished.Store(true)
	x.join(false, cause)
	x.reg.Stop()
	x.s.gone.Store(true)
	x.s.owner.Gone(x.s, cause)
	x.s.owner.Freed(x.s)
}

// Counts implements protocol.Call.
func (x *call) Counts() *protocol.Counts {
	n := &x.counts
	n.RequestDone = x.sentAt.Load()
	if !x.pumping || x.sentAt.Load() != 0 {
		n.RequestBody, n.RequestWire = x.w.bytes, x.w.wire
	}
	n.ResponseBody, n.ResponseWire = x.body.count()
	n.ResponseWire += n.ResponseHead
	return n
}

// Release implements message.Releaser.
func (x *call) Release(*message.Response) {
	if !x.finished.Load() {
		return // its body is still open: the garbage collector's
	}
	cl := x.s.cl
	x.body.release()
	x.w.release()
	x.scan.reset()
	h := x.resp.Header
	h.Reset()
	if h.Cap() > maxKept {
		h = message.Header{}
	}
	x.resp = message.Response{Header: h}
	x.head, x.out, x.asked, x.counts, x.reg = responseHead{}, outgoing{}, asked{}, protocol.Counts{}, scope.Registration{}
	x.s, x.ctx, x.informer = nil, nil, nil
	x.expects, x.pumping, x.written = false, false, 0
	x.sentAt.Store(0)
	x.finished.Store(false)
	cl.calls.Put(x)
}
