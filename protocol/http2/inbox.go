package http2

import "github.com/weftproxy/weft/conn"

// ownInbox is how much a stream holds in memory of its own, in bytes; more goes to pooled buffers.
const ownInbox = 1 << 10

// An inbox is the data of a stream that has arrived and not been read. The flow-control window bounds it.
type inbox struct {
	own  []byte // the stream's own small buffer; nil until there was data
	buf  []byte // what has arrived
	lent []byte // what the reader has in its hands
}

// add copies p behind what is there.
func (q *inbox) add(p []byte) {
	if len(q.buf)+len(p) > cap(q.buf) {
		q.grow(len(q.buf) + len(p))
	}
	q.buf = append(q.buf, p...)
}

func (q *inbox) grow(size int) {
	var b []byte
	switch {
	case size <= ownInbox && q.buf == nil && !q.owns(q.lent):
		if q.own == nil {
			q.own = make([]byte, 0, ownInbox)
		}
		b = q.own
	case size > conn.LargeBuffer:
		b = conn.GetBuffer(2 * size)[:0]
	default:
		b = conn.GetBuffer(size)[:0]
	}
	b = append(b, q.buf...)
	q.put(q.buf)
	q.buf = b
}

func (q *inbox) owns(b []byte) bool {
	return cap(b) == ownInbox && cap(q.own) == ownInbox && &b[:1][0] == &q.own[:1][0]
}

// put gives a buffer back, unless it is the stream's own.
func (q *inbox) put(b []byte) {
	if b != nil && !q.owns(b) {
		conn.PutBuffer(b)
	}
}

// take lends everything that has arrived.
func (q *inbox) take() []byte {
	q.lent, q.buf = q.buf, nil
	return q.lent
}

// settle ends the loan.
func (q *inbox) settle() {
	q.put(q.lent)
	q.lent = nil
}

// drop forgets what has arrived and returns how many bytes that was.
func (q *inbox) drop() int {
	n := len(q.buf)
	q.put(q.buf)
	q.buf = nil
	return n
}
