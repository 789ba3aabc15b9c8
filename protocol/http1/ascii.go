package http1

import "encoding/binary"

// Classes of bytes. Immutable.
const (
	classToken  = 1 << iota // tchar (RFC 9110 section 5.6.2)
	classTarget             // allowed in a request target: what Envoy's parser takes, without controls
	classHost               // allowed in a host (reg-name of RFC 3986, brackets and colon)
	classDigit
	classHex
)

var classes = fillClasses()

func fillClasses() (t [256]uint8) {
	mark := func(class uint8, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark(classToken, "!#$%&'*+-.^_`|~"+digits+letters)
	mark(classHost, "-._~%!$&'()*+;=:[]"+digits+letters)
	mark(classDigit, digits)
	mark(classHex, digits+"abcdefABCDEF")
	for c := '!'; c <= '~'; c++ {
		t[c] |= classTarget
	}
	return t
}

// all reports whether every byte of s is of a class, and that there is one.
func all[S string | []byte](s S, class uint8) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return len(s) > 0
}

// goodValue reports whether b is free of controls other than HTAB (RFC 9110 section 5.5). It looks at eight bytes at a time.
func goodValue(b []byte) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		y := x ^ 0x7f*low
		if ((x-0x20*low)&^x|(y-low)&^y)&high != 0 && !goodBytes(b[:8]) {
			return false
		}
		b = b[8:]
	}
	return goodBytes(b)
}

func goodBytes(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// trim cuts optional white space off both ends of b and returns where the rest begins and ends.
func trim(b []byte, from, to int) (int, int) {
	for from < to && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for from < to && (b[to-1] == ' ' || b[to-1] == '\t') {
		to--
	}
	return from, to
}

// fold compares ASCII without regard to case; lower is in lower case.
func fold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// nextToken cuts the first element off a comma-separated list.
func nextToken(list string) (token, rest string) {
	for i := 0; i < len(list); i++ {
		if list[i] == ',' {
			return space(list[:i]), list[i+1:]
		}
	}
	return space(list), ""
}

// space cuts optional white space off.
func space(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// decimal parses digits; ok is false for anything else and for what does not fit.
func decimal(s string) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}
