package grpcjson

import (
	"encoding/base64"
	"io"
	"strings"
	"testing"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

const shelf = `{"id":"1","theme":"t \"x\"","genre":"CHILDREN"}`

func TestMessagesBecomeJSON(t *testing.T) {
	for _, tt := range []struct{ cfg, path, kind, message, want string }{
		{"", "/shelves", "books.Shelf", shelf, shelf},
		{"", "/shelves", "books.Shelf", `{}`, `{}`},
		{"", "/shelves", "books.Shelf", `{"bigNote":"n","made":"2020-01-02T03:04:05Z","tags":["a b","c"]}`,
			`{"tags":["a b","c"],"made":"2020-01-02T03:04:05Z","bigNote":"n"}`},
		{"", "/shelves", "books.Shelf", `{"any":{"@type":"type.googleapis.com/books.Book","id":"4"}}`,
			`{"any":{"@type":"type.googleapis.com/books.Book","id":"4"}}`},
		{`{"printOptions":{"preserveProtoFieldNames":true}}`, "/shelves", "books.Shelf", `{"bigNote":"n"}`, `{"big_note":"n"}`},
		{`{"printOptions":{"alwaysPrintEnumsAsInts":true}}`, "/shelves", "books.Shelf", `{"genre":"CHILDREN"}`, `{"genre":1}`},
		{`{"printOptions":{"alwaysPrintPrimitiveFields":true}}`, "/shelves/1/books/1", "books.Book", `{"id":"3"}`,
			`{"id":"3","author":"","title":""}`},
		{`{"printOptions":{"addWhitespace":true}}`, "/shelves/1/books/1", "books.Book", `{"id":"3","title":"a  b"}`,
			"{\n \"id\": \"3\",\n \"title\": \"a  b\"\n}\n"},
		{"", "/title", "books.Book", `{"title":"a  b"}`, `"a  b"`},
		{"", "/title", "books.Book", `{"id":"3"}`, `""`},
		{"", "/tags", "books.Shelf", `{"tags":["a","b"]}`, `["a","b"]`},
		{"", "/tags", "books.Shelf", `{}`, `[]`},
		{"", "/pages", "books.Shelf", `{"pageCount":7}`, `7`},
	} {
		f := compile(t, tt.cfg)
		list := dribble(frame(t, f, tt.kind, tt.message), 3)
		r := (&trip{method: "GET", path: tt.path, answer: respond(list, "grpc-status: 0", "grpc-message: fine")}).run(t, f)
		if r.err != nil || r.text != tt.want || r.resp.Status != 200 || r.resp.Length != int64(len(tt.want)) {
			t.Errorf("%s %s: %v\n got %s\nwant %s", tt.cfg, tt.message, r.err, r.text, tt.want)
			continue
		}
		h := &r.resp.Header
		if h.Get("content-type") != "application/json" || h.Get("grpc-status") != "0" || h.Get("grpc-message") != "fine" || h.Has("trailer") {
			t.Errorf("%s: %q, status %q %q", tt.message, h.Get("content-type"), h.Get("grpc-status"), h.Get("grpc-message"))
		}
		if n := f.stats.Lane(0).ResponseBuffer.Value(); n != 0 {
			t.Errorf("%s: %d bytes are counted as buffered", tt.message, n)
		}
	}
}

func TestServerStreamsAreWrittenMessageByMessage(t *testing.T) {
	for _, tt := range []struct {
		cfg, mime string
		want      []string
	}{
		{"", "application/json", []string{`[{"id":"1"}`, `,{}`, `,{"id":"3"}`, `]`}},
		{`{"printOptions":{"streamNewlineDelimited":true,"addWhitespace":true}}`, "application/json",
			[]string{"{\"id\":\"1\"}\n", "{}\n", "{\"id\":\"3\"}\n"}},
		{`{"printOptions":{"streamSseStyleDelimited":true,"streamNewlineDelimited":true}}`, "text/event-stream",
			[]string{"data: {\"id\":\"1\"}\n\n", "data: {}\n\n", "data: {\"id\":\"3\"}\n\n"}},
	} {
		f := compile(t, tt.cfg)
		all := frame(t, f, "books.Shelf", `{"id":1}`) + frame(t, f, "books.Shelf", `{}`) + frame(t, f, "books.Shelf", `{"id":3}`)
		for _, n := range []int{1, 4, 1000} {
			r := (&trip{method: "GET", path: "/watch/x", answer: respond(dribble(all, n), "grpc-status: 0")}).run(t, f)
			if strings.Join(r.parts, "|") != strings.Join(tt.want, "|") || r.resp.Status != 200 || r.resp.Length != -1 ||
				r.resp.Header.Get("content-type") != tt.mime || r.bodyEnd != nil {
				t.Errorf("%s in pieces of %d: %q, %v", tt.cfg, n, r.parts, r.bodyEnd)
			}
			if trailer := r.resp.Body.Trailer(); trailer == nil || trailer.Get("grpc-status") != "0" {
				t.Error("the trailers are lost")
			}
		}
	}
}

func TestStreamIsFlushedBehindEachMessage(t *testing.T) {
	f := compile(t, "")
	one := frame(t, f, "books.Shelf", `{"id":1}`)
	c := &call{f: f, r: mustMatch(t, f, "GET", "/watch/x"), stats: f.stats.Lane(0)}
	src := &chunks{list: []string{one, one + one[:3], one[3:]}, trailer: headerOf("grpc-status: 0")}
	resp := &message.Response{Status: 200, Length: -1, Body: src}
	resp.Header.Add("content-type", "application/grpc+proto")
	if err := c.answer(resp); err != nil {
		t.Fatal(err)
	}
	for i, read := range []int{1, 2, 3} {
		if p, err := resp.Body.Next(); err != nil || src.at != read || resp.Body.Ready() {
			t.Errorf("message %d: %q, %v, %d chunks read, ready %v", i, p, err, src.at, resp.Body.Ready())
		}
		if resp.Body.Trailer() != nil {
			t.Error("trailers before the end")
		}
	}
	if p, err := resp.Body.Next(); string(p) != "]" || err != nil || !resp.Body.Ready() {
		t.Errorf("end: %q, %v", p, err)
	}
	if _, err := resp.Body.Next(); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
	resp.Body.Close(nil)
	if src.closed != 1 {
		t.Error("the upstream's body was not closed")
	}
}

func mustMatch(t *testing.T, f *Filter, method, path string) *rule {
	t.Helper()
	r, _ := f.paths.find(method, path)
	if r == nil {
		t.Fatalf("no rule for %s", path)
	}
	return r
}

func TestBidirectionalStreams(t *testing.T) {
	f := compile(t, "")
	list := []string{frame(t, f, "books.Shelf", `{"id":1}`), frame(t, f, "books.Shelf", `{"id":2}`)}
	r := (&trip{method: "POST", path: "/echo", body: []string{`{"id":1}`, `{"id":2}`}, answer: respond(list, "grpc-status: 0")}).run(t, f)
	if r.sent() != `Echo {"id":"1"} {"id":"2"}` || r.text != `[{"id":"1"},{"id":"2"}]` || r.up.chunks != 2 {
		t.Errorf("%s in %d chunks, %s, %v", r.sent(), r.up.chunks, r.text, r.err)
	}
}

func TestErrorsBecomeStatuses(t *testing.T) {
	st := &statuspb.Status{Code: 5, Message: "gone"}
	book, _ := (&trip{}).book(t)
	st.Details = []*anypb.Any{{TypeUrl: "type.googleapis.com/books.Book", Value: book}}
	withDetails, _ := proto.Marshal(st)
	details := "grpc-status-details-bin: " + base64.RawStdEncoding.EncodeToString(withDetails)
	st.Details[0].TypeUrl = "type.googleapis.com/books.Unknown"
	unknown, _ := proto.Marshal(st)
	const convert = `{"convertGrpcStatus":true}`
	for _, tt := range []struct {
		name, cfg, path string
		head            bool // the status is in the head
		trailers        []string
		status          int
		mime, text      string
		grpcStatus      string
	}{
		{"head", "", "/shelves", true, []string{"grpc-status: 5", "grpc-message: no"}, 404, "application/grpc", "", "5"},
		{"trailers", "", "/shelves", false, []string{"grpc-status: 5", "grpc-message: no"}, 404, "application/json", "", "5"},
		{"no status", "", "/shelves", false, nil, 503, "application/json", "", ""},
		{"not a number", "", "/shelves", false, []string{"grpc-status: x"}, 503, "application/json", "", ""},
		{"the service's own", "", "/shelves", false, []string{"grpc-status: 42"}, 500, "application/json", "", "42"},
		{"ok without a message", "", "/shelves", false, []string{"grpc-status: 0"}, 200, "application/json", "", "0"},
		{"converted head", convert, "/shelves", true, []string{"grpc-status: 5", "grpc-message: a%20b"}, 404, "application/json",
			`{"code":5,"message":"a b"}`, ""},
		{"converted trailers", convert, "/shelves", false, []string{"grpc-status: 5", "grpc-message: a%20b"}, 404, "application/json",
			`{"code":5,"message":"a b"}`, ""},
		{"details", convert, "/shelves", true, []string{"grpc-status: 5", details}, 404, "application/json",
			`{"code":5,"message":"gone","details":[{"@type":"type.googleapis.com/books.Book","id":"9"}]}`, ""},
		{"padded details", convert, "/shelves", true, []string{"grpc-status: 5", details + "=="}, 404, "application/json",
			`{"code":5,"message":"gone","details":[{"@type":"type.googleapis.com/books.Book","id":"9"}]}`, ""},
		{"details nobody knows", convert, "/shelves", true,
			[]string{"grpc-status: 5", "grpc-status-details-bin: " + base64.StdEncoding.EncodeToString(unknown)}, 404, "application/grpc", "", "5"},
		{"nothing to convert", convert, "/shelves", true, []string{"grpc-status: 0"}, 200, "application/grpc", "", "0"},
		{"stream, head", "", "/watch/x", true, []string{"grpc-status: 14"}, 503, "application/json", "[]", "14"},
		{"stream, trailers", "", "/watch/x", false, []string{"grpc-status: 14"}, 200, "application/json", "[]", ""},
		{"stream, converted head", convert, "/watch/x", true, []string{"grpc-status: 14"}, 503, "application/json", `{"code":14}`, ""},
		{"stream, converted trailers", convert, "/watch/x", false, []string{"grpc-status: 14"}, 200, "application/json", `{"code":14}`, ""},
		{"lines, head", `{"printOptions":{"streamNewlineDelimited":true}}`, "/watch/x", true, []string{"grpc-status: 14"}, 503,
			"application/json", "", "14"},
		{"raw stream", convert, "/downloads", false, []string{"grpc-status: 14"}, 200, "application/json", `{"code":14}`, ""},
		{"raw stream, not converted", "", "/downloads", false, []string{"grpc-status: 14"}, 200, "application/json", ``, ""},
	} {
		f := compile(t, tt.cfg)
		answer := respond(nil, tt.trailers...)
		if tt.head {
			answer = trailersOnly(tt.trailers...)
		}
		r := (&trip{method: "GET", path: tt.path, answer: answer}).run(t, f)
		if r.err != nil {
			t.Errorf("%s: %v", tt.name, r.err)
			continue
		}
		if r.answered != nil && r.answered.closed != 1 {
			t.Errorf("%s: the upstream's body was closed %d times", tt.name, r.answered.closed)
		}
		h := &r.resp.Header
		if h.Get("grpc-status") == "" && h.Has("grpc-status-details-bin") {
			t.Errorf("%s: the details are still in the head", tt.name)
		}
		if r.resp.Status != tt.status || r.text != tt.text || h.Get("content-type") != tt.mime || h.Get("grpc-status") != tt.grpcStatus {
			t.Errorf("%s: %d %q %q, status %q", tt.name, r.resp.Status, h.Get("content-type"), r.text, h.Get("grpc-status"))
		}
	}
}

// book is the wire form of a message.
func (*trip) book(t *testing.T) ([]byte, error) {
	t.Helper()
	return []byte(frame(t, compile(t, ""), "books.Book", `{"id":9}`))[grpc.FrameHeaderLen:], nil
}

func TestRawResponses(t *testing.T) {
	f := compile(t, "")
	for _, tt := range []struct {
		path, kind string
		messages   []string
		mime, text string
	}{
		{"/download", "google.api.HttpBody", []string{`{"contentType":"text/x","data":"YWJj"}`}, "text/x", "abc"},
		{"/download", "google.api.HttpBody", []string{`{"data":"YWJj"}`}, "", "abc"},
		{"/download/field", "books.Download", []string{`{"file":{"contentType":"text/x","data":"YWJj"}}`}, "text/x", "abc"},
		{"/downloads", "google.api.HttpBody", []string{`{"contentType":"text/x","data":"YWJj"}`, `{}`, `{"contentType":"no","data":"ZA=="}`},
			"text/x", "abcd"},
		{"/downloads", "google.api.HttpBody", nil, "application/json", ""},
	} {
		all := ""
		for _, m := range tt.messages {
			all += frame(t, f, tt.kind, m)
		}
		r := (&trip{method: "GET", path: tt.path, answer: respond(dribble(all, 4), "grpc-status: 0")}).run(t, f)
		if r.err != nil || r.text != tt.text || r.resp.Header.Get("content-type") != tt.mime || r.resp.Status != 200 {
			t.Errorf("%s: %v, %q %q", tt.path, r.err, r.resp.Header.Get("content-type"), r.text)
		}
	}
}

func TestResponsesThatCannotBeTranscoded(t *testing.T) {
	const failed = "grpc_json_transcode_failure"
	broken := &exchange.Error{Status: 503, Details: "cause"}
	good := frame(t, compile(t, ""), "books.Shelf", `{"id":1,"theme":"long enough"}`)
	for _, tt := range []struct {
		name, cfg, path string
		list            []string
		err             error
		status          int
		details         string
	}{
		{"not a message", "", "/shelves", []string{"\x00\x00\x00\x00\x01\x08"}, nil, 502, failed + "{INTERNAL}"},
		{"compressed", "", "/shelves", []string{"\x01\x00\x00\x00\x00"}, nil, 502, failed + "{INTERNAL}"},
		{"cut off", "", "/shelves", []string{good[:9]}, nil, 502, failed + "{INTERNAL}"},
		{"large", `{"maxResponseBodySize":10}`, "/shelves", []string{good}, nil, 500, failed + "{response_buffer_size_limit_reached}"},
		{"large as JSON", `{"maxResponseBodySize":20}`, "/shelves", []string{good}, nil, 500, failed + "{response_buffer_size_limit_reached}"},
		{"the upstream failed", "", "/shelves", []string{good}, broken, 503, "cause"},
		{"raw, not a message", "", "/download", []string{"\x00\x00\x00\x00\x01\x08"}, nil, 502, failed + "{INTERNAL}"},
		{"raw stream, not a message", "", "/downloads", []string{"\x00\x00\x00\x00\x01\x08"}, nil, 502, failed + "{INTERNAL}"},
		{"stream, not a message", "", "/watch/x", []string{"\x00\x00\x00\x00\x01\x08"}, nil, 502, failed + "{INTERNAL}"},
		{"stream, compressed", "", "/watch/x", []string{good, "\x01\x00\x00\x00\x00"}, nil, 502, failed + "{INTERNAL}"},
		{"stream, cut off", "", "/watch/x", []string{good, good[:9]}, nil, 502, failed + "{INTERNAL}"},
		{"stream, large", `{"maxResponseBodySize":10}`, "/watch/x", []string{good}, nil, 500, failed + "{response_buffer_size_limit_reached}"},
		{"stream, the upstream failed", "", "/watch/x", []string{good}, broken, 503, "cause"},
	} {
		f := compile(t, tt.cfg)
		body := &chunks{list: tt.list, err: tt.err, trailer: headerOf("grpc-status: 0")}
		r := (&trip{method: "GET", path: tt.path, answer: func(u *upstream) *message.Response {
			resp := respond(nil)(u)
			resp.Body = body
			return resp
		}}).run(t, f)
		e := r.err
		if r.bodyEnd != nil {
			e = exchange.AsError(r.bodyEnd)
			if _, again := r.resp.Body.Next(); again == nil || again == io.EOF {
				t.Errorf("%s: goes on behind the error", tt.name)
			}
		}
		if e == nil || e.Status != tt.status || e.Details != tt.details || body.closed == 0 {
			t.Errorf("%s: %v, closed %d times", tt.name, e, body.closed)
		}
	}
}

func TestOtherResponsesPass(t *testing.T) {
	f := compile(t, "")
	for _, tt := range []struct {
		status int
		header string
		local  error
	}{
		{200, "content-type: text/html", nil},
		{503, "content-type: application/grpc", nil},
		{200, "content-type: application/grpc", &exchange.Error{Status: 503}},
	} {
		r := (&trip{method: "GET", path: "/shelves", answer: func(*upstream) *message.Response {
			resp := &message.Response{Status: tt.status, Length: 4, Local: tt.local, Body: message.NewBytes([]byte("page"))}
			resp.Header.CopyFrom(headerOf(tt.header, "grpc-status: 3"))
			return resp
		}}).run(t, f)
		if r.text != "page" || r.resp.Status != tt.status || "content-type: "+r.resp.Header.Get("content-type") != tt.header && tt.local == nil {
			t.Errorf("%s: %d %q", tt.header, r.resp.Status, r.text)
		}
	}
}
