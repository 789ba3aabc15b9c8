package grpcweb

import (
	"io"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// What a request with wrong base64 is answered with. Immutable.
var (
	errBadSize = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Status: 400,
		Body: "Bad gRPC-web request, invalid base64 data.", Details: "grpc_base_64_decode_failed_bad_size"}
	errBadData = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Status: 400,
		Body: "Bad gRPC-web request, invalid base64 data.", Details: "grpc_base_64_decode_failed"}
)

// textRequest is the body of an application/grpc-web-text request without its base64. It holds one chunk.
type textRequest struct {
	message.Body
	decoder decoder
	out     []byte // reused
	err     error  // what every further Next returns
}

// Next implements message.Body.
func (b *textRequest) Next() ([]byte, error) {
	for b.err == nil {
		p, err := b.Body.Next()
		if err == io.EOF && !b.decoder.whole() {
			b.err = errBadSize
			break
		}
		if err != nil {
			return nil, err
		}
		if b.out, err = b.decoder.append(b.out[:0], p); err != nil {
			b.err = errBadData.With(err)
		}
		if len(b.out) > 0 {
			return b.out, nil
		}
	}
	return nil, b.err
}

// Ready implements message.Body. A chunk may be too short to give a byte, so it promises nothing.
func (b *textRequest) Ready() bool { return b.err != nil }

// Pause implements message.Pauser where the body below does.
func (b *textRequest) Pause() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Pause()
	}
}

// Resume implements message.Pauser.
func (b *textRequest) Resume() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Resume()
	}
}
