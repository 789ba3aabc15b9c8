package match

import (
	"strings"
	"testing"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func regexMatcher(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: s}}}
}

func folded(m *matcherv3.StringMatcher) *matcherv3.StringMatcher {
	m.IgnoreCase = true
	return m
}

func TestStringMatchesAsItsFormSays(t *testing.T) {
	begins := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
	}
	ends := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}}
	}
	has := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: s}}
	}
	for _, c := range []struct {
		cfg     *matcherv3.StringMatcher
		yes, no string // separated by |
	}{
		{exactly("abc"), "abc", "ABC|ab|abcd|"},
		{folded(exactly("aBc")), "abc|ABC", "ab|abcd|äbc"},
		{begins("abc"), "abc|abcd", "Abc|ab|xabc"},
		{folded(begins("abc")), "ABCd|abc", "ab|xabc"},
		{ends("abc"), "abc|xabc", "abcx|bc"},
		{folded(ends("Abc")), "xABC", "abcx|bc"},
		{has("abc"), "abc|xabcx", "aBc|ab"},
		{folded(has("aBc")), "xABCx|abc", "ab|a-b-c"},
		{regexMatcher("ab+c"), "abc|abbbc", "xabc|abcx|ac"},
		{regexMatcher("^ab$"), "ab", "abc"},
		{regexMatcher("a|b"), "a|b", "ab|ax|xb"},
		{regexMatcher("(?i)abc"), "ABC|abc", "abcd"},
		{folded(regexMatcher("abc")), "abc", "ABC"}, // ignore_case has no effect on regexes
		{regexMatcher(`/users/\d+`), "/users/12", "/users/|/users/12/x"},
		{regexMatcher(`a.c`), "abc", "a\nc"},
		{regexMatcher(`a\.c`), "a.c", "abc"},
	} {
		m, err := NewString(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		for s := range strings.SplitSeq(c.yes, "|") {
			if !m.Match(s) {
				t.Errorf("%v does not match %q", &m, s)
			}
		}
		for s := range strings.SplitSeq(c.no, "|") {
			if m.Match(s) {
				t.Errorf("%v matches %q", &m, s)
			}
		}
	}
}

func TestStringRefusesWhatItCannotMatch(t *testing.T) {
	for name, cfg := range map[string]*matcherv3.StringMatcher{
		"no pattern":  {},
		"custom":      {MatchPattern: &matcherv3.StringMatcher_Custom{}},
		"broken":      regexMatcher("a("),
		"escapes":     regexMatcher("a)|(b"),
		"empty regex": regexMatcher(""),
		"too large":   regexMatcher("((a{900}){900}){900}"),
		"too large 2": regexMatcher("(((abcdefgh){30}){30}){30}"),
	} {
		if m, err := NewString(cfg); err == nil {
			t.Errorf("%s: accepted as %v", name, &m)
		}
	}
}

func TestRegexKnowsTheBeginningOfWhatItMatches(t *testing.T) {
	for pattern, want := range map[string]string{
		`/users/\d+`: "/users/", `^/users$`: "/users", `/a/b`: "/a/b", `(/a)/b.*`: "/a/b", `(?i)/a`: "", `/a|/b`: "/", `/ab|/ac`: "/a",
		`.*`: "", `/a{3}`: "/aaa", `/a?`: "/", `a^b`: "a", `(?m)^a`: "", `/(a|b)c`: "/", `\Aab\z`: "ab", `$`: "", `a$b`: "a", `^^ab`: "ab",
	} {
		re, err := NewRegex(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if re.Prefix() != want {
			t.Errorf("%s: prefix %q, want %q", pattern, re.Prefix(), want)
		}
	}
}
