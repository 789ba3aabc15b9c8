package grpchttp1reversebridge

import (
	"context"
	"errors"
	"strings"
	"testing"

	reversev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_reverse_bridge/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc/grpctest"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

func TestSupport(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func compile(t *testing.T, cfg string) *Filter {
	t.Helper()
	var m reversev3.FilterConfig
	if err := protojson.Unmarshal([]byte(`{"contentType": "application/x-protobuf"`+cfg+`}`), &m); err != nil {
		t.Fatal(err)
	}
	return New(&extension.Env{Listener: extension.Listener{BufferLimit: 100}}, &m)
}

const (
	grpcType = "application/grpc+proto"
	withhold = `, "withholdGrpcFrames": true`
	sized    = withhold + `, "responseSizeHeader": "x-size"`
)

// call sends a gRPC message through the filter to an upstream that reads it and answers.
func call(t *testing.T, f *Filter, body message.Body, length int64, answer *message.Response) (*exchange.Exchange, *message.Response,
	string) {
	t.Helper()
	got := ""
	q := grpctest.Request("/s/m", body, "content-type", grpcType)
	q.Length = length
	x, rerouted := grpctest.Exchange(f, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
		var err error
		if got, err = grpctest.Read(x.Request.Body); err != nil {
			return nil, err
		}
		h := &x.Request.Header
		if h.Get("content-type") != "application/x-protobuf" || h.Get("accept") != "application/x-protobuf" {
			t.Errorf("the upstream sees content-type %q, accept %q", h.Get("content-type"), h.Get("accept"))
		}
		return answer, nil
	}, q)
	resp, err := x.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if *rerouted != 1 && length != 3 {
		t.Errorf("rerouted %d times", *rerouted)
	}
	return x, resp, got
}

func plain(status int, body string, n int, length int64, fields ...string) *message.Response {
	r := grpctest.Response(status, grpctest.Split([]byte(body), n), append([]string{"content-type", "application/x-protobuf"}, fields...)...)
	r.Length = length
	return r
}

func TestCallsAreBridged(t *testing.T) {
	frame := grpctest.Frames("question")
	for _, tc := range []struct {
		name   string
		cfg    string
		status int
		length int64 // of the upstream's body
		header []string
		sent   string // what the upstream gets
		body   string // what the client gets
		size   int64
		grpc   string
	}{
		{"as it is", ``, 200, -1, nil, string(frame), "answer", -1, "0"},
		{"as it is, failed", ``, 404, 6, nil, string(frame), "answer", 6, "12"},
		{"frames withheld, length known", withhold, 200, 6, nil, "question", string(grpctest.Frames("answer")), 11, "0"},
		{"frames withheld, length found out", withhold, 200, -1, nil, "question", string(grpctest.Frames("answer")), 11, "0"},
		{"frames withheld, failed", withhold, 503, -1, nil, "question", string(grpctest.Frames("answer")), 11, "14"},
		{"length in a header", sized, 200, -1, []string{"x-size", "6"}, "question", string(grpctest.Frames("answer")), 11, "0"},
		{"length in the first value of a header", sized, 200, 6, []string{"x-size", "6,7", "x-size", "8"}, "question",
			string(grpctest.Frames("answer")), 11, "0"},
	} {
		for n := 1; n <= len(frame)+1; n++ {
			for _, known := range []int64{-1, int64(len(frame))} {
				answer := plain(tc.status, "answer", n, tc.length, tc.header...)
				_, resp, sent := call(t, compile(t, tc.cfg), grpctest.Split(frame, n), known, answer)
				if sent != tc.sent {
					t.Errorf("%s: the upstream gets %q", tc.name, sent)
				}
				if resp.Status != 200 || resp.Length != tc.size || resp.Header.Get("content-type") != grpcType {
					t.Errorf("%s: %d, length %d, %s", tc.name, resp.Status, resp.Length, resp.Header.Get("content-type"))
				}
				if resp.Body.Trailer() != nil {
					t.Errorf("%s: trailers before the end", tc.name)
				}
				got, err := grpctest.Read(resp.Body)
				if got != tc.body || err != nil {
					t.Errorf("%s: %q, %v", tc.name, got, err)
				}
				if h := resp.Body.Trailer(); h == nil || h.Get("grpc-status") != tc.grpc {
					t.Errorf("%s: trailers %v", tc.name, h)
				}
			}
		}
	}
}

func TestTrailersOfTheUpstreamAreKept(t *testing.T) {
	answer := plain(200, "answer", 2, -1)
	answer.Body = grpctest.Split([]byte("answer"), 2, "x", "y", "grpc-status", "9")
	_, resp, _ := call(t, compile(t, withhold), grpctest.Split(grpctest.Frames("q"), 3), -1, answer)
	if _, err := grpctest.Read(resp.Body); err != nil {
		t.Fatal(err)
	}
	if h := resp.Body.Trailer(); h.Get("x") != "y" || h.Get("grpc-status") != "0" || h.Len() != 2 {
		t.Errorf("x %q, grpc-status %q, %d fields", h.Get("x"), h.Get("grpc-status"), h.Len())
	}
}

func TestEmptyAnswers(t *testing.T) {
	_, resp, _ := call(t, compile(t, withhold), grpctest.Split(grpctest.Frames("q"), 3), -1, plain(200, "", 1, 0))
	got, err := grpctest.Read(resp.Body)
	if got != "\x00\x00\x00\x00\x00" || err != nil || resp.Length != 5 || resp.Body.Trailer().Get("grpc-status") != "0" {
		t.Errorf("%q, %v, length %d", got, err, resp.Length)
	}
	_, resp, _ = call(t, compile(t, ``), grpctest.Split(grpctest.Frames("q"), 3), -1, plain(401, "", 1, 0))
	if resp.Status != 200 || resp.Length != 0 || resp.Header.Get("grpc-status") != "16" {
		t.Errorf("%d, length %d, grpc-status %q", resp.Status, resp.Length, resp.Header.Get("grpc-status"))
	}
}

func TestEmptyQuestionIsRead(t *testing.T) {
	body := grpctest.Split(grpctest.Frames(""), 2)
	x, _, sent := call(t, compile(t, withhold), body, 5, plain(200, "answer", 9, 6))
	if sent != "" || len(body.Parts) != 0 || x.Request.Length != -1 {
		t.Errorf("%q, %d chunks unread, length %d", sent, len(body.Parts), x.Request.Length)
	}
}

func TestReady(t *testing.T) {
	b := &unframed{Body: grpctest.Split([]byte("12345xy"), 6)}
	if b.Ready() {
		t.Error("a frame's header gives nothing, and something is promised")
	}
	if p, err := b.Next(); string(p) != "x" || err != nil || !b.Ready() {
		t.Errorf("%q, %v, ready: %v", p, err, b.Ready())
	}
}

func TestRefusals(t *testing.T) {
	broken := plain(200, "answer", 2, -1)
	broken.Body.(*grpctest.Body).End = &exchange.Error{Status: 503, Body: "cut", Details: "cut_off"}
	html := grpctest.Response(502, grpctest.Split([]byte("<p>"), 9), "content-type", "text/html")
	untyped := grpctest.Response(200, grpctest.Split([]byte("?"), 9))
	for _, tc := range []struct {
		name    string
		cfg     string
		length  int64
		sent    string
		answer  *message.Response
		status  string
		message string
		details string
	}{
		{"request too small", withhold, -1, "\x00\x00", plain(200, "x", 1, 1), "2", "invalid request body", "grpc_bridge_data_too_small"},
		{"request known to be too small", withhold, 3, "\x00\x00\x00", plain(200, "x", 1, 1), "2", "invalid request body",
			"grpc_bridge_data_too_small"},
		{"content type", withhold, -1, "12345", html, "2",
			"envoy reverse bridge: upstream responded with unsupported content-type text/html, status code 502", "grpc_bridge_content_type_wrong"},
		{"no content type", ``, -1, "12345", untyped, "2",
			"envoy reverse bridge: upstream responded with no content-type header, status code 200", "grpc_bridge_content_type_wrong"},
		{"no size", sized, -1, "12345", plain(200, "answer", 9, 6), "13", "envoy reverse bridge: upstream did not set content length",
			"grpc_bridge_content_length_missing"},
		{"size is no number", sized, -1, "12345", plain(200, "answer", 9, 6, "x-size", "six"), "13",
			"envoy reverse bridge: upstream did not set content length", "grpc_bridge_content_length_missing"},
		{"wrong size", sized, -1, "12345", plain(200, "answer", 9, 6, "x-size", "7"), "13",
			"envoy reverse bridge: upstream set incorrect content length", "grpc_bridge_content_length_wrong"},
		{"too large", withhold, -1, "12345", plain(200, strings.Repeat("x", 101), 7, -1), "2", "Internal Server Error",
			"response_payload_too_large"},
		{"more than a frame can say", withhold, -1, "12345", plain(200, "x", 1, 1<<32), "2", "Internal Server Error",
			"response_payload_too_large"},
		{"breaks off", withhold, -1, "12345", broken, "14", "cut", "cut_off"},
	} {
		x, resp, _ := call(t, compile(t, tc.cfg), grpctest.Split([]byte(tc.sent), 1), tc.length, tc.answer)
		h := &resp.Header
		if resp.Status != 200 || resp.Length != 0 || h.Get("grpc-status") != tc.status || h.Get("grpc-message") != tc.message ||
			h.Get("content-type") != grpcType || x.Record.Details != tc.details || resp.Local == nil || x.Own(resp) {
			t.Errorf("%s: %d, length %d, %q, %q, %q, %s", tc.name, resp.Status, resp.Length, h.Get("grpc-status"), h.Get("grpc-message"),
				h.Get("content-type"), x.Record.Details)
		}
		if got, err := grpctest.Read(resp.Body); got != "" || err != nil {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
		if b := tc.answer.Body.(*grpctest.Body); !strings.HasPrefix(tc.name, "request") && b.Closed == 0 {
			t.Errorf("%s: the upstream's body is not closed", tc.name)
		}
	}
}

func TestAnnouncedLengthIsHeldTo(t *testing.T) {
	for _, size := range []string{"5", "7", "0"} {
		_, resp, _ := call(t, compile(t, sized), grpctest.Split([]byte("12345"), 9), -1, plain(200, "answer", 2, -1, "x-size", size))
		if _, err := grpctest.Read(resp.Body); !errors.Is(err, errLength) || resp.Body.Trailer() != nil {
			t.Errorf("%s: %v", size, err)
		}
	}
}

func TestLocalRepliesAreTranslated(t *testing.T) {
	f := compile(t, withhold)
	x, _ := grpctest.Exchange(f, func(context.Context, *exchange.Exchange) (*message.Response, error) {
		return nil, &exchange.Error{Status: 503, Body: "no healthy\nupstream", Details: "no_healthy_upstream"}
	}, grpctest.Request("/s/m", grpctest.Split([]byte("12345"), 9), "content-type", grpcType))
	resp, err := x.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := &resp.Header
	if resp.Status != 200 || resp.Length != 0 || h.Get("grpc-status") != "14" || h.Get("grpc-message") != "no healthy%0Aupstream" ||
		h.Get("content-type") != grpcType || x.Own(resp) || resp.Local == nil || x.Record.Details != "no_healthy_upstream" {
		t.Errorf("%d, length %d, %q, %q, %s", resp.Status, resp.Length, h.Get("grpc-status"), h.Get("grpc-message"), h.Get("content-type"))
	}
	ready := grpctest.Response(200, nil, "content-type", "application/grpc", "grpc-status", "4")
	ready.Local = errors.New("late")
	x, _ = grpctest.Exchange(f, func(context.Context, *exchange.Exchange) (*message.Response, error) { return ready, nil },
		grpctest.Request("/s/m", grpctest.Split([]byte("12345"), 9), "content-type", grpcType))
	if resp, err := x.Run(t.Context()); err != nil || resp.Header.Get("grpc-status") != "4" || resp.Header.Get("content-type") != grpcType {
		t.Errorf("%v", err)
	}
}

func TestWhatPassesUntouched(t *testing.T) {
	off, err := Extension().ForRoute(nil, compile(t, withhold), &reversev3.FilterConfigPerRoute{Disabled: true})
	if err != nil {
		t.Fatal(err)
	}
	on, err := Extension().ForRoute(nil, compile(t, withhold), &reversev3.FilterConfigPerRoute{})
	if err != nil || on.(*Filter).disabled {
		t.Fatal("an empty override disables the filter")
	}
	for name, tc := range map[string]struct {
		f exchange.Filter
		q *message.Request
	}{
		"disabled": {off, grpctest.Request("/s/m", grpctest.Split([]byte("x"), 1), "content-type", grpcType)},
		"not gRPC": {on, grpctest.Request("/s/m", grpctest.Split([]byte("x"), 1), "content-type", "text/plain")},
		"no body":  {on, grpctest.Request("/s/m", nil, "content-type", grpcType)},
	} {
		in := grpctest.Response(404, nil, "content-type", "text/html")
		want, body := tc.q.Header.Get("content-type"), tc.q.Body
		x, rerouted := grpctest.Exchange(tc.f, func(context.Context, *exchange.Exchange) (*message.Response, error) { return in, nil }, tc.q)
		resp, err := x.Run(t.Context())
		if err != nil || resp != in || resp.Status != 404 || tc.q.Header.Get("content-type") != want || tc.q.Body != body || *rerouted != 0 {
			t.Errorf("%s: %v, rerouted %d times", name, err, *rerouted)
		}
	}
}
