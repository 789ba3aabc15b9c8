package exchange

import (
	"errors"

	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

// Details of exchanges whose downstream went away, Envoy's response code details.
const (
	remoteDisconnect = "downstream_remote_disconnect"
	remoteReset      = "http2.remote_reset"
	remoteRefuse     = "http2.remote_refuse"
)

// refusedStream is the HTTP/2 error code REFUSED_STREAM (RFC 9113 section 7).
const refusedStream = 7

// Departed says whether a cause is the downstream's going away, and with which flag and details such an exchange is recorded: its
// connection ended, or it reset the stream. A failure of the upstream's, which is an *Error, is none.
func Departed(cause error) (flag observe.Flag, details string, ok bool) {
	var e *Error
	var reset *protocol.ResetError
	switch {
	case cause == nil || errors.As(cause, &e):
		return 0, "", false
	case errors.Is(cause, protocol.ErrPeerGone):
		return observe.DC, remoteDisconnect, true
	case errors.As(cause, &reset):
		if reset.Refused || reset.Code == refusedStream {
			return observe.DR, remoteRefuse, true
		}
		return observe.DR, remoteReset, true
	}
	return 0, "", false
}
