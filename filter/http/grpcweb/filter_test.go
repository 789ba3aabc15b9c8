package grpcweb

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/grpc/grpctest"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

func TestSupport(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

// run sends q through the filter and returns what came back.
func run(t *testing.T, q *message.Request, u grpctest.Upstream) (*exchange.Exchange, *message.Response) {
	t.Helper()
	x, _ := grpctest.Exchange(New(), u, q)
	resp, err := x.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return x, resp
}

// answer is an upstream that reads the request and gives a response.
func answer(resp *message.Response) grpctest.Upstream {
	return func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
		if _, err := grpctest.Read(x.Request.Body); err != nil {
			return nil, err
		}
		return resp, nil
	}
}

func trailerFrame(text string) string {
	return string(grpc.AppendFrameHeader(nil, grpc.Trailers, len(text))) + text
}

func TestRequestBecomesGRPC(t *testing.T) {
	plain := string(grpctest.Frames("hello", "", "world"))
	for _, tc := range []struct{ contentType, body string }{
		{"application/grpc-web", plain}, {"application/grpc-web+proto", plain},
		{"application/grpc-web-text", base64.StdEncoding.EncodeToString([]byte(plain))},
		{"application/grpc-web-text+proto", base64.StdEncoding.EncodeToString([]byte(plain[:7])) +
			base64.StdEncoding.EncodeToString([]byte(plain[7:]))},
	} {
		for n := 1; n <= len(tc.body); n++ {
			q := grpctest.Request("/s/m", grpctest.Split([]byte(tc.body), n), "content-type", tc.contentType)
			q.Length = int64(len(tc.body))
			run(t, q, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
				got, err := grpctest.Read(x.Request.Body)
				h := &x.Request.Header
				if got != plain || err != nil || x.Request.Length != -1 {
					t.Errorf("%s in pieces of %d: %q, %v, length %d", tc.contentType, n, got, err, x.Request.Length)
				}
				if h.Get("content-type") != "application/grpc" || h.Get("te") != "trailers" || h.Get("grpc-accept-encoding") != acceptEncoding {
					t.Errorf("%s: content-type %q, te %q, grpc-accept-encoding %q", tc.contentType, h.Get("content-type"), h.Get("te"),
						h.Get("grpc-accept-encoding"))
				}
				return grpctest.Response(200, nil, "grpc-status", "0"), nil
			})
		}
	}
}

func TestResponseGetsItsTrailersIntoTheBody(t *testing.T) {
	frames := []string{string(grpctest.Frames("hello")), string(grpctest.Frames("")), string(grpctest.Frames("a larger message"))}
	plain := strings.Join(frames, "")
	trailers := trailerFrame("grpc-status:0\r\nx-a:b c\r\n")
	text := ""
	for _, f := range append(frames, trailers) {
		text += base64.StdEncoding.EncodeToString([]byte(f))
	}
	for accept, want := range map[string][2]string{ // content type, body
		"":                                   {"application/grpc-web+proto", plain + trailers},
		"application/grpc-web-text":          {"application/grpc-web-text+proto", text},
		"*/*, application/grpc-web-text;q=1": {"application/grpc-web-text+proto", text},
		"application/grpc-web, application/grpc-web-text": {"application/grpc-web+proto", plain + trailers},
	} {
		for n := 1; n <= len(plain); n++ {
			body := grpctest.Split([]byte(plain), n, "Grpc-Status", "0", "x-A", "b c")
			q := grpctest.Request("/s/m", grpctest.Split([]byte("x"), 1), "content-type", "application/grpc-web", "accept", accept)
			_, resp := run(t, q, answer(grpctest.Response(200, body, "content-type", "application/grpc+proto")))
			got, err := grpctest.Read(resp.Body)
			if got != want[1] || err != nil || resp.Length != -1 || resp.Header.Get("content-type") != want[0] {
				t.Fatalf("accept %q, pieces of %d: %q, %v, length %d, %s", accept, n, got, err, resp.Length, resp.Header.Get("content-type"))
			}
			if resp.Body.Trailer() != nil {
				t.Error("trailers are sent twice")
			}
			if resp.Body.Close(nil); body.Closed == 0 {
				t.Error("the body below is not closed")
			}
		}
	}
}

func TestEachFrameOfTextIsCompleteWhenItIsThere(t *testing.T) {
	one := grpctest.Frames("four") // nine bytes and one more would be nothing of a group
	body := &grpctest.Body{Parts: [][]byte{one, one}}
	q := grpctest.Request("/s/m", nil, "content-type", "application/grpc-web-text", "accept", "application/grpc-web-text")
	_, resp := run(t, q, answer(grpctest.Response(200, body, "content-type", "application/grpc")))
	for range 2 {
		if resp.Body.Ready() {
			t.Error("what need not give a group of base64 promises to")
		}
		p, err := resp.Body.Next()
		if err != nil || string(p) != base64.StdEncoding.EncodeToString(one) {
			t.Errorf("%q, %v", p, err)
		}
	}
}

func TestReady(t *testing.T) {
	body := &grpctest.Body{Parts: [][]byte{[]byte("x")}}
	for _, b := range []message.Body{&textRequest{Body: body}, &webResponse{Body: body, text: true}} {
		if b.Ready() {
			t.Errorf("%T promises what a chunk may not have", b)
		}
	}
	b := &webResponse{Body: body}
	if !b.Ready() {
		t.Error("a binary response waits for nothing")
	}
	if _, err := grpctest.Read(b); err != nil || !b.Ready() {
		t.Errorf("not ready at the end (%v)", err)
	}
}

func TestTrailersOnly(t *testing.T) {
	for _, h := range [][]string{
		{"content-type", "application/grpc", "grpc-status", "5", "grpc-message", "no%20such"},
		{"grpc-status", "5", "grpc-message", "no%20such"},
	} {
		q := grpctest.Request("/s/m", nil, "content-type", "application/grpc-web")
		_, resp := run(t, q, answer(grpctest.Response(200, nil, h...)))
		if resp.Status != 200 || resp.Length != 0 || resp.Header.Get("grpc-status") != "5" || resp.Header.Get("grpc-message") != "no%20such" ||
			resp.Header.Get("content-type") != "application/grpc-web+proto" || resp.Header.Count("content-type") != 1 {
			t.Errorf("%v: %d, length %d, %v", h, resp.Status, resp.Length, resp.Header.Get("grpc-status"))
		}
	}
	// A head, no data, and trailers after all.
	body := grpctest.Split(nil, 1, "grpc-status", "7")
	_, resp := run(t, grpctest.Request("/s/m", nil, "content-type", "application/grpc-web"),
		answer(grpctest.Response(200, body, "content-type", "application/grpc")))
	if got, err := grpctest.Read(resp.Body); got != trailerFrame("grpc-status:7\r\n") || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestResponsesThatAreNoneOfGRPC(t *testing.T) {
	long := strings.Repeat("x", maxExplanation+10)
	for _, tc := range []struct {
		status      int
		contentType string
		body        string
		length      int64
		grpcStatus  string
		message     string
	}{
		{404, "text/html", "not <found>\n", -1, "12", "not <found>%0A"},
		{503, "application/grpc", "overloaded", -1, "14", "overloaded"},
		{200, "text/plain", "hm", 2, "2", "hm"},
		{500, "text/plain", long, -1, "2", long[:maxExplanation]},
		{401, "text/plain", "", 0, "16", ""},
	} {
		for _, n := range []int{1, 7, 1 << 20} {
			body := grpctest.Split([]byte(tc.body), n, "x", "y")
			in := grpctest.Response(tc.status, body, "content-type", tc.contentType)
			in.Length = tc.length
			_, resp := run(t, grpctest.Request("/s/m", nil, "content-type", "application/grpc-web+proto"), answer(in))
			h := &resp.Header
			if resp.Status != tc.status || h.Get("grpc-status") != tc.grpcStatus || h.Get("grpc-message") != tc.message || resp.Length != 0 ||
				h.Get("content-type") != "application/grpc-web+proto" || body.Closed == 0 {
				t.Errorf("%d: %d, %q, %.40q, length %d, closed %d", tc.status, resp.Status, h.Get("grpc-status"), h.Get("grpc-message"),
					resp.Length, body.Closed)
			}
			if got, err := grpctest.Read(resp.Body); got != "" || err != nil {
				t.Errorf("%d: %q, %v", tc.status, got, err)
			}
		}
	}
}

func TestAStatusThatIsThereIsKept(t *testing.T) {
	in := grpctest.Response(503, grpctest.Split([]byte("x"), 1), "content-type", "application/grpc", "grpc-status", "5", "grpc-message", "why")
	_, resp := run(t, grpctest.Request("/s/m", nil, "content-type", "application/grpc-web"), answer(in))
	if h := &resp.Header; resp.Status != 503 || resp.Length != 0 || h.Get("grpc-status") != "5" || h.Get("grpc-message") != "why" {
		t.Errorf("%d, length %d, %q, %q", resp.Status, resp.Length, h.Get("grpc-status"), h.Get("grpc-message"))
	}
}

func TestUpstreamThatSpeaksGRPCWeb(t *testing.T) {
	all := string(grpctest.Frames("hello")) + trailerFrame("grpc-status:0\r\n")
	_, resp := run(t, grpctest.Request("/s/m", nil, "content-type", "application/grpc-web"),
		answer(grpctest.Response(200, grpctest.Split([]byte(all), 3), "content-type", "application/grpc-web")))
	if got, err := grpctest.Read(resp.Body); got != all || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestInvalidBase64IsABadRequest(t *testing.T) {
	for text, details := range map[string]string{"AAA": "grpc_base_64_decode_failed_bad_size", "AAAAA": "grpc_base_64_decode_failed_bad_size",
		"AA-A": "grpc_base_64_decode_failed", "AAAA=AAA": "grpc_base_64_decode_failed"} {
		for n := 1; n <= len(text); n++ {
			q := grpctest.Request("/s/m", grpctest.Split([]byte(text), n), "content-type", "application/grpc-web-text")
			x, resp := run(t, q, answer(nil))
			if resp.Status != 400 || resp.Header.Get("grpc-status") != "13" || x.Record.Details != details || resp.Local == nil ||
				resp.Header.Get("grpc-message") != "Bad gRPC-web request, invalid base64 data." || x.Own(resp) {
				t.Errorf("%q in pieces of %d: %d, %q, %q, %s", text, n, resp.Status, resp.Header.Get("grpc-status"),
					resp.Header.Get("grpc-message"), x.Record.Details)
			}
			if _, err := q.Body.Next(); err == nil || !errors.As(err, new(*exchange.Error)) {
				t.Errorf("%q: the body goes on after the error: %v", text, err)
			}
		}
	}
}

func TestBrokenBodiesBreakOff(t *testing.T) {
	broke := errors.New("broke")
	body := grpctest.Split(grpctest.Frames("hello")[:7], 3)
	body.End = broke
	for _, accept := range []string{"application/grpc-web", "application/grpc-web-text"} {
		b := *body
		q := grpctest.Request("/s/m", nil, "content-type", "application/grpc-web", "accept", accept)
		_, resp := run(t, q, answer(grpctest.Response(200, &b, "content-type", "application/grpc")))
		if _, err := grpctest.Read(resp.Body); err != broke {
			t.Errorf("%s: %v", accept, err)
		}
	}
}

func TestOtherRequestsPass(t *testing.T) {
	for _, contentType := range []string{"application/grpc", "application/json", "application/grpc-web+json", ""} {
		body := grpctest.Split([]byte("x"), 1)
		q := grpctest.Request("/s/m", body, "content-type", contentType)
		in := grpctest.Response(503, grpctest.Split([]byte("y"), 1), "content-type", "text/plain")
		_, resp := run(t, q, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
			if x.Request.Body != message.Body(body) || x.Request.Header.Get("content-type") != contentType {
				t.Errorf("%q was changed", contentType)
			}
			return in, nil
		})
		if resp != in || resp.Header.Get("content-type") != "text/plain" || resp.Header.Has("grpc-status") {
			t.Errorf("%q: the response was changed", contentType)
		}
	}
}

func FuzzTextResponse(f *testing.F) {
	f.Add(grpctest.Frames("hello", ""), uint8(2))
	f.Add([]byte{0, 0, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		w := &webResponse{Body: grpctest.Split(b, max(int(piece), 1), "grpc-status", "0"), text: true}
		coded, err := grpctest.Read(w)
		if err != nil {
			t.Fatal(err)
		}
		plain, whole, err := decodeAll([]byte(coded), max(len(coded), 1))
		if want := string(b) + trailerFrame("grpc-status:0\r\n"); string(plain) != want || !whole || err != nil {
			t.Fatalf("%q became %q, which is %q, %v", b, coded, plain, err)
		}
	})
}
