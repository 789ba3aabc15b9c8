package grpcjson

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/weftproxy/weft/message"
)

// held is a request body that is in memory. An attempt that failed leaves it to the next one. Behind the data it waits for the end of
// src, whose bytes are for nobody; nil: there is nothing to wait for.
type held struct {
	data   []byte
	src    message.Body // immutable
	given  bool         // owned by the reader, as ended is
	ended  bool
	paused atomic.Bool
}

// Next implements message.Body.
func (h *held) Next() ([]byte, error) {
	if h.paused.Load() {
		return nil, message.ErrPaused
	}
	if !h.given {
		h.given = true
		return h.data, nil
	}
	if h.src == nil || h.ended {
		return nil, io.EOF
	}
	for {
		if _, err := h.src.Next(); err != nil {
			h.ended = err == io.EOF
			return nil, err
		}
	}
}

// Ready implements message.Body.
func (h *held) Ready() bool { return !h.given || h.src == nil || h.ended }

// Trailer implements message.Body.
func (h *held) Trailer() *message.Header { return nil }

// Close implements message.Body.
func (h *held) Close(cause error) {
	if h.src != nil {
		h.src.Close(cause)
	}
}

// Pause implements message.Pauser.
func (h *held) Pause() {
	h.paused.Store(true)
	pause(h.src)
}

// Resume implements message.Pauser.
func (h *held) Resume() {
	resume(h.src)
	h.paused.Store(false)
}

func pause(b message.Body) {
	if p, ok := b.(message.Pauser); ok {
		p.Pause()
	}
}

func resume(b message.Body) {
	if p, ok := b.(message.Pauser); ok {
		p.Resume()
	}
}

// requestStream is what the bodies of streamed requests have in common. All messages that end in one chunk of the client's go upstream
// together and at once.
type requestStream struct {
	src   message.Body
	c     *call
	out   []byte
	err   error // why it ended: io.EOF when all is said
	ended bool  // src did

	counted atomic.Int64 // bytes that the statistics have for it
	closed  atomic.Bool
}

// Ready implements message.Body. It is false where the next message may still have to come: what is written already goes out then.
func (s *requestStream) Ready() bool { return s.ended }

// Trailer implements message.Body.
func (s *requestStream) Trailer() *message.Header { return nil }

// Close implements message.Body.
func (s *requestStream) Close(cause error) {
	s.src.Close(cause)
	s.closed.Store(true)
	s.count(0)
}

// Pause implements message.Pauser.
func (s *requestStream) Pause() { pause(s.src) }

// Resume implements message.Pauser.
func (s *requestStream) Resume() { resume(s.src) }

// count notes how many bytes wait for the rest of their message.
func (s *requestStream) count(n int) {
	if d := int64(n) - s.counted.Swap(int64(n)); d != 0 {
		s.c.stats.RequestBuffer.Add(d)
	}
	if n > 0 && s.closed.Load() {
		s.count(0)
	}
}

// pull returns the messages of the next chunk that has any. take makes them of a chunk, or of the body's end where chunk is nil, and says
// how many bytes it keeps.
func (s *requestStream) pull(take func(chunk []byte) (keeps int, err error)) ([]byte, error) {
	for s.err == nil {
		chunk, err := s.src.Next()
		if errors.Is(err, message.ErrPaused) {
			return nil, err
		}
		s.out = s.out[:0]
		keeps := 0
		switch err {
		case nil:
			keeps, err = take(chunk)
		case io.EOF:
			s.ended, s.err = true, io.EOF
			_, err = take(nil)
		default:
			s.count(0)
			s.err = err
			return nil, err
		}
		if err != nil {
			s.count(0)
			s.err = refuse(err, failedLate)
			return nil, s.err
		}
		if s.count(keeps); len(s.out) > 0 {
			return s.out, nil
		}
	}
	return nil, s.err
}

// jsonStream is the body of a streamed request that came as JSON.
type jsonStream struct {
	requestStream
	split splitter
}

// Next implements message.Body.
func (s *jsonStream) Next() ([]byte, error) { return s.pull(s.take) }

func (s *jsonStream) take(chunk []byte) (keeps int, err error) {
	if chunk == nil {
		value, err := s.split.finish()
		if value != nil {
			s.out, err = s.c.appendMessage(s.out, value)
		}
		return 0, err
	}
	for {
		value, rest, err := s.split.next(chunk)
		if err != nil || value == nil {
			return s.split.waiting(), err
		}
		if s.out, err = s.c.appendMessage(s.out, value); err != nil {
			return 0, err
		}
		chunk = rest
	}
}

// maxPiece is how much of a raw body goes into one message of a stream, in bytes: Envoy's number.
const maxPiece = 1 << 20

// rawStream is the body of a streamed request that becomes messages with a google.api.HttpBody as it is.
type rawStream struct{ requestStream }

// Next implements message.Body.
func (s *rawStream) Next() ([]byte, error) { return s.pull(s.take) }

func (s *rawStream) take(chunk []byte) (keeps int, err error) {
	if chunk == nil {
		if !s.c.begun {
			s.out, err = s.c.appendRaw(s.out, nil)
		}
		return 0, err
	}
	for len(chunk) > 0 && err == nil {
		n := min(len(chunk), maxPiece)
		s.out, err = s.c.appendRaw(s.out, chunk[:n])
		chunk = chunk[n:]
	}
	return 0, err
}
