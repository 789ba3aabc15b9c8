package format

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

func object(t testing.TB, s string) *structpb.Struct {
	t.Helper()
	o := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(s), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestJSONKeepsTypesAndSortsMembers(t *testing.T) {
	for _, c := range []struct {
		format, want string
		omit         bool
	}{
		{`{"b":"%RESPONSE_CODE%","a":"x%RESPONSE_CODE%","c":"text"}`, `{"a":"x204","b":204,"c":"text"}`, false},
		{`{"n":1.25,"i":3,"t":true,"l":["%PROTOCOL%","%DURATION%",{"x":"%REQ(x-none)%"}]}`, `{"i":3,"l":["HTTP/1.1",226,{"x":null}],"n":1.25,"t":true}`, false},
		{`{"a":"%REQ(x-none)%","b":"[%REQ(x-none)%]","c":{"d":"%REQ(x-none)%"},"e":["%REQ(x-none)%"],"f":{"g":"%PROTOCOL%"}}`,
			`{"a":null,"b":"[-]","c":{"d":null},"e":[null],"f":{"g":"HTTP/1.1"}}`, false},
		{`{"a":"%REQ(x-none)%","b":"[%REQ(x-none)%]","c":{"d":"%REQ(x-none)%"},"e":["%REQ(x-none)%"],"f":{"g":"%PROTOCOL%"}}`,
			`{"b":"[]","e":[],"f":{"g":"HTTP/1.1"}}`, true},
		{`{"a":"%REQ(x-none)%"}`, `{}`, true},
		{`{"a":"%REQ(X-EVIL)%","q\"":"\\"}`, `{"a":"a\r\nb\u0000c\td\u007f","q\"":"\\"}`, false},
		{`{"m":"%DYNAMIC_METADATA(com.test.my_filter)%","s":"%DYNAMIC_METADATA(com.test.my_filter:test_key)%","n":"%DYNAMIC_METADATA(com.test.my_filter:n)%","x":"%DYNAMIC_METADATA(no)%"}`,
			`{"m":{"n":1.5,"test_key":"foo","test_object":{"inner_key":"bar","list":[true,null,3]}},"n":1.5,"s":"foo","x":null}`, false},
		{`{"p":"%DOWNSTREAM_LOCAL_PORT%","g":"%GRPC_STATUS%","h":"%GRPC_STATUS_NUMBER%","f":"%FILTER_STATE(fs)%"}`, `{"f":"va\"l","g":"InvalidArgument","h":3,"p":80}`, false},
	} {
		f, err := CompileJSON(object(t, c.format), Options{OmitEmpty: c.omit})
		if err != nil {
			t.Errorf("%s: %v", c.format, err)
			continue
		}
		if got := string(f.Append(nil, entry())); got != c.want+"\n" {
			t.Errorf("%s\n got %s\nwant %s", c.format, got, c.want)
		}
	}
}

func TestJSONOfStringsHasNoOtherType(t *testing.T) {
	f, err := CompileJSON(object(t, `{"a":"%RESPONSE_CODE%","b":"%REQ(x-none)%"}`), Options{Strings: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, entry())); got != `{"a":"204","b":"-"}`+"\n" {
		t.Errorf("got %s", got)
	}
}

func TestJSONRefusesNull(t *testing.T) {
	if _, err := CompileJSON(object(t, `{"a":null}`), Options{}); err == nil {
		t.Error("null was accepted")
	}
}

func TestJSONIsValidWhateverThePeerSends(t *testing.T) {
	f, err := CompileJSON(object(t, `{"a":"%REQ(x)%","b":"<%REQ(x)%>"}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"", "é", "\xff\xfe", "a\xc3", "\u2028", "\"\\\x01\x1f", "\xed\xa0\x80"} {
		e := &observe.Entry{Request: &message.Request{}}
		e.Request.Header.Add("x", v)
		var out map[string]string
		line := f.Append(nil, e)
		if err := json.Unmarshal(line, &out); err != nil {
			t.Errorf("%q: %v in %s", v, err, line)
		}
		if v == "é" && out["b"] != "<é>" {
			t.Errorf("%q came out as %q", v, out["b"])
		}
	}
}
