package exchange

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/weftproxy/weft/match"
)

// A Substitution is a compiled RegexMatchAndSubstitute (envoy.type.matcher.v3): every match is replaced.
type Substitution struct {
	pattern  *regexp.Regexp
	template string // the replacement in regexp's own notation
}

// NewSubstitution compiles an RE2 pattern and an RE2 replacement, in which \0 to \9 stand for groups and \\ for a backslash.
func NewSubstitution(pattern, with string) (*Substitution, error) {
	re, err := match.CompileRegex(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	var template strings.Builder
	for i := 0; i < len(with); i++ {
		c := with[i]
		switch {
		case c == '$':
			template.WriteString("$$")
			continue
		case c != '\\':
			template.WriteByte(c)
			continue
		}
		i++
		switch {
		case i < len(with) && with[i] == '\\':
			template.WriteByte('\\')
		case i < len(with) && with[i] >= '0' && with[i] <= '9':
			group := int(with[i] - '0')
			if group > re.NumSubexp() {
				return nil, fmt.Errorf("substitution: \\%d: the pattern has %d groups", group, re.NumSubexp())
			}
			template.WriteString("${" + strconv.Itoa(group) + "}")
		default:
			return nil, fmt.Errorf("substitution: %q: a backslash must be followed by a digit or a backslash", with)
		}
	}
	return &Substitution{re, template.String()}, nil
}

// Apply returns s with every match replaced.
func (s *Substitution) Apply(text string) string {
	return s.pattern.ReplaceAllString(text, s.template)
}
