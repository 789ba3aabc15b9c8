package match

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// maxRegex bounds a compiled expression, counted in its nodes with repetitions written out.
const maxRegex = 50_000

// A Regex matches whole strings against an RE2 expression.
type Regex struct {
	re      *regexp.Regexp // anchored at both ends; nil when literal is all there is
	literal string         // every match begins with it
	source  string
}

// NewRegex compiles an expression in RE2 syntax.
func NewRegex(pattern string) (*Regex, error) {
	if pattern == "" {
		return nil, fmt.Errorf("empty regular expression")
	}
	tree, err := parseRegex(pattern)
	if err != nil {
		return nil, err
	}
	r := &Regex{source: pattern}
	var complete bool
	if r.literal, complete = literalPrefix(tree.Simplify()); complete {
		return r, nil
	}
	if r.re, err = regexp.Compile(`\A(?:` + pattern + `)\z`); err != nil {
		return nil, regexError(pattern, err)
	}
	return r, nil
}

// RegexFrom compiles a RegexMatcher. The engine it may name is the only one there is.
func RegexFrom(cfg *matcherv3.RegexMatcher) (*Regex, error) { return NewRegex(cfg.GetRegex()) }

// Match reports whether the whole of s matches.
func (r *Regex) Match(s string) bool {
	if r.re == nil {
		return s == r.literal
	}
	return strings.HasPrefix(s, r.literal) && r.re.MatchString(s)
}

// Prefix returns what every string that matches begins with; it may be empty.
func (r *Regex) Prefix() string { return r.literal }

// String returns the expression as it was written.
func (r *Regex) String() string { return r.source }

// CompileRegex compiles an expression for searching, not anchored.
func CompileRegex(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, fmt.Errorf("empty regular expression")
	}
	if _, err := parseRegex(pattern); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, regexError(pattern, err)
	}
	return re, nil
}

// parseRegex parses a pattern on its own, so that it cannot escape the group it is put into, and bounds its size.
func parseRegex(pattern string) (*syntax.Regexp, error) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, regexError(pattern, err)
	}
	if weigh(tree) > maxRegex {
		return nil, fmt.Errorf("regular expression %.100q is too large", pattern)
	}
	return tree, nil
}

func regexError(pattern string, err error) error {
	return fmt.Errorf("regular expression %.100q: %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

// weigh counts the nodes of a tree with repetitions written out, up to a little more than maxRegex.
func weigh(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += weigh(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxRegex+1)
}

// literalPrefix returns the text that every match begins with, and whether that is the only match.
func literalPrefix(re *syntax.Regexp) (text string, complete bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText:
		return "", true
	case syntax.OpEndText:
		return "", false
	case syntax.OpCapture:
		return literalPrefix(re.Sub[0])
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return "", false
		}
		return string(re.Rune), true
	case syntax.OpConcat:
		return concatPrefix(re.Sub)
	}
	return "", false
}

func concatPrefix(subs []*syntax.Regexp) (string, bool) {
	var b strings.Builder
	for i, sub := range subs {
		switch {
		case sub.Op == syntax.OpBeginText && b.Len() > 0:
			return b.String(), false // matches nothing; the expression itself will say so
		case sub.Op == syntax.OpEndText && i == len(subs)-1:
			return b.String(), true
		}
		text, complete := literalPrefix(sub)
		b.WriteString(text)
		if !complete {
			return b.String(), false
		}
	}
	return b.String(), true
}
