package match

import (
	"errors"
	"fmt"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// A stringKind is a form of StringMatcher.
type stringKind uint8

const (
	exact stringKind = iota
	prefix
	suffix
	contains
	regex
)

// A String is a compiled StringMatcher (envoy.type.matcher.v3). The zero String matches only "".
type String struct {
	kind stringKind
	fold bool // ignore_case
	text string
	re   *Regex
}

// NewString compiles a StringMatcher.
func NewString(cfg *matcherv3.StringMatcher) (String, error) {
	s := String{fold: cfg.GetIgnoreCase()}
	switch p := cfg.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		s.kind, s.text = exact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		s.kind, s.text = prefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		s.kind, s.text = suffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		s.kind, s.text = contains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := RegexFrom(p.SafeRegex)
		if err != nil {
			return s, fmt.Errorf("safe_regex: %w", err)
		}
		s.kind, s.re, s.fold = regex, re, false // ignore_case is documented to have no effect here
	case nil:
		return s, errors.New("string matcher has no pattern")
	default:
		return s, errors.New("custom string matchers are not supported")
	}
	return s, nil
}

// Exact returns a String that matches only s.
func Exact(s string) String { return String{text: s} }

// Match reports whether s matches.
func (m *String) Match(s string) bool {
	if m.fold {
		return m.matchFold(s)
	}
	switch m.kind {
	case exact:
		return s == m.text
	case prefix:
		return strings.HasPrefix(s, m.text)
	case suffix:
		return strings.HasSuffix(s, m.text)
	case contains:
		return strings.Contains(s, m.text)
	default:
		return m.re.Match(s)
	}
}

func (m *String) matchFold(s string) bool {
	switch m.kind {
	case exact:
		return EqualFold(s, m.text)
	case prefix:
		return hasPrefixFold(s, m.text)
	case suffix:
		return hasSuffixFold(s, m.text)
	default:
		return containsFold(s, m.text)
	}
}

// String describes what matches, for people.
func (m *String) String() string {
	words := [...]string{"is", "begins with", "ends with", "contains", "matches"}
	text := m.text
	if m.kind == regex {
		text = m.re.source
	}
	out := fmt.Sprintf("%s %q", words[m.kind], text)
	if m.fold {
		out += " in any case"
	}
	return out
}
