package match

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/weftproxy/weft/message"
)

// FuzzRegex checks that the shortcut by a literal beginning changes no answer.
func FuzzRegex(f *testing.F) {
	for _, seed := range [][2]string{{`/users/\d+`, "/users/1"}, {"^a$", "a"}, {"(ab|ac)d", "acd"}, {"a)|(b", "a"}, {"(?i)x", "X"}, {"a{2,3}", "aa"}, {"$a", "a"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 200 || len(s) > 1000 {
			return
		}
		re, err := NewRegex(pattern)
		if err != nil {
			return
		}
		plain, err := regexp.Compile(pattern)
		if err != nil {
			t.Fatalf("%q: accepted what is no regular expression: %v", pattern, err)
		}
		plain, err = regexp.Compile(`\A(?:` + plain.String() + `)\z`)
		if err != nil {
			t.Skip()
		}
		if got, want := re.Match(s), plain.MatchString(s); got != want {
			t.Errorf("%q on %q: %v, want %v (prefix %q)", pattern, s, got, want, re.Prefix())
		}
	})
}

// FuzzQueryParameter checks the scanner against net/url on queries that need no decoding.
func FuzzQueryParameter(f *testing.F) {
	for _, seed := range [][2]string{{"/?a=1&b=2", "b"}, {"/?a", "a"}, {"/?&&=&a==", "a"}, {"a=1", "a"}, {"??a=1", "?a"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, path, name string) {
		got, there := QueryParameter(path, name)
		_, query, _ := strings.Cut(path, "?")
		if name == "" || strings.ContainsAny(query, "%+;") {
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if want, ok := values[name]; ok != there || ok && want[0] != got {
			t.Errorf("%q in %q: %q, %v, want %q", name, path, got, there, want)
		}
	})
}

// FuzzCookieValue checks that no cookie line breaks the scanner and that what it finds is part of the line.
func FuzzCookieValue(f *testing.F) {
	for _, seed := range []string{"a=1", `a="1"; b`, ";;=;a=", `a="`} {
		f.Add(seed, "a")
	}
	f.Fuzz(func(t *testing.T, line, name string) {
		var h message.Header
		h.Add("cookie", line)
		if v, ok := CookieValue(&h, name); ok && (!strings.Contains(line, name) || !strings.Contains(line, v)) {
			t.Errorf("%q in %q: %q", name, line, v)
		}
	})
}
