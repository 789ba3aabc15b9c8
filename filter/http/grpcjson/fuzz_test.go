package grpcjson

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// FuzzRequests checks that whatever a client sends becomes whole frames of the method's type, or an error.
func FuzzRequests(f *testing.F) {
	filter := compile(f, `{"captureUnknownQueryParameters":true,"caseInsensitiveEnumParsing":true,"maxRequestBodySize":10000}`)
	for _, path := range []string{"/shelf?tags=x", "/bulk", "/bulk/7", "/upload/x?a=b", "/uploads/x", "/shelves/1/books", "/echo",
		"/books:get?shelf=%31"} {
		f.Add(path, `{"genre":"children","inner":{"genres":["2",1]},"id":"5"}`, 5)
		f.Add(path, `[{"title":"\u00e9"},{}]`, 1)
	}
	f.Fuzz(func(t *testing.T, path, body string, n int) {
		c, err := filter.match(&message.Request{Method: "POST", Path: path})
		if err != nil || c == nil || n < 1 {
			return
		}
		c.stats = filter.stats.Lane(0)
		b, _, err := c.requestBody(&message.Request{Body: &chunks{list: dribble(body, n)}, Length: -1})
		if err != nil {
			return
		}
		reader := grpc.NewReader(b, 1<<20)
		for {
			flags, msg, err := reader.Next()
			if err == io.EOF {
				break
			}
			if err == io.ErrUnexpectedEOF || flags != 0 {
				t.Fatalf("%v, flags %d", err, flags)
			}
			if err != nil {
				break
			}
			if err := proto.Unmarshal(msg, dynamicpb.NewMessage(c.r.input)); err != nil {
				t.Fatal(err)
			}
		}
		b.Close(nil)
		if held := c.stats.RequestBuffer.Value(); held != 0 {
			t.Fatalf("%d bytes are counted as buffered", held)
		}
	})
}

// FuzzHTTPBody compares the reader of google.api.HttpBody with protobuf's own.
func FuzzHTTPBody(f *testing.F) {
	filter := compile(f, "")
	download, _ := filter.paths.find("GET", "/download/field")
	for _, m := range []*httpbody.HttpBody{{}, {ContentType: "text/x", Data: []byte("abc")}, {Data: bytes.Repeat([]byte("x"), 300)}} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		wrapped := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), msg)
		for _, tt := range []struct {
			msg  []byte
			path fieldPath
		}{{msg, nil}, {wrapped, download.responseBody}} {
			data, mime, ok := findHTTPBody(tt.msg, tt.path)
			var want httpbody.HttpBody
			if err := proto.Unmarshal(msg, &want); err != nil {
				continue
			}
			if !ok || !bytes.Equal(data, want.Data) || string(mime) != want.ContentType {
				t.Fatalf("got %q %q, %v; want %q %q", data, mime, ok, want.Data, want.ContentType)
			}
		}
	})
}

// FuzzEnums checks that what a strict reader takes means the same when the names of enum values have become numbers.
func FuzzEnums(f *testing.F) {
	filter := compile(f, "")
	index, _ := filter.paths.find("PUT", "/index")
	for _, s := range []string{`{"genres":{"a":"CHILDREN","b":2}}`,
		`{"shelves":{"x":{"genre":"CHILDREN","inner":{"genres":["SCIENCE_FICTION",1]}}}}`,
		`{ "name" : "\u0041" , "\u0067enres":null}`, `{"shelves":{"x":{"any":{},"made":"2020-01-02T03:04:05Z","tags":["CHILDREN"]}}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		strict := protojson.UnmarshalOptions{Resolver: filter.types}
		want := dynamicpb.NewMessage(index.input)
		settled, err := filter.enums.settle([]byte(text), index.input, false)
		if strict.Unmarshal([]byte(text), want) != nil {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got := dynamicpb.NewMessage(index.input)
		if err := strict.Unmarshal(settled, got); err != nil {
			t.Fatalf("%q became %q: %v", text, settled, err)
		}
		if !proto.Equal(got, want) {
			t.Fatalf("%q became %q", text, settled)
		}
	})
}
