package balance

import "math/rand/v2"

// Hints are what a request tells the balancer. A nil *Hints is empty.
type Hints struct {
	Hash    uint64 // of the request, for consistent balancers
	HasHash bool
	Lane    uint32 // which lane of the statistics to add to

	// Random draws a random number; nil is math/rand/v2's.
	Random func() uint64
	// Exclude reports that the host with this Address shall not be taken (retry_host_predicate). It is asked for up to Attempts
	// further hosts; the last of them is taken whatever it says.
	Exclude  func(address string) bool
	Attempts int // host_selection_retry_max_attempts; 0 is 1
}

// Draw returns a random number.
func (h *Hints) Draw() uint64 {
	if h == nil || h.Random == nil {
		return rand.Uint64()
	}
	return h.Random()
}

// LaneOf returns Lane, 0 for a nil *Hints.
func (h *Hints) LaneOf() uint32 {
	if h == nil {
		return 0
	}
	return h.Lane
}
