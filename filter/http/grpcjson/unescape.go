package grpcjson

import "strings"

// An unescapeSpec says which characters percent-decoding leaves encoded (url_unescape_spec).
type unescapeSpec uint8

const (
	exceptReserved unescapeSpec = iota // those that RFC 6570 reserves
	exceptSlash
	everything
)

// reserved are the reserved characters of RFC 6570, as Envoy counts them.
const reserved = "!#$&'()*+,/:;=?@[]"

// unescape decodes %XX; what is not a complete one stays as it is. With plus, '+' is a space (query_param_unescape_plus). It allocates
// only when there is something to decode.
func unescape(s string, spec unescapeSpec, plus bool) string {
	at := 0
	for at < len(s) && s[at] != '%' && (s[at] != '+' || !plus) {
		at++
	}
	if at == len(s) {
		return s
	}
	out := append(make([]byte, 0, len(s)), s[:at]...)
	for i := at; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+' && plus:
			c = ' '
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			if d := unhex(s[i+1])<<4 | unhex(s[i+2]); spec.decodes(d) {
				c = d
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

func (spec unescapeSpec) decodes(c byte) bool {
	switch spec {
	case exceptReserved:
		return strings.IndexByte(reserved, c) < 0
	case exceptSlash:
		return c != '/'
	}
	return true
}

func isHex(c byte) bool { return c-'0' < 10 || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c-'0' < 10 {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
