package grpcweb

import "errors"

// What base64 of a request can be wrong in.
var (
	errAlphabet = errors.New("grpc_web: a byte that is not of base64")
	errPadding  = errors.New("grpc_web: base64 padding in the wrong place")
)

const (
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	invalid  = 0xff
)

// values maps characters of base64 to their values, others to invalid. Immutable.
var values = fillValues()

func fillValues() (t [256]byte) {
	for i := range t {
		t[i] = invalid
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}

// A decoder takes base64 in chunks of any size. Padding may end any group of four, so that texts that were encoded one by one may follow
// each other.
type decoder struct {
	bits   uint32 // of the group at hand
	have   int    // characters of it, padding included
	padded int    // how many of them are padding
}

// append decodes src and appends the bytes to dst. After an error the decoder is of no more use.
func (d *decoder) append(dst, src []byte) ([]byte, error) {
	for _, c := range src {
		v := values[c]
		switch {
		case c == '=':
			if d.have < 2 {
				return dst, errPadding
			}
			d.padded++
			v = 0
		case v == invalid:
			return dst, errAlphabet
		case d.padded > 0:
			return dst, errPadding
		}
		d.bits = d.bits<<6 | uint32(v)
		if d.have++; d.have < 4 {
			continue
		}
		group := [3]byte{byte(d.bits >> 16), byte(d.bits >> 8), byte(d.bits)}
		dst = append(dst, group[:3-d.padded]...)
		*d = decoder{}
	}
	return dst, nil
}

// whole reports that no group is begun.
func (d *decoder) whole() bool { return d.have == 0 }

// An encoder gives base64 of a text that comes in pieces.
type encoder struct {
	left [2]byte // bytes that are no group yet
	have int
}

// append encodes src and appends what is complete to dst.
func (e *encoder) append(dst, src []byte) []byte {
	for e.have > 0 && len(src) > 0 {
		if e.have < 2 {
			e.left[e.have] = src[0]
			e.have++
			src = src[1:]
			continue
		}
		dst = appendGroup(dst, e.left[0], e.left[1], src[0])
		e.have, src = 0, src[1:]
	}
	for len(src) >= 3 {
		dst = appendGroup(dst, src[0], src[1], src[2])
		src = src[3:]
	}
	e.have += copy(e.left[e.have:], src)
	return dst
}

// end appends what is left, with padding, and begins another text.
func (e *encoder) end(dst []byte) []byte {
	switch e.have {
	case 1:
		dst = append(dst, alphabet[e.left[0]>>2], alphabet[e.left[0]&3<<4], '=', '=')
	case 2:
		dst = append(dst, alphabet[e.left[0]>>2], alphabet[e.left[0]&3<<4|e.left[1]>>4], alphabet[e.left[1]&15<<2], '=')
	}
	e.have = 0
	return dst
}

func appendGroup(dst []byte, a, b, c byte) []byte {
	return append(dst, alphabet[a>>2], alphabet[a&3<<4|b>>4], alphabet[b&15<<2|c>>6], alphabet[c&63])
}
