package http2

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// A serverStream is the server's end of one exchange. It is pooled: it belongs to an exchange from HEADERS to the end of ServeStream.
type serverStream struct {
	stream
	v      *serving
	req    message.Request
	head   fieldSet
	scope  scope.Scope
	counts protocol.Counts
	owner  any

	began    int64           // scope.Now when it was opened
	endedAt  int64           // scope.Now when the request was complete, 0 while it is not; guarded by mu
	over     bool            // it no longer counts as open; guarded by mu
	refused  *protocol.Error // why the request was not understood
	answered chan struct{}   // closed when the handler has returned; nil: nobody waits

	started   atomic.Bool // the final response has begun; stored with mu held
	continued bool        // 100 was sent, or is not the codec's to send; guarded by mu
	bare      bool        // the request has no body
	tunneled  bool        // the response began a tunnel
	failed    error
}

// stream takes a stream from the pool for a request of v.
func (s *Server) stream(v *serving) *serverStream {
	st, _ := s.streams.Get().(*serverStream)
	if st == nil {
		st = &serverStream{}
		st.scope.Init(st.fire)
	}
	st.v = v
	return st
}

// release gives the stream and all that it holds back. Borrowed strings of its request are dead.
func (st *serverStream) release() {
	s := st.v.s
	st.stream.clear()
	h := st.req.Header
	h.Reset()
	if h.Cap() > maxKept {
		h = message.Header{}
	}
	st.req = message.Request{Header: h}
	st.head = fieldSet{}
	st.counts, st.endedAt = protocol.Counts{}, 0
	st.v, st.owner, st.refused, st.answered, st.failed = nil, nil, nil, nil, nil
	st.over, st.continued, st.tunneled, st.bare = false, false, false, false
	st.started.Store(false)
	s.streams.Put(st)
}

// prepare completes a stream that has its number.
func (st *serverStream) prepare(end bool) {
	st.began = st.v.r.now
	st.scope.Begin(st.v.ctx)
	st.scope.Watch(&st.stream)
	r := &st.req
	r.Body, r.Length = st, st.head.length
	switch {
	case end:
		st.bare = true
		r.Body, r.Length = message.NoBody, 0
	case r.Length == 0:
		r.Length = -1 // trailers may follow
	}
	if st.head.protocol != "" {
		st.acceptWebSocket()
	}
}

// fire implements the scope's deadlines.
func (st *serverStream) fire(d scope.Due) error { return st.v.h.Expired(st, d) }

// run is the life of the stream on the goroutine of w, which may take another stream when it returns true.
func (st *serverStream) run(w *worker) (again bool) {
	v := st.v
	if st.refused != nil {
		v.h.RefuseStream(&st.scope, st, st.refused)
	} else {
		v.h.ServeStream(&st.scope, st)
	}
	answered := st.answered
	if !st.bare {
		st.stop(nil)
	}
	st.scope.End()
	again = st.finish(w)
	st.release()
	if answered != nil {
		close(answered)
	}
	return again
}

// finish brings the stream to its end: what is not complete is reset. It reports whether w is kept for another stream.
func (st *serverStream) finish(w *worker) bool {
	v := st.v
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &st.stream
	if !s.cutOff && v.failed == nil && (!s.sent || !s.ended) {
		v.remember(s.id)
		_ = v.resetStream(s.id, st.code()) // an error is a flood that the next frame will find, too
	}
	for s.pins > 0 {
		s.await()
	}
	v.over(s)
	s.leave()
	v.returned()
	v.held -= st.head.size
	return v.crew.rest(w)
}

// code is what the stream is reset with.
func (st *serverStream) code() Code {
	switch {
	case st.refused != nil && (st.sent || st.answered != nil):
		return CodeProtocol
	case st.sent:
		return CodeNo // RFC 9113 section 8.1: the response is complete, the rest of the request is not wanted
	}
	var reset *protocol.ResetError
	if errors.As(st.failed, &reset) && !reset.Refused {
		return Code(reset.Code)
	}
	return CodeInternal
}

func (st *serverStream) Request() *message.Request { return &st.req }
func (st *serverStream) Version() protocol.Version { return protocol.HTTP2 }
func (st *serverStream) Conn() *conn.Conn          { return st.v.c }
func (st *serverStream) SetOwner(o any)            { st.owner = o }
func (st *serverStream) Owner() any                { return st.owner }
func (st *serverStream) CloseAfter()               { st.v.rouse(alarmDrain) }

// Started implements protocol.Stream.
func (st *serverStream) Started() bool { return st.started.Load() }

// Counts implements protocol.Stream.
func (st *serverStream) Counts() *protocol.Counts {
	st.v.mu.Lock()
	defer st.v.mu.Unlock()
	n := &st.counts
	n.RequestDone = st.endedAt
	n.RequestBody, n.ResponseBody = st.got, st.put
	n.RequestWire, n.ResponseWire = n.RequestHead+st.gotWire, st.putWire
	return n
}

// Reset implements protocol.Stream: the stream is reset when ServeStream has returned.
func (st *serverStream) Reset(cause error) {
	if cause == nil {
		cause = errReset
	}
	if st.failed == nil {
		st.failed = cause
	}
}

// Next implements message.Body for the request.
func (st *serverStream) Next() ([]byte, error) { return st.take(st.sayContinue) }

// Close implements message.Body for the request.
func (st *serverStream) Close(cause error) { st.stop(cause) }

// sayContinue sends 100 to a client that waits for it, because somebody waits for the body. mu is held.
func (st *serverStream) sayContinue() error {
	if !st.head.expects || st.continued || st.started.Load() || st.v.s.o.ProxyContinue {
		return nil
	}
	st.continued = true
	w := st.section()
	w.status(100)
	w.done(false)
	return nil
}

// Inform implements protocol.Stream.
func (st *serverStream) Inform(status int, h *message.Header) error {
	if status/100 != 1 || status == 101 || h != nil && !fit(h) {
		return errOutbound
	}
	m := &st.v.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	defer st.unlist()
	if st.started.Load() {
		return errStarted
	}
	if status == 100 && st.continued {
		return nil
	}
	if err := st.room(); err != nil {
		return err
	}
	st.continued = st.continued || status == 100
	w := st.section()
	w.status(status)
	if h != nil {
		w.fields(h, dropLength)
	}
	w.done(false)
	return nil
}

// Respond implements protocol.Stream.
func (st *serverStream) Respond(r *message.Response) error {
	err := st.respond(r)
	r.Body.Close(err)
	return err
}

func (st *serverStream) respond(r *message.Response) error {
	if st.failed != nil {
		return st.failed
	}
	if st.roused.Load() {
		st.forget()
		if err := st.scope.Err(); err != nil {
			return err
		}
	}
	end, err := st.begin(r)
	if err != nil {
		return err
	}
	if !end {
		err = st.relay(r.Body)
		if err == nil && st.tunneled {
			err = st.awaitEnd()
		}
	}
	st.counts.ResponseDone = scope.Now()
	if err == nil {
		return nil
	}
	err, _ = ofSource(err)
	if st.failed == nil {
		st.failed = err
	}
	return err
}

// begin sends the head; end reports that there is nothing else to send.
func (st *serverStream) begin(r *message.Response) (end bool, err error) {
	status := r.Status
	if r.Tunnel && status == 101 {
		status = 200 // RFC 8441 section 5
	}
	if status < 200 || status > 999 || !fit(&r.Header) {
		return false, errOutbound
	}
	head := st.head.method == "HEAD"
	end = head || status == 204 || status == 304 || r.Length == 0 && !r.Tunnel && ended(r.Body)
	m := &st.v.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	defer st.unlist()
	if st.started.Load() {
		return false, errStarted
	}
	if err := st.room(); err != nil {
		return false, err
	}
	w := st.section()
	w.status(status)
	rule := st.lengthRule(r, head, status)
	if st.tunneled = r.Tunnel; r.Tunnel && st.head.protocol != "" {
		r.Header.Del(secAccept) // RFC 8441 has other means
	}
	w.fields(&r.Header, rule)
	if rule == setLength {
		w.length(r.Length)
	}
	st.counts.ResponseHead = uint64(w.done(end)) + frameHead
	st.putWire += st.counts.ResponseHead
	st.started.Store(true)
	st.sent = end
	st.counts.ResponseBegan = scope.Now()
	if end && st.ended {
		st.v.over(&st.stream)
	}
	return end, nil
}

// ended reports whether a body without bytes is known to have no trailers either. Where they may still come, as a Go server's do after
// "content-length: 0", the head must not end the stream; where they cannot it must, as gRPC's trailers-only responses do.
func ended(b message.Body) bool {
	if !b.Ready() {
		return false
	}
	_, err := b.Next()
	return err == io.EOF && (b.Trailer() == nil || b.Trailer().Len() == 0)
}

// lengthRule decides about content-length.
func (st *serverStream) lengthRule(r *message.Response, head bool, status int) lengthRule {
	switch {
	case r.Tunnel, status == 204:
		return dropLength
	case head, status == 304:
		if r.Length > 0 {
			return setLength
		}
		return keepLength
	case r.Length > 0, r.Length == 0 && r.Header.HasKnown(message.ContentLength):
		return setLength
	}
	return dropLength
}
