package forward

import (
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// credit counts a response as its host's success or failure. What a gRPC response is, its grpc-status says: of one with a body only the
// trailers know.
func (f *flight) credit(resp *message.Response, bodyless bool) {
	switch {
	case resp.Status/100 == 5: // charge has counted it
	case !f.grpc:
		f.host.Stats().RqSuccess.Inc()
	case bodyless:
		f.judge(&resp.Header)
	default:
		f.awaiting = true
	}
}

// creditTrailers counts a gRPC response that has ended, once. One without trailers is a failure.
func (f *flight) creditTrailers(t *message.Header) {
	if f.awaiting {
		f.awaiting = false
		f.judge(t)
	}
}

// judge counts a gRPC response by what h has for its grpc-status. Nothing, and what is no status, is a failure.
func (f *flight) judge(h *message.Header) {
	if h != nil {
		if s, ok := grpc.ParseStatus(h.Known(message.GRPCStatus)); ok && grpc.ToHTTP(s)/100 != 5 {
			f.host.Stats().RqSuccess.Inc()
			return
		}
	}
	f.host.Stats().RqError.Inc()
}

// uncoded reports whether the exchange is left out of the statistics by status: it is gRPC, whose HTTP status says little, and
// suppress_grpc_request_failure_code_stats asks for it.
func (f *flight) uncoded() bool { return f.grpc && f.r.suppressGRPC }
