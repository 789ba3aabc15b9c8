package http2

import (
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/weftproxy/weft/message"
)

// A script is a body made of pieces that a test hands it.
type script struct {
	pieces chan string // closed at the end
	fail   error       // instead of io.EOF; set before pieces is closed
	once   sync.Once
	closed chan struct{}
	cause  error // of Close; to be read when closed is
}

func newScript() *script { return &script{pieces: make(chan string, 100), closed: make(chan struct{})} }

// Next implements message.Body.
func (b *script) Next() ([]byte, error) {
	select {
	case p, ok := <-b.pieces:
		if ok {
			return []byte(p), nil
		}
		if b.fail != nil {
			return nil, b.fail
		}
		return nil, io.EOF
	case <-b.closed:
		return nil, message.ErrBodyClosed
	}
}

func (b *script) Ready() bool              { return len(b.pieces) > 0 }
func (b *script) Trailer() *message.Header { return nil }

func (b *script) Close(cause error) {
	b.once.Do(func() { b.cause = cause; close(b.closed) })
}

var errSource = errors.New("the source broke off")

// A repeat is a body of many small pieces.
type repeat struct {
	piece []byte
	left  int
}

// trickle is a response of n pieces of unknown length.
func trickle(piece string, n int) *message.Response {
	return &message.Response{Status: 200, Body: &repeat{[]byte(piece), n}, Length: -1}
}

// Next implements message.Body.
func (b *repeat) Next() ([]byte, error) {
	if b.left == 0 {
		return nil, io.EOF
	}
	b.left--
	runtime.Gosched()
	return b.piece, nil
}

func (b *repeat) Ready() bool              { return true }
func (b *repeat) Trailer() *message.Header { return nil }
func (b *repeat) Close(error)              {}
