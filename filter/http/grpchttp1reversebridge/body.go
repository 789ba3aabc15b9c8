package grpchttp1reversebridge

import (
	"errors"
	"io"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// errShort is what a request ends with that is no gRPC message; errLength ends a response that is not as long as it was said to be, when
// the client has its head already. Immutable.
var (
	errShort = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Status: 400, Body: tooSmall.message,
		Details: tooSmall.details}
	errLength = &exchange.Error{Stage: exchange.Respond, Side: exchange.Upstream, Body: wrongSize.message, Details: wrongSize.details,
		Cause: errors.New("grpc_http1_reverse_bridge: the response is not as long as its header says")}
)

// unframed is a request's body without the frame of its message.
type unframed struct {
	message.Body
	skipped int
	short   bool // it ended before it had a whole frame
}

// Next implements message.Body.
func (b *unframed) Next() ([]byte, error) {
	for {
		p, err := b.Body.Next()
		if err == io.EOF && b.skipped < grpc.FrameHeaderLen {
			b.short = true
			return nil, errShort
		}
		if err != nil {
			return nil, err
		}
		n := min(grpc.FrameHeaderLen-b.skipped, len(p))
		b.skipped += n
		if len(p) > n {
			return p[n:], nil
		}
	}
}

// Ready implements message.Body: before the frame is over a chunk may give nothing.
func (b *unframed) Ready() bool { return b.skipped == grpc.FrameHeaderLen && b.Body.Ready() }

// Pause implements message.Pauser where the body below does.
func (b *unframed) Pause() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Pause()
	}
}

// Resume implements message.Pauser.
func (b *unframed) Resume() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Resume()
	}
}

// held is a body that was read to its end. The trailers are still those of the body below.
type held struct {
	message.Body
	data []byte
	read bool
}

// Next implements message.Body.
func (b *held) Next() ([]byte, error) {
	if b.read || len(b.data) == 0 {
		return nil, io.EOF
	}
	b.read = true
	return b.data, nil
}

// Ready implements message.Body.
func (b *held) Ready() bool { return true }

// finished is a response's body with the frame's header before it and a grpc-status after it.
type finished struct {
	message.Body
	head    []byte // nil: none, or returned already
	size    int64  // of the message in bytes; -1: whatever comes
	status  grpc.Status
	trailer message.Header
	ended   bool
}

// Next implements message.Body.
func (b *finished) Next() ([]byte, error) {
	if head := b.head; head != nil {
		b.head = nil
		return head, nil
	}
	if b.ended {
		return nil, io.EOF
	}
	p, err := b.Body.Next()
	if b.size >= 0 {
		if b.size -= int64(len(p)); b.size < 0 || err == io.EOF && b.size > 0 {
			b.size = 0
			return nil, errLength
		}
	}
	if err == io.EOF {
		b.ended = true
		if t := b.Body.Trailer(); t != nil {
			b.trailer.CopyFrom(t)
		}
		b.trailer.SetKnown(message.GRPCStatus, b.status.Number())
	}
	return p, err
}

// Ready implements message.Body.
func (b *finished) Ready() bool { return b.head != nil || b.ended || b.Body.Ready() }

// Trailer implements message.Body.
func (b *finished) Trailer() *message.Header {
	if !b.ended {
		return nil
	}
	return &b.trailer
}
