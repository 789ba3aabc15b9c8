package xds

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// A bucket limits how many requests are sent, as rate_limit_settings says: 100 at once and 10 a second by default. Not safe for concurrent
// use. A nil bucket limits nothing.
type bucket struct {
	tokens, most float64
	rate         float64 // tokens a second
	filled       time.Time
}

// newBucket returns a full bucket, nil if there are no settings.
func newBucket(s *corev3.RateLimitSettings) *bucket {
	if s == nil {
		return nil
	}
	b := &bucket{most: 100, rate: 10, filled: time.Now()}
	if s.GetMaxTokens() != nil {
		b.most = max(1, float64(s.GetMaxTokens().GetValue()))
	}
	if s.GetFillRate() != nil {
		b.rate = max(1.0/(365*24*3600), s.GetFillRate().GetValue()) // Envoy's least: one a year
	}
	b.tokens = b.most
	return b
}

// take takes a token, or returns how long it takes until there is one.
func (b *bucket) take(now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	b.tokens = min(b.most, b.tokens+b.rate*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return max(time.Millisecond, min(time.Hour, time.Duration((1-b.tokens)/b.rate*float64(time.Second))))
}
