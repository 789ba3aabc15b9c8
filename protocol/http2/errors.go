package http2

import (
	"errors"
	"fmt"

	"github.com/weftproxy/weft/protocol"
)

// A connError is what the peer did that ends the connection. Immutable: shared, so that hostile peers cost no memory.
type connError struct {
	code   Code
	reason string
}

// Error implements error.
func (e *connError) Error() string { return fmt.Sprintf("http2: %s (%s)", e.reason, e.code) }

// As makes a connError a *protocol.Error, so that connections it ended count as protocol errors.
func (e *connError) As(target any) bool {
	p, ok := target.(**protocol.Error)
	if ok {
		*p = &protocol.Error{Status: 400, Details: "http2.protocol_error", Reason: e.reason}
	}
	return ok
}

// What ends a connection.
var (
	errPreface       = &connError{CodeProtocol, "no HTTP/2 preface"}
	errNoSettings    = &connError{CodeProtocol, "the first frame is not SETTINGS"}
	errFrameLarge    = &connError{CodeFrameSize, "frame larger than SETTINGS_MAX_FRAME_SIZE"}
	errFrameSize     = &connError{CodeFrameSize, "wrong frame size"}
	errPadding       = &connError{CodeProtocol, "padding longer than the frame"}
	errStreamZero    = &connError{CodeProtocol, "frame on stream 0 that needs a stream"}
	errNotStreamZero = &connError{CodeProtocol, "frame on a stream that belongs to the connection"}
	errIdle          = &connError{CodeProtocol, "frame on an idle stream"}
	errStreamID      = &connError{CodeProtocol, "stream identifier out of order"}
	errClosed        = &connError{CodeStreamClosed, "HEADERS on a closed stream"}
	errEarlyData     = &connError{CodeProtocol, "data before a header section"}
	errHalfClosed    = &connError{CodeStreamClosed, "frame after the end of the stream"}
	errContinuation  = &connError{CodeProtocol, "CONTINUATION expected, or not"}
	errCompression   = &connError{CodeCompression, "malformed header block"}
	errPush          = &connError{CodeProtocol, "PUSH_PROMISE"}
	errSetting       = &connError{CodeProtocol, "value of a setting out of range"}
	errSettingWindow = &connError{CodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE out of range"}
	errWindow        = &connError{CodeFlowControl, "more data than the window allows"}
	errWindowLarge   = &connError{CodeFlowControl, "flow-control window too large"}
	errWindowZero    = &connError{CodeProtocol, "WINDOW_UPDATE of 0"}
	errMessaging     = &connError{CodeProtocol, "malformed message"}
	errHeaderBlock   = &connError{CodeCalm, "header block too large"}
	errEmptyFlood    = &connError{CodeCalm, "too many frames with an empty payload"}
	errPriorityFlood = &connError{CodeCalm, "too many PRIORITY frames"}
	errUpdateFlood   = &connError{CodeCalm, "too many WINDOW_UPDATE frames"}
	errControlFlood  = &connError{CodeCalm, "too many control frames wait to be written"}
	errOutboundFlood = &connError{CodeCalm, "too many frames wait to be written"}
	errResetFlood    = &connError{CodeCalm, "too many streams reset early"}
)

// What the codec's users may see.
var (
	errStarted   = errors.New("http2: the response has begun")
	errReset     = errors.New("http2: the stream is reset")
	errKeepalive = errors.New("http2: the peer does not answer PING")
	errSessionUp = errors.New("http2: the session is closed")
	errOutbound  = errors.New("http2: message that cannot be sent")
	errAlarm     = errors.New("http2: alarm") // cause of a wake
)

func malformed(reason string) *protocol.Error {
	return &protocol.Error{Status: 400, Details: "http2.invalid.header.field", Reason: reason}
}

func unconnectable(reason string) *protocol.Error {
	return &protocol.Error{Status: 502, Details: "http2.extended_connect_unsupported", Reason: reason, NothingSent: true}
}

// Why a message is refused. Immutable.
var (
	errFieldName     = malformed("malformed field name")
	errFieldValue    = malformed("forbidden byte in a field value")
	errPseudoUnknown = malformed("unknown pseudo-header field")
	errPseudoTwice   = malformed("pseudo-header field twice")
	errPseudoLate    = malformed("pseudo-header field after a regular one")
	errPseudoMissing = malformed("pseudo-header field missing")
	errPseudoValue   = malformed("malformed pseudo-header field")
	errConnection    = malformed("connection-specific field")
	errLength        = malformed("malformed content-length")
	errLengthBody    = malformed("body and content-length differ")
	errHostDiffers   = malformed("host and :authority differ")
	errHostTwice     = malformed("more than one host")
	errConnect       = malformed("extended CONNECT is not enabled")
	errTrailers      = malformed("malformed trailers")
	errStatus        = malformed("malformed :status")
	errNotFinal      = malformed("response that ends with an informational one")
	errUnderscore    = &protocol.Error{Status: 400, Details: "http2.unexpected_underscore", Reason: "underscore in a field name"}
	errOverflow      = &protocol.Error{Status: 431, Details: "http2.headers_too_large", Reason: "header section too large"}
	errTooMany       = &protocol.Error{Status: 431, Details: "http2.too_many_headers", Reason: "too many fields"}
	errUnfit         = &protocol.Error{Status: 500, Details: "http2.unfit", Reason: "message that HTTP/2 cannot carry"}
	errNoConnect     = unconnectable("the upstream takes no extended CONNECT")
	errNoSettingsYet = unconnectable("the upstream has not said in time whether it takes extended CONNECT")
	errDataSurplus   = &protocol.Error{Status: 502, Details: "http2.body_too_long", Reason: "more data than content-length says"}
)

// resets are the causes of streams that the peer reset with the common codes. Immutable: shared, so that floods cost no memory.
var resets = fillResets()

func fillResets() (t [CodeHTTP11 + 1]*protocol.ResetError) {
	for c := range t {
		t[c] = &protocol.ResetError{Code: uint32(c)}
	}
	return t
}

// resetBy returns the cause of a stream that the client reset.
func resetBy(c Code) *protocol.ResetError {
	if int(c) < len(resets) {
		return resets[c]
	}
	return &protocol.ResetError{Code: uint32(c)}
}
