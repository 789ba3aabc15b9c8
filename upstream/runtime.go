package upstream

import (
	"math"
	"strconv"
	"time"

	"github.com/weftproxy/weft/upstream/balance"
)

// Envoy's runtime keys for all clusters.
const (
	keyPanic = "upstream.healthy_panic_threshold" // in percent
	keyLeast = "health_check.min_interval"        // between two checks of a host, in milliseconds
	keyMost  = "health_check.max_interval"
)

// settings are what the runtime may override. As in Envoy it is asked whenever hosts, or their health, change.
type settings struct {
	lookup  func(key string) (value string, ok bool) // nil: nothing is set
	biasKey string                                   // active_request_bias.runtime_key
}

// number is the runtime's value of a key if that is a number from 0, otherwise the configured one.
func (s *settings) number(key string, otherwise float64) float64 {
	if s.lookup == nil || key == "" {
		return otherwise
	}
	text, ok := s.lookup(key)
	if !ok {
		return otherwise
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && !math.IsInf(n, 0) {
		return n
	}
	return otherwise
}

// checkInterval keeps the time between two checks to what the runtime allows.
func (s *settings) checkInterval(d time.Duration) time.Duration {
	const forever = float64(math.MaxInt64 / int64(time.Millisecond))
	least, most := min(s.number(keyLeast, 0), forever), min(s.number(keyMost, forever), forever)
	return max(min(d, time.Duration(most)*time.Millisecond), time.Duration(least)*time.Millisecond)
}

// panicThreshold is the percentage of healthy hosts below which health is ignored.
func (c *Config) panicThreshold() float64 {
	return min(100, c.settings.number(keyPanic, c.Panic))
}

// balancing is how to choose among hosts.
func (c *Config) balancing() balance.Options {
	o := c.Balance
	o.Bias = c.settings.number(c.settings.biasKey, o.Bias)
	return o
}
