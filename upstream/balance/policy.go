package balance

import "github.com/weftproxy/weft/observe/stats"

// An Endpoint is what a balancer has to know of a host.
type Endpoint struct {
	Weight uint32       // load_balancing_weight; 0 counts as 1
	Active *stats.Gauge // requests under way; nil where the policy does not look at it
}

// A Picker chooses one of the endpoints it was built from. It may be used by any number of goroutines.
type Picker interface {
	// Pick returns the index of an endpoint, -1 when there are none.
	Pick(h *Hints) int
}

// A Policy is how to choose: Envoy's lb_policy.
type Policy uint8

// The policies.
const (
	RoundRobin Policy = iota
	LeastRequest
	Random
)

// String returns Envoy's name for the policy.
func (p Policy) String() string {
	return [...]string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"}[p]
}

// Options are a policy and its parameters.
type Options struct {
	Policy  Policy
	Choices int     // LeastRequest: endpoints to compare; 0 is 2
	Bias    float64 // LeastRequest: exponent of the active requests where weights differ (active_request_bias)
}

// Build returns a picker over the endpoints. start is where a round robin begins: a random number keeps proxies that started
// together from walking in step.
func (o Options) Build(endpoints []Endpoint, start uint64) Picker {
	switch {
	case len(endpoints) == 0:
		return none{}
	case len(endpoints) == 1:
		return only{}
	}
	switch o.Policy {
	case LeastRequest:
		return newLeastRequest(endpoints, o)
	case Random:
		return uniform{uint64(len(endpoints))}
	}
	weights := make([]uint32, len(endpoints))
	for i := range endpoints {
		weights[i] = endpoints[i].Weight
	}
	return Rotate(weights, start)
}

type none struct{}

func (none) Pick(*Hints) int { return -1 }

type only struct{}

func (only) Pick(*Hints) int { return 0 }
