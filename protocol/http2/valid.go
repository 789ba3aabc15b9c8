package http2

import (
	"strings"

	"github.com/weftproxy/weft/message"
)

// Classes of bytes. Immutable.
const (
	className  = 1 << iota // of a field name: tchar in lower case (RFC 9113 section 8.2.1)
	classToken             // of a method
	classPath              // of a path: visible ASCII
	classHost              // of an authority, user information excluded
	classValue             // of a field value
)

var classes = fillClasses()

func fillClasses() (t [256]uint8) {
	mark := func(class uint8, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	const digits, lower = "0123456789", "abcdefghijklmnopqrstuvwxyz"
	const tchar = "!#$%&'*+-.^_`|~" + digits + lower
	mark(className, tchar)
	mark(classToken, tchar+strings.ToUpper(lower))
	mark(classHost, "-._~%!$&'()*+;=:[]"+digits+lower+strings.ToUpper(lower))
	for c := range 256 {
		if c > ' ' && c < 0x7f {
			t[c] |= classPath
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[c] |= classValue
		}
	}
	return t
}

// all reports whether every byte of s is of a class. The empty string is.
func all(s string, class uint8) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// goodValue reports whether s may be a field value.
func goodValue(s string) bool {
	if s == "" {
		return true
	}
	if first, last := s[0], s[len(s)-1]; first == ' ' || first == '\t' || last == ' ' || last == '\t' {
		return false
	}
	return printable(s)
}

// printable reports whether s is free of controls other than HTAB (RFC 9110 section 5.5). It looks at eight bytes at a time.
func printable(s string) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		y := x ^ 0x7f*low
		if ((x-0x20*low)&^x|(y-low)&^y)&high != 0 && !all(s[:8], classValue) {
			return false
		}
		s = s[8:]
	}
	return all(s, classValue)
}

func goodAuthority(s string) bool { return s != "" && all(s, classHost) }

// hop reports whether a field belongs to a connection, which HTTP/2 has no fields for (RFC 9113 section 8.2.2).
func hop(k message.Known) bool {
	switch k {
	case message.Connection, message.KeepAlive, message.ProxyConnection, message.TransferEncoding, message.Upgrade:
		return true
	}
	return false
}

// decimal decodes a content-length.
func decimal(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	n := int64(0)
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}
