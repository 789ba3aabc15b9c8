package hpack

import (
	"unsafe"

	"github.com/weftproxy/weft/message"
)

// A Decoder decodes the header blocks of one direction of a connection. It belongs to one goroutine. After an error it is of no
// more use, for its table may differ from the encoder's.
type Decoder struct {
	table table
	limit int // the largest table that an update may ask for, in bytes
	own   int // what we advertise, in bytes

	block []byte // borrowed from the caller of Begin
	pos   int
	begun bool // a field of the block was read
	size  int
	spare message.Header // where Skip decodes to
}

// keepSpare is how much memory Skip keeps for the next time, in bytes.
const keepSpare = 4 << 10

// Init prepares the decoder for a connection on which we advertise max bytes as SETTINGS_HEADER_TABLE_SIZE; more than 1 GiB
// counts as 1 GiB. As the peer may not have seen our SETTINGS yet, the table begins with the 4096 bytes that hold without them
// (RFC 9113 section 6.5.2), and a smaller max is enforced only from Acked on.
func (d *Decoder) Init(max int) {
	own := clamp(max)
	*d = Decoder{own: own, limit: own}
	if own < defaultTable {
		d.limit = defaultTable
	}
	d.table.max = defaultTable
}

// Acked says that the peer has acknowledged our SETTINGS: from here on a table larger than we advertise is an error, and where
// the peer's still is, its next block must begin with an update (RFC 7541 section 4.2).
func (d *Decoder) Acked() { d.limit = d.own }

// Begin starts a whole header block, which must not change until Next or Skip has come to its end.
func (d *Decoder) Begin(block []byte) { d.block, d.pos, d.begun = block, 0, false }

// Size returns the bytes that the last field of Next counts in SETTINGS_MAX_HEADER_LIST_SIZE: name, value and 32.
func (d *Decoder) Size() int { return d.size }

// Next decodes a field. It appends the field's bytes to the arena of h, but no field to h; ok is false at the end of the block.
// Errors wrap ErrCompression: those of RFC 7541, and a name longer than message.MaxNameLen.
func (d *Decoder) Next(h *message.Header) (f Field, ok bool, err error) {
	more, err := d.more()
	if !more || err != nil {
		return f, false, err
	}
	if d.block[d.pos] >= 0x80 {
		err = d.indexed(h, &f)
	} else {
		err = d.literal(h, &f)
	}
	return f, err == nil, err
}

// Skip decodes the rest of the block for the table's sake alone and returns the number of fields in it. Errors are those of Next.
func (d *Decoder) Skip() (n int, err error) {
	for {
		more, err := d.more()
		if !more || err != nil {
			if d.spare.Cap() > keepSpare {
				d.spare = message.Header{}
			}
			return n, err
		}
		if d.block[d.pos] >= 0x80 {
			_, err = d.index(7)
		} else {
			var f Field
			d.spare.Reset()
			err = d.literal(&d.spare, &f)
		}
		if err != nil {
			return n, err
		}
		n++
	}
}

// more reads the table size updates at the beginning of a block and reports whether a field follows.
func (d *Decoder) more() (bool, error) {
	for d.pos < len(d.block) {
		if d.block[d.pos]>>5 != 1 {
			if !d.begun && d.table.max > d.limit {
				return false, errNoUpdate
			}
			d.begun = true
			return true, nil
		}
		if d.begun {
			return false, errUpdate
		}
		n, size, err := readInt(d.block[d.pos:], 5)
		if err != nil {
			return false, err
		}
		if n > uint64(d.limit) {
			return false, errSize
		}
		d.pos += size
		d.table.resize(int(n))
	}
	d.block = nil
	d.pos = 0
	return false, nil
}

// index reads an index with a prefix of the given width and checks that there is an entry.
func (d *Decoder) index(prefix uint) (uint32, error) {
	n, size := uint64(d.block[d.pos])&(1<<prefix-1), 1
	if n == 1<<prefix-1 {
		var err error
		if n, size, err = readInt(d.block[d.pos:], prefix); err != nil {
			return 0, err
		}
	}
	if n == 0 || n > staticCount+uint64(d.table.count()) {
		return 0, errIndex
	}
	d.pos += size
	return uint32(n), nil
}

// indexed decodes an indexed field (RFC 7541 section 6.1).
func (d *Decoder) indexed(h *message.Header, f *Field) error {
	i, err := d.index(7)
	if err != nil {
		return err
	}
	text, nameLen := d.entry(i, f)
	d.size = len(text) + entryOverhead
	f.ValueLen = len(text) - nameLen
	if f.Pseudo != NotPseudo && f.Pseudo != OtherPseudo {
		f.Value = h.Block(text[nameLen:])
		return nil
	}
	f.Name, f.NameLen = h.Block(text), nameLen
	f.Value = f.Name + nameLen
	return nil
}

// entry returns the text of an entry and the length of its name, and says in f what is known of the name.
func (d *Decoder) entry(i uint32, f *Field) (text []byte, nameLen int) {
	if i <= staticCount {
		s := &statics[i]
		f.Known, f.Pseudo, f.Lower = s.known, s.pseudo, true
		return unsafe.Slice(unsafe.StringData(s.text), len(s.text)), int(s.nameLen)
	}
	e := d.table.at(d.table.tail - (i - staticCount))
	f.Known, f.Pseudo, f.Lower = e.known, e.pseudo, e.lower
	return d.table.text(e), int(e.nameLen)
}

// literal decodes a literal field (RFC 7541 section 6.2).
func (d *Decoder) literal(h *message.Header, f *Field) (err error) {
	c := d.block[d.pos]
	prefix, store := uint(4), c >= 0x40
	if store {
		prefix = 6
	}
	f.Sensitive = c>>4 == 1
	if c&(1<<prefix-1) != 0 {
		i, err := d.index(prefix)
		if err != nil {
			return err
		}
		text, nameLen := d.entry(i, f)
		f.Name, f.NameLen = h.Block(text[:nameLen]), nameLen
	} else if err = d.name(h, f); err != nil {
		return err
	}
	if f.Value, f.ValueLen, err = d.text(h); err != nil {
		return err
	}
	d.size = f.NameLen + f.ValueLen + entryOverhead
	if store {
		e := entry{known: f.Known, pseudo: f.Pseudo, lower: f.Lower}
		d.table.add(e, h.Borrow(f.Name, f.NameLen), h.Borrow(f.Value, f.ValueLen))
	}
	if f.Pseudo != NotPseudo && f.Pseudo != OtherPseudo {
		f.NameLen = 0
	}
	return nil
}

// name decodes the name of a literal field that is a string.
func (d *Decoder) name(h *message.Header, f *Field) (err error) {
	d.pos++
	if f.Name, f.NameLen, err = d.text(h); err != nil {
		return err
	}
	if f.NameLen > message.MaxNameLen {
		return errName
	}
	name := h.Borrow(f.Name, f.NameLen)
	f.Known = message.LookupKnown(name)
	if f.Known != message.Unknown {
		f.Lower = name == f.Known.String()
		return nil
	}
	f.Lower = !hasUpper(name)
	if name != "" && name[0] == ':' {
		f.Pseudo = pseudoOf(name)
	}
	return nil
}

// text decodes a string (RFC 7541 section 5.2) and returns where it is.
func (d *Decoder) text(h *message.Header) (off, n int, err error) {
	rest := d.block[d.pos:]
	if len(rest) == 0 {
		return 0, 0, errTruncated
	}
	length, size := uint64(rest[0]&0x7f), 1
	if length == 0x7f {
		if length, size, err = readInt(rest, 7); err != nil {
			return 0, 0, err
		}
	}
	if length > uint64(len(rest)-size) {
		return 0, 0, errTruncated
	}
	end := size + int(length)
	d.pos += end
	if rest[0] < 0x80 {
		return h.Block(rest[size:end]), int(length), nil
	}
	h.Grow(decodedLen(int(length)))
	b, err := code.decode(h.Spare(), rest[size:end])
	if err != nil {
		return 0, 0, err
	}
	return h.Block(b), len(b), nil
}

// hasUpper reports whether an upper-case ASCII letter is in s.
func hasUpper(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]-'A' < 26 {
			return true
		}
	}
	return false
}
