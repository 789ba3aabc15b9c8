package grpchttp1bridge

import (
	"context"
	"errors"
	"strings"
	"testing"

	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc/grpctest"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
)

func TestSupport(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func compile(t *testing.T, cfg string, limit int) *Filter {
	t.Helper()
	var m bridgev3.Config
	if err := protojson.Unmarshal([]byte(cfg), &m); err != nil {
		t.Fatal(err)
	}
	return New(&extension.Env{Listener: extension.Listener{BufferLimit: limit}}, &m)
}

const grpcType = "application/grpc"

func TestTrailersBecomeHeaders(t *testing.T) {
	plain := string(grpctest.Frames("hello", "world"))
	for _, tc := range []struct {
		trailer []string
		status  int
		want    [2]string // grpc-status, grpc-message
	}{
		{[]string{"grpc-status", "0", "grpc-message", "", "x", "y"}, 200, [2]string{"0", ""}},
		{[]string{"grpc-status", "5", "grpc-message", "no%20such"}, 503, [2]string{"5", "no%20such"}},
		{[]string{"Grpc-Status", "x"}, 503, [2]string{"x", ""}},
		{[]string{"x", "y"}, 200, [2]string{}},
		{nil, 200, [2]string{}},
	} {
		for n := 1; n <= len(plain); n++ {
			body := grpctest.Split([]byte(plain), n, tc.trailer...)
			q := grpctest.Request("/s/m?q", grpctest.Split([]byte("body"), n), "content-type", grpcType+"+proto")
			x, rerouted := grpctest.Exchange(compile(t, `{}`, 0), func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
				got, err := grpctest.Read(x.Request.Body)
				if got != "body" || err != nil || x.Request.Path != "/s/m?q" || x.Request.Header.Get("te") != "trailers" {
					t.Errorf("%q, %v, %s", got, err, x.Request.Path)
				}
				return grpctest.Response(200, body, "content-type", grpcType), nil
			}, q)
			resp, err := x.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			h := &resp.Header
			if resp.Status != tc.status || resp.Length != int64(len(plain)) || [2]string{h.Get("grpc-status"), h.Get("grpc-message")} != tc.want {
				t.Errorf("%v: %d, length %d, %q, %q", tc.trailer, resp.Status, resp.Length, h.Get("grpc-status"), h.Get("grpc-message"))
			}
			if got, err := grpctest.Read(resp.Body); got != plain || err != nil || !resp.Body.Ready() {
				t.Errorf("%v: %q, %v", tc.trailer, got, err)
			}
			if (resp.Body.Trailer() != nil) != (tc.trailer != nil) || *rerouted != 0 {
				t.Errorf("%v: trailers %v, rerouted %d times", tc.trailer, resp.Body.Trailer(), *rerouted)
			}
			if resp.Body.Close(nil); body.Closed == 0 {
				t.Error("the body below is not closed")
			}
		}
	}
}

func TestProtobufIsUpgraded(t *testing.T) {
	const cfg = `{"upgradeProtobufToGrpc": true, "ignoreQueryParameters": true}`
	for _, text := range []string{"hello", ""} {
		for _, known := range []bool{true, false} {
			for n := 1; n <= 10; n++ {
				body := grpctest.Split([]byte(text), n)
				q := grpctest.Request("/s/m?a=/b", body, "content-type", protobufType)
				if known {
					q.Length = int64(len(text))
				}
				f := compile(t, cfg, 5)
				x, rerouted := grpctest.Exchange(f, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
					if !x.Request.Body.Ready() {
						t.Error("the frame's header has to be waited for")
					}
					got, err := grpctest.Read(x.Request.Body)
					want := string(grpctest.Frames(text))
					if got != want || err != nil || x.Request.Length != int64(len(want)) || x.Request.Path != "/s/m" ||
						x.Request.Header.Get("content-type") != grpcType {
						t.Errorf("%q, %v, length %d, %s, %s", got, err, x.Request.Length, x.Request.Path, x.Request.Header.Get("content-type"))
					}
					answer := grpctest.Split(grpctest.Frames(text), n, "grpc-status", "0")
					return grpctest.Response(200, answer, "content-type", grpcType), nil
				}, q)
				f.limit = 100
				resp, err := x.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got, err := grpctest.Read(resp.Body); got != text || err != nil || resp.Length != int64(len(text)) || *rerouted != 1 {
					t.Errorf("%q, %v, length %d, rerouted %d times", got, err, resp.Length, *rerouted)
				}
			}
		}
	}
}

func TestBuffersAreBounded(t *testing.T) {
	released := new(grpctest.Released)
	upstream := func(body message.Body) grpctest.Upstream {
		return func(context.Context, *exchange.Exchange) (*message.Response, error) {
			resp := grpctest.Response(200, body, "content-type", grpcType)
			resp.Owner = released
			return resp, nil
		}
	}
	f := compile(t, `{"upgradeProtobufToGrpc": true}`, 10)
	for n, want := range map[int]string{10: "", 11: "response_payload_too_large"} {
		body := grpctest.Split([]byte(strings.Repeat("x", n)), 4)
		x, _ := grpctest.Exchange(f, upstream(body), grpctest.Request("/s/m", nil, "content-type", grpcType))
		_, err := x.Run(t.Context())
		if want == "" {
			if err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		if e := exchange.AsError(err); e.Details != want || e.Status != 500 || body.Closed == 0 || *released != 1 {
			t.Errorf("%d bytes: %v, closed %d, released %d times", n, err, body.Closed, *released)
		}
	}
	for _, tc := range []struct {
		bytes, route int
		want         string
	}{{10, -1, ""}, {11, -1, "request_payload_too_large"}, {6, 5, "request_payload_too_large"}, {20, 20, ""}} {
		q := grpctest.Request("/s/m", grpctest.Split([]byte(strings.Repeat("x", tc.bytes)), 4), "content-type", protobufType)
		x, _ := grpctest.Exchange(f, upstream(message.NoBody), q)
		x.Route.BufferLimit = tc.route
		_, err := x.Run(t.Context())
		if tc.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", tc, err)
			}
		} else if e := exchange.AsError(err); e.Details != tc.want || e.Status != 413 {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	q := grpctest.Request("/s/m", message.NoBody, "content-type", protobufType)
	q.Length = 1 << 32
	x, _ := grpctest.Exchange(f, upstream(message.NoBody), q)
	if _, err := x.Run(t.Context()); err == nil || exchange.AsError(err).Status != 413 {
		t.Errorf("more than a frame can say: %v", err)
	}
}

func TestBrokenBodies(t *testing.T) {
	f := compile(t, `{"upgradeProtobufToGrpc": true}`, 0)
	own := &exchange.Error{Status: 408, Details: "own"}
	for _, tc := range []struct {
		err     error
		status  int
		details string
	}{
		{errors.New("gone"), 0, "downstream_remote_disconnect"},
		{&protocol.Error{Status: 400, Details: "http1.codec_error"}, 400, "http1.codec_error"},
		{own, 408, "own"},
	} {
		body := grpctest.Split([]byte("x"), 1)
		body.End = tc.err
		x, _ := grpctest.Exchange(f, nil, grpctest.Request("/s/m", body, "content-type", protobufType))
		_, err := x.Run(t.Context())
		if e := exchange.AsError(err); err == nil || e.Status != tc.status || e.Details != tc.details {
			t.Errorf("%v: %v", tc.err, err)
		}
	}
	late := errors.New("late")
	ctx := &scope.Scope{}
	ctx.Begin(t.Context())
	ctx.Cancel(late)
	cut := grpctest.Split([]byte("x"), 1)
	cut.End = errors.New("woken")
	cancelled, _ := grpctest.Exchange(f, nil, grpctest.Request("/s/m", cut, "content-type", protobufType))
	if _, err := cancelled.Run(ctx); err != late {
		t.Errorf("%v, not the cause of the cancellation", err)
	}
	broke := &exchange.Error{Status: 503, Details: "broke"}
	body := grpctest.Split([]byte("x"), 1)
	body.End = broke
	x, _ := grpctest.Exchange(f, func(context.Context, *exchange.Exchange) (*message.Response, error) {
		return grpctest.Response(200, body, "content-type", grpcType), nil
	}, grpctest.Request("/s/m", nil, "content-type", grpcType))
	if _, err := x.Run(t.Context()); err != broke || body.Closed == 0 {
		t.Errorf("%v, closed %d", err, body.Closed)
	}
}

func TestWhatPassesUntouched(t *testing.T) {
	for name, tc := range map[string]struct{ protocol, contentType, cfg string }{
		"HTTP/2":                  {"HTTP/2", grpcType, `{}`},
		"protobuf over HTTP/2":    {"HTTP/2", protobufType, `{"upgradeProtobufToGrpc": true}`},
		"not gRPC":                {"HTTP/1.1", "application/json", `{"upgradeProtobufToGrpc": true}`},
		"protobuf not to upgrade": {"HTTP/1.1", protobufType, `{"ignoreQueryParameters": true}`},
	} {
		in := grpctest.Response(200, grpctest.Split([]byte("x"), 1, "grpc-status", "5"), "content-type", grpcType)
		body := in.Body
		q := grpctest.Request("/s/m?q", nil, "content-type", tc.contentType)
		upstream := func(context.Context, *exchange.Exchange) (*message.Response, error) { return in, nil }
		x, _ := grpctest.Exchange(compile(t, tc.cfg, 0), upstream, q)
		x.Record.Protocol = tc.protocol
		resp, err := x.Run(t.Context())
		if err != nil || resp != in || resp.Body != body || resp.Header.Has("grpc-status") || q.Path != "/s/m?q" {
			t.Errorf("%s: %v, %s", name, err, q.Path)
		}
	}
	// Answers of Weft's own, and those that have their trailers in the head.
	f := compile(t, `{}`, 0)
	x, _ := grpctest.Exchange(f, func(context.Context, *exchange.Exchange) (*message.Response, error) {
		return nil, &exchange.Error{Status: 503, Body: "no healthy upstream"}
	}, grpctest.Request("/s/m", nil, "content-type", grpcType))
	if resp, err := x.Run(t.Context()); err != nil || !x.Own(resp) || exchange.AsError(resp.Local).Body != "no healthy upstream" {
		t.Errorf("%v", err)
	}
	only := grpctest.Response(200, nil, "grpc-status", "5")
	x, _ = grpctest.Exchange(f, func(context.Context, *exchange.Exchange) (*message.Response, error) { return only, nil },
		grpctest.Request("/s/m", nil, "content-type", grpcType))
	if resp, err := x.Run(t.Context()); err != nil || resp != only || resp.Status != 200 {
		t.Errorf("%v", err)
	}
}
