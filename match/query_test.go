package match

import (
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/message"
)

func TestQueryMatchesTheFirstParameterOfItsName(t *testing.T) {
	value := func(s string) *routev3.QueryParameterMatcher {
		return &routev3.QueryParameterMatcher{Name: "a", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: exactly(s)}}
	}
	present := func(p bool) *routev3.QueryParameterMatcher {
		return &routev3.QueryParameterMatcher{Name: "a", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: p}}
	}
	for _, c := range []struct {
		cfg  *routev3.QueryParameterMatcher
		path string
		want bool
	}{
		{value("1"), "/?a=1", true}, {value("1"), "/?b=2&a=1", true}, {value("1"), "/?a=2&a=1", false}, {value("1"), "/a=1", false},
		{value("1"), "/?aa=1", false}, {value(""), "/?a", true}, {value(""), "/?a=", true}, {value("%31"), "/?a=%31", true},
		{value("1"), "/?a=%31", false}, {value("1=2"), "/?a=1=2", true}, {value("1"), "/?&&a=1", true}, {value("1"), "/", false},
		{&routev3.QueryParameterMatcher{Name: "a"}, "/?a=x", true}, {&routev3.QueryParameterMatcher{Name: "a"}, "/?b", false},
		{present(true), "/?a", true}, {present(true), "/", false}, {present(false), "/", true}, {present(false), "/?a=1", false},
	} {
		q, err := NewQuery(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.Match(c.path); got != c.want {
			t.Errorf("%v on %s: %v, want %v", q, c.path, got, c.want)
		}
	}
	if _, err := NewQuery(&routev3.QueryParameterMatcher{}); err == nil {
		t.Error("accepted without a name")
	}
}

func TestCookieMatches(t *testing.T) {
	for _, c := range []struct {
		cookies string // fields separated by |
		invert  bool
		want    bool
	}{
		{"a=1", false, true}, {"b=2; a=1", false, true}, {"b=2;a=1", false, true}, {`a="1"`, false, true}, {"b=2|a=1", false, true},
		{"a=2; a=1", false, false}, {"A=1", false, false}, {"b=a=1", false, false}, {"", false, false}, {"a", false, false},
		{"", true, true}, {"a=1", true, false}, {"a=2", true, true}, {"=1;;a=1", false, true},
	} {
		k, err := NewCookie(&routev3.CookieMatcher{Name: "a", StringMatch: exactly("1"), InvertMatch: c.invert})
		if err != nil {
			t.Fatal(err)
		}
		var h message.Header
		for line := range strings.SplitSeq(c.cookies, "|") {
			h.Add("cookie", line)
		}
		if got := k.Match(&h); got != c.want {
			t.Errorf("%v on %q: %v, want %v", k, c.cookies, got, c.want)
		}
	}
	if _, err := NewCookie(&routev3.CookieMatcher{StringMatch: exactly("1")}); err == nil {
		t.Error("accepted without a name")
	}
}

func TestParseIntReadsWhatSimpleAtoiReads(t *testing.T) {
	for s, want := range map[string]struct {
		n  int64
		ok bool
	}{
		"0": {0, true}, "-0": {0, true}, "+7": {7, true}, " 12\t": {12, true}, "9223372036854775807": {1<<63 - 1, true},
		"-9223372036854775808": {-1 << 63, true}, "9223372036854775808": {}, "-9223372036854775809": {}, "18446744073709551616": {},
		"": {}, "-": {}, "1x": {}, "0x1": {}, "1 2": {}, "--1": {},
	} {
		n, ok := parseInt(s)
		if ok != want.ok || ok && n != want.n {
			t.Errorf("%q: %d, %v, want %d, %v", s, n, ok, want.n, want.ok)
		}
	}
}
