// Package protocol is what every protocol looks like from both sides: a Server decodes streams from a connection, a Client opens
// sessions that carry requests upstream.
package protocol

import (
	"context"
	"errors"
	"fmt"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
)

// A Version is a protocol as stats and logs name it.
type Version uint8

// The protocols.
const (
	VersionUnknown Version = iota
	HTTP10
	HTTP11
	HTTP2
	HTTP3
)

// String returns the protocol as %PROTOCOL% prints it, "" when unknown.
func (v Version) String() string {
	return [...]string{"", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"}[v]
}

// A Server decodes streams from c and calls h for each: inline if the protocol allows one at a time, else on a goroutine. It
// returns when the connection is finished, saying why: io.EOF when the peer closed it between messages, one of the errors
// below, conn.ErrParked, conn.ErrDetached, a *Error, or what the socket said. The caller closes c.
type Server interface {
	Serve(ctx context.Context, c *conn.Conn, h StreamHandler) error
}

// A StreamHandler takes the streams of one connection.
type StreamHandler interface {
	// ServeStream is the life of one exchange. ctx is a *scope.Scope that the protocol ends when ServeStream has returned.
	ServeStream(ctx context.Context, s Stream)
	// RefuseStream answers a message that could not be decoded; s.Request holds what could. The protocol closes the
	// connection, or resets the stream, afterwards.
	RefuseStream(ctx context.Context, s Stream, err *Error)
	// Expired says with which cause to cancel a stream when a deadline that the handler armed has passed; nil: with none. It is
	// called on the timer's goroutine with the scope locked: it may use only Extend and Armed.
	Expired(s Stream, d scope.Due) error
}

// Reasons for which Serve ends a connection that was not at fault.
var (
	ErrIdleTimeout    = errors.New("protocol: connection idle timeout")
	ErrHeadersTimeout = errors.New("protocol: request headers timeout")
	ErrMaxDuration    = errors.New("protocol: max connection duration reached")
	ErrMaxRequests    = errors.New("protocol: max requests per connection reached")
	ErrPeerGone       = errors.New("protocol: peer closed the connection during an exchange")
)

// A Stream is the server's end of one exchange. Its messages are released when ServeStream returns.
type Stream interface {
	Request() *message.Request
	Version() Version
	// Inform sends an informational (1xx) response.
	Inform(status int, h *message.Header) error
	// Respond sends head, body and trailers. It blocks until the last byte is written or the body, the peer or the scope
	// fails, and closes the response's body in any case. An error means that the downstream did not get a complete message and can
	// tell.
	Respond(r *message.Response) error
	// Started reports whether any byte of a final response was sent.
	Started() bool
	// Reset ends the stream without a (complete) response; where the protocol has one stream a connection, it closes that.
	Reset(cause error)
	// CloseAfter makes this the connection's last exchange (Connection: close, GOAWAY).
	CloseAfter()
	Counts() *Counts
	Conn() *conn.Conn
	// SetOwner keeps a value of the handler's with the stream, until ServeStream returns. Expired finds it again.
	SetOwner(any)
	Owner() any
}

// Counts are the bytes of one stream, for access logs and histograms. Owned by the stream; read when ServeStream is at its end.
type Counts struct {
	RequestHead, ResponseHead  uint64 // encoded header sections
	RequestBody, ResponseBody  uint64 // decoded body bytes
	RequestWire, ResponseWire  uint64 // everything, framing included
	RequestDone, ResponseBegan int64  // scope.Now at the last request byte and at the first response byte; 0: not yet
	ResponseDone               int64  // scope.Now at the last response byte
}

// A Client opens sessions on connections that were dialled.
type Client interface {
	Open(ctx context.Context, c *conn.Conn, o Owner) (Session, error)
}

// An Owner learns when a session has a slot for another stream. It is the pool. Its methods may be called by any goroutine, also while
// RoundTrip or the Close of a response body is under way, and never with a lock of the session's held.
type Owner interface {
	// Freed is called once for each RoundTrip, when its stream is over.
	Freed(s Session)
	// Gone is called at most once in a session's life: it takes no more streams. Streams that are open go on, and are Freed, unless
	// the connection itself has failed. Where a stream's end is the reason, Gone comes before its Freed. A nil cause means that
	// the peer announced it in good order. Once gone and without streams, the session is to be closed.
	Gone(s Session, cause error)
	// Resized is called when the peer has said how many streams the session may carry at once (SETTINGS_MAX_CONCURRENT_STREAMS): for the
	// first time, and whenever that changes.
	Resized(s Session)
}

// A Session is an open upstream connection.
type Session interface {
	// RoundTrip returns at the response head. It blocks the caller until then; request bodies that are not there yet are pumped
	// by a goroutine that ends before the response body's Close returns. After that, or after an error, r is untouched.
	// The error is a *Error where the peer broke the protocol, the context's cause, or what the socket said.
	// The response's Owner is a Call.
	RoundTrip(ctx context.Context, r *message.Request) (*message.Response, error)
	Streams() int // how many it may carry at once: 1 for a protocol of one at a time; changes with Owner.Resized
	Free() int    // streams that may start now, 0 once it is gone
	Used() bool   // a request was sent on it before: what fails now may be the peer closing an idle connection
	Conn() *conn.Conn
	Version() Version
	// Close ends the connection; streams that are open fail with cause. The session's goroutines end soon after.
	Close(cause error)
}

// A Call is the Owner of a response that a Session returned: it takes the memory back and knows what the stream cost. Counts are valid
// until Release.
type Call interface {
	message.Releaser
	Counts() *Counts
}

// An Error is a message that breaks the protocol, or a limit.
type Error struct {
	Status  int    // what to answer downstream: 400, 413, 431, 505 ...
	Details string // Envoy's response code details: "http1.codec_error", "request_headers_too_large" ...
	Stat    string // Envoy's counter suffix when there is a particular one
	Reason  string // for people
	// Progress tells a caller that sent a request how far it had come.
	NothingSent bool // no byte of the request reached the peer
	HeadSeen    bool // a part of the response head had arrived
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("protocol: %s (%s)", e.Reason, e.Details) }

// A BrokenError is a connection that failed under a request: a reset, or its end before the response was complete. RoundTrip and
// the response body's Next return it.
type BrokenError struct {
	Cause       error // io.EOF before any byte of the response, io.ErrUnexpectedEOF inside it, or what the socket said
	NothingSent bool  // no byte of the request was written
	HeadSeen    bool  // a byte of the response had arrived
}

// Error implements error.
func (e *BrokenError) Error() string { return fmt.Sprintf("protocol: connection broken: %v", e.Cause) }

// Unwrap returns the cause.
func (e *BrokenError) Unwrap() error { return e.Cause }

// A ResetError is a stream that the peer ended while the connection goes on (RST_STREAM), or that a GOAWAY excluded. RoundTrip and the
// response body's Next return it; below a server it is the cause with
// which the stream's scope is cancelled.
type ResetError struct {
	Code     uint32 // the HTTP/2 or HTTP/3 error code
	Refused  bool   // the peer says that it has not acted on the request: REFUSED_STREAM, or a GOAWAY that excludes it
	HeadSeen bool   // a part of the response head had arrived
}

// Error implements error.
func (e *ResetError) Error() string {
	if e.Refused {
		return "protocol: stream refused by the peer"
	}
	return fmt.Sprintf("protocol: stream reset by the peer (code %d)", e.Code)
}

// A BodyError is the failure of the request's own body while RoundTrip was sending it: not the upstream's doing.
type BodyError struct{ Cause error }

// Error implements error.
func (e *BodyError) Error() string { return fmt.Sprintf("protocol: request body: %v", e.Cause) }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Cause }
