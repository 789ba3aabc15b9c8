package hpack

import (
	"unsafe"

	"github.com/weftproxy/weft/message"
)

// entryOverhead is what an entry counts besides its name and value, in bytes (RFC 7541 section 4.1).
const entryOverhead = 32

// An entry is a field of a dynamic table. Its name and value lie side by side in the table's buffer.
type entry struct {
	off      uint32 // from the first byte ever stored; wraps
	valueLen uint32
	hash     uint32 // encoder: of name and value
	next     uint32 // encoder: the number of the next older entry of the same bucket
	nameLen  uint16
	known    message.Known
	pseudo   Pseudo
	lower    bool // decoder: the name has no upper-case letter
}

// A table is a dynamic table: a queue of entries, numbered as they come, over one buffer that holds their text in the same
// order. It allocates nothing until the first entry, and at most about twice its size.
type table struct {
	max  int     // RFC 7541 section 4.2: the size that counts now, in bytes
	size int     // of the entries, in bytes with overhead
	ring []entry // a power of two; entry number i is at i modulo its length
	head uint32  // the number of the oldest entry; wraps
	tail uint32  // the number that the next entry gets; wraps
	buf  []byte  // text of the entries, the dead ones at the front included
	base uint32  // the offset of buf's first byte
}

// count returns the number of entries.
func (t *table) count() uint32 { return t.tail - t.head }

// at returns entry number i.
func (t *table) at(i uint32) *entry { return &t.ring[i&uint32(len(t.ring)-1)] }

// text returns the name and value of e.
func (t *table) text(e *entry) []byte {
	from := e.off - t.base
	return t.buf[from : from+uint32(e.nameLen)+e.valueLen]
}

// resize sets the size that counts and evicts what no longer fits.
func (t *table) resize(max int) {
	t.max = max
	t.evict(0)
	if max == 0 {
		t.ring, t.buf = nil, nil
	}
}

// evict drops the oldest entries until n more bytes fit.
func (t *table) evict(n int) {
	for t.size+n > t.max && t.head != t.tail {
		e := t.at(t.head)
		t.size -= int(e.nameLen) + int(e.valueLen) + entryOverhead
		t.head++
	}
	if t.head == t.tail {
		t.base += uint32(len(t.buf))
		t.buf = t.buf[:0]
	}
}

// add stores e with a name and a value, which must not lie in the table, as entry number tail-1, and reports whether it did: one
// that is larger than the table only empties it (RFC 7541 section 4.4).
func (t *table) add(e entry, name, value string) bool {
	n := len(name) + len(value)
	t.evict(n + entryOverhead)
	if n+entryOverhead > t.max {
		return false
	}
	t.reserve(n)
	e.off = t.base + uint32(len(t.buf))
	e.nameLen, e.valueLen = uint16(len(name)), uint32(len(value))
	t.buf = append(append(t.buf, name...), value...)
	if t.count() == uint32(len(t.ring)) {
		t.widen()
	}
	*t.at(t.tail) = e
	t.tail++
	t.size += n + entryOverhead
	return true
}

// reserve makes room for n more bytes of text: it moves the living ones to the front, in a buffer twice as large when they take
// more than half of this one. So a buffer is at most twice as large as the table's text, and moving costs little for each entry.
func (t *table) reserve(n int) {
	if len(t.buf)+n <= cap(t.buf) {
		return
	}
	live := t.buf
	if t.head != t.tail {
		live = t.buf[t.at(t.head).off-t.base:]
	}
	t.base += uint32(len(t.buf) - len(live))
	if size := len(live) + n; 2*size > cap(t.buf) {
		to := make([]byte, len(live), min(max(2*size, 512), max(2*t.max, size)))
		copy(to, live)
		t.buf = to
		return
	}
	t.buf = t.buf[:copy(t.buf, live)]
}

// widen doubles the ring.
func (t *table) widen() {
	old := *t
	t.ring = make([]entry, max(16, 2*len(old.ring)))
	for i := t.head; i != t.tail; i++ {
		*t.at(i) = *old.at(i)
	}
}

// view returns b as a string, which is valid as long as b does not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
