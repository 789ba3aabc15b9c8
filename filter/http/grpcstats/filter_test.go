package grpcstats

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc/grpctest"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

func TestSupport(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func compile(t testing.TB, cfg string) *Filter {
	t.Helper()
	var m statsv3.FilterConfig
	if err := protojson.Unmarshal([]byte(cfg), &m); err != nil {
		t.Fatal(err)
	}
	return New(&m)
}

// run passes one call through the filter, reads the response, and returns what was counted.
func run(t *testing.T, cfg string, q *message.Request, u grpctest.Upstream) (*stats.Store, *exchange.Exchange) {
	t.Helper()
	store := stats.NewStore(stats.Options{})
	x, _ := grpctest.Exchange(compile(t, cfg), u, q)
	x.Clusters = grpctest.Clusters(t, store, "c")
	resp, err := x.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = grpctest.Read(resp.Body)
	if _, again := resp.Body.Next(); err == nil && again != io.EOF {
		t.Errorf("%v after the end", again)
	}
	resp.Body.Close(err)
	resp.Body.Close(err)
	return store, x
}

const grpcType = "application/grpc"

func TestCallsAndMessagesAreCounted(t *testing.T) {
	sent, received := grpctest.Frames("a", "", "ccc"), grpctest.Frames("hello", "world")
	for n := 1; n <= len(received)+1; n++ {
		q := grpctest.Request("/pkg.S/M", grpctest.Split(sent, n), "content-type", grpcType+"+proto")
		store, x := run(t, `{"statsForAllMethods": true, "emitFilterState": true}`, q,
			func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
				if got, err := grpctest.Read(x.Request.Body); got != string(sent) || err != nil {
					t.Errorf("the request became %q, %v", got, err)
				}
				x.Request.Path = "/rewritten"
				return grpctest.Response(200, grpctest.Split(received, n, "grpc-status", "0"), "content-type", grpcType), nil
			})
		const at = "cluster.c.grpc.pkg.S.M."
		grpctest.Expect(t, store, map[string]int64{at + "request_message_count": 3, at + "response_message_count": 2, at + "total": 1,
			at + "success": 1, at + "failure": 0, at + "0": 1, "cluster.c.grpc.total": 0})
		if got := x.Record.FilterState[stateName]; got != "3,2" {
			t.Errorf("filter state %q", got)
		}
	}
}

func TestResultsOfCalls(t *testing.T) {
	ok := func(fields ...string) *message.Response {
		return grpctest.Response(200, grpctest.Split(grpctest.Frames("x"), 9, fields...), "content-type", grpcType)
	}
	only := grpctest.Response(200, nil, "grpc-status", "5", "content-type", grpcType)
	html := grpctest.Response(404, grpctest.Split([]byte("\x00\x00\x00\x00\x00"), 9), "content-type", "text/html")
	for _, tc := range []struct {
		name string
		cfg  string
		path string
		resp *message.Response
		err  error
		want map[string]int64
	}{
		{"failure in trailers", `{}`, "/s/m", ok("grpc-status", "13"), nil,
			map[string]int64{"failure": 1, "total": 1, "13": 1, "success": 0, "s.m.total": 0, "response_message_count": 1}},
		{"trailers only", `{}`, "/s/m", only, nil, map[string]int64{"failure": 1, "total": 1, "5": 1}},
		{"no status", `{}`, "/s/m", ok(), nil, map[string]int64{"total": 0, "response_message_count": 1}},
		{"not gRPC", `{}`, "/s/m", html, nil, map[string]int64{"total": 0, "response_message_count": 0}},
		{"no method", `{}`, "/s", ok("grpc-status", "0"), nil, map[string]int64{"total": 0, "response_message_count": 0}},
		{"local reply", `{}`, "/s/m", nil, &exchange.Error{Status: 503}, map[string]int64{"total": 1, "failure": 1, "14": 1}},
		{"allowed", `{"individualMethodStatsAllowlist": {"services": [{"name": "s", "methodNames": ["n", "m"]}]}}`, "/s/m",
			ok("grpc-status", "0"), nil, map[string]int64{"s.m.total": 1, "total": 0}},
		{"not allowed", `{"individualMethodStatsAllowlist": {"services": [{"name": "s", "methodNames": ["n"]}]}}`, "/s/m",
			ok("grpc-status", "0"), nil, map[string]int64{"s.m.total": 0, "total": 1}},
		{"dots", `{"statsForAllMethods": true, "replaceDotsInGrpcServiceName": true}`, "/a.b/m",
			ok("grpc-status", "0"), nil, map[string]int64{"a_b.m.total": 1, "a.b.m.total": 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := grpctest.Request(tc.path, nil, "content-type", grpcType)
			store, x := run(t, tc.cfg, q, func(context.Context, *exchange.Exchange) (*message.Response, error) { return tc.resp, tc.err })
			for name, n := range tc.want {
				grpctest.Expect(t, store, map[string]int64{"cluster.c.grpc." + name: n})
			}
			if x.Record.FilterState != nil {
				t.Errorf("filter state %v", x.Record.FilterState)
			}
		})
	}
}

func TestUpstreamTime(t *testing.T) {
	for cfg, want := range map[string]bool{`{"enableUpstreamStats": true}`: true, `{}`: false} {
		for _, resp := range []*message.Response{
			grpctest.Response(200, grpctest.Split(grpctest.Frames("x"), 9, "grpc-status", "0"), "content-type", grpcType),
			grpctest.Response(200, nil, "grpc-status", "0"),
		} {
			f := compile(t, cfg)
			x, _ := grpctest.Exchange(f, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
				x.Record.UpstreamSent, x.Record.UpstreamDone = int64(time.Second), int64(time.Second+7*time.Millisecond)
				return resp, nil
			}, grpctest.Request("/s/m", nil, "content-type", grpcType))
			store := stats.NewStore(stats.Options{})
			x.Clusters = grpctest.Clusters(t, store, "c")
			got, err := x.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := grpctest.Read(got.Body); err != nil {
				t.Fatal(err)
			}
			got.Body.Close(nil)
			got.Body.Close(nil)
			var b strings.Builder
			if err := store.WritePrometheus(&b, stats.Query{}); err != nil {
				t.Fatal(err)
			}
			const sum = `envoy_cluster_grpc_upstream_rq_time_sum{envoy_cluster_name="c"} 7`
			if got := strings.Contains(b.String(), sum); got != want {
				t.Errorf("%s: recorded: %v, in\n%s", cfg, got, b.String())
			}
		}
	}
}

func TestUpstreamTimeNeedsBothEnds(t *testing.T) {
	for _, at := range [][2]int64{{0, 5}, {int64(time.Second), 0}} {
		q := grpctest.Request("/s/m", nil, "content-type", grpcType)
		store, _ := run(t, `{"enableUpstreamStats": true}`, q, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
			x.Record.UpstreamSent, x.Record.UpstreamDone = at[0], at[1]
			return grpctest.Response(200, nil, "grpc-status", "0"), nil
		})
		var b strings.Builder
		if err := store.WriteText(&b, stats.Query{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "grpc.upstream_rq_time") {
			t.Errorf("%v: a time was recorded", at)
		}
	}
}

func TestBrokenResponse(t *testing.T) {
	broke := errors.New("broke")
	body := grpctest.Split(grpctest.Frames("x"), 2, "grpc-status", "0")
	body.End = broke
	q := grpctest.Request("/s/m", nil, "content-type", grpcType)
	store, x := run(t, `{"emitFilterState": true}`, q, func(context.Context, *exchange.Exchange) (*message.Response, error) {
		return grpctest.Response(200, body, "content-type", grpcType), nil
	})
	grpctest.Expect(t, store, map[string]int64{"cluster.c.grpc.total": 0, "cluster.c.grpc.response_message_count": 1})
	if body.Closed == 0 || body.Cause != broke || x.Record.FilterState[stateName] != "0,1" {
		t.Errorf("closed %d times, cause %v, state %q", body.Closed, body.Cause, x.Record.FilterState[stateName])
	}
}

func TestOtherRequestsPass(t *testing.T) {
	body := grpctest.Split(grpctest.Frames("x"), 9)
	in := grpctest.Response(200, body, "content-type", grpcType, "grpc-status", "0")
	for _, contentType := range []string{"application/json", "application/grpc-web", ""} {
		q := grpctest.Request("/s/m", nil, "content-type", contentType)
		x, _ := grpctest.Exchange(compile(t, `{}`), func(context.Context, *exchange.Exchange) (*message.Response, error) { return in, nil }, q)
		if got, err := x.Run(t.Context()); got != in || err != nil || got.Body != message.Body(body) {
			t.Errorf("%q: %v, %v", contentType, got, err)
		}
	}
}

// always is a body that never ends.
type always struct{ chunk []byte }

func (b *always) Next() ([]byte, error)    { return b.chunk, nil }
func (b *always) Ready() bool              { return true }
func (b *always) Trailer() *message.Header { return nil }
func (b *always) Close(error)              {}

func TestCountingAllocatesOnceACall(t *testing.T) {
	store := stats.NewStore(stats.Options{})
	resp := grpctest.Response(200, nil, "content-type", grpcType)
	resp.Length = -1
	inner := &always{grpctest.Frames("hello")}
	q := grpctest.Request("/s/m", inner, "content-type", grpcType)
	f := compile(t, `{"statsForAllMethods": true}`)
	x, _ := grpctest.Exchange(f, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
		if _, err := x.Request.Body.Next(); err != nil {
			return nil, err
		}
		resp.Body = inner
		return resp, nil
	}, q)
	x.Clusters = grpctest.Clusters(t, store, "c")
	if n := testing.AllocsPerRun(100, func() {
		q.Body = inner
		got, err := x.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := got.Body.Next(); err != nil {
				t.Fatal(err)
			}
		}
		got.Body.Close(nil)
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
