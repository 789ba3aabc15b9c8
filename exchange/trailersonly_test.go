package exchange

import (
	"testing"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

func TestTrailersOnly(t *testing.T) {
	for _, tc := range []struct {
		name            string
		method          string
		e               *Error
		own             string // a grpc-status that is there already
		status, message string
	}{
		{"mapped", "POST", &Error{Status: 503, Body: "no healthy upstream"}, "", "14", "no healthy upstream"},
		{"coded", "POST", &Error{Status: 404, Body: "100 %\n"}, "", "12", "100 %25%0A"},
		{"its own status", "POST", &Error{Status: 504, Body: "late", GRPC: grpc.DeadlineExceeded}, "", "4", "late"},
		{"no text", "POST", &Error{Status: 403}, "", "7", ""},
		{"HEAD", "HEAD", &Error{Status: 429, Body: "slow down"}, "", "14", ""},
		{"set before", "POST", &Error{Status: 500, Body: "b"}, "9", "9", "b"},
	} {
		x := &Exchange{Request: &message.Request{Method: tc.method}}
		resp := x.Reply(tc.e)
		if tc.own != "" {
			resp.Header.AddKnown(message.GRPCStatus, tc.own)
		}
		x.TrailersOnly()
		h := &resp.Header
		if resp.Status != 200 || resp.Length != 0 || resp.Body != message.NoBody || h.Known(message.ContentType) != "application/grpc" ||
			h.Known(message.GRPCStatus) != tc.status || h.Known(message.GRPCMessage) != tc.message || h.HasKnown(message.GRPCMessage) != (tc.message != "") ||
			h.Count("grpc-status") != 1 {
			t.Errorf("%s: %d %v %d, status %q, message %q", tc.name, resp.Status, h, resp.Length, h.Known(message.GRPCStatus), h.Known(message.GRPCMessage))
		}
	}
}
