package forward

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2"
)

// trailed is a body with trailers.
type trailed struct {
	message.Body
	trailer *message.Header
	end     error // instead of io.EOF
}

func (b *trailed) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if err == io.EOF && b.end != nil {
		err = b.end
	}
	return p, err
}

func (b *trailed) Trailer() *message.Header { return b.trailer }

// streamed is a gRPC response with a body and a grpc-status in its trailers; "" is without trailers.
func streamed(status string) *message.Response {
	r := answer(200, "frame", "content-type", "application/grpc")
	b := &trailed{Body: r.Body}
	if status != "" {
		b.trailer = &message.Header{}
		b.trailer.AddKnown(message.GRPCStatus, status)
	}
	r.Body, r.Length = b, -1
	return r
}

// isGRPC makes the request of a call gRPC.
func isGRPC(x *exchange.Exchange) {
	x.Request.Method = "POST"
	x.Request.Header.AddKnown(message.ContentType, "application/grpc+proto")
}

func TestGRPCStatusDecidesAboutTheHost(t *testing.T) {
	only := func(code int, status string) *message.Response {
		r := answer(code, "")
		if status != "" {
			r.Header.AddKnown(message.GRPCStatus, status)
		}
		return r
	}
	for name, c := range map[string]struct {
		resp           *message.Response
		plain          bool // the request is not gRPC
		success, error uint64
	}{
		"OK in trailers":          {resp: streamed("0"), success: 1},
		"NotFound in trailers":    {resp: streamed("5"), success: 1},
		"Internal in trailers":    {resp: streamed("13"), error: 1},
		"Unavailable in trailers": {resp: streamed("14"), error: 1},
		"no status at all":        {resp: streamed("x"), error: 1},
		"no trailers":             {resp: streamed(""), error: 1},
		"trailers only":           {resp: only(200, "0"), success: 1},
		"trailers only, Internal": {resp: only(200, "13"), error: 1},
		"only a head":             {resp: only(200, ""), error: 1},
		"503 counts once":         {resp: only(503, "14"), error: 1},
		"not gRPC":                {resp: streamed("13"), plain: true, success: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) { return c.resp, nil })
				call := f.call(func(x *exchange.Exchange) {
					if !c.plain {
						isGRPC(x)
					}
				})
				if r := call.run(); r.broken != nil {
					t.Fatal(r.broken)
				}
				n := call.x.Host.Stats()
				if n.RqSuccess.Value() != c.success || n.RqError.Value() != c.error {
					t.Errorf("%d successes and %d errors, want %d and %d", n.RqSuccess.Value(), n.RqError.Value(), c.success, c.error)
				}
			})
		})
	}
}

func TestABrokenGRPCResponseIsOneError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) {
			r := streamed("0")
			r.Body.(*trailed).end = &protocol.ResetError{Code: 2, HeadSeen: true}
			return r, nil
		})
		c := f.call(isGRPC)
		r := c.run()
		e := exchange.AsError(r.broken)
		if e.Details != "upstream_reset_after_response_started{remote_reset}" || e.Flag.String() != "UR" {
			t.Errorf("%s %s", e.Details, e.Flag)
		}
		if _, _, gone := exchange.Departed(r.broken); gone {
			t.Error("an upstream's reset looks like the downstream's")
		}
		if n := c.x.Host.Stats(); n.RqSuccess.Value() != 0 || n.RqError.Value() != 1 {
			t.Errorf("%d successes, %d errors", n.RqSuccess.Value(), n.RqError.Value())
		}
	})
}

func TestSuppressedGRPCCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{SuppressGrpcRequestFailureCodeStats: true}, status(503))
		retry := policy(exchange.RetryPolicy{On: exchange.Retry5xx})
		f.call(func(x *exchange.Exchange) { isGRPC(x); retry(x) }).run()
		f.check("cluster.c.", "upstream_rq_completed 1 upstream_rq_503 0 upstream_rq_5xx 0 retry.upstream_rq_503 0 external.upstream_rq_503 0")
		f.call(retry).run()
		f.check("cluster.c.", "upstream_rq_completed 2 upstream_rq_503 1 upstream_rq_5xx 1 retry.upstream_rq_503 1 external.upstream_rq_503 1")
	})
}

func TestResetStreams(t *testing.T) {
	const head = "upstream connect error or disconnect/reset before headers. "
	refused, reset := &protocol.ResetError{Code: 7, Refused: true}, &protocol.ResetError{Code: 2}
	moved := &protocol.ResetError{Refused: true} // by a graceful GOAWAY
	for name, c := range map[string]struct {
		on     exchange.RetryOn
		errs   []error // of the attempts; after them the answer is 200
		post   bool    // with a body, which the upstream reads
		status int
		body   string
		flags  string
		tries  int
		retry  string // upstream_rq_retry
	}{
		"refused once":              {errs: []error{refused}, status: 200, body: "fine", flags: "-", tries: 2, retry: "0"},
		"refused for ever":          {errs: []error{refused, refused, refused, refused}, status: 503, body: head + "retried and the latest reset reason: remote refused stream reset", flags: "UR", tries: 4, retry: "0"},
		"left behind often":         {errs: slices.Repeat([]error{moved}, 8), status: 200, body: "fine", flags: "-", tries: 9, retry: "0"},
		"left behind for ever":      {errs: slices.Repeat([]error{moved}, 9), status: 503, body: head + "retried and the latest reset reason: remote refused stream reset", flags: "UR", tries: 9, retry: "0"},
		"refused, the body is gone": {errs: []error{refused}, post: true, status: 503, body: head + "reset reason: remote refused stream reset", flags: "UR", tries: 1, retry: "0"},
		"refused, the body is kept": {on: exchange.RetryConnectFailure, errs: []error{refused}, post: true, status: 200, body: "fine", flags: "-", tries: 2, retry: "0"},
		"refused-stream":            {on: exchange.RetryRefusedStream, errs: []error{refused, refused, refused, refused}, status: 200, body: "fine", flags: "-", tries: 5, retry: "1"},
		"reset":                     {errs: []error{reset}, status: 503, body: head + "reset reason: remote reset", flags: "UR", tries: 1, retry: "0"},
		"refused-stream on reset":   {on: exchange.RetryRefusedStream, errs: []error{reset}, status: 503, body: head + "reset reason: remote reset", flags: "UR", tries: 1, retry: "0"},
		"reset on reset":            {on: exchange.RetryReset, errs: []error{reset}, status: 200, body: "fine", flags: "-", tries: 2, retry: "1"},
		"5xx on reset":              {on: exchange.Retry5xx, errs: []error{reset}, status: 200, body: "fine", flags: "-", tries: 2, retry: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
					if got := q.body(); c.post != (got == "ask") {
						t.Errorf("the upstream got %q", got)
					}
					if q.try <= len(c.errs) {
						return nil, c.errs[q.try-1]
					}
					return answer(200, "fine"), nil
				})
				p := exchange.RetryPolicy{On: c.on, Retries: 1}
				call := f.call(func(x *exchange.Exchange) {
					if c.post {
						withBody(&pieces{list: []string{"ask"}}, p)(x)
					} else {
						policy(p)(x)
					}
				})
				r := call.run()
				if r.Status != c.status || r.body != c.body || call.flags() != c.flags || len(f.net.seen()) != c.tries {
					t.Errorf("%d %q %s after %d tries", r.Status, r.body, call.flags(), len(f.net.seen()))
				}
				f.check("cluster.c.", "upstream_rq_active 0 upstream_rq_retry "+c.retry)
			})
		})
	}
}

func TestADownstreamResetIsToldFromADisconnect(t *testing.T) {
	for _, c := range []struct {
		cause          error
		flags, details string
	}{
		{&protocol.ResetError{Code: 8}, "DR", "http2.remote_reset"}, {protocol.ErrPeerGone, "DC", "downstream_remote_disconnect"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var call *call
			f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, _ *received) (*message.Response, error) {
				call.s.Cancel(c.cause)
				return nil, scope.Cause(ctx)
			})
			call = f.call(policy(exchange.RetryPolicy{On: exchange.RetryReset | exchange.RetryRefusedStream}))
			r := call.run()
			if e := exchange.AsError(r.err); e.Status != 0 || e.Flag.String() != c.flags || e.Details != c.details || e.Side != exchange.Downstream {
				t.Errorf("%v: %+v", c.cause, e)
			}
			f.check("cluster.c.", "upstream_rq_tx_reset 1 upstream_rq_retry 0 upstream_rq_total 1")
		})
	}
	err := requestBroken(&protocol.ResetError{Code: 8})
	if e := exchange.AsError(err); e.Flag.String() != "DR" || e.Details != "http2.remote_reset" {
		t.Errorf("a request that broke off: %+v", e)
	}
	if e := exchange.AsError(requestBroken(errors.New("no idea"))); e.Flag.String() != "DC" {
		t.Errorf("a request that broke off: %+v", e)
	}
}

func TestMaxGRPCTimeout(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		given   string
		edit    func(x *exchange.Exchange)
		plain   bool
		header  string        // grpc-timeout as the upstream sees it
		takes   time.Duration // until the timeout
		expects string        // x-envoy-expected-rq-timeout-ms
	}{
		"the client's":    {given: "3S", header: "3000m", takes: 3 * second, expects: "3000"},
		"capped":          {given: "1H", header: "5000m", takes: 5 * second, expects: "5000"},
		"none given":      {header: "5000m", takes: 5 * second, expects: "5000"},
		"nonsense":        {given: "x", header: "5000m", takes: 5 * second, expects: "5000"},
		"not gRPC":        {given: "3S", plain: true, header: "3S", takes: 15 * second, expects: "15000"},
		"a per-try limit": {given: "3S", edit: policy(exchange.RetryPolicy{PerTry: second}), header: "1000m", takes: second, expects: "1000"},
		"the request asks for another": {given: "3S", edit: func(x *exchange.Exchange) {
			x.Request.Header.Add("x-envoy-upstream-rq-timeout-ms", "2000")
		}, header: "2000m", takes: 2 * second, expects: "2000"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				header, expects := "", ""
				f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, q *received) (*message.Response, error) {
					header, expects = q.Header.Get("grpc-timeout"), q.Header.Get("x-envoy-expected-rq-timeout-ms")
					return wait(ctx)
				})
				call := f.call(func(x *exchange.Exchange) {
					if !c.plain {
						isGRPC(x)
					}
					if c.given != "" {
						x.Request.Header.AddKnown(message.GRPCTimeout, c.given)
					}
					x.Route.GRPC = &exchange.GRPCTimeouts{HeaderMax: -1, Offset: -1, Max: 5 * second, OldOffset: -1}
					if c.edit != nil {
						c.edit(x)
					}
				})
				began := time.Now()
				r := call.run()
				if r.Status != 504 || time.Since(began) != c.takes || header != c.header || expects != c.expects {
					t.Errorf("%d after %v; the upstream saw %q and %q", r.Status, time.Since(began), header, expects)
				}
			})
		})
	}
}

func TestGRPCTimeoutOfARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		f := newFixture(t, &routerv3.Router{SuppressEnvoyHeaders: true}, func(ctx context.Context, q *received) (*message.Response, error) {
			seen = append(seen, q.Header.Get("grpc-timeout"))
			time.Sleep(time.Second)
			return answer(503, "no"), nil
		})
		f.call(func(x *exchange.Exchange) {
			isGRPC(x)
			x.Route.GRPC = &exchange.GRPCTimeouts{HeaderMax: -1, Offset: -1, Max: 5 * time.Second, OldOffset: -1}
			policy(exchange.RetryPolicy{On: exchange.Retry5xx, Base: time.Nanosecond, Max: time.Nanosecond})(x)
		}).run()
		if len(seen) != 2 || seen[0] != "5000m" || seen[1] != "4000m" && seen[1] != "3999m" {
			t.Errorf("%q", seen)
		}
	})
}

func TestSmallBodiesOfRefusedStreamsAreSentAgainByHTTP2(t *testing.T) {
	for _, c := range []struct {
		parts []string
		tries int
	}{
		{[]string{"ask"}, 2}, {[]string{"a", "s", "k"}, 2}, {[]string{strings.Repeat("x", refusedLimit)}, 2}, {[]string{strings.Repeat("x", refusedLimit), "y"}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			refuse := false
			f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
				if got := q.body(); refuse && got != strings.Join(c.parts, "") {
					t.Errorf("the upstream got %d bytes", len(got))
				}
				if refuse && q.try == 2 {
					return nil, &protocol.ResetError{Refused: true}
				}
				return answer(200, "fine"), nil
			})
			if r := f.call(nil).run(); r.Status != 200 { // opens the pool, whose sessions are none of HTTP/2
				t.Fatal(r.Status)
			}
			refuse = true
			f.table.Find("c").Config.HTTP.HTTP2 = &http2.Options{}
			body := &pieces{list: c.parts}
			call := f.call(func(x *exchange.Exchange) { x.Request.Method, x.Request.Body, x.Request.Length = "POST", body, -1 })
			r := call.run()
			if (r.Status == 200) != (c.tries == 2) || len(f.net.seen()) != 1+c.tries {
				t.Errorf("%d after %d tries", r.Status, len(f.net.seen())-1)
			}
			if call.x.Request.Body != message.Body(body) {
				t.Error("the request's body was not given back")
			}
		})
	}
}
