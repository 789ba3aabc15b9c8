package hpack

// defaultTable is a table's size before any SETTINGS, in bytes (RFC 9113 section 6.5.2).
const defaultTable = 4096

// maxTable bounds every table, in bytes, so that its offsets fit 32 bits.
const maxTable = 1 << 30

// clamp returns a table size within what a table can be.
func clamp(size int) int { return max(0, min(size, maxTable)) }

// appendInt appends n as an integer whose first byte has the bits of first and a prefix of the given width (RFC 7541 section 5.1).
func appendInt(dst []byte, first byte, prefix uint, n uint32) []byte {
	limit := uint32(1)<<prefix - 1
	if n < limit {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(limit))
	for n -= limit; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// readInt reads an integer with a prefix of the given width at the start of b and returns how many bytes it took. It takes up
// to nine bytes after the prefix, so that the sum cannot wrap.
func readInt(b []byte, prefix uint) (n uint64, size int, err error) {
	if len(b) == 0 {
		return 0, 0, errTruncated
	}
	limit := uint64(1)<<prefix - 1
	if n = uint64(b[0]) & limit; n < limit {
		return n, 1, nil
	}
	for i, shift := 1, uint(0); i < len(b); i, shift = i+1, shift+7 {
		if shift >= 63 {
			return 0, 0, errInteger
		}
		n += uint64(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			return n, i + 1, nil
		}
	}
	return 0, 0, errTruncated
}
