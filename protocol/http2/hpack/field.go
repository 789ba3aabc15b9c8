package hpack

import (
	"errors"
	"fmt"

	"github.com/weftproxy/weft/message"
)

// Pseudo says which pseudo-header field a name is (RFC 9113 section 8.3, RFC 8441 section 4).
type Pseudo uint8

// The pseudo-header fields.
const (
	NotPseudo Pseudo = iota
	Method
	Scheme
	Authority
	Path
	Status
	Protocol
	OtherPseudo // any other name that begins with ':'
)

// pseudoNames holds the spelling of each Pseudo. Immutable.
var pseudoNames = [...]string{
	Method: ":method", Scheme: ":scheme", Authority: ":authority", Path: ":path", Status: ":status", Protocol: ":protocol", OtherPseudo: "",
}

// String returns the name with its colon, "" for NotPseudo and OtherPseudo.
func (p Pseudo) String() string { return pseudoNames[p] }

// pseudoOf classifies a name that begins with ':'.
func pseudoOf(name string) Pseudo {
	for p := Method; p < OtherPseudo; p++ {
		if name == pseudoNames[p] {
			return p
		}
	}
	return OtherPseudo
}

// A Field is a decoded field whose bytes lie in the arena of the Header that Next was given. Offsets and lengths are bytes.
type Field struct {
	Name, NameLen   int // NameLen 0 for a pseudo-header field other than OtherPseudo: Pseudo says it all
	Value, ValueLen int

	Known     message.Known
	Pseudo    Pseudo
	Sensitive bool // never indexed on the wire (RFC 7541 section 6.2.3)
	Lower     bool // the name has no upper-case letter
}

// ErrCompression is what every error of a Decoder wraps: the connection's tables no longer agree (RFC 9113 section 4.3).
var ErrCompression = errors.New("hpack: compression error")

// The reasons. Immutable.
var (
	errIndex     = fmt.Errorf("%w: index out of range", ErrCompression)
	errInteger   = fmt.Errorf("%w: integer too large", ErrCompression)
	errTruncated = fmt.Errorf("%w: truncated", ErrCompression)
	errHuffman   = fmt.Errorf("%w: invalid Huffman code", ErrCompression)
	errName      = fmt.Errorf("%w: field name too long", ErrCompression)
	errUpdate    = fmt.Errorf("%w: table size update after a field", ErrCompression)
	errSize      = fmt.Errorf("%w: table size above the limit", ErrCompression)
	errNoUpdate  = fmt.Errorf("%w: table size update missing", ErrCompression)
)
