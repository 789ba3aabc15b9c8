package message

import (
	"errors"
	"io"
	"sync/atomic"
)

// A Body is a stream of bytes that ends with io.EOF and then perhaps trailers. One goroutine reads it; any goroutine may close
// it. Not calling Next is what slows the sender down; there is no other flow control above the codecs.
type Body interface {
	// Next blocks until there is a chunk, which is the caller's until its next Next or Close. It returns io.EOF, with no
	// chunk, at the end. An empty chunk with a nil error never occurs.
	Next() ([]byte, error)
	// Ready reports that Next would not block. Writers flush what they hold when it is false.
	Ready() bool
	// Trailer is nil until Next has returned io.EOF, and after that nil when there are none.
	Trailer() *Header
	// Close stops the stream, wakes a blocked Next and returns once the producer no longer touches the message. A nil cause
	// means that the reader needs no more. Closing twice is harmless.
	Close(cause error)
}

// A Pauser is a Body whose blocked Next can be woken without ending the stream, so that another attempt may read on.
type Pauser interface {
	Body
	// Pause makes a blocked Next, and every later one until Resume, return ErrPaused. Nothing is lost.
	Pause()
	Resume()
}

// ErrPaused is what Next returns between Pause and Resume.
var ErrPaused = errors.New("message: body paused")

// NoBody is the body of a message that has none.
var NoBody Body = noBody{}

type noBody struct{}

func (noBody) Next() ([]byte, error) { return nil, io.EOF }
func (noBody) Ready() bool           { return true }
func (noBody) Trailer() *Header      { return nil }
func (noBody) Close(error)           {}

// Bytes is a body held in memory.
type Bytes struct {
	data []byte
	read uint32 // 1: it was read, or closed; atomic, so that any goroutine may close
}

// NewBytes returns a body of the given bytes, which must not change until it is closed.
func NewBytes(b []byte) *Bytes { return &Bytes{data: b} }

// Next returns all bytes at once.
func (b *Bytes) Next() ([]byte, error) {
	if len(b.data) == 0 || atomic.SwapUint32(&b.read, 1) != 0 {
		return nil, io.EOF
	}
	return b.data, nil
}

// Ready is always true.
func (b *Bytes) Ready() bool { return true }

// Trailer is always nil.
func (b *Bytes) Trailer() *Header { return nil }

// Close makes Next return io.EOF.
func (b *Bytes) Close(error) { atomic.StoreUint32(&b.read, 1) }

// ErrTooLarge is returned by ReadAll when a body exceeds the limit.
var ErrTooLarge = errors.New("message: body too large")

// ReadAll reads a body to its end and returns a copy of at most limit bytes; a longer body gives ErrTooLarge. It does not
// close the body.
func ReadAll(b Body, limit int) ([]byte, error) {
	var all []byte
	for {
		p, err := b.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if len(all)+len(p) > limit {
			return all, ErrTooLarge
		}
		all = append(all, p...)
	}
}
