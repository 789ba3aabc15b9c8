package http1

import "github.com/weftproxy/weft/protocol"

// The states of a chunkDecoder: what it expects next.
type chunkState uint8

const (
	chunkSizeFirst chunkState = iota // the first digit of a size
	chunkSize                        // a digit, ; or CR
	chunkExtFirst                    // the first byte of an extension
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer // the trailer section, which is not the decoder's business
)

// maxChunkExt bounds the extensions of one chunk, and maxChunkExts those of a message, in bytes: they are not handed on, so nobody is
// served by reading many.
const (
	maxChunkExt  = 1 << 10
	maxChunkExts = 16 << 10
)

// A chunkDecoder decodes the framing of a chunked body (RFC 9112 section 7.1), byte by byte, from wherever it stopped. The zero value is
// at the beginning of a body.
type chunkDecoder struct {
	left   uint64 // bytes of data before the end of the present chunk
	state  chunkState
	digits uint8
	ext    int // bytes of the present chunk's extensions
	exts   int // of all
}

// advance consumes framing and returns how many bytes it was. It stops at data (left > 0), at the trailer section, or when b is used up.
func (d *chunkDecoder) advance(b []byte) (n int, err *protocol.Error) {
	for n < len(b) && d.state != chunkTrailer {
		if d.state == chunkData {
			if d.left > 0 {
				return n, nil
			}
			d.state = chunkDataCR
		}
		if err := d.step(b[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// step consumes one byte of framing.
func (d *chunkDecoder) step(c byte) *protocol.Error {
	switch d.state {
	case chunkSizeFirst, chunkSize:
		return d.size(c)
	case chunkExtFirst:
		if classes[c]&classToken == 0 {
			return errChunkExt
		}
		d.state = chunkExt
		return nil
	case chunkExt:
		return d.extension(c)
	case chunkSizeLF:
		if c != '\n' {
			return errChunkSize
		}
		d.sized()
	case chunkDataCR:
		if c != '\r' {
			return errChunkEnd
		}
		d.state = chunkDataLF
	case chunkDataLF:
		if c != '\n' {
			return errChunkEnd
		}
		d.state, d.digits, d.left = chunkSizeFirst, 0, 0
	}
	return nil
}

func (d *chunkDecoder) size(c byte) *protocol.Error {
	switch {
	case classes[c]&classHex != 0:
		if d.digits++; d.digits > 15 {
			return errChunkSize // more than any body has, and no overflow
		}
		v := c - '0'
		if v > 9 {
			v = (c | 0x20) - 'a' + 10
		}
		d.left = d.left<<4 | uint64(v)
		d.state = chunkSize
	case d.state == chunkSizeFirst:
		return errChunkSize
	case c == '\r':
		d.state = chunkSizeLF
	case c == ';':
		d.state, d.ext = chunkExtFirst, 0
	default:
		return errChunkSize
	}
	return nil
}

func (d *chunkDecoder) extension(c byte) *protocol.Error {
	if c == '\r' {
		d.state = chunkSizeLF
		return nil
	}
	d.ext++
	d.exts++
	if c < ' ' && c != '\t' || c >= 0x7f || d.ext > maxChunkExt || d.exts > maxChunkExts {
		return errChunkExt
	}
	return nil
}

// sized decides what follows a size line.
func (d *chunkDecoder) sized() {
	if d.left == 0 {
		d.state = chunkTrailer
		return
	}
	d.state = chunkData
}
