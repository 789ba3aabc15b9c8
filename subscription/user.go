package subscription

import (
	"hash/fnv"
	"time"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// A User is who uses one resource, or a collection of them.
type User struct {
	// Prepare compiles a version, reports what is wrong with it to p, and returns what puts it into effect; that is called at once, or never.
	// The resource's path is empty: paths begin within it.
	Prepare func(r *resource.Resource, p *resource.Problems) (commit func())
	// Again is called when a source that has given a version sends it anew: the content is the one in force. May be nil.
	Again func()
	// Removed is called when the source says that the resource is no more. nil: its last version stays in force, as Envoy has it for
	// routes, endpoints and secrets.
	Removed func()
	// Apply takes what has changed in a collection, instead of Prepare, and returns what it rejects of it. The rest is in force, or warming.
	Apply func(d Delta) []resource.Rejection
	// NoWait says that the user has what it needs without a version: the watch is ready from the beginning.
	NoWait bool
	// Released is called when the last Hold has ended, for what the user holds itself because of the versions it was given. A watch that is
	// held anew is given everything again. May be nil.
	Released func()
	// Stats count what happens; nil: nobody does.
	Stats *Stats
}

// Stats are the statistics of one subscription, by Envoy's names below the scope of what it is for. Each may be nil.
type Stats struct {
	Attempt, Success, Failure, Rejected, TimedOut *stats.Counter // update_attempt ..., init_fetch_timeout
	Time, Version                                 *stats.Gauge   // update_time in ms since the epoch; version, a hash of its text
	VersionText                                   *stats.Text
	Duration                                      *stats.Histogram // update_duration, ms
}

// NewStats returns the statistics below a scope.
func NewStats(sc *stats.Scope) *Stats {
	return &Stats{
		Attempt: sc.Counter("update_attempt"), Success: sc.Counter("update_success"), Failure: sc.Counter("update_failure"),
		Rejected: sc.Counter("update_rejected"), TimedOut: sc.Counter("init_fetch_timeout"), Time: sc.Gauge("update_time"),
		Version: sc.Gauge("version"), VersionText: sc.Text("version_text"), Duration: sc.Histogram("update_duration"),
	}
}

// Accepted counts a version that is in force from now on.
func (s *Stats) Accepted(version string, took time.Duration) {
	if s == nil {
		return
	}
	inc(s.Attempt)
	inc(s.Success)
	if s.Time != nil {
		s.Time.Set(time.Now().UnixMilli())
	}
	if s.Version != nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(version)) // never fails
		s.Version.Set(int64(h.Sum64() >> 1))
	}
	if s.VersionText != nil {
		s.VersionText.Set(version)
	}
	if s.Duration != nil {
		s.Duration.Record(uint64(took.Milliseconds()))
	}
}

// Refused counts a version that is not.
func (s *Stats) Refused() {
	if s != nil {
		inc(s.Attempt)
		inc(s.Rejected)
	}
}

// Failed counts an attempt that brought nothing: the source could not be reached.
func (s *Stats) Failed() {
	if s != nil {
		inc(s.Attempt)
		inc(s.Failure)
	}
}

func inc(c *stats.Counter) {
	if c != nil {
		c.Inc()
	}
}
