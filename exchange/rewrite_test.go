package exchange

import (
	"testing"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

// request returns a GET request for a path at host:port with header fields given as name, value, name, value.
func request(scheme, authority, path string, fields ...string) *message.Request {
	r := &message.Request{Method: "GET", Scheme: scheme, Authority: authority, Path: path, Body: message.NoBody}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func substitution(t testing.TB, pattern, with string) *Substitution {
	t.Helper()
	s, err := NewSubstitution(pattern, with)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoutesRewritePaths(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Route
		path string
		want string
	}{
		{"no rewrite", Route{Matched: "/a"}, "/a/b", ""},
		{"prefix", Route{PrefixRewrite: "/x", Matched: "/a"}, "/a/b?q=1", "/x/b?q=1"},
		{"prefix of everything", Route{PrefixRewrite: "/x/", Matched: "/"}, "/a", "/x/a"},
		{"slashes are the configuration's business", Route{PrefixRewrite: "/", Matched: "/a"}, "/a/b", "//b"},
		{"exact path keeps the query", Route{PrefixRewrite: "/new", Matched: "/old"}, "/old?a=b", "/new?a=b"},
		{"in any case", Route{PrefixRewrite: "/x", Matched: "/a"}, "/A/b", "/x/b"},
		{"regex match is replaced whole", Route{PrefixRewrite: "/x", MatchedAll: true}, "/a/b?q", "/x?q"},
		{"path parameters stay", Route{PrefixRewrite: "/x", Matched: "/a"}, "/a;p=1", "/x;p=1"},
		{"regex", Route{RegexRewrite: substitution(t, "^/service/([^/]+)(/.*)$", `\2/instance/\1`)}, "/service/foo/v1/api?x", "/v1/api/instance/foo?x"},
		{"regex everywhere", Route{RegexRewrite: substitution(t, "one", "two")}, "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"},
		{"regex, first", Route{RegexRewrite: substitution(t, "^(.*?)one(.*)$", `\1two\2`)}, "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"},
		{"regex in any case", Route{RegexRewrite: substitution(t, "(?i)/xxx/", "/yyy/")}, "/aaa/XxX/bbb", "/aaa/yyy/bbb"},
		{"regex leaves the query", Route{RegexRewrite: substitution(t, "a", "b")}, "/a?a", "/b?a"},
		{"dollar is no group", Route{RegexRewrite: substitution(t, "a", `$1\\`)}, "/a", `/$1\`},
	} {
		req := request("http", "h", c.path)
		got, ok := c.r.NewPath(req)
		if want := c.want; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, ok, want)
		}
	}
}

func TestSubstitutionRefusesWhatRE2Refuses(t *testing.T) {
	for _, c := range [][2]string{{"(", ""}, {"", ""}, {"a", `\1`}, {"(a)", `\2`}, {"a", `\x`}, {"a", `\`}} {
		if _, err := NewSubstitution(c[0], c[1]); err == nil {
			t.Errorf("%q, %q: accepted", c[0], c[1])
		}
	}
}

func TestRoutesRewriteHosts(t *testing.T) {
	for _, c := range []struct {
		name     string
		r        Route
		weighted *Weighted
		fields   []string
		host     string
		xfh      string
		original string
	}{
		{"left alone", Route{AppendXFH: true}, nil, nil, "old:80", "", ""},
		{"literal", Route{HostRewrite: HostRewrite{Literal: "new"}}, nil, nil, "new", "", "old:80"},
		{"literal, forwarded", Route{HostRewrite: HostRewrite{Literal: "new"}, AppendXFH: true}, nil, nil, "new", "old:80", "old:80"},
		{"forwarded after others", Route{HostRewrite: HostRewrite{Literal: "new"}, AppendXFH: true}, nil, []string{"x-forwarded-host", "a"}, "new", "a,old:80", "old:80"},
		{"forwarded once", Route{HostRewrite: HostRewrite{Literal: "new"}, AppendXFH: true}, nil, []string{"x-forwarded-host", "a, old:80"}, "new", "a, old:80", "old:80"},
		{"header", Route{HostRewrite: HostRewrite{Header: "x-host"}}, nil, []string{"X-Host", "there"}, "there", "", "old:80"},
		{"header missing", Route{HostRewrite: HostRewrite{Header: "x-host"}}, nil, nil, "old:80", "", ""},
		{"path", Route{HostRewrite: HostRewrite{Regex: substitution(t, "^/(.+)/.+$", `\1`)}}, nil, nil, "a", "", "old:80"},
		{"weighted", Route{}, &Weighted{HostRewrite: "w"}, nil, "w", "", ""},
		{"route over weighted", Route{HostRewrite: HostRewrite{Literal: "new"}}, &Weighted{HostRewrite: "w"}, nil, "new", "", "w"},
	} {
		req := request("http", "old:80", "/a/b?c", c.fields...)
		c.r.RewriteRequest(req, &observe.Entry{Record: &observe.Record{}, Request: req}, c.weighted, true)
		if req.Authority != c.host || req.Header.Get("x-forwarded-host") != c.xfh || req.Header.Get("x-envoy-original-host") != c.original {
			t.Errorf("%s: %q, x-forwarded-host %q, original %q", c.name, req.Authority, req.Header.Get("x-forwarded-host"), req.Header.Get("x-envoy-original-host"))
		}
	}
}

func TestRewriteKeepsTheOriginalPathWhenAsked(t *testing.T) {
	r := Route{PrefixRewrite: "/x", Matched: "/a"}
	for _, originals := range []bool{true, false} {
		req := request("http", "h", "/a/b")
		r.RewriteRequest(req, &observe.Entry{Request: req}, nil, originals)
		want := ""
		if originals {
			want = "/a/b"
		}
		if req.Path != "/x/b" || req.Header.Get("x-envoy-original-path") != want {
			t.Errorf("originals %v: %q, %q", originals, req.Path, req.Header.Get("x-envoy-original-path"))
		}
	}
}

func TestRewriteAllocatesNothingInSteadyState(t *testing.T) {
	r := Route{PrefixRewrite: "/x", Matched: "/a", HostRewrite: HostRewrite{Literal: "new"}, AppendXFH: true}
	req := request("http", "old", "/a/b")
	e := &observe.Entry{Request: req}
	if n := testing.AllocsPerRun(200, func() {
		req.Header.Reset()
		req.Authority, req.Path = "old", "/a/b"
		r.RewriteRequest(req, e, nil, true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
