package hpack

import (
	"encoding/binary"
	"slices"
)

// eos is the symbol that ends a string; it must not occur in one (RFC 7541 section 5.2).
const eos = 256

// longest is the length of the longest code, in bits.
const longest = 30

// fastBits is how many bits a look-up takes: enough for most pairs of codes of text.
const fastBits = 11

// A huffman is the code of RFC 7541 appendix B, ready for decoding. The code is canonical: codes of one length are consecutive
// numbers, in the order of their symbols, and lengths alone define it.
type huffman struct {
	fast  [1 << fastBits]pairOf // by the next bits; 0: a longer code
	limit [longest + 1]uint32   // by length: the first code beyond it, left-justified in 32 bits
	first [longest + 1]uint32   // by length: its first code
	base  [longest + 1]uint16   // by length: where its symbols begin
	syms  [eos + 1]uint16       // symbols by code
}

// A pairOf is one symbol or two: bits 0 to 15 are the symbols, 16 to 19 the length of the first code, 20 to 23 that of all, from
// 24 on their number.
type pairOf uint32

func (p pairOf) firstLen() uint { return uint(p>>16) & 15 }
func (p pairOf) len() uint      { return uint(p>>20) & 15 }
func (p pairOf) count() int     { return int(p >> 24) }

// code is the one Huffman code. Immutable.
var code = newHuffman([eos + 1]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // control characters
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // space to '/'
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // '0' to '?'
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // '@' to 'O'
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 'P' to '_'
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // '`' to 'o'
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 'p' to DEL
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // bytes above ASCII
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30, // EOS
})

func newHuffman(lengths [eos + 1]uint8) *huffman {
	t, next, n := &huffman{}, uint32(0), 0
	for l := 1; l <= longest; l++ {
		next <<= 1
		t.first[l], t.base[l] = next, uint16(n)
		for sym, length := range lengths {
			if int(length) == l {
				t.syms[n] = uint16(sym)
				n++
				next++
			}
		}
		t.limit[l] = uint32(uint64(next) << (32 - l)) // the last one, of EOS, wraps to 0
	}
	for w := range t.fast {
		sym, l1 := t.symbol(uint32(w)<<(32-fastBits), 1)
		if l1 > fastBits {
			continue
		}
		p := pairOf(1<<24 | l1<<20 | l1<<16 | uint(sym))
		if sym, l2 := t.symbol(uint32(w)<<(32-fastBits+l1), 1); l1+l2 <= fastBits {
			p = pairOf(2<<24 | (l1+l2)<<20 | l1<<16 | uint(sym)<<8 | uint(p&0xff))
		}
		t.fast[w] = p
	}
	return t
}

// symbol decodes the code at the top of w, which has l bits or more.
func (t *huffman) symbol(w uint32, l uint) (sym uint16, length uint) {
	for l < longest && w >= t.limit[l] {
		l++
	}
	return t.syms[uint32(t.base[l])+w>>(32-l)-t.first[l]], l
}

// decodedLen returns the room that decode needs for n bytes: the shortest code has 5 bits, and symbols are written in pairs.
func decodedLen(n int) int { return n*8/5 + 1 }

// decode appends the text that src encodes to dst.
func (t *huffman) decode(dst, src []byte) ([]byte, error) {
	dst = slices.Grow(dst, decodedLen(len(src)))
	var (
		out = dst[len(dst):cap(dst)]
		o   int
		acc uint64 // the next bits, left-justified
		n   uint   // how many of them count
	)
	for {
		if len(src) >= 8 {
			acc |= binary.BigEndian.Uint64(src) >> n
			src = src[(63-n)>>3:]
			n |= 56
		} else {
			for n <= 56 && len(src) > 0 {
				acc |= uint64(src[0]) << (56 - n)
				src = src[1:]
				n += 8
			}
			if n < longest {
				break
			}
		}
		for n >= longest {
			if p := t.fast[acc>>(64-fastBits)]; p != 0 {
				binary.LittleEndian.PutUint16(out[o:], uint16(p))
				o += p.count()
				acc <<= p.len()
				n -= p.len()
				continue
			}
			sym, l := t.symbol(uint32(acc>>32), fastBits+1)
			if sym == eos {
				return dst, errHuffman
			}
			out[o] = byte(sym)
			o++
			acc <<= l
			n -= l
		}
	}
	o, err := t.tail(out, o, acc, n)
	return dst[:len(dst)+o], err
}

// tail decodes the last n < longest bits of a string, of which fewer than 8 may be padding, all ones.
func (t *huffman) tail(out []byte, o int, acc uint64, n uint) (int, error) {
	for {
		w := acc | ^uint64(0)>>n
		p := t.fast[w>>(64-fastBits)]
		sym, l := uint16(p&0xff), p.firstLen()
		switch {
		case p == 0:
			sym, l = t.symbol(uint32(w>>32), fastBits+1)
		case p.len() <= n:
			binary.LittleEndian.PutUint16(out[o:], uint16(p))
			o += p.count()
			acc <<= p.len()
			n -= p.len()
			continue
		}
		if l > n {
			if n > 7 || w != ^uint64(0) {
				return o, errHuffman
			}
			return o, nil
		}
		out[o] = byte(sym)
		o++
		acc <<= l
		n -= l
	}
}
