package exchange

import (
	"errors"
	"fmt"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/observe"
)

// An Error is where and why an exchange failed, and what the downstream is told. Body and Details are constants: nothing from a
// request ever gets into them.
type Error struct {
	Stage   Stage
	Side    Side
	Flag    observe.Flag
	Status  int    // of the local reply; 0: no reply, the stream is reset
	Body    string // of the local reply
	Details string // RESPONSE_CODE_DETAILS
	Retry   Retry
	Reset   string // for retry conditions: "connect-failure", "reset", "refused-stream", "per-try-timeout"; "" otherwise
	Cause   error

	Overloaded bool        // the reply says x-envoy-overloaded
	Says       string      // a further header that the reply has, with the value true; "" for none
	GRPC       grpc.Status // of the reply to a gRPC request; OK: what Status stands for
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Stage, e.Details, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Stage, e.Details)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// AsError returns err as an *Error; anything else becomes a local failure with status 500.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Stage: Filtering, Side: Local, Flag: 0, Status: 500, Details: "internal_error", Cause: err}
}

// With returns a copy of e with a cause: how a constant of this shape becomes the error of one exchange.
func (e Error) With(cause error) *Error {
	e.Cause = cause
	return &e
}
