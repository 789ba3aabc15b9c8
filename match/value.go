package match

import "fmt"

// A valueTest is a condition on one value: a String, or a range of whole numbers.
type valueTest struct {
	ranged   bool
	from, to int64 // from <= n < to
	text     String
}

func (t *valueTest) holds(value string) bool {
	if !t.ranged {
		return t.text.Match(value)
	}
	n, ok := parseInt(value)
	return ok && n >= t.from && n < t.to
}

func (t *valueTest) String() string {
	if t.ranged {
		return fmt.Sprintf("is a number in [%d, %d)", t.from, t.to)
	}
	return t.text.String()
}

// parseInt reads a decimal number with white space around it, as absl::SimpleAtoi does; unlike strconv it makes no error value.
func parseInt(s string) (int64, bool) {
	s = trim(s)
	negative := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative, s = s[0] == '-', s[1:]
	}
	n, ok := ParseUint(s)
	switch {
	case !ok:
		return 0, false
	case negative:
		return -int64(n), n <= 1<<63
	default:
		return int64(n), n < 1<<63
	}
}

// ParseUint reads a decimal number without allocating, not even for an error.
func ParseUint(s string) (uint64, bool) {
	if s == "" {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		d := uint64(s[i] - '0')
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// trim cuts off ASCII white space.
func trim(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
