package conn

import (
	"sync"

	"github.com/weftproxy/weft/internal/race"
)

// Sizes of pooled buffers in bytes: small for message heads, large for bodies.
const (
	SmallBuffer = 16 << 10
	LargeBuffer = 64 << 10
)

type small [SmallBuffer]byte
type large [LargeBuffer]byte

// The pools hold buffers that no connection uses at the moment. They are the only package-level state here: caches, emptied by the
// garbage collector.
var (
	smallPool = sync.Pool{New: func() any { return new(small) }}
	largePool = sync.Pool{New: func() any { return new(large) }}
)

// GetBuffer returns a buffer of SmallBuffer or, when size is greater, LargeBuffer bytes, or of exactly size when that is greater
// still.
func GetBuffer(size int) []byte {
	switch {
	case size <= SmallBuffer:
		return smallPool.Get().(*small)[:]
	case size <= LargeBuffer:
		return largePool.Get().(*large)[:]
	}
	return make([]byte, size)
}

// PutBuffer gives a buffer from GetBuffer back. The caller must not use it again.
func PutBuffer(b []byte) {
	b = b[:cap(b)]
	race.Poison(b)
	switch len(b) {
	case SmallBuffer:
		smallPool.Put((*small)(b))
	case LargeBuffer:
		largePool.Put((*large)(b))
	}
}
