package health

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// checkPath is the method of gRPC's health checking protocol.
const checkPath = "/grpc.health.v1.Health/Check"

// maxReply is how long a HealthCheckResponse may be. It holds one number.
const maxReply = 4 << 10

// What an answer to a gRPC check can be wrong in.
var (
	errNotGRPC    = errors.New("health: the answer is not gRPC")
	errSurplus    = errors.New("health: more than one message")
	errReply      = errors.New("health: the message is no HealthCheckResponse")
	errNoReply    = errors.New("health: no message")
	errNoStatus   = errors.New("health: no grpc-status")
	errNotServing = errors.New("health: the service is not serving")
)

// serving is HealthCheckResponse.SERVING.
const serving = 1

// call builds the request of a gRPC check.
func (p *probe) call(t Target) *message.Request {
	g := p.c.Config.GRPC
	var question []byte // a HealthCheckRequest
	if g.Service != "" {
		question = protowire.AppendTag(question, 1, protowire.BytesType)
		question = protowire.AppendString(question, g.Service)
	}
	frame := append(grpc.AppendFrameHeader(nil, 0, len(question)), question...)
	r := &message.Request{Method: "POST", Scheme: t.scheme(), Path: checkPath, Authority: p.authority(t, g.Authority),
		Length: int64(len(frame)), Body: message.NewBytes(frame)}
	h := &r.Header
	h.AddKnown(message.TE, "trailers")
	h.AddKnown(message.ContentType, grpc.ContentType)
	h.AddKnown(message.UserAgent, "Envoy/HC")
	add(r, g.Metadata)
	h.SetKnown(message.GRPCTimeout, string(grpc.AppendTimeout(nil, p.c.Config.Timeout)))
	return r
}

// judgeCall reads the response of a gRPC check: one message that says SERVING, and status OK.
func (p *probe) judgeCall(resp *message.Response) outcome {
	switch {
	case resp.Status != 200:
		return outcome{err: fmt.Errorf("health: status %d", resp.Status)}
	case !grpc.IsResponse(resp.Status, &resp.Header, resp.Length == 0):
		return outcome{err: errNotGRPC}
	case resp.Length == 0:
		if err := judgeStatus(&resp.Header); err != nil {
			return outcome{err: err}
		}
		return outcome{err: errNoReply}
	}
	status, answered := uint64(0), false
	for r := grpc.NewReader(resp.Body, maxReply); ; {
		flags, msg, err := r.Next()
		switch {
		case err == io.EOF:
			if err := judgeStatus(resp.Body.Trailer()); err != nil {
				return outcome{err: err}
			}
			return outcome{err: judgeReply(status, answered)}
		case err == grpc.ErrTooLarge || err == io.ErrUnexpectedEOF: // the frames, not the connection
			return outcome{err: errReply}
		case err != nil:
			return outcome{err: err, network: true}
		case len(msg) == 0: // what is empty says nothing, and is let pass
		case answered:
			return outcome{err: errSurplus}
		default:
			if status, answered = decodeReply(msg); !answered || flags != 0 {
				return outcome{err: errReply}
			}
		}
	}
}

// judgeStatus returns why a grpc-status is not OK, nil when it is.
func judgeStatus(h *message.Header) error {
	if h == nil || !h.HasKnown(message.GRPCStatus) {
		return errNoStatus
	}
	s, ok := grpc.ParseStatus(h.Known(message.GRPCStatus))
	if ok && s == grpc.OK {
		return nil
	}
	return fmt.Errorf("health: %v: %s", s, grpc.DecodeMessage(h.Known(message.GRPCMessage)))
}

func judgeReply(status uint64, answered bool) error {
	switch {
	case !answered:
		return errNoReply
	case status != serving:
		return errNotServing
	}
	return nil
}

// decodeReply reads the status, field 1, of a HealthCheckResponse. Fields that it does not know are skipped.
func decodeReply(b []byte) (status uint64, ok bool) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, false
		}
		b = b[n:]
		if field == 1 && kind == protowire.VarintType {
			status, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return 0, false
		}
		b = b[n:]
	}
	return status, true
}
