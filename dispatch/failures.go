package dispatch

import (
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/observe"
)

// What an exchange that runs out of time, or is refused by the connection manager, fails with. Statuses, texts, flags and details are
// Envoy's. Immutable.
var (
	errRequestTimeout = &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: 408, Body: "request timeout", Details: "request_overall_timeout"}
	errIdleRequest    = &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: 408, Body: "stream timeout", Flag: observe.SI, Details: "stream_idle_timeout"}
	errIdleResponse   = &exchange.Error{Stage: exchange.Receive, Side: exchange.Upstream, Status: 504, Body: "stream timeout", Flag: observe.SI, Details: "stream_idle_timeout"}
	errMaxRequest     = &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: 408, Body: "downstream duration timeout", Flag: observe.DT, Details: "max_duration_timeout", GRPC: grpc.DeadlineExceeded}
	errMaxResponse    = &exchange.Error{Stage: exchange.Receive, Side: exchange.Upstream, Status: 504, Body: "downstream duration timeout", Flag: observe.DT, Details: "max_duration_timeout", GRPC: grpc.DeadlineExceeded}
	errRouteTimeout   = &exchange.Error{Stage: exchange.Receive, Side: exchange.Upstream, Status: 504, Body: "upstream request timeout", Flag: observe.UT, Details: "response_timeout"}
	errClosed         = &exchange.Error{Stage: exchange.Receive, Side: exchange.Local, Details: "downstream_local_disconnect"}
	errMissingHost    = &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: 400, Details: "missing_host_header"}
	errMissingPath    = &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: 404, Details: "missing_path_rejected"}
	errAbsolutePath   = &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: 404, Flag: 0, Details: "absolute_path_rejected"}
	errNormalization  = &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: 400, Details: "path_normalization_failed"}
	errUpgrade        = &exchange.Error{Stage: exchange.Routing, Side: exchange.Downstream, Status: 403, Details: "upgrade_failed"}
	errPanic          = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Local, Status: 500, Details: "internal_error"}
)
