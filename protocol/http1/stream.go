package http1

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// Errors of a Stream that is used wrongly, or that has ended.
var (
	errStarted = errors.New("http1: the response has begun")
	errReset   = errors.New("http1: the stream is reset")
	errNoReply = errors.New("http1: the request was not answered")
)

// drainable is how much of a request body that nobody wants is read for the sake of the connection, in bytes.
const drainable = 64 << 10

// drainMost is drainable after an upstream's answer, which did not tell the client that the connection ends with it: a client that has sent
// its request to the end takes the connection for good, and its next request would be lost.
const drainMost = 1 << 20

// A stream is the server's end of one exchange. It is pooled: it belongs to an exchange from the first byte of the request to the end of
// ServeStream.
type stream struct {
	v         *serving
	req       message.Request
	head      requestHead
	body      body
	scan      scan
	w         writer
	counts    protocol.Counts
	owner     any
	pipelined bool // bytes of the next request were there when this one began

	started  atomic.Bool // the final response has begun
	tunneled bool        // it was the beginning of a tunnel
	last     bool        // nothing follows this exchange on the connection
	failed   error       // why the response is not complete

	mu        sync.Mutex
	continued bool // 100 was sent, or is not the codec's to send; guarded by mu

	watch watch
}

func (st *stream) Request() *message.Request { return &st.req }
func (st *stream) Version() protocol.Version { return st.head.version }
func (st *stream) Started() bool             { return st.started.Load() }
func (st *stream) CloseAfter()               { st.last = true }
func (st *stream) Conn() *conn.Conn          { return st.v.c }
func (st *stream) SetOwner(o any)            { st.owner = o }
func (st *stream) Owner() any                { return st.owner }

// Counts implements protocol.Stream.
func (st *stream) Counts() *protocol.Counts {
	n := &st.counts
	n.RequestBody, n.RequestWire = st.body.count()
	n.RequestWire += n.RequestHead
	n.ResponseBody, n.ResponseWire = st.w.bytes, st.w.wire
	return n
}

// Wake implements scope.Waker while something is written.
func (st *stream) Wake(cause error) {
	st.v.c.Wake(cause)
	st.body.rouse(cause)
}

// Reset implements protocol.Stream: the connection is closed when ServeStream has returned.
func (st *stream) Reset(cause error) {
	if cause == nil {
		cause = errReset
	}
	if st.failed == nil {
		st.failed = cause
	}
}

// Inform implements protocol.Stream. HTTP/1.0 knows no informational responses: they are left out.
func (st *stream) Inform(status int, h *message.Header) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.started.Load() {
		return errStarted
	}
	if status/100 != 1 || status == 101 {
		return errOutbound1xx
	}
	if st.head.version == protocol.HTTP10 || status == 100 && st.continued {
		return nil
	}
	if status == 100 {
		st.continued = true
	}
	st.w.statusLine(protocol.HTTP11, status)
	if h != nil {
		if err := st.w.fields(h, noLength, 0); err != nil {
			st.w.out = st.w.out[:0]
			return err
		}
	}
	st.w.crlf()
	st.v.scope.Watch(st)
	defer st.v.scope.Unwatch(st)
	return st.w.flush()
}

// sayContinue sends 100 to a client that waits for it, because somebody waits for the body.
func (st *stream) sayContinue() error {
	if !st.head.expects {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.continued || st.started.Load() || st.v.s.o.ProxyContinue {
		return nil
	}
	st.continued = true
	n, err := st.v.c.Write(continueLine)
	st.w.wire += uint64(n)
	return err
}

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n") // immutable

// Respond implements protocol.Stream. When it fails before anything was written, another response may be tried.
func (st *stream) Respond(r *message.Response) error {
	err := st.respond(r)
	r.Body.Close(err)
	return err
}

func (st *stream) respond(r *message.Response) error {
	switch {
	case st.started.Load():
		return errStarted
	case st.failed != nil:
		return st.failed
	}
	st.v.c.Revive()
	if !st.v.scope.Watch(st) {
		return st.v.scope.Err()
	}
	defer st.v.scope.Unwatch(st)
	before := st.v.c.BytesOut()
	kind, err := st.begin(r)
	if err != nil {
		return err
	}
	if r.Tunnel {
		err = st.tunnel(r.Body)
	} else {
		st.body.open(false)
		out := outgoing{w: &st.w, b: r.Body, kind: kind, left: r.Length, trailers: st.v.s.o.EnableTrailers}
		err = out.all()
	}
	st.counts.ResponseDone = scope.Now()
	if err == nil {
		return nil
	}
	source := sourceError{}
	ofBody := errors.As(err, &source)
	if ofBody {
		err = source.error
	}
	st.broke(err, kind, ofBody, st.v.c.BytesOut() > before)
	return err
}

// broke notes that the response is not complete. When nothing of it was sent, because the exchange was cancelled or the body failed at
// once, the handler may still answer.
func (st *stream) broke(err error, kind framing, ofBody, seen bool) {
	st.w.out = st.w.out[:0]
	if !seen && (ofBody || st.v.c.Woken() != nil) {
		st.started.Store(false)
		st.counts.ResponseBegan, st.counts.ResponseDone = 0, 0
		return
	}
	if st.failed != nil {
		return
	}
	st.failed = err
	if kind == closeFraming || kind == tunnelFraming {
		st.v.c.SetLinger0() // an orderly end would make it look complete
	}
}

// begin encodes the head and marks the response as begun.
func (st *stream) begin(r *message.Response) (framing, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	kind, err := st.encode(r)
	if err != nil {
		st.w.out = st.w.out[:0]
		return kind, err
	}
	st.counts.ResponseHead = uint64(len(st.w.out))
	st.counts.ResponseBegan = scope.Now()
	st.started.Store(true)
	return kind, nil
}

// encode decides how the response is framed and appends its head.
func (st *stream) encode(r *message.Response) (framing, error) {
	w, http10 := &st.w, st.head.version == protocol.HTTP10
	kind, rule := lengthFraming, setLength
	switch {
	case r.Tunnel:
		kind, rule = tunnelFraming, noLength
	case r.Status < 200 || r.Status > 999:
		return 0, errOutbound1xx
	case r.Status == 204:
		kind, rule = noFraming, noLength
	case st.head.head, r.Status == 304:
		kind, rule = noFraming, keepLength
		if r.Length > 0 {
			rule = setLength
		}
	case r.Length >= 0:
	case http10:
		kind, rule, st.last = closeFraming, noLength, true
	default:
		kind, rule = chunkedFraming, noLength
	}
	st.decideLast(r)
	w.statusLine(st.head.version, r.Status)
	if err := w.fields(&r.Header, rule, r.Length); err != nil {
		return 0, err
	}
	switch {
	case r.Tunnel && r.Status == 101:
		if err := st.switching(&r.Header); err != nil {
			return 0, err
		}
	case r.Tunnel:
	case st.last:
		w.field("connection", "close")
	case http10:
		w.field("connection", "keep-alive")
	}
	if kind == chunkedFraming {
		w.field("transfer-encoding", "chunked")
	}
	w.crlf()
	return kind, nil
}

// switching appends the fields of a 101: the upstream's token, or the one that was asked for.
func (st *stream) switching(h *message.Header) error {
	token := h.Known(message.Upgrade)
	if token == "" {
		token = st.head.wants
	}
	if !upgradeToken(token) {
		return errUnfit
	}
	st.w.field("connection", "Upgrade")
	st.w.field("upgrade", token)
	return nil
}

// decideLast decides whether the connection ends with this response.
func (st *stream) decideLast(r *message.Response) {
	st.last = st.last || st.head.last || r.Tunnel || st.v.ending() != nil || st.head.connect
	if st.last || st.body.over() || st.head.wants != "" {
		return
	}
	st.mindRest(r)
}

// mindRest decides whether what is left of the request body is worth reading. An upstream that answers early may still want it, so
// only for Weft's own answers the client is told to stop.
func (st *stream) mindRest(r *message.Response) {
	if st.head.expects && !st.continued {
		st.last = true // nobody knows whether the body will come
		return
	}
	if rest := st.body.rest(); r.Local != nil && (rest < 0 || rest > drainable) {
		st.last = true
	}
}

// tunnel passes raw bytes on until both directions have ended. The request's direction is pulled by whoever has the request's body.
func (st *stream) tunnel(b message.Body) error {
	st.tunneled = true
	st.body.open(true)
	if err := st.w.flush(); err != nil {
		return err
	}
	out := outgoing{w: &st.w, b: b, kind: tunnelFraming}
	if err := out.all(); err != nil {
		return err
	}
	if err := st.v.c.CloseWrite(); err != nil {
		return nil // the transport has no half-close: the end of one direction is the end of both
	}
	return st.body.awaitEnd()
}

// wait implements producer for the request's body.
func (st *stream) wait(b *body) error {
	v := st.v
	v.scope.Watch(b)
	defer v.scope.Unwatch(b)
	if err := st.sayContinue(); err != nil {
		return err
	}
	if st.head.wants != "" && b.kept() {
		return b.awaitOpen()
	}
	for {
		err := b.r.more()
		if err == nil {
			return nil
		}
		if v.c.ReviveRead() == nil { // somebody else may be writing the response
			return gone(err)
		}
		if err = b.stopped(); err != nil {
			return err
		}
		if err = v.scope.Err(); err != nil {
			return err
		}
	}
}

// ended implements producer.
func (st *stream) ended() { st.counts.RequestDone = scope.Now() }

// closed implements producer.
func (st *stream) closed(error) {}
