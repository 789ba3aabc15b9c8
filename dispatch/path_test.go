package dispatch

import (
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

func TestPathNormalization(t *testing.T) {
	normalize := pathRules{normalize: true}
	merge := pathRules{normalize: true, mergeSlashes: true}
	escaped := func(a hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction) pathRules {
		return pathRules{normalize: true, escaped: a}
	}
	for _, tt := range []struct {
		rules    pathRules
		in, want string
		verdict  verdict
	}{
		{normalize, "/", "/", proceed},
		{normalize, "/a/b?c=/../d", "/a/b?c=/../d", proceed},
		{normalize, "/a/./b", "/a/b", proceed},
		{normalize, "/a/../b", "/b", proceed},
		{normalize, "/a/b/..", "/a/", proceed},
		{normalize, "/a/b/.", "/a/b/", proceed},
		{normalize, "/../../etc/passwd", "/etc/passwd", proceed},
		{normalize, "/a/%2e%2E/b", "/b", proceed},
		{normalize, "/a/.%2e/b", "/b", proceed},
		{normalize, "/a\\..\\b", "/b", proceed},
		{normalize, "/a/...", "/a/...", proceed},
		{normalize, "/a/.hidden", "/a/.hidden", proceed},
		{normalize, "/a/..hidden/b", "/a/..hidden/b", proceed},
		{normalize, "/%41%7e%2f", "/A~%2f", proceed},
		{normalize, "/a%2", "/a%2", proceed},
		{normalize, "/a%zz", "/a%zz", proceed},
		{normalize, "/a%00b", "/a%00b", reject},
		{normalize, "/a//b", "/a//b", proceed},
		{normalize, "/a//../b", "/a/b", proceed},
		{normalize, "/a#b", "/a#b", reject},
		{pathRules{}, "/a/../b", "/a/../b", proceed},
		{pathRules{}, "/a#b", "/a#b", reject},
		{merge, "//a///b//?x=//y", "/a/b/?x=//y", proceed},
		{merge, "/a/..//../b", "/b", proceed},
		{escaped(hcmv3.HttpConnectionManager_KEEP_UNCHANGED), "/a%2Fb", "/a%2Fb", proceed},
		{escaped(hcmv3.HttpConnectionManager_REJECT_REQUEST), "/a%2Fb", "/a%2Fb", reject},
		{escaped(hcmv3.HttpConnectionManager_REJECT_REQUEST), "/a%5cb", "/a%5cb", reject},
		{escaped(hcmv3.HttpConnectionManager_REJECT_REQUEST), "/a?b=%2F", "/a?b=%2F", proceed},
		{escaped(hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD), "/a%2f..%5Cb", "/b", proceed},
		{escaped(hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT), "/a%2fb?c", "/a/b?c", redirect},
	} {
		got, v := tt.rules.apply(tt.in)
		if got != tt.want || v != tt.verdict {
			t.Errorf("%+v: %q → %q, verdict %d; want %q, %d", tt.rules, tt.in, got, v, tt.want, tt.verdict)
		}
	}
}

func TestNormalizationIsIdempotent(t *testing.T) {
	rules := pathRules{normalize: true, mergeSlashes: true}
	for _, in := range []string{"/%2e%2e/a", "/a/%252e%252e/b", "/a/.%2e/%2e/c", "/\\..\\x", "/%5c..%5cx", "//..//"} {
		once, v := rules.apply(in)
		if v != proceed {
			continue
		}
		if twice, _ := rules.apply(once); twice != once {
			t.Errorf("%q → %q → %q", in, once, twice)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "/a\\b", "/a%2", "//a", "/a?b#c"} {
		f.Add(s)
	}
	rules := pathRules{normalize: true, mergeSlashes: true, escaped: hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD}
	f.Fuzz(func(t *testing.T, in string) {
		out, v := rules.apply(in)
		if v != proceed {
			return
		}
		if out == "" || out[0] != '/' {
			t.Fatalf("%q → %q does not begin with a slash", in, out)
		}
	})
}

func TestAllocOfAnOrdinaryPath(t *testing.T) {
	rules := pathRules{normalize: true, mergeSlashes: true}
	if n := testing.AllocsPerRun(100, func() { rules.apply("/api/v1/users.json?x=1") }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
