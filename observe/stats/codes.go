package stats

import "sync/atomic"

// Codes counts response statuses, 100 to 999. It prints one counter for each status seen (name_200) and one for each class
// (name_2xx, 1 to 5). The zero value is ready to use.
//
// Statuses sit in blocks in the order they were first seen: the usual one is found at the first look, and a host that
// answers with few different statuses, as nearly all do, costs one block.
type Codes struct {
	head codeBlock
}

// codeBlock holds six statuses and their counts. A status is claimed by a compare-and-swap from 0 and never leaves.
type codeBlock struct {
	status [6]atomic.Uint32
	n      [6]atomic.Uint64
	next   atomic.Pointer[codeBlock]
}

const (
	minStatus = 100
	maxStatus = 999
)

// Inc counts one response with this status. A status outside 100 to 999 is not counted: no codec lets one through.
func (c *Codes) Inc(status int) {
	if uint(status-minStatus) > maxStatus-minStatus {
		return
	}
	for b := &c.head; ; b = b.grow() {
		for i := range b.status {
			if b.claim(i, uint32(status)) {
				b.n[i].Add(1)
				return
			}
		}
	}
}

// Count is how many responses this cell has counted with the given status.
func (c *Codes) Count(status int) uint64 {
	for b := &c.head; b != nil; b = b.next.Load() {
		for i := range b.status {
			if b.status[i].Load() == uint32(status) {
				return b.n[i].Load()
			}
		}
	}
	return 0
}

// each calls f with every status that was seen.
func (c *Codes) each(f func(status int, n *atomic.Uint64)) {
	for b := &c.head; b != nil; b = b.next.Load() {
		for i := range b.status {
			if status := b.status[i].Load(); status != 0 {
				f(int(status), &b.n[i])
			}
		}
	}
}

// claim reports whether slot i counts status, taking the slot if it was free.
func (b *codeBlock) claim(i int, status uint32) bool {
	have := b.status[i].Load()
	if have == 0 {
		if b.status[i].CompareAndSwap(0, status) {
			return true
		}
		have = b.status[i].Load()
	}
	return have == status
}

// grow is the block after b, made if there was none.
func (b *codeBlock) grow() *codeBlock {
	if next := b.next.Load(); next != nil {
		return next
	}
	b.next.CompareAndSwap(nil, new(codeBlock))
	return b.next.Load()
}
