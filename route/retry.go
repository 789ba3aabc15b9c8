package route

import (
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/resource"
)

// The back-off between retries: its base, the longest as a multiple of the base, and the longest that a server may ask for.
const (
	defaultBase       = 25 * time.Millisecond
	defaultMaxFactor  = 10
	defaultResetLimit = 300 * time.Second
)

// previousHosts is the one retry host predicate: it avoids hosts that were tried.
const previousHosts = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"

// retryPolicy compiles a RetryPolicy.
func (c *compiler) retryPolicy(cfg *routev3.RetryPolicy, at resource.Path) *exchange.RetryPolicy {
	p := &exchange.RetryPolicy{
		Retries: 1, PerTry: duration(cfg.GetPerTryTimeout(), 0), PerTryIdle: duration(cfg.GetPerTryIdleTimeout(), 0),
		Statuses: cfg.GetRetriableStatusCodes(), HostAttempts: 1,
		Headers:        c.headers(cfg.GetRetriableHeaders(), at.Field("retriable_headers")),
		RequestHeaders: c.headers(cfg.GetRetriableRequestHeaders(), at.Field("retriable_request_headers")),
		Base:           defaultBase, Max: defaultBase * defaultMaxFactor,
	}
	var unknown string
	if p.On, unknown = exchange.ParseRetryOn(cfg.GetRetryOn()); unknown != "" {
		c.problems.Warnf(at.Field("retry_on"), "", "%q is no retry condition and has no effect", unknown)
	}
	if n := cfg.GetNumRetries(); n != nil {
		p.Retries = int(n.GetValue())
	}
	if n := cfg.GetHostSelectionRetryMaxAttempts(); n > 0 {
		p.HostAttempts = int(n)
	}
	for i, predicate := range cfg.GetRetryHostPredicate() {
		t := resource.TypeOf(predicate.GetTypedConfig())
		switch {
		case t == previousHosts || t == "" && predicate.GetName() == "envoy.retry_host_predicates.previous_hosts":
			p.AvoidPrevious = true
		case t == "": // what has a type is resource.Check's to refuse
			c.problems.Unsupported(at.Field("retry_host_predicate").Index(i), "use envoy.retry_host_predicates.previous_hosts")
		}
	}
	c.backOff(p, cfg, at)
	return p
}

// backOff compiles retry_back_off and rate_limited_retry_back_off. Intervals below a millisecond are one.
func (c *compiler) backOff(p *exchange.RetryPolicy, cfg *routev3.RetryPolicy, at resource.Path) {
	if b := cfg.GetRetryBackOff(); b != nil {
		here := at.Field("retry_back_off")
		if b.GetBaseInterval() == nil {
			c.problems.Errorf(here.Field("base_interval"), "", "is required")
		}
		p.Base = max(duration(b.GetBaseInterval(), defaultBase), time.Millisecond)
		p.Max = max(duration(b.GetMaxInterval(), p.Base*defaultMaxFactor), time.Millisecond)
		if p.Max < p.Base {
			c.problems.Errorf(here.Field("max_interval"), "", "retry_policy.max_interval must greater than or equal to the base_interval")
		}
	}
	limited := cfg.GetRateLimitedRetryBackOff()
	if limited == nil {
		return
	}
	if len(limited.GetResetHeaders()) == 0 {
		c.problems.Errorf(at.Field("rate_limited_retry_back_off").Field("reset_headers"), "", "must have at least one header")
	}
	p.RateLimitedMax = max(duration(limited.GetMaxInterval(), defaultResetLimit), time.Millisecond)
	for _, h := range limited.GetResetHeaders() {
		p.RateLimited = append(p.RateLimited, exchange.ResetHeader{
			Name: h.GetName(), Unix: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP})
	}
}
