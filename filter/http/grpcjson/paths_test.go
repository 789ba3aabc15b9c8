package grpcjson

import (
	"fmt"
	"strings"
	"testing"
)

func TestTemplatesAreParsed(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"/a", "[a] "},
		{"/a/*/b/**", "[a * b **] "},
		{"/a/{x}", "[a *] x=1+1"},
		{"/a/{x.y=b/*/c}/d:verb", "[a b * c d] :verb x.y=1+3"},
		{"/{x=**}", "[**] x=0+1..0"},
		{"/{x=a/**}/b/{y}", ""},
		{"/{x=a/**}/b/c", "[a ** b c] x=0+2..2"},
		{"/**/{x}", ""},
		{"/**/b", "[** b] "},
		{"", ""},
		{"a", ""},
		{"/", ""},
		{"/a/", ""},
		{"/a//b", ""},
		{"/a:", ""},
		{"/a:b:c", ""},
		{"/a:b/c", ""},
		{"/***", ""},
		{"/*a", ""},
		{"/{x", ""},
		{"/{x=a", ""},
		{"/{}", ""},
		{"/{x.}", ""},
		{"/{x={y}}", ""},
		{"/{x}y", ""},
		{"/y{x}", ""},
		{"/x}", ""},
	} {
		got, err := parseTemplate(tt.in)
		if err != nil {
			if tt.want != "" || !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.in)) {
				t.Errorf("%s: %v", tt.in, err)
			}
			continue
		}
		if s := describe(got); s != tt.want {
			t.Errorf("%s: got %q, want %q", tt.in, s, tt.want)
		}
	}
}

func describe(t *template) string {
	s := fmt.Sprint(t.segments) + " "
	if t.verb != "" {
		s += ":" + t.verb + " "
	}
	for _, v := range t.vars {
		s += fmt.Sprintf("%s=%d+%d", strings.Join(v.names, "."), v.start, v.count)
		if v.open {
			s += fmt.Sprintf("..%d", v.after)
		}
	}
	return s
}

func TestLiteralsGoBeforeWildcards(t *testing.T) {
	p := &paths{}
	for _, s := range []string{"GET /a/b", "GET /a/*", "GET /a/**", "GET /a/b/c", "GET /a/*/d", "GET /**/z", "POST /a/b", "GET /a/b:v",
		"GET /a/*:v", "* /any", "GET /x/**/end", "GET /twice/{a}"} {
		if !register(t, p, s) {
			t.Errorf("%s is there twice", s)
		}
	}
	if register(t, p, "GET /twice/{b}") {
		t.Error("a template with other names for its variables is another one")
	}
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/a/b", "GET /a/b"},
		{"GET", "/a/b/", "GET /a/b"},
		{"GET", "/a/b///", "GET /a/b"},
		{"GET", "/a/x", "GET /a/*"},
		{"GET", "/a", "GET /a/**"},
		{"GET", "/a/b/c", "GET /a/b/c"},
		{"GET", "/a/b/d", "GET /a/*/d"},
		{"GET", "/a/b/e", "GET /a/**"},
		{"GET", "/a/b/c/d/e", "GET /a/**"},
		{"POST", "/a/b", "POST /a/b"},
		{"POST", "/a/x", ""},
		{"GET", "/q/r/z", "GET /**/z"},
		{"GET", "/z", ""},
		{"GET", "/a/b:v", "GET /a/b:v"},
		{"GET", "/a/x:v", "GET /a/*:v"},
		{"GET", "/a/x:other", "GET /a/*"},
		{"GET", "/a:v/x", ""},
		{"BREW", "/any", "* /any"},
		{"GET", "/x/end", ""},
		{"GET", "/x/1/end", "GET /x/**/end"},
		{"GET", "/x/1/2/end", "GET /x/**/end"},
		{"GET", "/twice/1", ""},
		{"GET", "/a//d", "GET /a/*/d"},
		{"GET", "/", ""},
		{"GET", "", ""},
		{"GET", "*", ""},
	} {
		r, _ := p.find(tt.method, tt.path)
		if got := name(r); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.method, tt.path, got, tt.want)
		}
	}
}

func register(t testing.TB, p *paths, s string) bool {
	t.Helper()
	method, path, _ := strings.Cut(s, " ")
	tmpl, err := parseTemplate(path)
	if err != nil {
		t.Fatal(err)
	}
	return p.add(method, tmpl, &rule{path: s})
}

func name(r *rule) string {
	if r == nil {
		return ""
	}
	return r.path
}

func TestVariablesTakeTheirSegments(t *testing.T) {
	for _, tt := range []struct{ template, path, want string }{
		{"/a/{x}", "a/b%2Fc", "b/c"},
		{"/a/{x=b/*}", "a/b/c%2Fd", "b/c%2Fd"},
		{"/a/{x=**}", "a/b/c", "b/c"},
		{"/a/{x=**}", "a", ""},
		{"/a/{x=**}/z/y", "a/b/c/z/y", "b/c"},
		{"/a/{x=b/**/c}:v", "a/b/1/2/c", "b/1/2/c"},
		{"/{x}/{y}", "1/2", "1 2"},
	} {
		tmpl, err := parseTemplate(tt.template)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range tmpl.vars {
			got = append(got, tmpl.vars[i].value(strings.Split(tt.path, "/"), exceptReserved))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.template, tt.path, s, tt.want)
		}
	}
}

// matches says whether a template matches, in the plainest way there is.
func matches(template, path []string) bool {
	switch {
	case len(template) == 0:
		return len(path) == 0
	case template[0] == "**":
		for n := 1; n <= len(path); n++ {
			if matches(template[1:], path[n:]) {
				return true
			}
		}
		return len(template) == 1 && len(path) == 0
	case len(path) == 0:
		return false
	}
	return (template[0] == "*" || template[0] == path[0]) && matches(template[1:], path[1:])
}

// FuzzPaths compares one template alone with the plain matcher: the tree finds it exactly when it matches, and its variables can be taken.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"/a/{x=b/*}/c:v", "/a/**", "/{x=**}/end", "/*/*", "/{a.b}/c", "/**"} {
		f.Add(s, "/a/b/c/c:v")
		f.Add(s, "/a")
		f.Add(s, "/a//%2f%/end/")
	}
	f.Fuzz(func(t *testing.T, template, path string) {
		tmpl, err := parseTemplate(template)
		if err != nil {
			return
		}
		p := &paths{}
		p.add("GET", tmpl, &rule{path: template})
		p.add("GET", mustParse(t, "/else/*/where"), &rule{path: "other"})
		r, trimmed := p.find("GET", path)
		if r == nil || r.path != template {
			r = nil
		}
		if path == "" || path[0] != '/' {
			if r != nil {
				t.Fatalf("%q matches %q", template, path)
			}
			return
		}
		plain := path
		verb := ""
		if i := strings.LastIndexByte(path, ':'); tmpl.verb != "" && i > strings.LastIndexByte(path, '/') && path[i+1:] == tmpl.verb {
			plain, verb = path[:i], tmpl.verb
		}
		var segments []string
		if s := strings.TrimRight(plain[1:], "/"); s != "" {
			segments = strings.Split(s, "/")
		}
		want := verb == tmpl.verb && matches(tmpl.segments, segments)
		if want && r == nil && !matches([]string{"else", "*", "where"}, segments) {
			t.Fatalf("%q does not match %q", template, path)
		}
		if !want && r != nil {
			t.Fatalf("%q matches %q", template, path)
		}
		if r == nil {
			return
		}
		var taken []string
		if trimmed != "" {
			taken = strings.Split(trimmed, "/")
		}
		for i := range tmpl.vars {
			tmpl.vars[i].value(taken, exceptReserved)
		}
	})
}

func mustParse(t *testing.T, s string) *template {
	t.Helper()
	tmpl, err := parseTemplate(s)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func TestUnescape(t *testing.T) {
	for _, tt := range []struct {
		in   string
		spec unescapeSpec
		plus bool
		want string
	}{
		{"%2f%23/%20%2523", exceptReserved, false, "%2f%23/ %23"},
		{"%2f%23/%20%2523", exceptSlash, false, "%2f#/ %23"},
		{"%2f%23/%20%2523", everything, false, "/#/ %23"},
		{"a+b%2B", everything, true, "a b+"},
		{"a+b%2B", everything, false, "a+b+"},
		{"%", everything, false, "%"},
		{"%4", everything, false, "%4"},
		{"%4g%41", everything, false, "%4gA"},
		{"", everything, true, ""},
	} {
		if got := unescape(tt.in, tt.spec, tt.plus); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}
