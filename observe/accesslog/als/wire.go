package als

import (
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// appendText appends a string field, nothing for "". As in Envoy, "!" stands for each byte that is not UTF-8: such a string would make the
// whole message unreadable.
func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	if utf8.ValidString(s) {
		return protowire.AppendString(b, s)
	}
	b = protowire.AppendVarint(b, uint64(len(s)))
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			b = append(b, '!')
		} else {
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return b
}

// appendUint appends a number, nothing for 0.
func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// appendBool appends true, nothing for false.
func appendBool(b []byte, field protowire.Number, v bool) []byte {
	return appendUint(b, field, protowire.EncodeBool(v))
}

// appendDouble appends a number, 0 as well.
func appendDouble(b []byte, field protowire.Number, v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), math.Float64bits(v))
}

// begin appends the head of a message. What is appended from there on is in it, until end gets the position that begin has returned.
func begin(b []byte, field protowire.Number) ([]byte, int) {
	b = append(protowire.AppendTag(b, field, protowire.BytesType), 0) // most are so short that their length is one byte
	return b, len(b)
}

// end puts the length of a message before it.
func end(b []byte, at int) []byte {
	n := len(b) - at
	if n < 1<<7 {
		b[at-1] = byte(n)
		return b
	}
	var none [9]byte
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, none[:more]...)
	copy(b[at+more:], b[at:at+n])
	protowire.AppendVarint(b[:at-1], uint64(n))
	return b
}

// appendSpan appends a google.protobuf.Duration.
func appendSpan(b []byte, field protowire.Number, d time.Duration) []byte {
	b, at := begin(b, field)
	b = appendUint(b, 1, uint64(d/time.Second))
	b = appendUint(b, 2, uint64(d%time.Second))
	return end(b, at)
}

// appendTime appends a google.protobuf.Timestamp.
func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	b, at := begin(b, field)
	b = appendUint(b, 1, uint64(t.Unix()))
	b = appendUint(b, 2, uint64(t.Nanosecond()))
	return end(b, at)
}

// appendWrapped appends a google.protobuf.UInt32Value.
func appendWrapped(b []byte, field protowire.Number, v uint64) []byte {
	b, at := begin(b, field)
	return end(appendUint(b, 1, v), at)
}

// appendPair appends an entry of a map of strings.
func appendPair(b []byte, field protowire.Number, key, value string) []byte {
	b, at := begin(b, field)
	b = appendText(b, 1, key)
	b = appendText(b, 2, value)
	return end(b, at)
}
