package message

import (
	"iter"
	"slices"
	"unsafe"

	"github.com/weftproxy/weft/internal/race"
)

// A Header is an ordered list of fields kept in one arena. Lookup is case-insensitive; the spelling that a codec read is kept.
// Strings it returns are borrowed: they live until the message is released. The zero Header is empty and ready to use. A Header
// belongs to one goroutine at a time.
type Header struct {
	arena  []byte
	fields []field
	live   int // fields that are not dead
}

// A field is a place in the arena. Edits append to the arena and never change bytes that a string may refer to.
type field struct {
	name, value uint32
	valueLen    uint32
	nameLen     uint16
	known       Known
	dead        bool
}

// MaxNameLen is the longest field name a Header can hold, in bytes. Codecs refuse longer ones.
const MaxNameLen = 1<<16 - 1

// Len returns the number of fields.
func (h *Header) Len() int { return h.live }

// Size returns the sum of the lengths of all names and values, in bytes.
func (h *Header) Size() int {
	n := 0
	for i := range h.fields {
		if f := &h.fields[i]; !f.dead {
			n += int(f.nameLen) + int(f.valueLen)
		}
	}
	return n
}

// Reset empties the header and keeps its memory. Strings taken from it are invalid from here on.
func (h *Header) Reset() {
	race.Poison(h.arena)
	h.arena, h.fields, h.live = h.arena[:0], h.fields[:0], 0
}

// Cap returns the bytes of memory that the header holds, for pools that drop large ones.
func (h *Header) Cap() int { return cap(h.arena) + cap(h.fields)*int(unsafe.Sizeof(field{})) }

// Block copies b, a whole header section as it came from the wire, into the arena and returns where it begins. AddAt then
// names the fields inside it.
func (h *Header) Block(b []byte) (base int) {
	base = len(h.arena)
	h.arena = append(h.arena, b...)
	return base
}

// Spare returns the unused memory of the arena as an empty slice, so that text can be put together where Block will keep it
// without a copy. Nothing else may be added to the header meanwhile.
func (h *Header) Spare() []byte { return h.arena[len(h.arena):] }

// Grow makes room for n more bytes of text, which Spare then has.
func (h *Header) Grow(n int) { h.arena = slices.Grow(h.arena, n) }

// AddAt appends a field whose name and value are in the arena already, at offsets that Block makes known.
func (h *Header) AddAt(name, nameLen, value, valueLen int) Known {
	k := LookupKnown(h.arena[name : name+nameLen])
	h.fields = append(h.fields, field{uint32(name), uint32(value), uint32(valueLen), uint16(nameLen), k, false})
	h.live++
	return k
}

// AddKnownAt is AddAt for a caller that has looked the name up already.
func (h *Header) AddKnownAt(k Known, name, nameLen, value, valueLen int) {
	h.fields = append(h.fields, field{uint32(name), uint32(value), uint32(valueLen), uint16(nameLen), k, false})
	h.live++
}

// Borrow returns n bytes of the arena at off as a string that lives as long as the header.
func (h *Header) Borrow(off, n int) string {
	if n == 0 {
		return ""
	}
	return unsafe.String(&h.arena[off], n)
}

// Keep copies s into the arena and returns the copy, which lives as long as the header.
func (h *Header) Keep(s string) string {
	off := len(h.arena)
	h.arena = append(h.arena, s...)
	return h.Borrow(off, len(s))
}

// KeepBytes is Keep for bytes.
func (h *Header) KeepBytes(b []byte) string { return h.Borrow(h.Block(b), len(b)) }

func (h *Header) nameOf(f *field) string  { return h.Borrow(int(f.name), int(f.nameLen)) }
func (h *Header) valueOf(f *field) string { return h.Borrow(int(f.value), int(f.valueLen)) }

// find returns the index of the first live field of that name at or after i, -1 when there is none.
func (h *Header) find(i int, k Known, name string) int {
	for ; i < len(h.fields); i++ {
		f := &h.fields[i]
		if f.dead || f.known != k {
			continue
		}
		if k != Unknown || (int(f.nameLen) == len(name) && equalFold2(h.nameOf(f), name)) {
			return i
		}
	}
	return -1
}

func equalFold2(a, b string) bool {
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// EqualFold reports whether two strings are the same but for the case of ASCII letters.
func EqualFold(a, b string) bool { return len(a) == len(b) && equalFold2(a, b) }

// Get returns the value of the first field of that name, "" when there is none.
func (h *Header) Get(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Lookup returns the value of the first field of that name and whether there is one.
func (h *Header) Lookup(name string) (string, bool) {
	if i := h.find(0, LookupKnown(name), name); i >= 0 {
		return h.valueOf(&h.fields[i]), true
	}
	return "", false
}

// Known returns the value of the first field of a well-known name, "" when there is none.
func (h *Header) Known(k Known) string {
	if i := h.find(0, k, ""); i >= 0 {
		return h.valueOf(&h.fields[i])
	}
	return ""
}

// Has reports whether there is a field of that name.
func (h *Header) Has(name string) bool { return h.find(0, LookupKnown(name), name) >= 0 }

// HasKnown reports whether there is a field of a well-known name.
func (h *Header) HasKnown(k Known) bool { return h.find(0, k, "") >= 0 }

// Count returns the number of fields of that name.
func (h *Header) Count(name string) int {
	k, n := LookupKnown(name), 0
	for i := h.find(0, k, name); i >= 0; i = h.find(i+1, k, name) {
		n++
	}
	return n
}

// Values yields the values of all fields of that name, in order.
func (h *Header) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		k := LookupKnown(name)
		for i := h.find(0, k, name); i >= 0; i = h.find(i+1, k, name) {
			if !yield(h.valueOf(&h.fields[i])) {
				return
			}
		}
	}
}

// Joined returns the values of all fields of that name, joined by sep, and whether there is any. One value is borrowed as it
// is; several are joined in the arena.
func (h *Header) Joined(name, sep string) (string, bool) {
	k := LookupKnown(name)
	i := h.find(0, k, name)
	if i < 0 {
		return "", false
	}
	first := h.valueOf(&h.fields[i])
	i = h.find(i+1, k, name)
	if i < 0 {
		return first, true
	}
	off := len(h.arena)
	h.arena = append(h.arena, first...)
	for ; i >= 0; i = h.find(i+1, k, name) {
		h.arena = append(h.arena, sep...)
		h.arena = append(h.arena, h.valueOf(&h.fields[i])...)
	}
	return h.Borrow(off, len(h.arena)-off), true
}

// All yields every field in order.
func (h *Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range h.fields {
			if f := &h.fields[i]; !f.dead && !yield(h.nameOf(f), h.valueOf(f)) {
				return
			}
		}
	}
}

// Slots returns the number of places that At accepts: fields, and places of deleted ones.
func (h *Header) Slots() int { return len(h.fields) }

// At returns the field in place i; ok is false where a field was deleted. Writers of the hot path walk 0..Slots.
func (h *Header) At(i int) (name, value string, k Known, ok bool) {
	f := &h.fields[i]
	if f.dead {
		return "", "", Unknown, false
	}
	return h.nameOf(f), h.valueOf(f), f.known, true
}

// DelAt deletes the field in place i.
func (h *Header) DelAt(i int) {
	if f := &h.fields[i]; !f.dead {
		f.dead = true
		h.live--
	}
}

// SetAt replaces the value of the field in place i.
func (h *Header) SetAt(i int, value string) {
	f := &h.fields[i]
	f.value, f.valueLen = uint32(len(h.arena)), uint32(len(value))
	h.arena = append(h.arena, value...)
}

// Add appends a field.
func (h *Header) Add(name, value string) { h.add(LookupKnown(name), name, value) }

// AddKnown appends a field of a well-known name.
func (h *Header) AddKnown(k Known, value string) { h.add(k, knownNames[k], value) }

func (h *Header) add(k Known, name, value string) {
	n := len(h.arena)
	h.arena = append(append(h.arena, name...), value...)
	h.fields = append(h.fields, field{uint32(n), uint32(n + len(name)), uint32(len(value)), uint16(len(name)), k, false})
	h.live++
}

// Set gives the field of that name one value: the first keeps its place and spelling, others go; it is appended when there is
// none.
func (h *Header) Set(name, value string) { h.set(LookupKnown(name), name, value) }

// SetKnown is Set for a well-known name.
func (h *Header) SetKnown(k Known, value string) { h.set(k, knownNames[k], value) }

func (h *Header) set(k Known, name, value string) {
	i := h.find(0, k, name)
	if i < 0 {
		h.add(k, name, value)
		return
	}
	h.SetAt(i, value)
	for i = h.find(i+1, k, name); i >= 0; i = h.find(i+1, k, name) {
		h.DelAt(i)
	}
}

// Del deletes all fields of that name and reports whether there were any.
func (h *Header) Del(name string) bool { return h.del(LookupKnown(name), name) }

// DelKnown is Del for a well-known name.
func (h *Header) DelKnown(k Known) bool { return h.del(k, "") }

func (h *Header) del(k Known, name string) bool {
	found := false
	for i := h.find(0, k, name); i >= 0; i = h.find(i+1, k, name) {
		h.DelAt(i)
		found = true
	}
	return found
}

// CopyFrom replaces the header's fields by a copy of those of src.
func (h *Header) CopyFrom(src *Header) {
	h.Reset()
	for i := range src.fields {
		if f := &src.fields[i]; !f.dead {
			h.add(f.known, src.nameOf(f), src.valueOf(f))
		}
	}
}

// SetKnownBytes is SetKnown for a value in a buffer of the caller's, which is copied.
func (h *Header) SetKnownBytes(k Known, value []byte) {
	h.SetKnown(k, unsafe.String(unsafe.SliceData(value), len(value)))
}

// SetBytes is Set for a value in a buffer of the caller's, which is copied.
func (h *Header) SetBytes(name string, value []byte) {
	h.Set(name, unsafe.String(unsafe.SliceData(value), len(value)))
}

// AddBytes is Add for a value in a buffer of the caller's, which is copied.
func (h *Header) AddBytes(name string, value []byte) {
	h.Add(name, unsafe.String(unsafe.SliceData(value), len(value)))
}
