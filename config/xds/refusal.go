package xds

import (
	"time"

	"github.com/weftproxy/weft/resource"
)

// Many control planes send a version again as soon as it is refused. Refusing it again waits, longer each time, and is not logged.
const (
	refusalFirst = 500 * time.Millisecond
	refusalMost  = 2 * time.Second // no longer: a good version comes only after it, from control planes that answer each request once
)

// A refusal is what was last refused of a kind.
type refusal struct {
	version, why string
	wait         time.Duration // after the next time
	until        time.Time     // requests about the kind wait for this; zero: they do not
}

// refused notes the outcome of a response, and reports whether it is to be logged.
func (s *stream) refused(k *kind, version string, rejected []resource.Rejection) (news bool) {
	if len(rejected) == 0 {
		delete(s.refusals, k)
		return false
	}
	why := reason(rejected).GetMessage()
	r := s.refusals[k]
	if r == nil || r.version != version || r.why != why {
		s.refusals[k] = &refusal{version: version, why: why, wait: refusalFirst}
		return true
	}
	r.until = time.Now().Add(r.wait)
	r.wait = min(2*r.wait, refusalMost)
	return false
}

// calm returns the kinds whose requests wait.
func (s *stream) calm(now time.Time) calm {
	var out calm
	for k, r := range s.refusals {
		if now.Before(r.until) {
			if out == nil {
				out = calm{}
			}
			out[k] = true
		}
	}
	return out
}

// untilCalm is how long the next request waits because of a refusal; 0 when none does.
func (s *stream) untilCalm(now time.Time) time.Duration {
	wait := time.Duration(0)
	for k := range s.calm(now) {
		if d := s.refusals[k].until.Sub(now); wait == 0 || d < wait {
			wait = d
		}
	}
	return wait
}
