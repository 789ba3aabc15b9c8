package calls

import (
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/observe/stats"
)

// Stats are the statistics of one method, or of all methods that have none of their own. None is shown before it was used.
type Stats struct {
	Success          stats.Counter   `stat:"success" zero:"hide"`
	Failure          stats.Counter   `stat:"failure" zero:"hide"`
	Total            stats.Counter   `stat:"total" zero:"hide"`
	RequestMessages  stats.Counter   `stat:"request_message_count" zero:"hide"`
	ResponseMessages stats.Counter   `stat:"response_message_count" zero:"hide"`
	RqTime           stats.Histogram `stat:"upstream_rq_time" unit:"ms" zero:"hide"`
	Statuses         statuses
}

// statuses counts by grpc-status.
type statuses struct {
	OK                 stats.Counter `stat:"0" zero:"hide"`
	Canceled           stats.Counter `stat:"1" zero:"hide"`
	Unknown            stats.Counter `stat:"2" zero:"hide"`
	InvalidArgument    stats.Counter `stat:"3" zero:"hide"`
	DeadlineExceeded   stats.Counter `stat:"4" zero:"hide"`
	NotFound           stats.Counter `stat:"5" zero:"hide"`
	AlreadyExists      stats.Counter `stat:"6" zero:"hide"`
	PermissionDenied   stats.Counter `stat:"7" zero:"hide"`
	ResourceExhausted  stats.Counter `stat:"8" zero:"hide"`
	FailedPrecondition stats.Counter `stat:"9" zero:"hide"`
	Aborted            stats.Counter `stat:"10" zero:"hide"`
	OutOfRange         stats.Counter `stat:"11" zero:"hide"`
	Unimplemented      stats.Counter `stat:"12" zero:"hide"`
	Internal           stats.Counter `stat:"13" zero:"hide"`
	Unavailable        stats.Counter `stat:"14" zero:"hide"`
	DataLoss           stats.Counter `stat:"15" zero:"hide"`
	Unauthenticated    stats.Counter `stat:"16" zero:"hide"`
}

// of returns the counter of a known status.
func (s *statuses) of(status grpc.Status) *stats.Counter {
	return [grpc.Count]*stats.Counter{
		&s.OK, &s.Canceled, &s.Unknown, &s.InvalidArgument, &s.DeadlineExceeded, &s.NotFound, &s.AlreadyExists, &s.PermissionDenied,
		&s.ResourceExhausted, &s.FailedPrecondition, &s.Aborted, &s.OutOfRange, &s.Unimplemented, &s.Internal, &s.Unavailable, &s.DataLoss,
		&s.Unauthenticated,
	}[status]
}

// Charge counts a call that ended with this grpc-status: "0" is a success, anything else a failure. A status that gRPC does not define
// has no counter of its own, so that an upstream cannot make series. "" and a nil Stats count nothing.
func (s *Stats) Charge(status string) {
	if s == nil || status == "" {
		return
	}
	if known, ok := grpc.ParseStatus(status); ok {
		s.Statuses.of(known).Inc()
	}
	if status == "0" {
		s.Success.Inc()
	} else {
		s.Failure.Inc()
	}
	s.Total.Inc()
}
