package grpcweb

import (
	"encoding/binary"
	"io"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/grpc/calls"
	"github.com/weftproxy/weft/message"
)

// webResponse is the body of a gRPC response with its trailers as the last frame, in base64 where the client wants that. It holds one chunk
// and the trailers.
type webResponse struct {
	message.Body
	stats *calls.Stats
	text  bool

	scan    framing
	encoder encoder
	out     []byte // reused
	ended   bool   // the body below has ended
}

// Next implements message.Body.
func (b *webResponse) Next() ([]byte, error) {
	for !b.ended {
		p, err := b.Body.Next()
		if err == io.EOF {
			b.ended = true
			if b.out = b.finish(b.out[:0]); len(b.out) > 0 {
				return b.out, nil
			}
			break
		}
		if err != nil || !b.text {
			return p, err
		}
		if b.out = b.encode(b.out[:0], p); len(b.out) > 0 {
			return b.out, nil
		}
	}
	return nil, io.EOF
}

// encode appends a chunk in base64. Each frame ends with its own padding, so that all of it is there for the client at once.
func (b *webResponse) encode(dst, p []byte) []byte {
	for len(p) > 0 {
		n, whole := b.scan.next(p)
		dst = b.encoder.append(dst, p[:n])
		if whole {
			dst = b.encoder.end(dst)
		}
		p = p[n:]
	}
	return dst
}

// finish appends what is left of a frame that broke off, and the frame of the trailers.
func (b *webResponse) finish(dst []byte) []byte {
	dst = b.encoder.end(dst)
	t := b.Body.Trailer()
	if t == nil {
		return dst
	}
	b.stats.Charge(t.Known(message.GRPCStatus))
	frame := grpc.AppendFrameHeader(nil, grpc.Trailers, 0)
	for name, value := range t.All() {
		for i := range len(name) {
			frame = append(frame, lower(name[i]))
		}
		frame = append(append(append(frame, ':'), value...), "\r\n"...)
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-grpc.FrameHeaderLen))
	if b.text {
		return b.encoder.end(b.encoder.append(dst, frame))
	}
	return append(dst, frame...)
}

func lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

// Ready implements message.Body. A chunk may be too short to give a group of base64, so it promises nothing for text.
func (b *webResponse) Ready() bool { return b.ended || !b.text && b.Body.Ready() }

// Trailer implements message.Body: the trailers are in the body.
func (b *webResponse) Trailer() *message.Header { return nil }

// framing finds the ends of frames.
type framing struct {
	head [grpc.FrameHeaderLen]byte
	have int    // bytes of head
	left uint32 // bytes of the message that are still to come
}

// next returns how many bytes of p belong to the frame at hand, and whether it ends with them.
func (f *framing) next(p []byte) (n int, whole bool) {
	if f.have < grpc.FrameHeaderLen {
		n = copy(f.head[f.have:], p)
		if f.have += n; f.have < grpc.FrameHeaderLen {
			return n, false
		}
		f.left = binary.BigEndian.Uint32(f.head[1:])
	}
	more := min(uint64(f.left), uint64(len(p)-n))
	f.left -= uint32(more)
	if f.left == 0 {
		f.have = 0
	}
	return n + int(more), f.left == 0
}
