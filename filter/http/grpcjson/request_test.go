package grpcjson

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

func TestRequestsBecomeCalls(t *testing.T) {
	f := compile(t, "")
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/shelves", "", `ListShelves {}`},
		{"GET", "/shelves/", "", `ListShelves {}`},
		{"GET", "/shelves/3/books/12", "", `GetBook {"shelf":"3","book":"12"}`},
		{"GET", "/books/12?shelf=-4", "", `GetBook {"shelf":"-4","book":"12"}`},
		{"POST", "/books:get", `{"book": 5}`, `GetBook {"book":"5"}`},
		{"POST", "/shelf", ` {"theme": "a\"b}", "unknown": [1, {}], "genre": "CHILDREN"} `, `CreateShelf {"theme":"a\"b}","genre":"CHILDREN"}`},
		{"POST", "/shelf?theme=late&tags=x&tags=y", `{"theme":"early","tags":["a"]}`, `CreateShelf {"theme":"early","tags":["a","x","y"]}`},
		{"POST", "/shelf", `{"big_note":"n","genres":["SCIENCE_FICTION",1],"made":"2020-01-02T03:04:05Z"}`,
			`CreateShelf {"made":"2020-01-02T03:04:05Z","bigNote":"n","genres":["SCIENCE_FICTION","CHILDREN"]}`},
		{"POST", "/shelf", `{"inner":{"genre":"2"}}`, `CreateShelf {"inner":{"genre":"SCIENCE_FICTION"}}`},
		{"POST", "/shelves/7/books", `{"title":"t"}`, `CreateBook {"shelf":"7","book":{"title":"t"}}`},
		{"POST", "/shelves/7/books?book.author=me", `{"title":"t"}`, `CreateBook {"shelf":"7","book":{"author":"me","title":"t"}}`},
		{"GET", "/v1/shelves/s%201/books/a/b%2Fc/d%20e:find", "", `Find {"name":"shelves/s 1/books/a/b%2Fc/d e"}`},
		{"GET", "/find?book.title=x%20y&pages=1&pages=2&genres=CHILDREN&genres=2", "",
			`FindAny {"book":{"title":"x y"},"pages":[1,2],"genres":["CHILDREN","SCIENCE_FICTION"]}`},
		{"GET", "/find?since=2020-01-02T03:04:05Z&age=1.5s&sold=true&howMany=4&how_many=5&price=1e3", "",
			`FindAny {"since":"2020-01-02T03:04:05Z","age":"1.500s","sold":true,"howMany":5,"price":1000}`},
		{"GET", "/find?token=aGk=&mask=a.b,c&any_value=v&ok=1&size=18446744073709551615&ratio=0.5&half=7", "",
			`FindAny {"token":"aGk=","mask":"a.b,c","anyValue":"v","ok":true,"size":"18446744073709551615","ratio":0.5,"half":7}`},
		{"GET", "/find?times=2020-01-02T03:04:05Z&times=2021-01-02T03:04:05Z", "",
			`FindAny {"times":["2020-01-02T03:04:05Z","2021-01-02T03:04:05Z"]}`},
		{"GET", "/find?name&=x&&name=a+b", "", `FindAny {"name":"a+b"}`},
		{"GET", "/find", "ignored", `FindAny {}`},
		{"PUT", "/index", `{ "\u0067enres" : {"a":"CHILDREN", "b" : 2} , "x":[{"y":"]"}], "shelves":{"c":{"genres":["2",1 ,"CHILDREN"]},"d":{}}}`,
			`PutIndex {"genres":{"a":"CHILDREN","b":"SCIENCE_FICTION"},` +
				`"shelves":{"c":{"genres":["SCIENCE_FICTION","CHILDREN","CHILDREN"]},"d":{}}}`},
		{"PUT", "/index", `{"genres":null,"shelves":{"c":{"genre":null,"genres":null,"inner":null}},"name":"\u00e9"}`,
			`PutIndex {"name":"é","shelves":{"c":{}}}`},
		{"PATCH", "/index?name=n", `{"a":"1"}`, `PutGenres {"name":"n","genres":{"a":"CHILDREN"}}`},
		{"DELETE", "/index/n", ``, `Drop {"name":"n"}`},
		{"REPORT", "/report/r%2F1", "", `Wild {"book":{"title":"r/1"}}`},
	} {
		r := &trip{method: tt.method, path: tt.path, header: []string{"content-length: 7", "accept: x"}}
		if tt.body != "" {
			r.body = []string{tt.body}
		}
		r.run(t, f)
		if r.err != nil || r.sent() != tt.want {
			t.Errorf("%s %s %s:\n got %s, %v\nwant %s", tt.method, tt.path, tt.body, r.sent(), r.err, tt.want)
			continue
		}
		h := &r.up.header
		if r.up.method != "POST" || h.Get("content-type") != "application/grpc" || h.Get("te") != "trailers" ||
			h.Get("x-envoy-original-path") != tt.path || h.Get("x-envoy-original-method") != tt.method || r.rerouted != 1 ||
			h.Has("content-length") || h.Get("accept") != "x" {
			t.Errorf("%s: sent %s, %d times rerouted, with:", tt.path, r.up.method, r.rerouted)
			for k, v := range h.All() {
				t.Errorf("  %s: %s", k, v)
			}
		}
		if r.up.length >= 0 && r.up.length != int64(r.up.wireBytes) {
			t.Errorf("%s: length %d, sent %d", tt.path, r.up.length, r.up.wireBytes)
		}
	}
}

func TestOtherRequestsPass(t *testing.T) {
	f := compile(t, "")
	for _, tt := range []struct{ method, path, header string }{
		{"GET", "/elsewhere", "a: b"},
		{"POST", "/shelves", "a: b"},
		{"GET", "/find?nobody=1", "a: b"},
		{"GET", "/find?pages.x=1", "a: b"},
		{"POST", "/shelf", "content-type: application/grpc"},
		{"POST", "/books.Store/Plain", "a: b"},
		{"OPTIONS", "*", "a: b"},
	} {
		r := (&trip{method: tt.method, path: tt.path, header: []string{tt.header, "content-length: 2"}, body: []string{"hi"},
			answer: func(*upstream) *message.Response {
				return &message.Response{Status: 200, Length: 3, Body: message.NewBytes([]byte("yes"))}
			}}).run(t, f)
		if r.err != nil || r.up.method != tt.method || r.up.path != tt.path || r.rerouted != 0 || r.text != "yes" ||
			r.up.header.Len() != 2 && r.up.path[0] == '/' {
			t.Errorf("%s %s: %s, %d headers, %v, %q", tt.method, tt.path, r.sent(), r.up.header.Len(), r.err, r.text)
		}
	}
}

func TestPassingAllocatesNothing(t *testing.T) {
	f := compile(t, "")
	req := &message.Request{Method: "GET", Path: "/shelves/1/books/2/pages/3/4:find?x=y"}
	if n := testing.AllocsPerRun(100, func() {
		if c, err := f.match(req); c != nil || err != nil {
			t.Fatal(c, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRequestsAreRefused(t *testing.T) {
	const early, late = "early_grpc_json_transcode_failure", "grpc_json_transcode_failure"
	deep := strings.Repeat(`{"inner":`, 101) + strings.Repeat("}", 101)
	for _, tt := range []struct {
		cfg, method, path, body string
		status                  int
		details, text           string
	}{
		{"", "POST", "/shelf", `{"id": "x"}`, 400, late + "{INVALID_ARGUMENT}", "not the JSON"},
		{"", "POST", "/shelf", `{"id": 1`, 400, late + "{INVALID_ARGUMENT}", "Unexpected end of string"},
		{"", "POST", "/shelf", `{"id": 1}}`, 400, late + "{INVALID_ARGUMENT}", "Unexpected token"},
		{"", "POST", "/shelf", `[]`, 400, late + "{INVALID_ARGUMENT}", ""},
		{"", "POST", "/shelf", ``, 400, early + "{INVALID_ARGUMENT}", "Expected a value"},
		{"", "POST", "/shelf", `{"genre":"NOVEL"}`, 400, late + "{INVALID_ARGUMENT}", "enum"},
		{"", "POST", "/shelf", `{"inner":{"genres":["CHILDREN","children"]}}`, 400, late + "{INVALID_ARGUMENT}", "enum"},
		{"", "POST", "/wrap", `{"shelf":{"genre":"x"}}`, 400, late + "{INVALID_ARGUMENT}", "enum"},
		{"", "PUT", "/index", `{"genres":{"a":"CHILDREN","b":"x"}}`, 400, late + "{INVALID_ARGUMENT}", "enum"},
		{"", "PUT", "/index", `{"shelves":{"a":{"inner":{"genre":"x"}}}}`, 400, late + "{INVALID_ARGUMENT}", "enum"},
		{"", "PUT", "/index", `{"\u0067enres":{"a":"x"}}`, 400, late + "{INVALID_ARGUMENT}", "enum"},
		{"", "PUT", "/index", `{"genres":["CHILDREN"]}`, 400, late + "{INVALID_ARGUMENT}", "not the JSON"},
		{"", "PUT", "/index", `{"genres":{"a":"CHILDREN"]}`, 400, late + "{INVALID_ARGUMENT}", "not the JSON"},
		{"", "PUT", "/index", `{"genres":{"a" "CHILDREN"}}`, 400, late + "{INVALID_ARGUMENT}", "not the JSON"},
		{"", "POST", "/shelf", deep, 400, late + "{INVALID_ARGUMENT}", "too deep"},
		{"", "POST", "/shelves/1/books", `{"title":"x"},"shelf":{}`, 400, late + "{INVALID_ARGUMENT}", "Unexpected token"},
		{"", "GET", "/shelves/one/books/2", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?sold=maybe", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?book=x", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?genres=nothing", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?name=%ff", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?half=-1", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?ratio=1e300", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?token=!", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{"", "GET", "/find?since=now", ``, 400, early + "{INVALID_ARGUMENT}", "convert"},
		{`{"requestValidationOptions":{"rejectUnknownMethod":true}}`, "GET", "/nowhere", ``, 404, early + "{NOT_FOUND}", "Could not resolve"},
		{`{"requestValidationOptions":{"rejectUnknownQueryParameters":true}}`, "GET", "/find?x=1", ``, 400,
			early + "{INVALID_ARGUMENT}", "Could not find"},
		{`{"requestValidationOptions":{"rejectBindingBodyFieldCollisions":true}}`, "POST", "/shelf?theme=a", `{"theme":"b"}`, 400,
			late + "{INVALID_ARGUMENT}", "conflicts"},
		{`{"maxRequestBodySize":10}`, "POST", "/shelf", `{"theme":"long"}`, 413, late + "{request_buffer_size_limit_reached}", "exceeds"},
		{`{"maxRequestBodySize":10}`, "POST", "/upload", `12345678901`, 413, late + "{request_buffer_size_limit_reached}", "exceeds"},
		{`{"maxRequestBodySize":10}`, "POST", "/bulk", `[{"theme":"long"}]`, 413, late + "{request_buffer_size_limit_reached}", "exceeds"},
		{"", "POST", "/bulk", `[{"id":1},{"id":"x"}]`, 400, late + "{INVALID_ARGUMENT}", "not the JSON"},
		{"", "POST", "/bulk", `[{"id":1},]`, 400, late + "{INVALID_ARGUMENT}", "Unexpected token"},
		{"", "POST", "/bulk", `[{"id":1}`, 400, late + "{INVALID_ARGUMENT}", "Unexpected end"},
		{"", "POST", "/bulk", `[{"id":1}] x`, 400, late + "{INVALID_ARGUMENT}", "Unexpected token"},
		{"", "POST", "/bulk", ` `, 400, late + "{INVALID_ARGUMENT}", "Expected a value"},
		{"", "POST", "/bulk/x", `[{"id":1}]`, 400, late + "{INVALID_ARGUMENT}", "convert"},
	} {
		f := compile(t, tt.cfg)
		r := &trip{method: tt.method, path: tt.path}
		if tt.body != "" {
			r.body = dribble(tt.body, 7)
		}
		r.run(t, f)
		if r.err == nil {
			t.Errorf("%s %s: not refused: %s", tt.path, tt.body, r.sent())
			continue
		}
		if r.err.Status != tt.status || r.err.Details != tt.details || !strings.Contains(r.err.Body, tt.text) {
			t.Errorf("%s %s: %d %s %q", tt.path, tt.body, r.err.Status, r.err.Details, r.err.Body)
		}
		if n := f.stats.Lane(0).RequestBuffer.Value(); n != 0 {
			t.Errorf("%s %s: %d bytes are counted as buffered", tt.path, tt.body, n)
		}
	}
}

func TestOptionsChangeRequests(t *testing.T) {
	for _, tt := range []struct{ cfg, method, path, body, want string }{
		{`{"autoMapping":true}`, "POST", "/books.Store/Plain", `{"book":1}`, `Plain {"book":"1"}`},
		{`{"ignoredQueryParameters":["key"]}`, "GET", "/find?key=1&name=n", "", `FindAny {"name":"n"}`},
		{`{"ignoreUnknownQueryParameters":true}`, "GET", "/find?key=1&name=n", "", `FindAny {"name":"n"}`},
		{`{"captureUnknownQueryParameters":true}`, "GET", "/find?key=1&name=n", "", `FindAny {"name":"n"}`},
		{`{"queryParamUnescapePlus":true}`, "GET", "/find?name=a+b%2B", "", `FindAny {"name":"a b+"}`},
		{`{"caseInsensitiveEnumParsing":true}`, "POST", "/shelf", `{"genre":"science-Fiction"}`, `CreateShelf {"genre":"SCIENCE_FICTION"}`},
		{`{"caseInsensitiveEnumParsing":true}`, "GET", "/find?genres=children", "", `FindAny {"genres":["CHILDREN"]}`},
		{`{"urlUnescapeSpec":"ALL_CHARACTERS_EXCEPT_SLASH"}`, "GET", "/watch/a%2Fb%3Fc/d", "", `Watch {"name":"a%2Fb?c/d"}`},
		{`{"urlUnescapeSpec":"ALL_CHARACTERS"}`, "GET", "/watch/a%2Fb%3Fc/d", "", `Watch {"name":"a/b?c/d"}`},
		{``, "GET", "/watch/a%2Fb%3Fc/d%", "", `Watch {"name":"a%2Fb%3Fc/d%"}`},
		{``, "GET", "/watch", "", `Watch {}`},
		{``, "GET", "/watch/a:b", "", `Watch {"name":"a:b"}`},
		{`{"matchUnregisteredCustomVerb":true}`, "GET", "/watch/a:b", "", `/watch/a:b `},
		{`{"requestValidationOptions":{"rejectBindingBodyFieldCollisions":true}}`, "POST", "/shelf?theme=b&id=2", `{"theme":"b"}`,
			`CreateShelf {"id":"2","theme":"b"}`},
	} {
		r := &trip{method: tt.method, path: tt.path}
		if tt.body != "" {
			r.body = []string{tt.body}
		}
		if r.run(t, compile(t, tt.cfg)); r.sent() != tt.want {
			t.Errorf("%s %s: got %s, %v, want %s", tt.cfg, tt.path, r.sent(), r.err, tt.want)
		}
	}
	r := (&trip{method: "GET", path: "/shelves"}).run(t, compile(t, `{"matchIncomingRequestRoute":true}`))
	if r.rerouted != 0 || r.sent() != "ListShelves {}" {
		t.Errorf("match_incoming_request_route: rerouted %d times, %s", r.rerouted, r.sent())
	}
}

func TestClientStreamsAreCutIntoMessages(t *testing.T) {
	f := compile(t, "")
	for _, tt := range []struct{ path, body, want string }{
		{"/bulk", `[{"id":1},{"theme":"]},{"}]`, `Bulk {"id":"1"} {"theme":"]},{"}`},
		{"/bulk", ` [ { "id" : 1 } , {} ] `, `Bulk {"id":"1"} {}`},
		{"/bulk", `[]`, `Bulk`},
		{"/bulk", "{\"id\":1}\n{\"id\":2}\n", `Bulk {"id":"1"} {"id":"2"}`},
		{"/bulk", `{"id":1}{"id":2} {"id":3}`, `Bulk {"id":"1"} {"id":"2"} {"id":"3"}`},
		{"/bulk?theme=x", `[{"id":1},{"id":2}]`, `Bulk {"id":"1","theme":"x"} {"id":"2"}`},
		{"/bulk/5", `[{"id":1},{"id":2}]`, `BulkBooks {"shelf":"5","book":{"id":"1"}} {"book":{"id":"2"}}`},
		{"/bulk", `[{"genre":"CHILDREN","inner":{"inner":{"tags":["\\\"]"]}}}]`,
			`Bulk {"genre":"CHILDREN","inner":{"inner":{"tags":["\\\"]"]}}}`},
	} {
		for _, n := range []int{1, 3, 1000} {
			r := (&trip{method: "POST", path: tt.path, body: dribble(tt.body, n)}).run(t, f)
			if r.err != nil || r.sent() != tt.want {
				t.Errorf("%s in pieces of %d:\n got %s, %v\nwant %s", tt.body, n, r.sent(), r.err, tt.want)
			}
			if held := f.stats.Lane(0).RequestBuffer.Value(); held != 0 {
				t.Errorf("%s: %d bytes are counted as buffered", tt.body, held)
			}
		}
	}
}

func TestMessagesOfOneChunkGoTogetherAndAtOnce(t *testing.T) {
	src := &chunks{list: []string{`[{"id":1},{"id":2},{"i`, `d":3}`, `,`, `{}]`}}
	f := compile(t, "")
	c, err := f.match(&message.Request{Method: "POST", Path: "/bulk"})
	if err != nil {
		t.Fatal(err)
	}
	c.stats = f.stats.Lane(0)
	body, _, err := c.requestBody(&message.Request{Body: src, Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{14, 7, 5} {
		p, err := body.Next()
		if err != nil || len(p) != want || src.at != []int{1, 2, 4}[i] || body.Ready() {
			t.Errorf("chunk %d: %q, %v, %d read, ready %v", i, p, err, src.at, body.Ready())
		}
		if n := c.stats.RequestBuffer.Value(); n != []int64{3, 0, 0}[i] {
			t.Errorf("chunk %d: %d bytes are counted as buffered", i, n)
		}
	}
	if _, err := body.Next(); err != io.EOF || !body.Ready() {
		t.Errorf("end: %v", err)
	}
	cause := errors.New("cause")
	if body.Close(cause); src.cause != cause {
		t.Error("the client's body was not closed")
	}
}

func TestClosedStreamCountsNothing(t *testing.T) {
	f := compile(t, "")
	c, _ := f.match(&message.Request{Method: "POST", Path: "/bulk"})
	c.stats = f.stats.Lane(0)
	body, _, _ := c.requestBody(&message.Request{Body: &chunks{list: []string{`[{"id":1},{"i`}, err: message.ErrPaused}, Length: -1})
	if _, err := body.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := body.Next(); err != message.ErrPaused || c.stats.RequestBuffer.Value() == 0 {
		t.Fatalf("%v, %d", err, c.stats.RequestBuffer.Value())
	}
	body.Close(nil)
	if n := c.stats.RequestBuffer.Value(); n != 0 {
		t.Errorf("%d bytes are counted as buffered", n)
	}
}

func TestRawBodies(t *testing.T) {
	f := compile(t, `{"captureUnknownQueryParameters":true}`)
	for _, tt := range []struct {
		path string
		body []string
		want string
	}{
		{"/upload", []string{"ab", "c"}, `Upload {"contentType":"text/x","data":"YWJj"}`},
		{"/upload", nil, `Upload {"contentType":"text/x"}`},
		{"/upload/n?file.data=bm8=", nil, `UploadTo {"name":"n","file":{"contentType":"text/x"}}`},
		{"/upload/n?file.data=no", []string{"ab", "c"}, `UploadTo {"name":"n","file":{"contentType":"text/x","data":"YWJj"}}`},
		{"/uploads/n", []string{"ab", "c"}, `UploadMany {"name":"n","file":{"contentType":"text/x","data":"YWI="}} {"file":{"data":"Yw=="}}`},
		{"/uploads/n", nil, `UploadMany {"name":"n","file":{"contentType":"text/x"}}`},
	} {
		r := (&trip{method: "POST", path: tt.path, body: tt.body, header: []string{"content-type: text/x"}}).run(t, f)
		if r.err != nil || r.sent() != tt.want {
			t.Errorf("%s %q:\n got %s, %v\nwant %s", tt.path, tt.body, r.sent(), r.err, tt.want)
		}
	}
	big := strings.Repeat("x", maxPiece+1)
	r := (&trip{method: "POST", path: "/uploads/n", body: []string{big}}).run(t, f)
	if len(r.up.messages) != 2 || r.up.messages[1] != `{"file":{"data":"eA=="}}` {
		t.Errorf("a large chunk became %d messages", len(r.up.messages))
	}
}

func TestBrokenRequestBodies(t *testing.T) {
	f := compile(t, "")
	cause := &exchange.Error{Status: 408, Details: "cause"}
	for _, path := range []string{"/shelf", "/upload", "/bulk", "/uploads/n"} {
		r := (&trip{method: "POST", path: path, body: []string{`{"id`}, bodyErr: cause}).run(t, f)
		if r.err == nil || r.err.Details != "cause" {
			t.Errorf("%s: %v", path, r.err)
		}
		if n := f.stats.Lane(0).RequestBuffer.Value(); n != 0 {
			t.Errorf("%s: %d bytes are counted as buffered", path, n)
		}
	}
	r := (&trip{method: "POST", path: "/shelf", bodyErr: io.ErrUnexpectedEOF}).run(t, f)
	if r.err == nil || r.err.Details != "downstream_remote_disconnect" || r.err.Status != 0 {
		t.Errorf("disconnected: %v", r.err)
	}
}

func TestHeldBodyServesAnotherAttempt(t *testing.T) {
	h := &held{data: []byte("frame")}
	r := message.NewReplay(h, 100)
	r.Close(errors.New("the first attempt failed before it read anything"))
	if _, err := h.Next(); err != message.ErrPaused {
		t.Errorf("paused: %v", err)
	}
	if !r.Rewind() {
		t.Fatal("no second attempt")
	}
	if b, err := message.ReadAll(r, 100); string(b) != "frame" || err != nil {
		t.Errorf("second attempt: %q, %v", b, err)
	}
}
