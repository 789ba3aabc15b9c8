package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"
)

// decodeAll decodes b in pieces of n bytes.
func decodeAll(b []byte, n int) (out []byte, whole bool, err error) {
	var d decoder
	for len(b) > 0 && err == nil {
		k := min(n, len(b))
		out, err = d.append(out, b[:k])
		b = b[k:]
	}
	return out, d.whole(), err
}

func TestBase64Decoding(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		whole    bool
		err      error
	}{
		{"", "", true, nil}, {"aGVsbG8=", "hello", true, nil}, {"aGVsbG8=aGk=", "hellohi", true, nil}, {"YQ==YQ==YWJj", "aaabc", true, nil},
		{"aGVsbG8", "hel", false, nil}, {"a", "", false, nil}, {"+/+/", "\xfb\xff\xbf", true, nil},
		{"=", "", false, errPadding}, {"a=", "", false, errPadding}, {"aa=a", "", false, errPadding}, {"aa==", "i", true, nil},
		{"YWJjYQ=b", "abc", false, errPadding}, {"YWJj-_==", "abc", false, errAlphabet}, {"YW\nJj", "", false, errAlphabet},
	} {
		for n := 1; n <= max(len(tc.in), 1); n++ {
			out, whole, err := decodeAll([]byte(tc.in), n)
			if string(out) != tc.want || !errors.Is(err, tc.err) || err == nil && whole != tc.whole {
				t.Errorf("%q in pieces of %d: %q, whole: %v, %v", tc.in, n, out, whole, err)
			}
		}
	}
}

func TestBase64Encoding(t *testing.T) {
	text := []byte("\x00\x01\xfe\xff some text")
	for size := range len(text) + 1 {
		for n := 1; n <= max(size, 1); n++ {
			var e encoder
			var out []byte
			for range 2 { // the second text begins afresh
				for b := text[:size]; len(b) > 0; {
					k := min(n, len(b))
					out = e.append(out, b[:k])
					b = b[k:]
				}
				out = e.end(out)
			}
			want := base64.StdEncoding.EncodeToString(text[:size])
			if string(out) != want+want {
				t.Fatalf("%d bytes in pieces of %d: %q, want %q twice", size, n, out, want)
			}
		}
	}
}

func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "aGVsbG8=", "a=b=", "YQ==YQ==", "\xff\x00"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		n := max(int(piece), 1)
		out, whole, err := decodeAll(b, n)
		all, allWhole, allErr := decodeAll(b, max(len(b), 1))
		if !bytes.Equal(out, all) || whole != allWhole || !errors.Is(err, allErr) {
			t.Fatalf("%q in pieces of %d: %q %v %v; at once %q %v %v", b, n, out, whole, err, all, allWhole, allErr)
		}
		if want, err := base64.StdEncoding.DecodeString(string(b)); err == nil && !bytes.ContainsAny(b, "\r\n") &&
			(allErr != nil || !allWhole || !bytes.Equal(want, all)) {
			t.Fatalf("%q: %q %v %v, want %q", b, all, allWhole, allErr, want)
		}
		var e encoder
		var coded []byte
		for rest := b; len(rest) > 0; {
			k := min(n, len(rest))
			coded = e.append(coded, rest[:k])
			rest = rest[k:]
		}
		if coded = e.end(coded); string(coded) != base64.StdEncoding.EncodeToString(b) {
			t.Fatalf("%q is written %q", b, coded)
		}
	})
}
