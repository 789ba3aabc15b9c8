package exchange

import "testing"

func TestRedirectsLocate(t *testing.T) {
	prefix := func(p string) Redirect { return Redirect{Prefix: p} }
	for _, c := range []struct {
		name                    string
		d                       Redirect
		scheme, authority, path string
		want                    string
	}{
		{"host", Redirect{Host: "new.lyft.com"}, "http", "redirect.lyft.com", "/foo", "http://new.lyft.com/foo"},
		{"path", Redirect{Path: "/new_bar"}, "https", "redirect.lyft.com", "/bar", "https://redirect.lyft.com/new_bar"},
		{"path keeps the query", Redirect{Path: "/new"}, "http", "h", "/bar?a=b", "http://h/new?a=b"},
		{"path with a query", Redirect{Path: "/new?c=d"}, "http", "h", "/bar?a=b", "http://h/new?c=d"},
		{"path with a query is not stripped", Redirect{Path: "/new?c=d", StripQuery: true}, "http", "h", "/bar?a=b", "http://h/new?c=d"},
		{"path strips the query", Redirect{Path: "/new", StripQuery: true}, "http", "h", "/bar?a=b", "http://h/new"},
		{"path without slash", Redirect{Path: "new"}, "http", "h", "/bar", "http://h/new"},
		{"strip query", Redirect{Host: "n", StripQuery: true}, "http", "h", "/bar?a=b?c", "http://n/bar"},
		{"prefix", prefix("/new"), "http", "h", "/old/x?a=b", "http://h/new/x?a=b"},
		{"prefix strips the query", Redirect{Prefix: "/new", StripQuery: true}, "http", "h", "/old/x?a=b", "http://h/new/x"},
		{"regex", Redirect{Regex: substitution(t, "/old/(.*)", `/n/\1`)}, "http", "h", "/old/x?a", "http://h/n/x?a"},
		{"https drops :80", Redirect{HTTPS: true}, "http", "h:80", "/a", "https://h/a"},
		{"https keeps :8080", Redirect{HTTPS: true}, "http", "h:8080", "/a", "https://h:8080/a"},
		{"https keeps :443 of http", Redirect{HTTPS: true}, "http", "h:443", "/a", "https://h:443/a"},
		{"scheme http drops :443", Redirect{Scheme: "http"}, "https", "h:443", "/a", "http://h/a"},
		{"same scheme keeps :80", Redirect{Path: "/n"}, "http", "h:80", "/a", "http://h:80/n"},
		{"port", Redirect{Port: 8080}, "http", "h", "/a", "http://h:8080/a"},
		{"port replaces", Redirect{Port: 8080}, "http", "h:90", "/a", "http://h:8080/a"},
		{"port with host", Redirect{Port: 8080, Host: "n"}, "http", "h:90", "/a", "http://n:8080/a"},
		{"v6", Redirect{HTTPS: true}, "http", "[::1]:80", "/a", "https://[::1]/a"},
		{"v6 without port", Redirect{HTTPS: true}, "http", "[fe80::80]", "/a", "https://[fe80::80]/a"},
		{"v6 with port", Redirect{Port: 9}, "http", "[fe80::80]:7", "/a", "http://[fe80::80]:9/a"},
		{"scheme", Redirect{Scheme: "ftp"}, "http", "h", "/a", "ftp://h/a"},
		{"require_tls keeps the port", Redirect{HTTPS: true, KeepPort: true}, "http", "h:80", "/a?b", "https://h:80/a?b"},
	} {
		r := &Route{Redirect: &c.d, Matched: "/old"}
		if got := string(r.AppendLocation(nil, request(c.scheme, c.authority, c.path, "x-forwarded-proto", c.scheme))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	direct := &Route{Direct: &Direct{Status: 201}}
	if got := string(direct.AppendLocation(nil, request("http", "h", "/a"))); got != "http://h/a" {
		t.Errorf("direct response: %s", got)
	}
	if !Locates(201) || !Locates(308) || Locates(200) || Locates(404) {
		t.Error("the wrong answers carry a location")
	}
}

func TestRedirectPortFollowsForwardedProto(t *testing.T) {
	r := &Route{Redirect: &Redirect{HTTPS: true}}
	got := string(r.AppendLocation(nil, request("http", "h:80", "/", "x-forwarded-proto", "https")))
	if got != "https://h:80/" {
		t.Errorf("%s: the port of an http URL served over TLS must stay", got)
	}
}

func TestLocationAllocatesNothing(t *testing.T) {
	r := &Route{Redirect: &Redirect{HTTPS: true, Prefix: "/new"}, Matched: "/old"}
	req := request("http", "h:80", "/old/x")
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = r.AppendLocation(buf[:0], req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
