package match

import (
	"strconv"
	"strings"

	"github.com/weftproxy/weft/message"
)

// A pseudo is a field that is part of a message's first line rather than of its header section.
type pseudo uint8

const (
	plain pseudo = iota
	method
	path
	authority
	scheme
	protocol
	status
	upgrade
	connection
	noPseudo // begins with a colon, and there is no such thing
)

// pseudoOf classifies a lower-case field name. As in Envoy, host is another name of :authority.
func pseudoOf(name string) pseudo {
	switch name {
	case ":method":
		return method
	case ":path":
		return path
	case ":authority", "host":
		return authority
	case ":scheme":
		return scheme
	case ":protocol":
		return protocol
	case ":status":
		return status
	case "upgrade":
		return upgrade
	case "connection":
		return connection
	}
	if strings.HasPrefix(name, ":") {
		return noPseudo
	}
	return plain
}

// A field names a header field or pseudo-header.
type field struct {
	name   string // lower case
	pseudo pseudo
}

func newField(name string) field {
	name = LowerASCII(name)
	return field{name, pseudoOf(name)}
}

// FirstOf returns the first value of a request's header field or pseudo-header, and whether there is one.
func FirstOf(r *message.Request, name string) (string, bool) {
	if p := pseudoOf(name); p != plain {
		return ofRequest(p, r)
	}
	return r.Header.Lookup(name)
}

// inRequest returns all values joined by commas, as Envoy's matchers see them.
func (f *field) inRequest(r *message.Request) (string, bool) {
	if f.pseudo != plain {
		return ofRequest(f.pseudo, r)
	}
	return joined(&r.Header, f.name)
}

func (f *field) inResponse(r *message.Response) (string, bool) {
	switch f.pseudo {
	case status:
		return strconv.Itoa(r.Status), true
	case plain, upgrade, connection:
		return joined(&r.Header, f.name)
	}
	return "", false
}

func (f *field) inHeader(h *message.Header) (string, bool) { return joined(h, f.name) }

// ofRequest returns a pseudo-header. Codecs keep Connection and Upgrade out of the header section; routes may still be chosen by
// them.
func ofRequest(p pseudo, r *message.Request) (string, bool) {
	switch p {
	case method:
		return r.Method, r.Method != ""
	case path:
		return r.Path, r.Path != ""
	case authority:
		return r.Authority, r.Authority != ""
	case scheme:
		return r.Scheme, r.Scheme != ""
	case protocol, upgrade:
		if r.Upgrade != "" && r.Upgrade != "connect" {
			return r.Upgrade, true
		}
	case connection:
		if r.Upgrade != "" && r.Upgrade != "connect" {
			return "upgrade", true
		}
	}
	return "", false
}

// joined is one value as it is, or several joined by commas in memory of their own: matching must not grow the message.
func joined(h *message.Header, name string) (string, bool) {
	first, ok := h.Lookup(name)
	if !ok || h.Count(name) == 1 {
		return first, ok
	}
	return join(h, name), true
}

func join(h *message.Header, name string) string {
	sep := ","
	if name == "cookie" {
		sep = "; " // RFC 9113 section 8.2.3
	}
	all, first := make([]byte, 0, 256), true
	for v := range h.Values(name) {
		if !first {
			all = append(all, sep...)
		}
		first = false
		all = append(all, v...)
	}
	return string(all)
}
