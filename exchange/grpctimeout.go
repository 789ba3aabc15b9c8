package exchange

import (
	"time"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// GRPCTimeouts say what a route makes of the grpc-timeout header. A duration of -1 is not configured.
type GRPCTimeouts struct {
	// With max_stream_duration (Duration) the header limits the whole exchange, from its beginning to its end.
	Duration  bool
	HeaderMax time.Duration // grpc_timeout_header_max: the longest; 0: any
	Offset    time.Duration // grpc_timeout_header_offset: taken from the header's

	// Without, it may be the route's timeout, by the older fields.
	Max       time.Duration // max_grpc_timeout: the longest; 0: any
	OldOffset time.Duration // grpc_timeout_offset: taken from the header's if something is left
}

// Duration returns how long an exchange may take from its beginning to its end, at most; ok is false where there is no such limit.
// fallback is the connection manager's, 0 for none. A limit of 0 has passed already. grpc-timeout of a gRPC request becomes the limit
// where the route has a max_stream_duration, so that the upstream knows of it.
func (r *Route) Duration(h *message.Header, fallback time.Duration) (limit time.Duration, ok bool) {
	g := r.GRPC
	if g == nil || !g.Duration {
		if r.MaxStream >= 0 {
			fallback = r.MaxStream
		}
		return fallback, fallback > 0
	}
	limit, ok = g.given(h)
	if !ok {
		if limit = r.MaxStream; limit < 0 {
			limit = fallback
		}
		if limit <= 0 {
			return 0, false
		}
	}
	if grpc.IsRequest(h) {
		setTimeout(h, limit)
	}
	return limit, true
}

// given is the limit that the header gives; ok is false where it gives none, or the route does not heed it.
func (g *GRPCTimeouts) given(h *message.Header) (limit time.Duration, ok bool) {
	if g.HeaderMax < 0 {
		return 0, false
	}
	if limit, ok = grpc.ParseTimeout(h.Known(message.GRPCTimeout)); !ok {
		return 0, false
	}
	if g.HeaderMax > 0 {
		limit = min(limit, g.HeaderMax)
	}
	return max(limit-max(g.Offset, 0), 0), true
}

// Response returns the timeout of the response that max_grpc_timeout makes of the header of a gRPC request; ok is false where the
// route's own timeout holds. 0 is none.
func (g *GRPCTimeouts) Response(h *message.Header) (limit time.Duration, ok bool) {
	if g == nil || g.Duration || g.Max < 0 {
		return 0, false
	}
	limit, _ = grpc.ParseTimeout(h.Known(message.GRPCTimeout)) // 0 without one: no limit
	if g.OldOffset > 0 && g.OldOffset < limit {
		limit -= g.OldOffset
	}
	if g.Max > 0 && (limit == 0 || limit > g.Max) {
		limit = g.Max
	}
	return limit, true
}

// SetTimeout tells the upstream of a gRPC request how long Weft waits, where max_grpc_timeout is configured.
func (g *GRPCTimeouts) SetTimeout(h *message.Header, expected time.Duration) {
	if g != nil && !g.Duration && g.Max >= 0 {
		setTimeout(h, expected)
	}
}

func setTimeout(h *message.Header, d time.Duration) {
	var buf [16]byte
	h.SetKnown(message.GRPCTimeout, string(grpc.AppendTimeout(buf[:0], d)))
}
