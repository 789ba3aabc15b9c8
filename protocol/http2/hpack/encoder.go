package hpack

import (
	"hash/maphash"

	"github.com/weftproxy/weft/message"
)

// maxIndexed is the longest value that enters the table, in bytes.
const maxIndexed = 256

// minSecret is the shortest cookie that may enter the table, in bytes: a shorter one could be guessed (RFC 7541 section 7.1.3).
const minSecret = 20

// An Encoder encodes the header blocks of one direction of a connection. It belongs to one goroutine at a time, and its blocks
// must reach the peer in the order in which they were begun.
//
// It puts into the table what tends to repeat: some well-known fields at once, others when the same value comes a second time.
// Fields that differ each time are literals, and secrets are never indexed.
type Encoder struct {
	table table
	bound int // what we are ready to use, in bytes
	low   int // the smallest size since the last Begin, when update is set
	last  int // the size from the next Begin on, when update is set

	update bool
	heads  []uint32 // by hash: 1 + the number of the newest entry; a power of two
	seen   []uint32 // hashes of fields that came once, each in its place
	name   []byte   // where a name is put into lower case
}

// seenSlots is the number of fields that an Encoder remembers to have seen once.
const seenSlots = 64

// seed makes the buckets unpredictable to a peer. Immutable.
var seed = maphash.MakeSeed()

// Init prepares the encoder for a new connection, of whose table it uses max bytes at most; more than 1 GiB counts as 1 GiB.
// Until SetPeerSize tells more, the peer's table has 4096 bytes.
func (e *Encoder) Init(max int) {
	*e = Encoder{bound: clamp(max)}
	e.table.max = defaultTable
	e.SetPeerSize(defaultTable)
}

// SetPeerSize takes the peer's SETTINGS_HEADER_TABLE_SIZE in bytes. The next Begin tells the peer what becomes of its table.
func (e *Encoder) SetPeerSize(n int) {
	n = min(clamp(n), e.bound)
	switch {
	case e.update:
		e.low, e.last = min(e.low, n), n
	case n != e.table.max:
		e.low, e.last, e.update = min(n, e.table.max), n, true
	}
}

// Begin starts a header block: it appends the table size update that SetPeerSize has made necessary, if any.
func (e *Encoder) Begin(dst []byte) []byte {
	if !e.update {
		return dst
	}
	e.update = false
	if e.low < min(e.last, e.table.max) {
		// RFC 7541 section 4.2 asks for the smallest size and then the last. Zero serves as the smallest: x/net, and with it
		// every Go peer, refuses a second update while the table still has entries.
		e.table.resize(0)
		dst = appendInt(dst, 0x20, 5, 0)
	}
	if e.last != e.table.max {
		e.table.resize(e.last)
		dst = appendInt(dst, 0x20, 5, uint32(e.last))
	}
	if e.table.ring == nil {
		e.heads = nil
	}
	return dst
}

// Status appends the :status of a response, a number of three digits.
func (e *Encoder) Status(dst []byte, status int) []byte {
	switch status {
	case 200:
		return append(dst, 0x80|8)
	case 204:
		return append(dst, 0x80|9)
	case 206:
		return append(dst, 0x80|10)
	case 304:
		return append(dst, 0x80|11)
	case 400:
		return append(dst, 0x80|12)
	case 404:
		return append(dst, 0x80|13)
	case 500:
		return append(dst, 0x80|14)
	}
	b := [3]byte{'0' + byte(status/100%10), '0' + byte(status/10%10), '0' + byte(status%10)}
	return e.indexed(dst, entry{pseudo: Status}, true, pseudoIndex[Status], pseudoNames[Status], string(b[:]))
}

// Pseudo appends a pseudo-header field, which is not OtherPseudo.
func (e *Encoder) Pseudo(dst []byte, p Pseudo, value string) []byte {
	i := pseudoIndex[p]
	for j := i; j != 0 && statics[j].pseudo == p; j++ {
		if statics[j].value() == value && value != "" {
			return append(dst, 0x80|j)
		}
	}
	if p == Path {
		return literal(dst, 0x00, 4, uint32(i), pseudoNames[p], value)
	}
	return e.indexed(dst, entry{pseudo: p}, true, i, pseudoNames[p], value)
}

// Field appends a field, whose name it puts into lower case; k must be message.LookupKnown(name).
func (e *Encoder) Field(dst []byte, k message.Known, name, value string) []byte {
	if k == message.Unknown {
		return e.other(dst, name, value)
	}
	i := knownIndex[k]
	name = k.String()
	switch policies[k] {
	case never:
		return literal(dst, 0x10, 4, uint32(i), name, value)
	case changing:
		return literal(dst, 0x00, 4, uint32(i), name, value)
	}
	if k == message.Cookie && len(value) < minSecret {
		return literal(dst, 0x10, 4, uint32(i), name, value)
	}
	if k == message.AcceptEncoding && value == statics[i].value() {
		return append(dst, 0x80|i)
	}
	return e.indexed(dst, entry{known: k}, policies[k] == repeating, i, name, value)
}

// Sensitive is Field for a field that no one on the way may index, such as one that was decoded as Sensitive (RFC 7541 section 6.2.3).
func (e *Encoder) Sensitive(dst []byte, k message.Known, name, value string) []byte {
	i := knownIndex[k]
	if k == message.Unknown {
		name = e.lower(name)
		i = otherIndex(name)
	}
	return literal(dst, 0x10, 4, uint32(i), name, value)
}

// other appends a field whose name is not a well-known one.
func (e *Encoder) other(dst []byte, name, value string) []byte {
	name = e.lower(name)
	if name == "age" {
		return literal(dst, 0x00, 4, uint32(otherIndex(name)), name, value)
	}
	return e.indexed(dst, entry{}, false, 0, name, value)
}

// lower returns a name in lower case, which is valid until the next call.
func (e *Encoder) lower(name string) string {
	if !hasUpper(name) {
		return name
	}
	e.name = append(e.name[:0], name...)
	for i, c := range e.name {
		if c-'A' < 26 {
			e.name[i] = c | 0x20
		}
	}
	return view(e.name)
}

// indexed appends a field by its entry in the table, or as a literal, which becomes one if the key is sure or the field came
// before. The key tells the name; i is the name in the static table, 0 when it is not there or not known.
func (e *Encoder) indexed(dst []byte, key entry, sure bool, i uint8, name, value string) []byte {
	fits := len(value) <= maxIndexed && len(name)+len(value)+entryOverhead <= e.table.max
	if fits {
		key.hash = key.sum(name, value)
		if n, ok := e.find(&key, name, value); ok {
			return appendInt(dst, 0x80, 7, staticCount+e.table.tail-n)
		}
	}
	if key.known == message.Unknown && key.pseudo == NotPseudo {
		i = otherIndex(name)
	}
	if !fits || !sure && !e.again(key.hash) {
		return literal(dst, 0x00, 4, uint32(i), name, value)
	}
	e.add(key, name, value)
	return literal(dst, 0x40, 6, uint32(i), name, value)
}

// again reports whether a field came before, not too long ago, and remembers it.
func (e *Encoder) again(hash uint32) bool {
	if e.seen == nil {
		e.seen = make([]uint32, seenSlots)
	}
	slot := &e.seen[hash%seenSlots]
	if *slot == hash {
		return true
	}
	*slot = hash
	return false
}

// sum hashes a name, for which the key stands where it can, and a value.
func (k *entry) sum(name, value string) uint32 {
	h := maphash.String(seed, value)
	switch {
	case k.known != message.Unknown:
		h ^= uint64(k.known) * 0x9E3779B97F4A7C15
	case k.pseudo != NotPseudo:
		h ^= uint64(k.pseudo) * 0xC2B2AE3D27D4EB4F
	default:
		h ^= maphash.String(seed, name) * 0x9E3779B97F4A7C15
	}
	return uint32(h ^ h>>32)
}

// find returns the number of the entry that equals key, name and value.
func (e *Encoder) find(key *entry, name, value string) (uint32, bool) {
	if len(e.heads) == 0 {
		return 0, false
	}
	// Buckets are chained from the newest to the oldest entry, so the first evicted one ends the chain; so does 0, for none.
	t := &e.table
	for i := e.heads[key.hash&uint32(len(e.heads)-1)] - 1 - t.head; i < t.count(); {
		c := t.at(t.head + i)
		if c.hash == key.hash && c.known == key.known && c.pseudo == key.pseudo && c.is(t, name, value) {
			return t.head + i, true
		}
		older := c.next - 1 - t.head
		if older >= i {
			break
		}
		i = older
	}
	return 0, false
}

// is reports whether the text of an entry is that name and value; known names are equal already.
func (k *entry) is(t *table, name, value string) bool {
	text := t.text(k)
	return int(k.valueLen) == len(value) && string(text[k.nameLen:]) == value && string(text[:k.nameLen]) == name
}

// add stores an entry that is not larger than the table.
func (e *Encoder) add(key entry, name, value string) {
	t := &e.table
	if !t.add(key, name, value) {
		return
	}
	if len(e.heads) < 2*len(t.ring) {
		e.heads = make([]uint32, 2*len(t.ring))
		for n := t.head; n != t.tail; n++ {
			e.link(n)
		}
		return
	}
	e.link(t.tail - 1)
}

// link puts entry number n, the newest so far, at the front of its bucket.
func (e *Encoder) link(n uint32) {
	c := e.table.at(n)
	head := &e.heads[c.hash&uint32(len(e.heads)-1)]
	c.next = *head
	*head = n + 1
}

// literal appends a literal field: the kind in the bits of first, the index of its name or 0 and the name, and its value.
func literal(dst []byte, first byte, prefix uint, i uint32, name, value string) []byte {
	dst = appendInt(dst, first, prefix, i)
	if i == 0 {
		dst = append(appendInt(dst, 0, 7, uint32(len(name))), name...)
	}
	return append(appendInt(dst, 0, 7, uint32(len(value))), value...)
}
