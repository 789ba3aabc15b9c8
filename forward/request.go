package forward

import (
	"strconv"
	"strings"
	"time"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

// check refuses requests whose x-envoy headers are not well-formed, as far as strict_check_headers asks for it.
func (r *Router) check(h *message.Header) error {
	for _, k := range r.strict {
		if !h.HasKnown(k) {
			continue
		}
		v, ok := h.Known(k), false
		switch k {
		case message.XEnvoyRetryOn:
			on, unknown := exchange.ParseRetryOn(v)
			ok = unknown == "" && on&retryGRPC == 0
		case message.XEnvoyRetryGRPCOn:
			on, unknown := exchange.ParseRetryOn(v)
			ok = unknown == "" && on&^retryGRPC == 0
		default:
			_, ok = number(v)
		}
		if !ok {
			return &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Flag: observe.IH, Status: 400,
				Body: "invalid header '" + k.String() + "'", Details: "request_headers_failed_strict_check{" + k.String() + "}"}
		}
	}
	return nil
}

// number reads a decimal number, spaces around it allowed.
func number(v string) (uint64, bool) {
	n, ok := match.ParseUint(strings.TrimSpace(v))
	return n, ok && n < 1<<63
}

// orders are what a request's x-envoy headers ask of the router. The connection manager removes them from requests of clients that
// may not ask. Strings are borrowed.
type orders struct {
	timeout, perTry            int64 // milliseconds; -1: not given
	alternative                bool  // answer 204 to a timeout
	retries                    int64 // -1: not given
	retryOn, retryGRPCOn       string
	statusCodes, headerNames   string
	hasRetryOn, hasRetryGRPCOn bool
}

// takeTimeouts reads the orders about timeouts and removes their headers. An expected timeout that is respected stays, and is then
// the only one that counts.
func (o *orders) takeTimeouts(h *message.Header, respectExpected bool) {
	o.timeout, o.perTry, o.alternative = -1, -1, false
	at, expected, given := int64(-1), int64(-1), -1
	for i := range h.Slots() {
		_, v, k, ok := h.At(i)
		if !ok {
			continue
		}
		switch k {
		case message.XEnvoyUpstreamRqTimeoutMs:
			given = i
			set(&at, v)
		case message.XEnvoyExpectedRqTimeoutMs:
			if respectExpected {
				expected = -2 // it is there, whatever it says
				set(&expected, v)
			}
		case message.XEnvoyUpstreamRqPerTryTimeoutMs:
			set(&o.perTry, v)
			h.DelAt(i)
		case message.XEnvoyUpstreamRqTimeoutAltResponse:
			o.alternative = true
			h.DelAt(i)
		case message.XEnvoyUpstreamAltStatName, message.XEnvoyHedgeOnPerTryTimeout:
			h.DelAt(i)
		}
	}
	if expected != -1 {
		o.timeout = expected
		return
	}
	o.timeout = at
	if given >= 0 {
		h.DelAt(given)
	}
}

// takeRetries reads the orders about retries and removes their headers. It comes after the route's header mutations, which may give
// such orders as well.
func (o *orders) takeRetries(h *message.Header) {
	o.retries, o.hasRetryOn, o.hasRetryGRPCOn = -1, false, false
	o.retryOn, o.retryGRPCOn, o.statusCodes, o.headerNames = "", "", "", ""
	for i := range h.Slots() {
		_, v, k, ok := h.At(i)
		if !ok {
			continue
		}
		switch k {
		case message.XEnvoyRetryOn:
			o.retryOn, o.hasRetryOn = v, true
		case message.XEnvoyRetryGRPCOn:
			o.retryGRPCOn, o.hasRetryGRPCOn = v, true
		case message.XEnvoyMaxRetries:
			set(&o.retries, v)
		case message.XEnvoyRetriableStatusCodes:
			o.statusCodes = v
		case message.XEnvoyRetriableHeaderNames:
			o.headerNames = v
		case message.XEnvoyUpstreamRqPerTryTimeoutMs, message.XEnvoyHedgeOnPerTryTimeout:
		default:
			continue
		}
		h.DelAt(i)
	}
}

func set(to *int64, v string) {
	if n, ok := number(v); ok {
		*to = int64(n)
	}
}

// timeouts are the effective ones of an exchange; 0 is none.
type timeouts struct{ global, perTry, perTryIdle time.Duration }

// of combines the route's timeouts with what the request asks for.
func (t *timeouts) of(route *exchange.Route, o *orders, h *message.Header) {
	*t = timeouts{global: route.Timeout}
	if route.GRPC != nil && grpc.IsRequest(h) {
		if limit, ok := route.GRPC.Response(h); ok {
			t.global = limit
		}
	}
	if p := route.Retry; p != nil {
		t.perTry, t.perTryIdle = p.PerTry, p.PerTryIdle
	}
	if o.timeout >= 0 {
		t.global = milliseconds(o.timeout)
	}
	if o.perTry >= 0 {
		t.perTry = milliseconds(o.perTry)
	}
	if t.global != 0 && t.perTry >= t.global {
		t.perTry = 0
	}
}

func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, int64(1<<62/time.Millisecond))) * time.Millisecond
}

// expected returns how long Weft waits for an attempt; 0: for ever. elapsed is the time since the end of the request.
func (t *timeouts) expected(elapsed time.Duration) time.Duration {
	expected := t.perTry
	if expected == 0 {
		expected = t.global
	}
	if t.global > 0 {
		expected = min(expected, max(t.global-elapsed, time.Millisecond))
	}
	return expected
}

// expect tells the upstream how long Weft waits for the attempt that is about to begin.
func (f *flight) expect(elapsed time.Duration) {
	expected := f.timeouts.expected(elapsed)
	if expected == 0 {
		return
	}
	h := &f.x.Request.Header
	if !f.r.suppress {
		setNumber(h, message.XEnvoyExpectedRqTimeoutMs, expected.Milliseconds())
	}
	if f.grpc {
		f.x.Route.GRPC.SetTimeout(h, expected)
	}
}

// setNumber sets a header to a number, without an allocation.
func setNumber(h *message.Header, k message.Known, n int64) {
	var buf [20]byte
	h.SetKnown(k, string(strconv.AppendInt(buf[:0], n, 10)))
}
