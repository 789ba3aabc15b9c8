package kit

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"
)

// A CodeError is a stream that the peer has reset.
type CodeError struct{ Code http2.ErrCode }

// Error implements error.
func (e *CodeError) Error() string { return fmt.Sprintf("stream reset by the peer: %v", e.Code) }

// h2Stream is a stream of an H2. Its fields are guarded by the H2's mu, but for those that one goroutine owns.
type h2Stream struct {
	h  *H2
	id uint32 // immutable once the head was sent or received

	method string // of the request
	mute   bool   // the response has no body, whatever is sent; owned by who sends

	heads   []*Head
	final   bool // the head of the message, and not only an informational one, was received
	data    []byte
	padding int
	trailer []Field
	ended   bool  // the peer has ended its message
	sent    bool  // this side has
	err     error // why the stream has broken off
	window  int64 // for sending
}

// StreamID is the stream's number, which a test needs for frames of its own.
func StreamID(s Stream) uint32 { return s.(*h2Stream).id }

// ConnOf is the connection that the stream is one of.
func ConnOf(s Stream) *H2 { return s.(*h2Stream).h }

// takeHead takes a header section, with the H2's mu held.
func (s *h2Stream) takeHead(f *http2.MetaHeadersFrame) {
	head, err := headOf(f.Fields)
	switch {
	case err != nil:
		s.err = err
	case s.final && f.StreamEnded():
		s.trailer = head.Fields
	case s.final:
		s.err = fmt.Errorf("%w: a second one inside the message", errHead)
	case head.Status == 101:
		s.err = fmt.Errorf("%w: status 101 in HTTP/2", errHead)
	default:
		s.heads = append(s.heads, head)
		s.final = head.Status == 0 || head.Status >= 200
		if s.h.server {
			s.method = head.Method
		}
	}
	s.ended = s.ended || f.StreamEnded()
}

// SendHead implements Stream.
func (s *h2Stream) SendHead(head Head, end bool) error {
	head = head.filled()
	if s.h.server && s.method == "HEAD" && head.Status >= 200 {
		end, s.mute = true, true
	}
	return s.sendHeaders(head.pseudo(), end, !s.h.server)
}

// sendHeaders sends a header section, with CONTINUATION frames where it is large. A fresh stream gets its id here, so that ids are
// in order on the wire.
func (s *h2Stream) sendHeaders(fields []Field, end, fresh bool) error {
	if err := s.failed(); err != nil {
		return err
	}
	return s.h.Frames(func(fr *http2.Framer) error {
		if fresh {
			s.method = value(fields, ":method")
		}
		return s.writeBlock(fr, s.h.encode(fields), end, fresh)
	})
}

// writeBlock is called with the H2's wmu held.
func (s *h2Stream) writeBlock(fr *http2.Framer, b []byte, end, fresh bool) error {
	if fresh {
		s.h.note(func() {
			s.id, s.window = s.h.next, s.h.first
			s.h.next += 2
			s.h.streams[s.id] = s
		})
	}
	const most = 16 << 10
	part := b[:min(len(b), most)]
	b = b[len(part):]
	p := http2.HeadersFrameParam{StreamID: s.id, BlockFragment: part, EndStream: end, EndHeaders: len(b) == 0}
	if err := fr.WriteHeaders(p); err != nil {
		return err
	}
	for len(b) > 0 {
		part, b = b[:min(len(b), most)], b[min(len(b), most):]
		if err := fr.WriteContinuation(s.id, len(b) == 0, part); err != nil {
			return err
		}
	}
	s.note(end)
	return nil
}

// note notes what was sent.
func (s *h2Stream) note(end bool) {
	s.h.mu.Lock()
	s.sent = s.sent || end
	s.h.mu.Unlock()
	if end {
		_ = s.h.closeWhenIdle() // perhaps it is closed already
	}
}

func value(fields []Field, name string) string {
	v, _ := get(fields, name)
	return v
}

// failed is why nothing more can be sent.
func (s *h2Stream) failed() error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.h.seen.End != nil {
		return s.h.seen.End
	}
	return s.err
}

// Send implements Stream. Where the peer has answered and reset the stream without an error it just does not need the rest, and may do so at
// any moment: that is no failure.
func (s *h2Stream) Send(b []byte, end bool) error {
	if s.mute {
		return nil
	}
	err := s.send(b, end)
	if err != nil && s.answered() {
		return nil
	}
	return err
}

// answered reports whether the peer has ended its message and needs no more of this side's.
func (s *h2Stream) answered() bool {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	var code *CodeError
	return s.ended && errors.As(s.err, &code) && code.Code == http2.ErrCodeNo
}

func (s *h2Stream) send(b []byte, end bool) error {
	for first := true; first || len(b) > 0; first = false {
		n := 0
		if len(b) > 0 {
			var err error
			if n, err = s.reserve(len(b)); err != nil {
				return err
			}
		} else if err := s.failed(); err != nil {
			return err
		}
		part := b[:n]
		b = b[n:]
		err := s.h.Frames(func(fr *http2.Framer) error { return fr.WriteData(s.id, end && len(b) == 0, part) })
		if err != nil {
			return err
		}
	}
	s.note(end)
	return nil
}

// reserve waits until up to n bytes may be sent.
func (s *h2Stream) reserve(n int) (int, error) {
	var err error
	waited := s.h.wait("window", func() bool {
		if s.h.seen.End != nil || s.err != nil {
			err = errors.Join(s.err, s.h.seen.End)
			return true
		}
		if s.window <= 0 || s.h.window <= 0 {
			return false
		}
		n = int(min(int64(n), s.window, s.h.window, int64(s.h.frame)))
		s.window -= int64(n)
		s.h.window -= int64(n)
		return true
	})
	return n, errors.Join(err, waited)
}

// SendTrailer implements Stream.
func (s *h2Stream) SendTrailer(fields ...Field) error {
	if s.mute {
		return nil
	}
	return s.sendHeaders(fields, true, false)
}

// Reset implements Stream.
func (s *h2Stream) Reset() error { return ResetWith(s, http2.ErrCodeCancel) }

// ResetWith breaks a stream of HTTP/2 off with a code.
func ResetWith(s Stream, code http2.ErrCode) error {
	id := StreamID(s)
	return ConnOf(s).Frames(func(fr *http2.Framer) error { return fr.WriteRSTStream(id, code) })
}

// Head implements Stream.
func (s *h2Stream) Head() (*Head, error) {
	var head *Head
	var err error
	waited := s.h.wait("head", func() bool {
		switch {
		case len(s.heads) > 0:
			head, s.heads = s.heads[0], s.heads[1:]
		case s.err != nil || s.h.seen.End != nil:
			err = s.broken()
		case s.ended:
			err = fmt.Errorf("%w: none before the end of the stream", errHead)
		default:
			return false
		}
		return true
	})
	return head, errors.Join(err, waited)
}

// broken says why the stream has ended, with the H2's mu held.
func (s *h2Stream) broken() error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, hideEOF(s.h.seen.End))
}

// hideEOF is an error that is not io.EOF to errors.Is.
func hideEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("connection closed")
	}
	return err
}

// Chunk implements Stream.
func (s *h2Stream) Chunk() ([]byte, error) {
	var b []byte
	var err error
	pad, done := 0, false
	waited := s.h.wait("data", func() bool {
		switch {
		case len(s.data) > 0:
			b, s.data = s.data, nil
			pad, s.padding = s.padding, 0
			done = s.ended
		case s.ended:
			err = io.EOF
		case s.err != nil || s.h.seen.End != nil:
			err = s.broken()
		default:
			return false
		}
		return true
	})
	if err = cmpOr(err, waited); err != nil || done || s.h.options.Silent || s.h.options.Stalled {
		return b, err
	}
	_ = s.h.Frames(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(s.id, uint32(len(b)+pad)) }) // reading tells of failures
	return b, nil
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Trailer implements Stream.
func (s *h2Stream) Trailer() []Field {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	return s.trailer
}

// Gone implements Stream.
func (s *h2Stream) Gone() error {
	return s.h.wait("reset", func() bool { return s.err != nil || s.h.seen.End != nil })
}
