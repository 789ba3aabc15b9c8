package forward

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
)

const retryGRPC = exchange.RetryGRPCCancelled | exchange.RetryGRPCDeadlineExceeded | exchange.RetryGRPCInternal |
	exchange.RetryGRPCResourceExhausted | exchange.RetryGRPCUnavailable

// retries is the effective retry policy of an exchange and what is left of it.
type retries struct {
	on          exchange.RetryOn // 0: never
	left        int
	policy      *exchange.RetryPolicy // of the route; nil: the request alone asks
	statusCodes string                // x-envoy-retriable-status-codes; borrowed
	headerNames string                // x-envoy-retriable-header-names; borrowed
	next        time.Duration         // back-off, before the jitter
	most        time.Duration
	holding     bool // a place of the cluster's retry breaker
}

// Back-off where the policy gives none.
const (
	defaultBase           = 25 * time.Millisecond
	defaultRateLimitedMax = 300 * time.Second
)

// Runtime keys, Envoy's, that hold for all routes.
const (
	keyUseRetry = "upstream.use_retry"             // the percentage of retries that are made
	keyBase     = "upstream.base_retry_backoff_ms" // defaultBase
)

// of combines the route's policy with what the request asks for.
func (r *retries) of(p *exchange.RetryPolicy, o *orders, q *message.Request, rt *extension.Runtime) {
	*r = retries{policy: p, left: 1}
	if p != nil {
		r.on, r.left, r.next, r.most = p.On, p.Retries, p.Base, p.Max
	}
	if r.next <= 0 {
		r.next = time.Duration(min(max(rt.Uint(keyBase, uint64(defaultBase/time.Millisecond)), 1), 1<<31)) * time.Millisecond
	}
	if r.most == 0 {
		r.most = 10 * r.next
	}
	if o.hasRetryOn {
		on, _ := exchange.ParseRetryOn(o.retryOn)
		r.on |= on &^ retryGRPC
	}
	if o.hasRetryGRPCOn {
		on, _ := exchange.ParseRetryOn(o.retryGRPCOn)
		r.on |= on & retryGRPC
	}
	if p != nil && len(p.RequestHeaders) > 0 && !matchesAny(p.RequestHeaders, q) {
		r.on = 0
	}
	if r.on != 0 && o.retries >= 0 {
		r.left = int(min(o.retries, 1<<31-1))
	}
	r.statusCodes, r.headerNames = o.statusCodes, o.headerNames
}

func matchesAny(matchers []*match.Header, q *message.Request) bool {
	for _, m := range matchers {
		if m.MatchRequest(q) {
			return true
		}
	}
	return false
}

// wantsReset reports whether the policy retries an attempt that was reset. started: something had been sent upstream.
func (r *retries) wantsReset(why reset, started bool) bool {
	switch {
	case why == overflow:
		return false
	case r.on&(exchange.RetryReset|exchange.Retry5xx|exchange.RetryGatewayError) != 0:
		return true
	case r.on&exchange.RetryResetBeforeRequest != 0 && !started:
		return true
	case r.on&exchange.RetryRefusedStream != 0 && why == refusedStream:
		return true
	}
	return r.on&exchange.RetryConnectFailure != 0 && why.connecting()
}

// wantsResponse reports whether the policy retries an attempt that was answered like this.
func (r *retries) wantsResponse(resp *message.Response) bool {
	status := resp.Status
	if resp.Header.HasKnown(message.XEnvoyRateLimited) {
		return r.on&exchange.RetryEnvoyRateLimited != 0
	}
	switch {
	case r.on&exchange.Retry5xx != 0 && status/100 == 5:
		return true
	case r.on&exchange.RetryGatewayError != 0 && (status == 502 || status == 503 || status == 504):
		return true
	case r.on&exchange.RetryRetriable4xx != 0 && status == 409:
		return true
	case r.on&exchange.RetryRetriableStatusCodes != 0 && r.retriableStatus(status):
		return true
	case r.on&exchange.RetryRetriableHeaders != 0 && r.retriableHeader(resp):
		return true
	}
	return r.on&retryGRPC != 0 && r.retriableGRPC(resp.Header.Known(message.GRPCStatus))
}

func (r *retries) retriableStatus(status int) bool {
	if r.policy != nil && slices.Contains(r.policy.Statuses, uint32(status)) {
		return true
	}
	for code := range strings.SplitSeq(r.statusCodes, ",") {
		if n, ok := number(code); ok && n == uint64(status) {
			return true
		}
	}
	return false
}

func (r *retries) retriableHeader(resp *message.Response) bool {
	if r.policy != nil {
		for _, m := range r.policy.Headers {
			if m.MatchResponse(resp) {
				return true
			}
		}
	}
	for name := range strings.SplitSeq(r.headerNames, ",") {
		if name = strings.TrimSpace(name); name != "" && resp.Header.Has(name) {
			return true
		}
	}
	return false
}

// retriableGRPC looks at the grpc-status of a response without a body; that of others comes too late.
func (r *retries) retriableGRPC(status string) bool {
	switch status {
	case "1":
		return r.on&exchange.RetryGRPCCancelled != 0
	case "4":
		return r.on&exchange.RetryGRPCDeadlineExceeded != 0
	case "8":
		return r.on&exchange.RetryGRPCResourceExhausted != 0
	case "13":
		return r.on&exchange.RetryGRPCInternal != 0
	case "14":
		return r.on&exchange.RetryGRPCUnavailable != 0
	}
	return false
}

// backoff returns how long to wait before the next attempt: anything up to a limit that doubles each time, so that many clients do
// not come back at once.
func (r *retries) backoff() time.Duration {
	limit := min(r.next, r.most)
	r.next = min(2*limit, r.most)
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}

// rateLimited returns how long the response asks to wait, where the policy heeds that: the time it says and up to half as much.
func (r *retries) rateLimited(h *message.Header) (time.Duration, bool) {
	if r.policy == nil {
		return 0, false
	}
	most := r.policy.RateLimitedMax
	if most == 0 {
		most = defaultRateLimitedMax
	}
	for i := range r.policy.RateLimited {
		rh := &r.policy.RateLimited[i]
		v, ok := h.Lookup(rh.Name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil || n < 0 {
			continue
		}
		if rh.Unix {
			n -= time.Now().Unix()
		}
		if wait := time.Duration(n) * time.Second; n >= 0 && n <= int64(most/time.Second) && wait > 0 {
			return wait + rand.N(wait/2), true
		}
	}
	return 0, false
}
