// Package proxyproto reads and writes the headers of HAProxy's PROXY protocol, versions 1 and 2: the line or block with which a proxy in
// front tells who its peer was.
package proxyproto

import (
	"errors"
	"fmt"
	"net/netip"
)

// A Header is one decoded PROXY protocol header.
type Header struct {
	Version int // 1 or 2
	// Local says that the sender speaks for itself (LOCAL, UNKNOWN): the addresses of the connection hold, those below are invalid.
	Local       bool
	Source      netip.AddrPort
	Destination netip.AddrPort
	// TLVs are the extensions of version 2 as they were sent; they are known to be well formed. When decoded, they are borrowed from
	// the input.
	TLVs []byte
}

// Sizes in bytes.
const (
	MaxV1 = 107            // a line of version 1 with its CRLF
	MaxV2 = 16 + 1<<16 - 1 // a block of version 2
	v2Len = 16             // the fixed part of version 2
)

// sig1 and sig2 begin the headers of the two versions.
const (
	sig1 = "PROXY "
	sig2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// An Error says what is wrong with a header. Nothing of the input is in its text.
type Error struct {
	Version int // 0 when it is neither
	Reason  string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Version == 0 {
		return "PROXY protocol: " + e.Reason
	}
	return fmt.Sprintf("PROXY protocol v%d: %s", e.Version, e.Reason)
}

// ErrNoHeader says that the bytes are no PROXY protocol header.
var ErrNoHeader = errors.New("PROXY protocol: no header")

// Detect says which version of a header b begins with: 1, 2, or 0 for none. more says that b is too short to tell.
func Detect(b []byte) (version int, more bool) {
	for i, sig := range [...]string{sig1, sig2} {
		n := min(len(b), len(sig))
		if string(b[:n]) != sig[:n] {
			continue
		}
		if n < len(sig) {
			return 0, true
		}
		return i + 1, false
	}
	return 0, false
}

// Decode reads the header that b begins with and returns its length. A length of 0 without an error says that at least need bytes have to
// be there before Decode can do more. The error is ErrNoHeader or an *Error.
func Decode(b []byte) (h Header, n, need int, err error) {
	version, more := Detect(b)
	switch {
	case more:
		return Header{}, 0, len(b) + 1, nil
	case version == 1:
		return decodeV1(b)
	case version == 2:
		return decodeV2(b)
	}
	return Header{}, 0, 0, ErrNoHeader
}
