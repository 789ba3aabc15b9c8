package http2

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2/hpack"
)

const (
	// inline is how much of a request body is sent before the response is looked for, in bytes.
	inline = 64 << 10
	// most1xx bounds the informational responses before a final one.
	most1xx = 64
	// lastWords is how long a connection that ends may take to write what is queued.
	lastWords = time.Second
	// alarmPing asks the reader for a PING.
	alarmPing = 1 << 21
)

// How far a response is.
const (
	headAwaited = iota
	headThere
	headTaken
)

// An informed is an informational response that waits for RoundTrip to hand it on.
type informed struct {
	status int
	header message.Header
}

// A call is one request and its response on a session. It is pooled: it belongs to RoundTrip's caller until the response is released.
type call struct {
	stream
	s      *session
	ctx    context.Context
	reg    scope.Registration
	resp   message.Response
	counts protocol.Counts

	method   string
	upgrade  string
	key      string // sec-websocket-key of the request
	informer message.Informer
	expects  bool   // the request body waits for 100
	at       uint64 // mux.queued before the request

	// Guarded by mu.
	state     int
	informs   []informed
	informed  int
	continued bool // 100 came, or its time is up

	body     message.Body
	pumping  bool
	pump     sync.WaitGroup
	sentAt   atomic.Int64 // scope.Now when the whole request was queued; 0: it is not
	finished atomic.Bool  // the body was closed
}

// call takes a call from the pool.
func (cl *Client) call(s *session, ctx context.Context, r *message.Request) *call {
	x, _ := cl.calls.Get().(*call)
	if x == nil {
		x = &call{}
	}
	x.s, x.ctx, x.informer = s, ctx, r.Informer
	x.method, x.upgrade, x.body = r.Method, r.Upgrade, r.Body
	return x
}

// begin sends the request's head. An error says that nothing was sent.
func (x *call) begin(r *message.Request) error {
	s := x.s
	if !fit(&r.Header) || !all(r.Method, classToken) || !all(r.Path, classPath) || !all(r.Authority, classPath) ||
		r.Method == "" || (r.Path == "") != (r.Upgrade == "connect") {
		unfit := *errUnfit
		unfit.NothingSent = true
		return &unfit
	}
	end := r.Length == 0 && r.Upgrade == ""
	if x.wantsWebSocket() {
		x.key = r.Header.Get(secKey)
		r.Header.Del(secKey)
	}
	x.expects = !end && r.Upgrade == "" && message.EqualFold(r.Header.Known(message.Expect), "100-continue")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(); err != nil {
		return err
	}
	if x.wantsWebSocket() && !s.peerConnects {
		return errNoConnect
	}
	x.at = s.queued
	x.stream.call = x
	x.start(&s.mux, s.nextID)
	s.nextID += 2
	s.active++
	w := x.section()
	x.target(&w, r)
	rule := keepLength
	if r.Length >= 0 && !end {
		rule = setLength
	} else if r.Length < 0 {
		rule = dropLength
	}
	w.fields(&r.Header, rule)
	if rule == setLength {
		w.length(r.Length)
	}
	x.counts.RequestHead = uint64(w.done(end)) + frameHead
	x.putWire += x.counts.RequestHead
	if end {
		x.sent = true
		x.sentAt.Store(scope.Now())
	}
	s.used.Store(true)
	return nil
}

// admit reports whether another stream may start. mu is held.
func (s *session) admit() error {
	switch {
	case s.failed != nil:
		return &protocol.BrokenError{Cause: s.failed, NothingSent: true}
	case s.gone != nil:
		return &protocol.ResetError{Refused: true}
	case s.nextID > maxStreamID-2:
		s.gone = errSessionUp // RoundTrip tells the owner
		return &protocol.ResetError{Refused: true}
	}
	if d := s.o.PingIdleInterval; d > 0 && s.active == 0 && s.heard != 0 && scope.Now()-s.heard >= int64(d) {
		s.rouse(alarmPing)
	}
	return nil
}

func (x *call) wantsWebSocket() bool { return x.upgrade != "" && x.upgrade != "connect" }

// target appends the pseudo-header fields.
func (x *call) target(w *section, r *message.Request) {
	switch {
	case r.Upgrade == "connect":
		w.pseudo(hpack.Method, "CONNECT")
		w.pseudo(hpack.Authority, r.Authority)
		return
	case r.Upgrade != "":
		w.pseudo(hpack.Method, "CONNECT")
		w.pseudo(hpack.Protocol, r.Upgrade)
	default:
		w.pseudo(hpack.Method, r.Method)
	}
	scheme := r.Scheme
	if scheme == "" {
		scheme = "http"
	}
	w.pseudo(hpack.Scheme, scheme)
	if r.Authority != "" {
		w.pseudo(hpack.Authority, r.Authority)
	}
	w.pseudo(hpack.Path, r.Path)
}

// exchange sends the body and waits for the response's head.
func (x *call) exchange(r *message.Request) error {
	x.reg = scope.OnCancel(x.ctx, &x.stream)
	switch {
	case x.sent, r.Upgrade != "":
	case x.expects:
		x.startPump()
	default:
		if err := x.sendReady(); err != nil {
			return err
		}
	}
	return x.awaitHead()
}

// sendReady sends the body while it is there, and leaves the rest to a pump.
func (x *call) sendReady() error {
	for n := 0; n < inline && x.body.Ready(); {
		p, err := x.body.Next()
		if err == io.EOF {
			return x.allRead()
		}
		if err != nil {
			return x.sourceFailed(err)
		}
		n += len(p)
		if err = x.data(p); err != nil {
			return x.sendFailed(err)
		}
	}
	x.startPump()
	return nil
}

// allRead sends the end of the request.
func (x *call) allRead() error {
	if err := x.finishWith(x.body.Trailer()); err != nil {
		return x.sendFailed(err)
	}
	x.sentAt.Store(scope.Now())
	return nil
}

// sendFailed looks at an error of sending: when the response tells more, that counts.
func (x *call) sendFailed(err error) error {
	if err, ok := ofSource(err); ok {
		return x.sourceFailed(err)
	}
	return nil // awaitHead finds out
}

// sourceFailed ends the stream whose request broke off.
func (x *call) sourceFailed(err error) error {
	if errors.Is(err, message.ErrPaused) || errors.Is(err, message.ErrBodyClosed) {
		return nil
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	fail := &protocol.BodyError{Cause: err}
	x.breakOff(fail)
	return fail
}

// startPump sends the rest of the body on a goroutine of its own.
func (x *call) startPump() {
	x.pumping = true
	x.pump.Add(1)
	go func() { // ends when the body has, when sending fails, or at join
		defer x.pump.Done()
		if x.expects && !x.awaitContinue() {
			return
		}
		for {
			p, err := x.body.Next()
			if err == io.EOF {
				_ = x.allRead() // RoundTrip or the body's reader learns of it
				return
			}
			if err != nil {
				_ = x.sourceFailed(err) // the same
				return
			}
			if err = x.data(p); err != nil {
				return
			}
		}
	}()
}

// awaitContinue waits until the server asks for the body or its time is up.
func (x *call) awaitContinue() bool {
	m := &x.s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	fired := make(chan struct{})
	timer := time.AfterFunc(x.s.cl.o.ContinueTimeout, func() { defer close(fired); x.goAhead() })
	for !x.continued && x.blockedBy() == nil && x.state == headAwaited {
		x.writable.Wait()
	}
	if !timer.Stop() {
		m.mu.Unlock()
		<-fired // it uses the call, which may be another's soon
		m.mu.Lock()
	}
	return x.blockedBy() == nil
}

// goAhead lets the body be sent.
func (x *call) goAhead() {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.continued = true
	x.writable.Broadcast()
}

// awaitHead waits for the head, and hands on what comes before it.
func (x *call) awaitHead() error {
	m := &x.s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		switch {
		case len(x.informs) > 0:
			i := x.informs[0]
			x.informs = x.informs[1:]
			m.mu.Unlock()
			if x.informer != nil {
				_ = x.informer.Inform(i.status, &i.header) // the client that does not want it will say so itself
			}
			m.mu.Lock()
			continue
		case x.state == headThere:
			return x.taken()
		case x.dead != nil:
			return x.s.broke(&x.stream, x.dead)
		case x.woken != nil:
			return x.woken
		}
		x.await()
	}
}

// taken completes the response. mu is held.
func (x *call) taken() error {
	x.state = headTaken
	r := &x.resp
	r.Owner = x
	r.Body = message.Body(x)
	if x.ended && len(x.in.buf) == 0 && !x.trailed {
		r.Length = 0
	}
	if x.upgrade != "" && r.Status/100 == 2 {
		x.open()
	}
	return nil
}

// open makes the response the beginning of a tunnel.
func (x *call) open() {
	r := &x.resp
	r.Tunnel, r.Length = true, -1
	if x.wantsWebSocket() {
		r.Status = 101
		r.Header.SetKnown(message.Upgrade, x.upgrade)
		if x.key != "" && !r.Header.Has(secAccept) {
			r.Header.Add(secAccept, accept(x.key))
		}
	}
	x.startPump()
}

// whereTo returns where the next header section goes. mu is held.
func (x *call) whereTo() *message.Header {
	if x.state != headAwaited {
		return &x.trailer
	}
	return &x.resp.Header
}

// took takes a decoded section. mu is held.
func (x *call) took(q *fieldSet, f frame, size int) *protocol.Error {
	end := f.flags&flagEndStream != 0
	x.gotWire += uint64(size)
	if x.state != headAwaited {
		return x.tookTrailer(q, end)
	}
	x.counts.ResponseHead += uint64(size)
	status, bad := q.response()
	switch {
	case bad != nil:
		return bad
	case status/100 == 1:
		return x.tookInterim(status, end)
	}
	x.resp.Status, x.resp.Length = status, q.length
	if x.method != "HEAD" && status != 304 && status != 204 {
		x.left = q.length
		if end && q.length > 0 {
			return errLengthBody
		}
	} else {
		x.left = 0
		x.resp.Length = 0
	}
	x.state = headThere
	x.counts.ResponseBegan = x.s.r.now
	if end {
		x.resp.Length = 0
		x.complete()
	}
	x.announce()
	x.writable.Broadcast()
	return nil
}

func (x *call) complete() {
	x.stream.finished()
	x.s.ended(&x.stream)
}

// tookInterim keeps an informational response for RoundTrip. mu is held.
func (x *call) tookInterim(status int, end bool) *protocol.Error {
	if x.informed++; end || status == 101 || x.informed > most1xx {
		return errNotFinal
	}
	if status == 100 {
		x.continued = true
		x.writable.Broadcast()
	}
	x.informs = append(x.informs, informed{status: status, header: x.resp.Header})
	x.resp.Header = message.Header{}
	x.announce()
	return nil
}

// tookTrailer takes the trailers. mu is held.
func (x *call) tookTrailer(q *fieldSet, end bool) *protocol.Error {
	if bad := q.trailers(); bad != nil {
		return bad
	}
	if !end || x.ended || x.left > 0 {
		return errTrailers
	}
	x.trailed = true
	x.complete()
	return nil
}

// response checks a response's section.
func (q *fieldSet) response() (int, *protocol.Error) {
	if q.bad != nil {
		if q.bad.Status == 431 {
			return 0, &protocol.Error{Status: 502, Details: q.bad.Details, Reason: q.bad.Reason}
		}
		return 0, q.bad
	}
	n, ok := decimal(q.status)
	if !ok || len(q.status) != 3 || n < 100 || q.pseudo != bit(hpack.Status) {
		return 0, errStatus
	}
	return int(n), nil
}

// Next implements message.Body for the response.
func (x *call) Next() ([]byte, error) {
	p, err := x.take(nil)
	if err != nil && (err != io.EOF || !x.done) { // io.EOF may also be the connection's end
		x.s.mu.Lock()
		err = x.s.broke(&x.stream, err)
		x.s.mu.Unlock()
	}
	return p, err
}

// Close implements message.Body for the response: the stream is over, and reset where it is not complete.
func (x *call) Close(cause error) {
	if x.finished.Swap(true) {
		return
	}
	if !x.closeQuick() {
		x.stop(cause)
		x.over(cause)
	}
}

// closeQuick is Close for the ordinary case: a response that was read to its end, of a request that was sent without a pump.
func (x *call) closeQuick() bool {
	if x.pumping {
		return false
	}
	s := x.s
	s.mu.Lock()
	if !x.done || !x.sent || x.pins > 0 || x.reading {
		s.mu.Unlock()
		return false
	}
	x.shut, x.halt = message.ErrBodyClosed, message.ErrBodyClosed
	x.in.settle()
	x.depart()
	s.mu.Unlock()
	x.reg.Stop()
	s.owner.Freed(s)
	return true
}

// depart takes the stream out of the session's count. mu is held.
func (x *call) depart() {
	s := x.s
	x.leave()
	s.active--
	if s.active == 0 && s.o.PingIdleInterval > 0 {
		s.heard = scope.Now()
	}
}

// abandon ends a call that has no response.
func (x *call) abandon(cause error) {
	x.finished.Store(true)
	if x.stream.m != nil {
		x.stop(cause)
		x.over(cause)
		return
	}
	x.s.owner.Freed(x.s)
}

// over takes the stream off the session.
func (x *call) over(cause error) {
	s := x.s
	s.mu.Lock()
	if x.halt == nil {
		x.halt = message.ErrBodyClosed
	}
	complete := x.ended
	if !x.cutOff && s.failed == nil && (!x.ended || !x.sent) {
		code := CodeCancel
		if complete {
			code = CodeNo
		}
		x.cutOff = true
		if err := s.resetStream(x.id, code); err != nil {
			s.mu.Unlock()
			s.giveUp(err)
			s.mu.Lock()
		}
	}
	x.writable.Broadcast()
	s.mu.Unlock()
	if x.pumping {
		if x.sentAt.Load() == 0 {
			if cause == nil {
				cause = message.ErrBodyClosed
			}
			x.body.Close(cause)
		}
		x.pump.Wait()
	}
	x.reg.Stop()
	s.mu.Lock()
	for x.pins > 0 {
		x.await()
	}
	x.depart()
	s.mu.Unlock()
	s.owner.Freed(s)
}

// Counts implements protocol.Call.
func (x *call) Counts() *protocol.Counts {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	n := &x.counts
	n.RequestDone = x.sentAt.Load()
	n.RequestBody, n.RequestWire = x.put, x.putWire
	n.ResponseBody, n.ResponseWire = x.got, x.gotWire
	return n
}

// Release implements message.Releaser.
func (x *call) Release(*message.Response) {
	if !x.finished.Load() {
		return // its body is still open: the garbage collector's
	}
	if _, own := x.ctx.(*scope.Scope); !own && x.ctx.Done() != nil {
		return // the same: a Wake of a plain context may have begun (scope.Registration.Stop)
	}
	cl := x.s.cl
	x.clear()
	h := x.resp.Header
	h.Reset()
	if h.Cap() > maxKept {
		h = message.Header{}
	}
	x.resp = message.Response{Header: h}
	x.s, x.ctx, x.informer, x.body = nil, nil, nil, nil
	x.reg, x.counts = scope.Registration{}, protocol.Counts{}
	x.method, x.upgrade, x.key = "", "", ""
	x.expects, x.continued, x.pumping = false, false, false
	x.state, x.informs, x.informed, x.at = headAwaited, nil, 0, 0
	x.sentAt.Store(0)
	x.finished.Store(false)
	cl.calls.Put(x)
}
