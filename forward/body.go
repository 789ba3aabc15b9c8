package forward

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

// requestBody is the request's body as one attempt sees it. The session's pump may read it on a goroutine of its own.
type requestBody struct {
	message.Body
	f       *flight
	limit   int          // bytes that are recorded for another attempt; -1: none
	sent    atomic.Int64 // bytes
	touched atomic.Bool  // something was read
	over    atomic.Bool  // more than limit was read
	done    atomic.Int64 // scope.Now at the end
	err     error        // why it broke off; read when the attempt is over
}

// begin prepares the body for an attempt.
func (b *requestBody) begin(src message.Body, limit int) {
	b.Body, b.limit, b.err = src, limit, nil
	b.sent.Store(0)
	b.touched.Store(false)
	b.over.Store(false)
	b.done.Store(0)
}

// Next implements message.Body.
func (b *requestBody) Next() ([]byte, error) {
	b.touched.Store(true)
	p, err := b.Body.Next()
	switch {
	case err == nil:
		if n := b.sent.Add(int64(len(p))); b.limit >= 0 && n > int64(b.limit) {
			b.over.Store(true)
		}
	case err == io.EOF:
		b.done.Store(scope.Now())
		b.f.x.At(exchange.Receive)
		b.f.arm()
	case !errors.Is(err, message.ErrPaused) && !errors.Is(err, message.ErrBodyClosed):
		b.err = err
	}
	return p, err
}

// Pause implements message.Pauser where the body below does.
func (b *requestBody) Pause() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Pause()
	}
}

// Resume implements message.Pauser.
func (b *requestBody) Resume() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Resume()
	}
}

// responseBody is the response's body on its way downstream. Its end is the end of the attempt.
type responseBody struct {
	message.Body
	f      *flight
	bytes  uint64
	ended  bool
	closed bool
}

func (b *responseBody) begin(src message.Body) {
	b.Body, b.bytes, b.ended, b.closed = src, 0, false, false
}

// Next implements message.Body.
func (b *responseBody) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if err == nil {
		b.bytes += uint64(len(p))
		if b.f.nested && b.f.timeouts.perTryIdle > 0 {
			b.f.child.Extend(scope.TryIdle, scope.Now()+int64(b.f.timeouts.perTryIdle))
		}
		return p, nil
	}
	if b.ended {
		return nil, err
	}
	b.ended = true
	if err == io.EOF {
		b.f.entry.Trailer = b.Body.Trailer()
		b.f.creditTrailers(b.f.entry.Trailer)
		b.f.complete(scope.Now())
		return nil, err
	}
	return nil, b.f.broke(err)
}

// Close implements message.Body.
func (b *responseBody) Close(cause error) {
	b.Body.Close(cause)
	if b.closed {
		return
	}
	b.closed = true
	b.f.landed()
}

// broke says what the downstream's response breaks off with, and counts it.
func (f *flight) broke(err error) error {
	f.router.RqResetAfter.Inc()
	f.awaiting = false
	h := f.host.Stats()
	h.RqError.Inc()
	f.end(scope.Now())
	cause := scope.Cause(f.ctx)
	var e *exchange.Error
	var own *protocol.BodyError
	switch {
	case cause != nil:
		f.counts.RqTxReset.Inc()
		if errors.As(cause, &e) && e.Flag&observe.UT != 0 {
			f.counts.RqTimeout.Inc()
			f.each(classTimeout)
			h.RqTimeout.Inc()
		}
		return cause
	case errors.As(err, &own):
		f.counts.RqTxReset.Inc()
		return requestBroken(own.Cause)
	case limit(err) != nil:
		f.counts.RqTxReset.Inc()
		f.countLimit(err)
		return limit(err)
	}
	why := classify(err)
	switch why {
	case protocolError:
		f.counts.CxProtocolError.Inc()
	case remoteReset:
		f.counts.RqRxReset.Inc()
	}
	return brokenOff(why, err)
}

// landed closes the books of an exchange whose response body is closed.
func (f *flight) landed() {
	if f.active {
		f.counts.RqTxReset.Inc() // nobody read the response to its end
		f.end(scope.Now())
	}
	f.release()
	r := &f.x.Record
	r.UpstreamBytesIn, r.UpstreamBytesOut = f.out.bytes, uint64(f.in.sent.Load())
	if r.UpstreamSent == 0 {
		r.UpstreamSent = f.in.done.Load()
	}
	r.UpstreamWireIn += r.UpstreamBytesIn
	r.UpstreamWireOut += r.UpstreamBytesOut
	f.log()
}

// log writes the upstream access logs: an entry for each attempt.
func (f *flight) log() {
	if len(f.r.logs) == 0 {
		return
	}
	f.entry.Type = observe.UpstreamEnd
	for _, w := range f.r.logs {
		w.Log(&f.entry)
	}
}
