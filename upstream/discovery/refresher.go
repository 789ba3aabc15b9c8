package discovery

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"
)

// A Family says which addresses of a name are wanted: Envoy's DnsLookupFamily.
type Family uint8

// The families.
const (
	Auto        Family = iota // IPv6, and IPv4 where there is none
	V4Only                    // IPv4
	V6Only                    // IPv6
	V4Preferred               // IPv4, and IPv6 where there is none
	All                       // both
)

// An Answer is one address of a name.
type Answer struct {
	Addr netip.Addr
	TTL  time.Duration // how long the answer may be used; 0 when that is not known
}

// A Resolver looks names up. A name without addresses is an empty answer, not an error.
type Resolver interface {
	Lookup(ctx context.Context, name string, family Family) ([]Answer, error)
}

// A Refresher looks one name up again and again.
type Refresher struct {
	Resolver   Resolver
	Name       string
	Family     Family
	Every      time.Duration // dns_refresh_rate
	Jitter     time.Duration // dns_jitter: up to this much is added to Every
	RespectTTL bool          // respect_dns_ttl
	// FailureBase and FailureMax bound the back-off after failures (dns_failure_refresh_rate); zero means Every.
	FailureBase, FailureMax time.Duration
}

// Run looks the name up until ctx ends and calls report with each outcome, on its own goroutine.
func (r *Refresher) Run(ctx context.Context, report func([]Answer, error)) {
	failures := 0
	for {
		answers, err := r.Resolver.Lookup(ctx, r.Name, r.Family)
		if ctx.Err() != nil {
			return
		}
		report(answers, err)
		if err != nil {
			failures++
		} else {
			failures = 0
		}
		timer := time.NewTimer(r.wait(answers, failures))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// wait returns the time to the next lookup.
func (r *Refresher) wait(answers []Answer, failures int) time.Duration {
	if failures > 0 {
		return r.backOff(failures)
	}
	d := r.Every
	if r.RespectTTL && len(answers) > 0 {
		ttl := answers[0].TTL
		for _, a := range answers {
			ttl = min(ttl, a.TTL)
		}
		if ttl > 0 {
			d = max(ttl, time.Second)
		}
	}
	if r.Jitter > 0 {
		d += rand.N(r.Jitter)
	}
	return d
}

// backOff returns a random time that grows with the number of failures, as Envoy's fully jittered back-off does.
func (r *Refresher) backOff(failures int) time.Duration {
	if r.FailureBase <= 0 {
		return r.Every
	}
	top := r.FailureBase
	for range failures - 1 {
		if top *= 2; top >= r.FailureMax {
			top = r.FailureMax
			break
		}
	}
	return max(rand.N(max(top, 1)), time.Millisecond)
}
