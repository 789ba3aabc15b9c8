package httpinspector

import "strings"

// preface begins every HTTP/2 connection (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A verdict is what a connection speaks.
type verdict int

const (
	none   verdict = iota // not HTTP
	http10                // HTTP/1.0, or older
	http11
	http2
	undecided // more bytes are needed
)

// A part of a request line (RFC 9112 section 3).
type part uint8

const (
	method part = iota
	target
	version
)

// A scanner reads a request line, or a preface, that comes in pieces.
type scanner struct {
	part part
	from int // where part begins
	at   int // what was looked at
}

// scan looks at all bytes of the connection so far: those of the call before, and more.
func (s *scanner) scan(b []byte) verdict {
	n := min(len(b), len(preface))
	switch {
	case string(b[:n]) != preface[:n]:
		return s.line(b)
	case n == len(preface):
		return http2
	}
	return undecided
}

// line looks at a request line.
func (s *scanner) line(b []byte) verdict {
	for ; s.at < len(b); s.at++ {
		ch := b[s.at]
		switch {
		case ch == '\n' && s.part == version:
			return versionOf(strings.TrimSuffix(string(b[s.from:s.at]), "\r"))
		case ch == ' ' && s.part != version && s.at > s.from:
			s.part++
			s.from = s.at + 1
		case s.part == method && !token(ch), s.part == target && (ch <= ' ' || ch == 0x7f):
			return none
		case s.part == version && s.at-s.from > len("HTTP/1.1\r"):
			return none
		}
	}
	return undecided
}

// versionOf returns what the last word of a request line says.
func versionOf(word string) verdict {
	number, ok := strings.CutPrefix(word, "HTTP/")
	switch {
	case !ok || len(number) != 3 || number[1] != '.' || number[2] < '0' || number[2] > '9':
		return none
	case number == "1.1":
		return http11
	case number[0] == '0' || number[0] == '1':
		return http10
	}
	return none
}

// token reports whether a byte may be part of a method (RFC 9110 section 5.6.2).
func token(ch byte) bool {
	return 'a' <= ch && ch <= 'z' || 'A' <= ch && ch <= 'Z' || '0' <= ch && ch <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", ch) >= 0
}
