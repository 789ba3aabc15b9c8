package grpchttp1reversebridge

import (
	"fmt"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// A refusal is what the client is told when its call cannot be bridged: a gRPC response without a body. Texts and details are Envoy's.
type refusal struct {
	status  grpc.Status
	message string
	details string
	cause   error
}

// The refusals. Immutable.
var (
	tooSmall = refusal{grpc.Unknown, "invalid request body", "grpc_bridge_data_too_small", nil}
	noSize   = refusal{grpc.Internal, "envoy reverse bridge: upstream did not set content length", "grpc_bridge_content_length_missing", nil}
	tooLarge = refusal{grpc.Unknown, "Internal Server Error", "response_payload_too_large", nil}

	wrongSize = refusal{grpc.Internal, "envoy reverse bridge: upstream set incorrect content length", "grpc_bridge_content_length_wrong", nil}
)

// wrongType is the refusal of a response of another content type.
func wrongType(contentType string, status int) refusal {
	text := fmt.Sprintf("envoy reverse bridge: upstream responded with unsupported content-type %s, status code %d", contentType, status)
	if contentType == "" {
		text = fmt.Sprintf("envoy reverse bridge: upstream responded with no content-type header, status code %d", status)
	}
	return refusal{grpc.Unknown, text, "grpc_bridge_content_type_wrong", nil}
}

// brokenOff is the refusal of a response that ended in the middle while it was held.
func brokenOff(err error) *refusal {
	e := exchange.AsError(err)
	return &refusal{grpc.FromHTTP(e.Status), e.Body, e.Details, err}
}

// instead gives up a response of the upstream's and refuses.
func instead(x *exchange.Exchange, resp *message.Response, contentType string, r refusal) *message.Response {
	answer := refuse(x, contentType, r)
	resp.Body.Close(answer.Local)
	resp.Release()
	return answer
}

// refuse returns the response that tells the client. It is not the exchange's own answer: nothing words it again.
func refuse(x *exchange.Exchange, contentType string, r refusal) *message.Response {
	e := &exchange.Error{Stage: exchange.Filtering, Side: exchange.Local, Status: 200, Body: r.message, Details: r.details, Cause: r.cause}
	x.Record.Details = r.details
	resp := &message.Response{Status: 200, Body: message.NoBody, Local: e}
	if was := exchange.AsError(r.cause); r.cause != nil {
		x.Record.Flags |= was.Flag
	}
	tell(resp, contentType, r.status, r.message)
	return resp
}

// tell writes the headers of a gRPC response without a body.
func tell(resp *message.Response, contentType string, status grpc.Status, text string) {
	resp.Header.SetKnown(message.ContentType, contentType)
	resp.Header.SetKnown(message.GRPCStatus, status.Number())
	if text != "" {
		resp.Header.SetKnownBytes(message.GRPCMessage, grpc.AppendMessage(nil, text))
	}
}

// translate makes a gRPC response of an answer of Weft's own, unless it is one: the request it answers says no longer that it is gRPC.
func translate(x *exchange.Exchange, own *message.Response, contentType string) *message.Response {
	resp := &message.Response{Status: 200, Body: message.NoBody, Local: own.Local}
	resp.Header.CopyFrom(&own.Header)
	resp.Header.DelKnown(message.ContentLength)
	own.Body.Close(nil)
	if resp.Header.HasKnown(message.GRPCStatus) {
		resp.Header.SetKnown(message.ContentType, contentType)
		return resp
	}
	text := ""
	if x.Own(own) {
		text = x.Wording()
	}
	tell(resp, contentType, grpc.FromHTTP(own.Status), text)
	return resp
}
