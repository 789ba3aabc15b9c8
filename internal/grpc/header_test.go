package grpc

import (
	"testing"
	"time"

	"github.com/weftproxy/weft/message"
)

func typed(contentType string) *message.Header {
	h := &message.Header{}
	if contentType != "" {
		h.Add("Content-Type", contentType)
	}
	return h
}

func TestContentTypes(t *testing.T) {
	for v, want := range map[string][2]bool{ // gRPC, gRPC-Web
		"application/grpc": {true, false}, "application/grpc+proto": {true, false}, "application/grpc+": {true, false},
		"application/grpc-web": {false, true}, "application/grpc-web+proto": {false, true}, "application/grpc-web-text": {false, true},
		"application/grpc-web-text+proto": {false, true}, "application/grpc-web+proto; charset=utf-8": {false, true},
		"application/grpc-web+json": {}, "application/grpcx": {}, "application/grp": {}, "application/json": {}, "": {},
		"Application/GRPC-Web+Proto ;a=b": {false, true},
	} {
		h := typed(v)
		if got := [2]bool{IsRequest(h), IsWeb(h)}; got != want {
			t.Errorf("%q: gRPC, gRPC-Web: %v, want %v", v, got, want)
		}
		if IsWeb(h) && IsWebText(v) == IsWebBinary(v) {
			t.Errorf("%q is both or neither of text and binary", v)
		}
	}
}

func TestIsResponse(t *testing.T) {
	only := typed("")
	only.Add("grpc-status", "3")
	for _, tc := range []struct {
		status   int
		h        *message.Header
		bodyless bool
		want     bool
	}{
		{200, typed("application/grpc"), false, true},
		{503, typed("application/grpc"), false, false},
		{200, typed("text/html"), false, false},
		{200, typed("application/grpc"), true, false},
		{200, only, true, true},
		{200, only, false, false},
	} {
		if got := IsResponse(tc.status, tc.h, tc.bodyless); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestServiceMethod(t *testing.T) {
	for path, want := range map[string][2]string{
		"/a.B/C": {"a.B", "C"}, "/a.B/C?x=/y": {"a.B", "C"}, "//a//b/": {"a", "b"}, "a/b": {"a", "b"},
		"/a": {}, "/a/": {}, "/": {}, "": {}, "/a/b/c": {}, "?": {},
	} {
		s, m, ok := ServiceMethod(path)
		if ok != (want[0] != "") || ok && [2]string{s, m} != want {
			t.Errorf("%q: %q, %q, %v", path, s, m, ok)
		}
	}
}

func TestParseTimeout(t *testing.T) {
	for v, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond, "5u": time.Millisecond,
		"1000u": time.Millisecond,
		"1001u": 2 * time.Millisecond, "6n": time.Millisecond, "0n": 0, "0S": 0, "99999999S": 99999999 * time.Second,
		"99999999H": 1<<63 - 1, "99999999M": 99999999 * time.Minute,
	} {
		if got, ok := ParseTimeout(v); !ok || got != want {
			t.Errorf("%q: %v, %v", v, got, ok)
		}
	}
	for _, v := range []string{"", "S", "1", "1x", "-1S", "+1S", " 1S", "100000000S", "1.5S", "1s", "1SS", "\xff1S"} {
		if got, ok := ParseTimeout(v); ok || got != 0 {
			t.Errorf("%q: %v, %v", v, got, ok)
		}
	}
}

func TestLooksAllocateNothing(t *testing.T) {
	h := typed("application/grpc+proto")
	if n := testing.AllocsPerRun(100, func() {
		if !IsRequest(h) || IsWeb(h) || Internal.Number() != "13" || DecodeMessage("plain") != "plain" {
			t.Fatal("wrong")
		}
		if _, _, ok := ServiceMethod("/a.B/C?q"); !ok {
			t.Fatal("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
