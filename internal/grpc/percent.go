package grpc

const hexDigits = "0123456789ABCDEF"

// AppendMessage appends s as grpc-message carries it: controls, '%', '~' and everything above it become %XX (Envoy's PercentEncoding).
func AppendMessage[S string | []byte](dst []byte, s S) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= '~' || c == '%' {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// DecodeMessage undoes AppendMessage. What is not a complete %XX stays as it is, as gRPC's specification asks. It allocates only when
// there is something to decode.
func DecodeMessage(s string) string {
	at := 0
	for at < len(s) && s[at] != '%' {
		at++
	}
	if at == len(s) {
		return s
	}
	out := append(make([]byte, 0, len(s)), s[:at]...)
	for i := at; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 16 && lo < 16 {
				out = append(out, hi<<4|lo)
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

func unhex(c byte) byte {
	switch {
	case c-'0' < 10:
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}
