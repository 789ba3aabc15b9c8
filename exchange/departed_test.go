package exchange

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

func TestDeparted(t *testing.T) {
	reset := &protocol.ResetError{Code: 8}
	for _, tc := range []struct {
		cause   error
		flag    observe.Flag
		details string
	}{
		{nil, 0, ""}, {io.EOF, 0, ""}, {protocol.ErrPeerGone, observe.DC, "downstream_remote_disconnect"},
		{fmt.Errorf("body: %w", protocol.ErrPeerGone), observe.DC, "downstream_remote_disconnect"},
		{reset, observe.DR, "http2.remote_reset"}, {&protocol.BodyError{Cause: reset}, observe.DR, "http2.remote_reset"},
		{&protocol.ResetError{Code: 7}, observe.DR, "http2.remote_refuse"},
		{&Error{Details: "upstream_reset_after_response_started{remote_reset}", Cause: reset}, 0, ""},
		{errors.New("other"), 0, ""},
	} {
		flag, details, ok := Departed(tc.cause)
		if flag != tc.flag || details != tc.details || ok != (tc.details != "") {
			t.Errorf("%v: %v %q %v", tc.cause, flag, details, ok)
		}
	}
}
