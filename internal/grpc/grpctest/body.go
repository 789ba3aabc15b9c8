package grpctest

import (
	"bytes"
	"io"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// A Body is a message body for tests. Each chunk is overwritten when the next is asked for, as codecs do it.
type Body struct {
	Parts  [][]byte
	End    error // nil: io.EOF
	Fields *message.Header
	Closed int
	Cause  error // of the first Close

	last  []byte
	ended bool
}

// Split returns a body that comes in pieces of n bytes.
func Split(b []byte, n int, trailer ...string) *Body {
	body := &Body{Fields: Header(trailer...)}
	for len(b) > 0 {
		k := min(n, len(b))
		body.Parts = append(body.Parts, b[:k])
		b = b[k:]
	}
	if len(trailer) == 0 {
		body.Fields = nil
	}
	return body
}

// Next implements message.Body.
func (b *Body) Next() ([]byte, error) {
	for i := range b.last {
		b.last[i] = '!'
	}
	b.last = nil
	if b.Closed > 0 {
		return nil, message.ErrBodyClosed
	}
	if len(b.Parts) == 0 {
		if b.End != nil {
			return nil, b.End
		}
		b.ended = true
		return nil, io.EOF
	}
	b.last = bytes.Clone(b.Parts[0])
	b.Parts = b.Parts[1:]
	return b.last, nil
}

// Ready implements message.Body.
func (b *Body) Ready() bool { return true }

// Trailer implements message.Body.
func (b *Body) Trailer() *message.Header {
	if !b.ended {
		return nil
	}
	return b.Fields
}

// Close implements message.Body.
func (b *Body) Close(cause error) {
	if b.Closed++; b.Closed == 1 {
		b.Cause = cause
	}
}

// A Released counts how often a response was released.
type Released int

// Release implements message.Releaser.
func (r *Released) Release(*message.Response) { *r++ }

// Read reads a body to its end and returns what it was, and the error unless that is io.EOF.
func Read(b message.Body) (string, error) {
	var all []byte
	for {
		p, err := b.Next()
		if err == io.EOF {
			return string(all), nil
		}
		if err != nil {
			return string(all), err
		}
		if len(p) == 0 {
			return string(all), io.ErrNoProgress
		}
		all = append(all, p...)
	}
}

// Header returns a header of names and values in turns.
func Header(fields ...string) *message.Header {
	h := &message.Header{}
	for i := 0; i+1 < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

// Frames returns messages with their frame headers.
func Frames(messages ...string) []byte {
	var b []byte
	for _, m := range messages {
		b = append(grpc.AppendFrameHeader(b, 0, len(m)), m...)
	}
	return b
}
