package grpcjson

import (
	"errors"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

// Envoy's response code details begin with one of these; what failed follows in braces.
const (
	failedEarly = "early_grpc_json_transcode_failure" // with the head of the request
	failedLate  = "grpc_json_transcode_failure"
)

// A fault is why a message could not be transcoded. Its text is a constant: nothing of a message gets into a reply.
type fault struct {
	status grpc.Status // INVALID_ARGUMENT, NOT_FOUND or INTERNAL
	text   string
}

// Error implements error.
func (f *fault) Error() string { return f.text }

func invalid(text string) *fault { return &fault{grpc.InvalidArgument, text} }

// The faults. Immutable.
var (
	errNoMethod   = &fault{grpc.NotFound, "Could not resolve the path to a method."}
	errNoField    = invalid("Could not find the field of a query parameter or path variable in the request's type.")
	errNoValue    = invalid("Unexpected end of string. Expected a value.")
	errUnfinished = invalid("Unexpected end of string.")
	errSyntax     = invalid("Unexpected token.")
	errTooDeep    = invalid("Message too deep. Max recursion depth reached.")
	errBody       = invalid("The body is not the JSON of the request's type.")
	errEnum       = invalid("The body has an unknown value of an enum.")
	errBinding    = invalid("Failed to convert the value of a query parameter or path variable to its field's type.")
	errCollision  = invalid("The value of a query parameter or path variable conflicts with the body.")

	errResponse   = &fault{grpc.Internal, "The response is not a message of the method's type."}
	errCompressed = &fault{grpc.Internal, "The response is compressed."}
)

// errRequestTooLarge and errResponseTooLarge are Envoy's answers when a buffer limit is reached.
var (
	errRequestTooLarge = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Status: 413,
		Body:    "Request rejected because the transcoder's internal buffer size exceeds the configured limit.",
		Details: failedLate + "{request_buffer_size_limit_reached}"}
	errResponseTooLarge = &exchange.Error{Stage: exchange.Respond, Side: exchange.Upstream, Status: 500,
		Body:    "Response not transcoded because the transcoder's internal buffer size exceeds the configured limit.",
		Details: failedLate + "{response_buffer_size_limit_reached}"}
)

// refuse is the answer to a request that cannot be transcoded.
func refuse(err error, details string) *exchange.Error {
	var e *exchange.Error
	if errors.As(err, &e) {
		return e
	}
	var f *fault
	if !errors.As(err, &f) {
		f = errBody
	}
	return &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Status: grpc.ToHTTP(f.status), Body: f.text,
		Details: details + "{" + f.status.Snake() + "}", Cause: err}
}

// refuseResponse is the answer in place of a response that cannot be transcoded: Envoy's 502.
func refuseResponse(err error) *exchange.Error {
	var e *exchange.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, grpc.ErrTooLarge) {
		return errResponseTooLarge
	}
	f := errResponse
	errors.As(err, &f)
	return &exchange.Error{Stage: exchange.Respond, Side: exchange.Upstream, Status: 502, Body: f.text,
		Details: failedLate + "{" + f.status.Snake() + "}", Cause: err}
}

// requestBroken is what an exchange fails with whose request body broke off while it was being gathered.
func requestBroken(err error) error {
	var e *exchange.Error
	var broken *protocol.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &broken):
		return &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Flag: observe.DPE, Status: broken.Status,
			Details: broken.Details, Cause: err}
	}
	return &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Flag: observe.DC,
		Details: "downstream_remote_disconnect", Cause: err}
}
