package forward

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
)

func ok(context.Context, *received) (*message.Response, error) { return answer(200, "hello"), nil }

func TestAResponsePassesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
			if v := q.Header.Get("x-envoy-expected-rq-timeout-ms"); v != "15000" {
				t.Errorf("x-envoy-expected-rq-timeout-ms = %q", v)
			}
			time.Sleep(30 * time.Millisecond)
			return answer(200, "hello", "x-a", "b"), nil
		})
		c := f.call(nil)
		r := c.run()
		if r.Status != 200 || r.body != "hello" || r.Header.Get("x-a") != "b" || r.Header.Get("x-envoy-upstream-service-time") != "30" {
			t.Errorf("got %d %q %v", r.Status, r.body, r.Header.Get("x-envoy-upstream-service-time"))
		}
		rec := &c.x.Record
		if rec.Details != "via_upstream" || rec.Flags != 0 || rec.Attempts != 1 || rec.Cluster != "c" || rec.UpstreamHost.String() != "10.0.0.1:80" ||
			rec.UpstreamProtocol != "HTTP/1.1" || rec.UpstreamBytesIn != 5 || rec.UpstreamFirst-rec.UpstreamBegan != int64(30*time.Millisecond) {
			t.Errorf("record %+v", rec)
		}
		f.check("cluster.c.", "upstream_rq_total 1 upstream_rq_active 0 upstream_rq_completed 1 upstream_rq_200 1 upstream_rq_2xx 1 "+
			"external.upstream_rq_200 1 internal.upstream_rq_200 0 upstream_rq_tx_reset 0")
		f.check("http.in.", "rq_total 1 no_route 0 no_cluster 0")
	})
}

func TestWhatTheRouteAnswersItself(t *testing.T) {
	direct := func(status int, body string) func(*exchange.Exchange) {
		return func(x *exchange.Exchange) {
			x.Route.Target, x.Route.Direct = nil, &exchange.Direct{Status: status, Body: body}
		}
	}
	for name, c := range map[string]struct {
		edit                    func(x *exchange.Exchange)
		status                  int
		body, location, details string
		flags, stats            string
	}{
		"direct":     {direct(403, "go away"), 403, "go away", "", "direct_response", "-", "rq_direct_response 1 rq_redirect 0"},
		"located":    {direct(201, ""), 201, "", "http://example.com/path", "direct_response", "-", "rq_direct_response 1"},
		"no route":   {func(x *exchange.Exchange) { x.Route.Target = nil }, 404, "", "", "route_not_found", "NR", "no_route 1"},
		"no cluster": {func(x *exchange.Exchange) { x.Route.Target.Cluster = "none" }, 503, "", "", "cluster_not_found", "NC", "no_cluster 1"},
		"no cluster, other status": {func(x *exchange.Exchange) { x.Route.Target.Cluster, x.Route.Target.NotFound = "none", 404 }, 404, "", "",
			"cluster_not_found", "NC", "no_cluster 1"},
		"redirect": {func(x *exchange.Exchange) {
			x.Route.Target, x.Route.Redirect = nil, &exchange.Redirect{Status: 301, HTTPS: true, Host: "b.example", Path: "/new"}
		}, 301, "", "https://b.example/new", "direct_response", "-", "rq_redirect 1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, &routerv3.Router{}, ok)
			call := f.call(c.edit)
			r := call.run()
			if r.Status != c.status || r.body != c.body || r.Header.Get("location") != c.location || call.x.Record.Details != c.details || call.flags() != c.flags {
				t.Errorf("got %d %q location %q details %q flags %s", r.Status, r.body, r.Header.Get("location"), call.x.Record.Details, call.flags())
			}
			f.check("http.in.", "rq_total 1 "+c.stats)
			if len(f.net.seen()) != 0 {
				t.Error("an upstream was asked")
			}
		})
	}
}

func TestFailuresAreWordedAsEnvoyWordsThem(t *testing.T) {
	reset := "upstream connect error or disconnect/reset before headers. reset reason: "
	for name, c := range map[string]struct {
		handle               handler
		set                  func(f *fixture)
		status               int
		body, details, flags string
		stats                string
	}{
		"no host": {set: func(f *fixture) { f.add(newCluster(f, "c", limits{})) }, status: 503, body: "no healthy upstream",
			details: "no_healthy_upstream", flags: "UH", stats: "upstream_rq_total 0 upstream_rq_503 1"},
		"refused": {set: func(f *fixture) { f.net.dial["10.0.0.1:80"] = errRefused }, status: 503,
			body:    reset + "remote connection failure, transport failure reason: delayed connect error: Connection refused",
			details: "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", flags: "UF",
			stats: "upstream_rq_total 0 upstream_rq_503 1 upstream_cx_connect_fail 1"},
		"connect timeout": {set: func(f *fixture) { f.net.dial["10.0.0.1:80"] = errHang }, status: 503, body: reset + "connection timeout",
			details: "upstream_reset_before_response_started{connection_timeout}", flags: "UF", stats: "upstream_cx_connect_timeout 1"},
		"overflow": {set: func(f *fixture) { f.add(newCluster(f, "c", limits{requests: -1}, "10.0.0.1:80")) }, status: 503, body: reset + "overflow",
			details: "upstream_reset_before_response_started{overflow}", flags: "UO", stats: "upstream_rq_pending_overflow 1 upstream_rq_503 1"},
		"termination": {handle: func(context.Context, *received) (*message.Response, error) { return nil, io.EOF }, status: 503,
			body: reset + "connection termination", details: "upstream_reset_before_response_started{connection_termination}", flags: "UC",
			stats: "upstream_rq_total 1 upstream_rq_active 0 upstream_rq_503 1 upstream_rq_5xx 1"},
		"garbage": {handle: func(context.Context, *received) (*message.Response, error) {
			return nil, &protocol.Error{Details: "http1.codec_error", Reason: "bad status line"}
		}, status: 502, body: reset + "protocol error", details: "upstream_reset_before_response_started{protocol_error}", flags: "UPE",
			stats: "upstream_rq_502 1 upstream_cx_protocol_error 1"},
		"a request that cannot be written": {handle: func(context.Context, *received) (*message.Response, error) {
			return nil, &protocol.Error{NothingSent: true, Reason: "forbidden byte"}
		}, status: 503, body: reset + "local reset", details: "upstream_reset_before_response_started{local_reset}", flags: "LR",
			stats: "upstream_cx_protocol_error 0"},
		"route timeout": {handle: func(ctx context.Context, _ *received) (*message.Response, error) { return wait(ctx) }, status: 504,
			body: "upstream request timeout", details: "response_timeout", flags: "UT", stats: "upstream_rq_timeout 1 upstream_rq_504 1 upstream_rq_tx_reset 1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.handle == nil {
					c.handle = ok
				}
				f := newFixture(t, &routerv3.Router{}, c.handle)
				if c.set != nil {
					c.set(f)
				}
				call := f.call(nil)
				r := call.run()
				if r.Status != c.status || r.body != c.body || call.x.Record.Details != c.details || call.flags() != c.flags {
					t.Errorf("got %d %q\ndetails %s flags %s", r.Status, r.body, call.x.Record.Details, call.flags())
				}
				if over := r.Header.Get("x-envoy-overloaded") == "true"; over != (name == "overflow") {
					t.Errorf("x-envoy-overloaded: %v", over)
				}
				f.check("cluster.c.", c.stats)
			})
		})
	}
}

func TestAVanishedClientGetsNoReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, _ *received) (*message.Response, error) { return wait(ctx) })
		c := f.call(nil)
		go func() {
			time.Sleep(time.Second)
			c.s.Cancel(protocol.ErrPeerGone)
		}()
		r := c.run()
		e := exchange.AsError(r.err)
		if e.Status != 0 || e.Details != "downstream_remote_disconnect" || e.Flag.String() != "DC" {
			t.Errorf("got %+v", e)
		}
		f.check("cluster.c.", "upstream_rq_tx_reset 1 upstream_rq_active 0")
	})
}

// cut is a body that breaks off.
type cut struct {
	message.Body
	err error
}

func (c *cut) Next() ([]byte, error) {
	if p, err := c.Body.Next(); err == nil {
		return p, nil
	}
	return nil, c.err
}

func TestAResponseThatBreaksOffNeverLooksComplete(t *testing.T) {
	f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) {
		r := answer(200, "half")
		r.Length, r.Body = 8, &cut{r.Body, io.ErrUnexpectedEOF}
		return r, nil
	})
	c := f.call(nil)
	r := c.run()
	e := exchange.AsError(r.broken)
	if r.broken == nil || e.Details != "upstream_reset_after_response_started{connection_termination}" || e.Flag.String() != "UC" {
		t.Errorf("the body ended with %v", r.broken)
	}
	f.check("cluster.c.", "upstream_rq_200 1 upstream_rq_active 0 upstream_rq_tx_reset 0")
	f.check("http.in.", "rq_reset_after_downstream_response_started 1")
}

func TestTheRouteTimeoutCoversTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, _ *received) (*message.Response, error) {
			r := answer(200, "half")
			r.Length, r.Body = 8, &stuck{Body: r.Body, ctx: ctx}
			return r, nil
		})
		c := f.call(nil)
		began := time.Now()
		r := c.run()
		if e := exchange.AsError(r.broken); e.Flag.String() != "UT" || time.Since(began) != 15*time.Second {
			t.Errorf("%v after %v", r.broken, time.Since(began))
		}
		f.check("cluster.c.", "upstream_rq_timeout 1 upstream_rq_200 1")
	})
}

// stuck is a body that comes to no end before ctx does.
type stuck struct {
	message.Body
	ctx context.Context
}

func (s *stuck) Next() ([]byte, error) {
	if p, err := s.Body.Next(); err == nil {
		return p, nil
	}
	<-s.ctx.Done()
	return nil, scope.Cause(s.ctx)
}

func TestATunnelHasNoRouteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) {
			r := answer(101, "")
			r.Tunnel, r.Length, r.Body = true, -1, &later{after: time.Minute}
			return r, nil
		})
		c := f.call(func(x *exchange.Exchange) { x.Request.Upgrade = "websocket" })
		if r := c.run(); r.broken != nil || r.Status != 101 {
			t.Errorf("%d, %v", r.Status, r.broken)
		}
	})
}

// later is a body that ends after a time.
type later struct {
	message.Body
	after time.Duration
}

func (l *later) Next() ([]byte, error)    { time.Sleep(l.after); return nil, io.EOF }
func (l *later) Trailer() *message.Header { return nil }
func (l *later) Close(error)              {}

func TestRequestHeadersThatOrderTheRouter(t *testing.T) {
	for name, c := range map[string]struct {
		cfg      *routerv3.Router
		headers  []string
		timeout  time.Duration
		status   int
		expected string // x-envoy-expected-rq-timeout-ms
	}{
		"route":                   {timeout: 15 * time.Second, status: 504, expected: "15000"},
		"timeout":                 {headers: []string{"x-envoy-upstream-rq-timeout-ms", "200"}, timeout: 200 * time.Millisecond, status: 504, expected: "200"},
		"bad timeout":             {headers: []string{"x-envoy-upstream-rq-timeout-ms", "abc"}, timeout: 15 * time.Second, status: 504, expected: "15000"},
		"per try":                 {headers: []string{"x-envoy-upstream-rq-per-try-timeout-ms", "300"}, timeout: 300 * time.Millisecond, status: 504, expected: "300"},
		"per try longer than all": {headers: []string{"x-envoy-upstream-rq-per-try-timeout-ms", "16000"}, timeout: 15 * time.Second, status: 504, expected: "15000"},
		"alternative":             {headers: []string{"x-envoy-upstream-rq-timeout-alt-response", "1"}, timeout: 15 * time.Second, status: 204, expected: "15000"},
		"not respected":           {headers: []string{"x-envoy-expected-rq-timeout-ms", "700"}, timeout: 15 * time.Second, status: 504, expected: "15000"},
		"respected": {cfg: &routerv3.Router{RespectExpectedRqTimeout: true},
			headers: []string{"x-envoy-expected-rq-timeout-ms", "700", "x-envoy-upstream-rq-timeout-ms", "100"}, timeout: 700 * time.Millisecond, status: 504, expected: "700"},
		"suppressed": {cfg: &routerv3.Router{SuppressEnvoyHeaders: true}, timeout: 15 * time.Second, status: 504, expected: ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.cfg == nil {
					c.cfg = &routerv3.Router{}
				}
				f := newFixture(t, c.cfg, func(ctx context.Context, q *received) (*message.Response, error) {
					if got := q.Header.Get("x-envoy-expected-rq-timeout-ms"); got != c.expected {
						t.Errorf("the upstream is told %q, want %q", got, c.expected)
					}
					for name := range q.Header.All() {
						if strings.HasPrefix(name, "x-envoy-upstream") && name != "x-envoy-upstream-rq-timeout-ms" {
							t.Errorf("%s went upstream", name)
						}
					}
					return wait(ctx)
				})
				call := f.call(func(x *exchange.Exchange) {
					for i := 0; i < len(c.headers); i += 2 {
						x.Request.Header.Add(c.headers[i], c.headers[i+1])
					}
				})
				began := time.Now()
				r := call.run()
				if took := time.Since(began); took != c.timeout || r.Status != c.status {
					t.Errorf("%d after %v, want %d after %v", r.Status, took, c.status, c.timeout)
				}
			})
		})
	}
}

func TestStrictCheckRefusesWhatIsNotWellFormed(t *testing.T) {
	cfg := &routerv3.Router{StrictCheckHeaders: []string{"x-envoy-upstream-rq-timeout-ms", "x-envoy-max-retries", "x-envoy-retry-on", "x-envoy-retry-grpc-on"}}
	for _, c := range []struct {
		name, value string
		fine        bool
	}{
		{"x-envoy-upstream-rq-timeout-ms", "100", true}, {"x-envoy-upstream-rq-timeout-ms", "1e3", false},
		{"x-envoy-max-retries", " 3 ", true}, {"x-envoy-max-retries", "-1", false},
		{"x-envoy-retry-on", "5xx, reset", true}, {"x-envoy-retry-on", "5xx,never", false}, {"x-envoy-retry-on", "cancelled", false},
		{"x-envoy-retry-grpc-on", "cancelled,unavailable", true}, {"x-envoy-retry-grpc-on", "5xx", false},
	} {
		f := newFixture(t, cfg, ok)
		call := f.call(func(x *exchange.Exchange) { x.Request.Header.Add(c.name, c.value) })
		r := call.run()
		if fine := r.Status == 200; fine != c.fine {
			t.Errorf("%s: %s gives %d", c.name, c.value, r.Status)
		}
		if !c.fine && (r.Status != 400 || call.flags() != "IH" || r.body != "invalid header '"+c.name+"'" ||
			call.x.Record.Details != "request_headers_failed_strict_check{"+c.name+"}") {
			t.Errorf("%s: %s: %d %q %s %s", c.name, c.value, r.Status, r.body, call.flags(), call.x.Record.Details)
		}
	}
}

func TestTheRouteChangesTheMessages(t *testing.T) {
	value := func(s string) *format.Format {
		f, err := format.Compile(s, format.Options{OmitEmpty: true})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
		if q.Path != "/v2/path?q" || q.Authority != "up.example" || q.Header.Get("x-envoy-original-path") != "/path?q" ||
			q.Header.Get("x-method") != "GET" || q.Header.Has("x-secret") || q.Header.Get("x-envoy-attempt-count") != "1" {
			t.Errorf("the upstream sees %s %s %v", q.Authority, q.Path, q.Header.Get("x-method"))
		}
		return answer(200, "", "x-powered-by", "magic"), nil
	})
	c := f.call(func(x *exchange.Exchange) {
		x.Request.Path = "/path?q"
		x.Request.Header.Add("x-secret", "s")
		r := x.Route
		r.PrefixRewrite, r.Matched, r.HostRewrite.Literal = "/v2/", "/", "up.example"
		r.RequestHeaders = []*exchange.Mutations{{Remove: []string{"x-secret"}, Add: []exchange.Mutation{{Name: "x-method", Value: value("%REQ(:METHOD)%")}}}}
		r.ResponseHeaders = []*exchange.Mutations{{Remove: []string{"x-powered-by"}, Add: []exchange.Mutation{{Name: "x-code", Value: value("%RESP(:STATUS)%")}}}}
		r.IncludeAttempt.Request, r.IncludeAttempt.Response = true, true
	})
	r := c.run()
	if r.Header.Has("x-powered-by") || r.Header.Get("x-code") != "200" || r.Header.Get("x-envoy-attempt-count") != "1" {
		t.Errorf("the downstream sees %q %q", r.Header.Get("x-code"), r.Header.Get("x-envoy-attempt-count"))
	}
	if c.x.Inbound.Path != "/path?q" || c.x.Inbound.Authority != "example.com" || c.x.Record.OriginalPath != "/path?q" {
		t.Errorf("inbound %+v", c.x.Inbound)
	}
}

func TestLocalRepliesGetTheRoutesHeaders(t *testing.T) {
	v, err := format.Compile("yes", format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) { return nil, io.EOF })
	c := f.call(func(x *exchange.Exchange) {
		x.Route.ResponseHeaders = []*exchange.Mutations{{Add: []exchange.Mutation{{Name: "x-added", Value: v}}}}
		x.Route.IncludeAttempt.Response = true
	})
	if r := c.run(); r.Header.Get("x-added") != "yes" || r.Header.Get("x-envoy-attempt-count") != "1" {
		t.Errorf("x-added %q, attempts %q", r.Header.Get("x-added"), r.Header.Get("x-envoy-attempt-count"))
	}
}

func TestStatisticsOfClassesAndKinds(t *testing.T) {
	f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) {
		return answer(200, "", "x-envoy-upstream-canary", "true"), nil
	})
	f.call(func(x *exchange.Exchange) {
		x.Record.Internal = true
		x.Route.StatPrefix = "r"
		x.Route.Clusters = &exchange.VirtualClusters{List: []exchange.VirtualCluster{{Name: "vc"}}}
	}).run()
	f.check("cluster.c.", "internal.upstream_rq_200 1 external.upstream_rq_200 0 canary.upstream_rq_200 1")
	f.check("vhost.vh.vcluster.vc.", "upstream_rq_total 1 upstream_rq_200 1 upstream_rq_completed 1")
	f.check("vhost.vh.route.r.", "upstream_rq_total 1 upstream_rq_200 1")

	f = newFixture(t, &routerv3.Router{DynamicStats: wrapperspb.Bool(false)}, ok)
	f.call(nil).run()
	f.check("cluster.c.", "upstream_rq_total 1 upstream_rq_200 0 upstream_rq_completed 0")

	f = newFixture(t, &routerv3.Router{}, ok)
	f.call(func(x *exchange.Exchange) { x.Record.HealthCheck = true }).run()
	f.check("cluster.c.", "upstream_rq_total 1 upstream_rq_200 0")
}

func TestAnExchangeWithoutPolicyAllocatesNothing(t *testing.T) {
	body := &repeat{}
	resp := &message.Response{}
	f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) {
		resp.Header.Reset()
		resp.Status, resp.Length, resp.Body = 200, 5, body
		body.read = false
		return resp, nil
	})
	f.net.quiet = true
	c := f.call(nil)
	q := c.x.Request
	n := testing.AllocsPerRun(200, func() {
		c.s.Begin(context.Background())
		q.Header.Reset()
		q.Path = "/path"
		c.x.RequestComplete(scope.Now())
		resp, err := c.x.Run(c.s)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = resp.Body.Next()
		}
		resp.Body.Close(nil)
		c.s.End()
	})
	c.s.Close()
	if n != 0 && !race.Enabled {
		t.Errorf("%v allocations an exchange", n)
	}
}

// repeat is a body of five bytes that can be used again.
type repeat struct{ read bool }

func (r *repeat) Next() ([]byte, error) {
	if r.read {
		return nil, io.EOF
	}
	r.read = true
	return fiveBytes, nil
}
func (r *repeat) Ready() bool              { return true }
func (r *repeat) Trailer() *message.Header { return nil }
func (r *repeat) Close(error)              {}

var fiveBytes = []byte("hello")

func TestSupportListsEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func BenchmarkExchange(b *testing.B) {
	body, resp := &repeat{}, &message.Response{}
	f := newFixture(b, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) {
		resp.Header.Reset()
		resp.Status, resp.Length, resp.Body = 200, 5, body
		body.read = false
		return resp, nil
	})
	f.net.quiet = true
	c := f.call(nil)
	q := c.x.Request
	for b.Loop() {
		c.s.Begin(context.Background())
		q.Header.Reset()
		for range 6 {
			q.Header.Add("x-some-header", "value")
		}
		c.x.RequestComplete(scope.Now())
		resp, err := c.x.Run(c.s)
		for err == nil {
			_, err = resp.Body.Next()
		}
		resp.Body.Close(nil)
		c.s.End()
	}
	c.s.Close()
}
