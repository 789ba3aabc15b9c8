package hpack

import (
	"bytes"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

func TestHuffmanReadsEverySymbol(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			text := []byte{byte(a), byte(b), 'x', byte(b), byte(a), byte(a)}
			for n := range len(text) + 1 {
				got, err := code.decode([]byte("before"), xhpack.AppendHuffmanString(nil, string(text[:n])))
				if err != nil || string(got) != "before"+string(text[:n]) {
					t.Fatalf("%q: %q, %v", text[:n], got, err)
				}
			}
		}
	}
}

func TestHuffmanReadsEveryLength(t *testing.T) {
	r := newRand(3)
	for n := range 300 {
		for range 20 {
			text := make([]byte, n)
			for i := range text {
				if text[i] = byte(r.Uint32()); n%2 == 0 {
					text[i] = "0123456789abcdefghijklmnopqrstuvwxyz/=-"[int(text[i])%39]
				}
			}
			got, err := code.decode(nil, xhpack.AppendHuffmanString(nil, string(text)))
			if err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%q: %q, %v", text, got, err)
			}
		}
	}
}
