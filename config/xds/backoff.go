package xds

import (
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// How long a stream waits before it is opened anew, unless its retry policy says otherwise: as Envoy's.
const (
	retryInitial = 500 * time.Millisecond
	retryMax     = 30 * time.Second
)

// A backoff says how long to wait after a failure: at random up to a limit that doubles with each.
type backoff struct {
	first, most time.Duration
	limit       time.Duration              // of the next wait; 0: first
	random      func(n int64) (less int64) // in [0, n)
}

// newBackoff returns the back-off that a retry policy describes.
func newBackoff(p *corev3.RetryPolicy) *backoff {
	b := &backoff{first: retryInitial, most: retryMax, random: rand.Int64N}
	if s := p.GetRetryBackOff(); s != nil {
		b.first = max(s.GetBaseInterval().AsDuration(), time.Millisecond)
		b.most = 10 * b.first
		if s.GetMaxInterval() != nil {
			b.most = s.GetMaxInterval().AsDuration()
		}
		b.most = max(b.most, b.first)
	}
	return b
}

// next returns how long to wait now.
func (b *backoff) next() time.Duration {
	if b.limit == 0 {
		b.limit = b.first
	}
	d := time.Duration(b.random(int64(b.limit)))
	b.limit = min(2*b.limit, b.most)
	return d
}

// reset begins anew: things work.
func (b *backoff) reset() { b.limit = 0 }
