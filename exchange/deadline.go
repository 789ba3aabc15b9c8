package exchange

import (
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/internal/scope"
)

// A responseLimit arms the response deadline when both the end of the request and the limit are known, in whichever order.
type responseLimit struct {
	complete atomic.Int64 // scope.Now at the last byte of the request; 0: not yet
	limit    atomic.Int64 // nanoseconds from there; 0: none
}

// RequestComplete notes that the whole request has been read: the route's timeout runs from here. It may be called from the
// goroutine that reads the body.
func (x *Exchange) RequestComplete(now int64) {
	x.response.complete.Store(now)
	x.armResponse()
}

// LimitResponse sets how long the response may take from the end of the request to its last byte; 0 for no limit.
func (x *Exchange) LimitResponse(d time.Duration) {
	x.response.limit.Store(int64(d))
	x.armResponse()
}

func (x *Exchange) armResponse() {
	if x.Scope == nil {
		return
	}
	limit, complete := x.response.limit.Load(), x.response.complete.Load()
	switch {
	case limit == 0:
		x.Scope.Extend(scope.Response, 0)
	case complete != 0:
		x.Scope.Arm(scope.Response, complete+limit)
	}
}

// Complete reports whether the whole request has been read.
func (x *Exchange) Complete() bool { return x.response.complete.Load() != 0 }

// CompletedAt returns scope.Now at the last byte of the request, 0 when it has not been read.
func (x *Exchange) CompletedAt() int64 { return x.response.complete.Load() }
