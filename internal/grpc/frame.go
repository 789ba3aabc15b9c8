package grpc

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/weftproxy/weft/message"
)

// FrameHeaderLen is the length of what stands before each message: a flag byte and the length, big endian.
const FrameHeaderLen = 5

// The flags of a frame.
const (
	Compressed byte = 1    // the message is compressed with grpc-encoding
	Trailers   byte = 0x80 // gRPC-Web only: the frame holds the trailers
)

// ErrTooLarge is what Reader.Next returns for a message above its limit.
var ErrTooLarge = errors.New("grpc: message too large")

// AppendFrameHeader appends the five bytes that go before a message of n bytes.
func AppendFrameHeader(dst []byte, flags byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, flags), uint32(n))
}

// A Scanner follows the messages of a body chunk by chunk, without keeping any byte of them. The zero Scanner is at a body's beginning.
type Scanner struct {
	head  [FrameHeaderLen]byte
	have  int    // bytes of head
	left  uint32 // bytes of the message that are still to come
	count uint64
}

// Scan looks at the next chunk and returns how many messages begin in it.
func (s *Scanner) Scan(chunk []byte) int {
	before := s.count
	for len(chunk) > 0 {
		if s.left > 0 {
			if uint64(len(chunk)) < uint64(s.left) {
				s.left -= uint32(len(chunk))
				break
			}
			chunk, s.left = chunk[s.left:], 0
			continue
		}
		if s.have == 0 {
			s.count++
		}
		n := copy(s.head[s.have:], chunk)
		s.have += n
		chunk = chunk[n:]
		if s.have == FrameHeaderLen {
			s.have, s.left = 0, binary.BigEndian.Uint32(s.head[1:])
		}
	}
	return int(s.count - before)
}

// Count returns how many messages have begun.
func (s *Scanner) Count() uint64 { return s.count }

// Whole reports that the last message is complete, or that there was none.
func (s *Scanner) Whole() bool { return s.have == 0 && s.left == 0 }

// A Reader reads a body message by message. It belongs to one goroutine and does not close the body.
type Reader struct {
	body  message.Body
	limit int
	rest  []byte // of the body's present chunk; borrowed from it
	held  []byte // a frame that came in several chunks; reused
}

// NewReader returns a reader of the messages in body. A message of more than limit bytes is an error.
func NewReader(body message.Body, limit int) *Reader { return &Reader{body: body, limit: limit} }

// Next returns the flags and the bytes of the next message, which are the caller's until the next Next or the body's Close. It returns
// io.EOF after the last one, io.ErrUnexpectedEOF when the body ends inside one, ErrTooLarge, or the body's error. A message that
// lies in one chunk of the body is not copied.
func (r *Reader) Next() (flags byte, msg []byte, err error) {
	r.held = r.held[:0]
	head, err := r.take(FrameHeaderLen)
	if err != nil {
		return 0, nil, err
	}
	flags = head[0]
	n := binary.BigEndian.Uint32(head[1:])
	if uint64(n) > uint64(r.limit) {
		return flags, nil, ErrTooLarge
	}
	r.held = r.held[:0]
	msg, err = r.take(int(n))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return flags, msg, err
}

// take returns the next n bytes: of the chunk where it has them all, else gathered in held. io.EOF means that there was no byte left.
func (r *Reader) take(n int) ([]byte, error) {
	for {
		if len(r.held) == 0 && len(r.rest) >= n {
			b := r.rest[:n:n]
			r.rest = r.rest[n:]
			return b, nil
		}
		k := min(n-len(r.held), len(r.rest))
		r.held = append(r.held, r.rest[:k]...)
		if r.rest = r.rest[k:]; len(r.held) == n {
			return r.held, nil
		}
		chunk, err := r.body.Next()
		if err == io.EOF && len(r.held) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		r.rest = chunk
	}
}

// Ready reports that Next would not block: the next message is complete in the chunk at hand, or the body is ready to go on.
func (r *Reader) Ready() bool {
	if len(r.rest) >= FrameHeaderLen {
		n := binary.BigEndian.Uint32(r.rest[1:])
		if uint64(len(r.rest)-FrameHeaderLen) >= uint64(n) {
			return true
		}
	}
	return r.body.Ready()
}
