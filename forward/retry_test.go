package forward

import (
	"context"
	"io"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// failing answers the first n requests with fail and the others with 200.
func failing(n int, fail handler) handler {
	return func(ctx context.Context, q *received) (*message.Response, error) {
		if q.try <= n {
			return fail(ctx, q)
		}
		return answer(200, "fine"), nil
	}
}

func status(code int, headers ...string) handler {
	return func(context.Context, *received) (*message.Response, error) {
		return answer(code, "no", headers...), nil
	}
}

func broken(err error) handler {
	return func(context.Context, *received) (*message.Response, error) { return nil, err }
}

// policy gives the route a retry policy.
func policy(p exchange.RetryPolicy) func(x *exchange.Exchange) {
	return func(x *exchange.Exchange) {
		if p.Retries == 0 {
			p.Retries = 1
		}
		x.Route.Retry = &p
	}
}

func mustHeader(t *testing.T, name string) *match.Header {
	t.Helper()
	h, err := match.NewHeader(&routev3.HeaderMatcher{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRetryConditions(t *testing.T) {
	refused := &protocol.Error{Details: "x", Reason: "garbage"}
	for name, c := range map[string]struct {
		on      exchange.RetryOn
		fail    handler
		retried bool
	}{
		"5xx on 500":                       {exchange.Retry5xx, status(500), true},
		"5xx on 404":                       {exchange.Retry5xx, status(404), false},
		"5xx on reset":                     {exchange.Retry5xx, broken(io.EOF), true},
		"5xx on garbage":                   {exchange.Retry5xx, broken(refused), true},
		"gateway-error on 502":             {exchange.RetryGatewayError, status(502), true},
		"gateway-error on 504":             {exchange.RetryGatewayError, status(504), true},
		"gateway-error on 500":             {exchange.RetryGatewayError, status(500), false},
		"gateway-error on reset":           {exchange.RetryGatewayError, broken(io.EOF), true},
		"reset on reset":                   {exchange.RetryReset, broken(syscall.ECONNRESET), true},
		"reset on 503":                     {exchange.RetryReset, status(503), false},
		"reset-before-request when sent":   {exchange.RetryResetBeforeRequest, broken(io.EOF), false},
		"reset-before-request when unsent": {exchange.RetryResetBeforeRequest, broken(&protocol.BrokenError{Cause: syscall.EPIPE, NothingSent: true}), true},
		"connect-failure on reset":         {exchange.RetryConnectFailure, broken(io.EOF), false},
		"retriable-4xx on 409":             {exchange.RetryRetriable4xx, status(409), true},
		"retriable-4xx on 400":             {exchange.RetryRetriable4xx, status(400), false},
		"status codes, listed":             {exchange.RetryRetriableStatusCodes, status(418), true},
		"status codes, not listed":         {exchange.RetryRetriableStatusCodes, status(419), false},
		"headers, there":                   {exchange.RetryRetriableHeaders, status(200, "x-again", "1"), true},
		"headers, not there":               {exchange.RetryRetriableHeaders, status(200), false},
		"rate limited, not asked":          {exchange.Retry5xx, status(503, "x-envoy-ratelimited", "true"), false},
		"rate limited, asked":              {exchange.RetryEnvoyRateLimited, status(429, "x-envoy-ratelimited", "true"), true},
		"refused-stream on reset":          {exchange.RetryRefusedStream, broken(io.EOF), false},
		"grpc unavailable":                 {exchange.RetryGRPCUnavailable, status(200, "grpc-status", "14"), true},
		"grpc cancelled":                   {exchange.RetryGRPCCancelled, status(200, "grpc-status", "1"), true},
		"grpc deadline":                    {exchange.RetryGRPCDeadlineExceeded, status(200, "grpc-status", "4"), true},
		"grpc exhausted":                   {exchange.RetryGRPCResourceExhausted, status(200, "grpc-status", "8"), true},
		"grpc internal":                    {exchange.RetryGRPCInternal, status(200, "grpc-status", "13"), true},
		"grpc other":                       {exchange.RetryGRPCInternal, status(200, "grpc-status", "5"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, &routerv3.Router{}, failing(1, c.fail))
				call := f.call(policy(exchange.RetryPolicy{On: c.on, Statuses: []uint32{418}, Headers: []*match.Header{mustHeader(t, "x-again")}}))
				r := call.run()
				if retried := len(f.net.seen()) == 2; retried != c.retried || retried && (r.body != "fine" || call.x.Record.Attempts != 2 || call.flags() != "-") {
					t.Errorf("%d requests, %d %q %s", len(f.net.seen()), r.Status, r.body, call.flags())
				}
				if c.retried {
					f.check("cluster.c.", "upstream_rq_retry 1 upstream_rq_retry_success 1 upstream_rq_active 0 upstream_rq_total 2 upstream_rq_200 1")
				} else {
					f.check("cluster.c.", "upstream_rq_retry 0 upstream_rq_retry_success 0 upstream_rq_active 0 upstream_rq_total 1")
				}
			})
		})
	}
}

func TestConnectFailureGoesToAnotherHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, ok, "10.0.0.1:80", "10.0.0.2:80")
		f.net.dial["10.0.0.1:80"], f.net.dial["10.0.0.2:80"] = errRefused, nil
		for range 4 {
			r := f.call(policy(exchange.RetryPolicy{On: exchange.RetryConnectFailure, Retries: 3})).run()
			if r.Status != 200 {
				t.Errorf("%d %q", r.Status, r.body)
			}
		}
	})
}

func TestPreviousHostsAreAvoided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}
		f := newFixture(t, &routerv3.Router{}, status(500), hosts...)
		f.call(policy(exchange.RetryPolicy{On: exchange.Retry5xx, Retries: 2, AvoidPrevious: true, HostAttempts: 50})).run()
		var used []string
		for _, s := range f.net.seen() {
			used = append(used, s.host)
		}
		slices.Sort(used)
		if !slices.Equal(used, hosts) {
			t.Errorf("asked %v", used)
		}
	})
}

func TestRetriesEndAndSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, status(503))
		c := f.call(policy(exchange.RetryPolicy{On: exchange.Retry5xx, Retries: 3}))
		r := c.run()
		if r.Status != 503 || r.body != "no" || c.flags() != "URX" || c.x.Record.Attempts != 4 || c.x.Record.Details != "via_upstream" {
			t.Errorf("%d %q %s after %d", r.Status, r.body, c.flags(), c.x.Record.Attempts)
		}
		f.check("cluster.c.", "upstream_rq_retry 3 upstream_rq_retry_limit_exceeded 1 upstream_rq_503 1 retry.upstream_rq_503 3 upstream_rq_retry_success 0")
		f.check("vhost.vh.vcluster.none.", "upstream_rq_retry 0")
		if n := c.x.Host.Stats().RqError.Value(); n != 4 {
			t.Errorf("rq_error of the host: %d", n)
		}
		if f.retrying().Active() != 0 {
			t.Error("a place of the retry breaker leaked")
		}
	})
}

func TestAFailureAfterRetriesIsWordedSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, broken(io.EOF))
		c := f.call(policy(exchange.RetryPolicy{On: exchange.RetryReset}))
		r := c.run()
		want := "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination"
		if r.Status != 503 || r.body != want || c.flags() != "UC,URX" {
			t.Errorf("%d %q %s", r.Status, r.body, c.flags())
		}
	})
}

func TestTheRetryBreakerStopsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, status(503))
		f.add(newCluster(f, "c", limits{retries: -1}, "10.0.0.1:80"))
		c := f.call(policy(exchange.RetryPolicy{On: exchange.Retry5xx, Retries: 3}))
		r := c.run()
		if r.Status != 503 || c.flags() != "UO" || c.x.Record.Attempts != 1 {
			t.Errorf("%d %s after %d", r.Status, c.flags(), c.x.Record.Attempts)
		}
		f.check("cluster.c.", "upstream_rq_retry 0 upstream_rq_retry_overflow 1")
	})
}

func TestRequestHeadersOrderRetries(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		fail    handler
		tries   int
	}{
		"nothing":        {nil, status(503), 1},
		"retry-on":       {[]string{"x-envoy-retry-on", "5xx"}, status(503), 2},
		"max-retries":    {[]string{"x-envoy-retry-on", "5xx", "x-envoy-max-retries", "4"}, status(503), 5},
		"no retries":     {[]string{"x-envoy-retry-on", "5xx", "x-envoy-max-retries", "0"}, status(503), 1},
		"only max":       {[]string{"x-envoy-max-retries", "4"}, status(503), 1},
		"status codes":   {[]string{"x-envoy-retry-on", "retriable-status-codes", "x-envoy-retriable-status-codes", "409, 418"}, status(418), 2},
		"header names":   {[]string{"x-envoy-retry-on", "retriable-headers", "x-envoy-retriable-header-names", "x-a, x-b"}, status(200, "X-B", ""), 2},
		"grpc":           {[]string{"x-envoy-retry-grpc-on", "unavailable"}, status(200, "grpc-status", "14"), 2},
		"grpc in http's": {[]string{"x-envoy-retry-on", "unavailable"}, status(200, "grpc-status", "14"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, q *received) (*message.Response, error) {
					for i := 0; i < len(c.headers); i += 2 {
						if q.Header.Has(c.headers[i]) {
							t.Errorf("%s went upstream", c.headers[i])
						}
					}
					return c.fail(ctx, q)
				})
				f.call(func(x *exchange.Exchange) {
					for i := 0; i < len(c.headers); i += 2 {
						x.Request.Header.Add(c.headers[i], c.headers[i+1])
					}
				}).run()
				if n := len(f.net.seen()); n != c.tries {
					t.Errorf("%d tries, want %d", n, c.tries)
				}
			})
		})
	}
}

func TestRetriableRequestHeadersLimitThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, has := range []bool{false, true} {
			f := newFixture(t, &routerv3.Router{}, status(503))
			f.call(func(x *exchange.Exchange) {
				policy(exchange.RetryPolicy{On: exchange.Retry5xx, RequestHeaders: []*match.Header{mustHeader(t, "x-may")}})(x)
				if has {
					x.Request.Header.Add("x-may", "1")
				}
			}).run()
			if n := len(f.net.seen()); n == 2 != has {
				t.Errorf("header %v: %d tries", has, n)
			}
		}
	})
}

func TestBackOffDoublesUpToItsLimit(t *testing.T) {
	r := retries{next: 25 * time.Millisecond, most: 100 * time.Millisecond}
	for _, limit := range []time.Duration{25, 50, 100, 100} {
		for range 20 {
			again := r
			if d := again.backoff(); d < 0 || d >= limit*time.Millisecond {
				t.Errorf("%v, the limit is %d ms", d, limit)
			}
		}
		r.backoff()
	}
}

func TestRateLimitedBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unix := strconv.FormatInt(time.Now().Unix()+10, 10)
		p := exchange.RetryPolicy{RateLimited: []exchange.ResetHeader{{Name: "Retry-After"}, {Name: "x-reset", Unix: true}}, RateLimitedMax: 60 * time.Second}
		for _, c := range []struct {
			name, value string
			least       time.Duration // 0: the exponential back-off
		}{
			{"x-reset", unix, 10 * time.Second}, {"retry-after", "4", 4 * time.Second}, {"retry-after", "61", 0}, {"retry-after", "soon", 0},
			{"x-reset", "5", 0}, {"x-other", "5", 0},
		} {
			f := newFixture(t, &routerv3.Router{}, failing(1, status(503, c.name, c.value)))
			p.On = exchange.Retry5xx
			began := time.Now()
			f.call(func(x *exchange.Exchange) { policy(p)(x); x.Route.Timeout = 0 }).run()
			took := time.Since(began)
			if c.least == 0 && took > 25*time.Millisecond || took < c.least || c.least > 0 && took > c.least*3/2 {
				t.Errorf("%s: %s waits %v", c.name, c.value, took)
			}
		}
	})
}

func TestPerTryTimeoutsAreRetried(t *testing.T) {
	for name, c := range map[string]struct {
		p       exchange.RetryPolicy
		details string
		stat    string
	}{
		"per try": {exchange.RetryPolicy{On: exchange.Retry5xx, PerTry: time.Second}, "upstream_per_try_timeout", "upstream_rq_per_try_timeout"},
		"idle":    {exchange.RetryPolicy{On: exchange.Retry5xx, PerTryIdle: time.Second}, "upstream_per_try_idle_timeout", "upstream_rq_per_try_idle_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := func(ctx context.Context, _ *received) (*message.Response, error) { return wait(ctx) }
				f := newFixture(t, &routerv3.Router{}, failing(1, hang))
				began := time.Now()
				r := f.call(policy(c.p)).run()
				if took := time.Since(began); r.body != "fine" || took < time.Second || took > 1100*time.Millisecond {
					t.Errorf("%d %q after %v", r.Status, r.body, took)
				}
				f.check("cluster.c.", c.stat+" 1 upstream_rq_retry_success 1 upstream_rq_timeout 0")

				f = newFixture(t, &routerv3.Router{}, hang)
				call := f.call(policy(c.p))
				r = call.run()
				if r.Status != 504 || r.body != "upstream request timeout" || call.flags() != "UT,URX" || call.x.Record.Details != c.details {
					t.Errorf("%d %q %s %s", r.Status, r.body, call.flags(), call.x.Record.Details)
				}
				f.check("cluster.c.", c.stat+" 2 upstream_rq_504 1")
			})
		})
	}
}

func TestTheRouteTimeoutEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, status(503))
		began := time.Now()
		c := f.call(func(x *exchange.Exchange) {
			policy(exchange.RetryPolicy{On: exchange.Retry5xx, Retries: 100000, Base: time.Second})(x)
			x.Route.Timeout = 5 * time.Second
		})
		r := c.run()
		if took := time.Since(began); r.Status != 504 || took != 5*time.Second || c.x.Record.Details != "response_timeout" {
			t.Errorf("%d after %v, %s", r.Status, took, c.x.Record.Details)
		}
		if f.retrying().Active() != 0 {
			t.Error("a place of the retry breaker leaked")
		}
	})
}

func TestPerTryIdleGoesOnThroughTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, _ *received) (*message.Response, error) {
			r := answer(200, "half")
			r.Length, r.Body = 8, &stuck{Body: r.Body, ctx: ctx}
			return r, nil
		})
		c := f.call(policy(exchange.RetryPolicy{On: exchange.Retry5xx, PerTryIdle: time.Second}))
		began := time.Now()
		r := c.run()
		if e := exchange.AsError(r.broken); e.Details != "upstream_per_try_idle_timeout" || time.Since(began) != time.Second {
			t.Errorf("%v after %v", r.broken, time.Since(began))
		}
	})
}

func TestTheRuntimeSaysWhetherToRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, status(503))
		f.router.runtime = &extension.Runtime{}
		for share, want := range map[string]int{"0": 1, "100": 3, "200": 3, "x": 3} {
			f.router.runtime.Set(map[string]string{keyUseRetry: share})
			before := len(f.net.seen())
			c := f.call(policy(exchange.RetryPolicy{On: exchange.Retry5xx, Retries: 2}))
			c.run()
			if n := len(f.net.seen()) - before; n != want {
				t.Errorf("%s %%: %d tries, want %d", share, n, want)
			}
			if f.retrying().Active() != 0 {
				t.Errorf("%s %%: a place of the retry breaker leaked", share)
			}
		}
	})
}

func TestTheRuntimeHasTheBackOffOfPoliciesWithout(t *testing.T) {
	rt := &extension.Runtime{}
	rt.Set(map[string]string{keyBase: "40"})
	for _, tc := range []struct {
		p          exchange.RetryPolicy
		rt         *extension.Runtime
		base, most time.Duration
	}{
		{exchange.RetryPolicy{}, nil, 25 * time.Millisecond, 250 * time.Millisecond},
		{exchange.RetryPolicy{}, rt, 40 * time.Millisecond, 400 * time.Millisecond},
		{exchange.RetryPolicy{Base: time.Second}, rt, time.Second, 10 * time.Second},
		{exchange.RetryPolicy{Max: 50 * time.Millisecond}, rt, 40 * time.Millisecond, 50 * time.Millisecond},
	} {
		var r retries
		r.of(&tc.p, &orders{retries: -1}, &message.Request{}, tc.rt)
		if r.next != tc.base || r.most != tc.most {
			t.Errorf("%+v: %v up to %v", tc.p, r.next, r.most)
		}
	}
}
