package format

import (
	"fmt"
	"strconv"
	"strings"
)

// An Error is what is wrong with a format string.
type Error struct {
	Operator string // "" when none could be read
	Position int    // of the operator's percent sign, in bytes from 0
	Reason   string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Operator == "" {
		return fmt.Sprintf("format string, position %d: %s", e.Position, e.Reason)
	}
	return fmt.Sprintf("format string, position %d: operator %s: %s", e.Position, e.Operator, e.Reason)
}

// A command is an operator as it is written: %NAME(args):max%.
type command struct {
	name  string
	args  string
	paren bool // there were parentheses
	max   int  // -1: no limit
}

// parse splits a format string into text and operators.
func parse(s string, o Options) ([]part, error) {
	var parts []part
	var text strings.Builder
	for i := 0; i < len(s); {
		at := strings.IndexByte(s[i:], '%')
		if at < 0 {
			text.WriteString(s[i:])
			break
		}
		text.WriteString(s[i : i+at])
		i += at
		if strings.HasPrefix(s[i:], "%%") {
			text.WriteByte('%')
			i += 2
			continue
		}
		c, n, reason := scan(s[i:])
		if reason != "" {
			return nil, &Error{c.name, i, reason}
		}
		op, err := compile(c, o)
		if err != nil {
			return nil, &Error{c.name, i, err.Error()}
		}
		if text.Len() > 0 {
			parts = append(parts, part{text: text.String()})
			text.Reset()
		}
		parts = append(parts, part{op: op})
		i += n
	}
	if text.Len() > 0 {
		parts = append(parts, part{text: text.String()})
	}
	return parts, nil
}

// scan reads the operator at the beginning of s and returns its length, or what is wrong.
func scan(s string) (c command, n int, reason string) {
	c.max = -1
	i := 1
	for i < len(s) && (s[i] == '_' || '0' <= s[i] && s[i] <= '9' || 'A' <= s[i] && s[i] <= 'Z') {
		i++
	}
	c.name = s[1:i]
	if c.name == "" {
		return c, 0, "a percent sign that begins no operator (a literal one is written %%)"
	}
	if i < len(s) && s[i] == '(' {
		return scanArguments(c, s, i)
	}
	max, n, ok := scanEnd(s[i:])
	if !ok {
		return c, 0, "no closing percent sign"
	}
	c.max = max
	return c, i + n, ""
}

// scanArguments ends the arguments at the first parenthesis that an optional length and a percent sign follow, because arguments may
// hold percent signs and parentheses themselves.
func scanArguments(c command, s string, open int) (command, int, string) {
	c.paren = true
	for i := open + 1; i < len(s); i++ {
		if s[i] != ')' {
			continue
		}
		if max, n, ok := scanEnd(s[i+1:]); ok {
			c.args, c.max = s[open+1:i], max
			return c, i + 1 + n, ""
		}
	}
	return c, 0, "no closing parenthesis with a percent sign behind it"
}

// scanEnd reads `%` or `:LENGTH%`.
func scanEnd(s string) (max, n int, ok bool) {
	if strings.HasPrefix(s, "%") {
		return -1, 1, true
	}
	if !strings.HasPrefix(s, ":") {
		return 0, 0, false
	}
	digits, _, found := strings.Cut(s[1:], "%")
	if !found {
		return 0, 0, false
	}
	v, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0, 0, false
	}
	return int(v), len(digits) + 2, true
}
