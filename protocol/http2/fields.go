package http2

import (
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2/hpack"
)

// A fieldSet is a decoded header section: the pseudo-header fields, and what decides framing. Strings are borrowed from the Header.
type fieldSet struct {
	method, scheme, authority, path, status, protocol string

	pseudo  uint8 // bits of the pseudo-header fields that were there
	regular bool  // a regular field was there
	host    string
	hosts   int
	cookies int
	length  int64 // content-length; -1: none
	expects bool
	dropped int // fields with an underscore that were dropped
	n, size int
	bad     *protocol.Error // why it is malformed
}

func bit(p hpack.Pseudo) uint8 { return 1 << p }

// section decodes a header section into h. A section that breaks the limits is decoded for the sake of the table, and forgotten. The error is a
// connection's.
func (r *reader) section(h *message.Header, block []byte, under Underscores, q *fieldSet) error {
	*q = fieldSet{length: -1}
	r.dec.Begin(block)
	o := r.m.o
	for {
		f, ok, err := r.dec.Next(h)
		if err != nil {
			return errCompression
		}
		if !ok {
			break
		}
		q.n++
		q.size += r.dec.Size()
		if q.n > o.MaxHeaders || q.size > o.MaxHeaderBytes {
			return r.overflow(q)
		}
		if q.bad == nil {
			q.field(h, f, under)
		}
	}
	if q.cookies > 1 && q.bad == nil {
		all, _ := h.Joined("cookie", "; ") // RFC 9113 section 8.2.3
		h.SetKnown(message.Cookie, all)
	}
	return nil
}

// overflow decodes what is left of a section that is too large. One that was malformed before it was too large is malformed.
func (r *reader) overflow(q *fieldSet) error {
	r.m.stats.HeaderOverflow.Inc()
	switch {
	case q.bad != nil:
	case q.n > r.m.o.MaxHeaders:
		q.bad = errTooMany
	default:
		q.bad = errOverflow
	}
	if _, err := r.dec.Skip(); err != nil {
		return errCompression
	}
	return nil
}

// field takes one field.
func (q *fieldSet) field(h *message.Header, f hpack.Field, under Underscores) {
	value := h.Borrow(f.Value, f.ValueLen)
	if f.Pseudo != hpack.NotPseudo {
		q.bad = q.pseudoField(f.Pseudo, value)
		return
	}
	q.regular = true
	if f.Known == message.Unknown {
		name := h.Borrow(f.Name, f.NameLen)
		if f.NameLen == 0 || !all(name, className) {
			q.bad = errFieldName
			return
		}
		if under != AllowUnderscores && hasUnderscore(name) {
			if under == RejectUnderscores {
				q.bad = errUnderscore
			}
			q.dropped++
			return
		}
	} else if !f.Lower {
		q.bad = errFieldName
		return
	}
	if !goodValue(value) {
		q.bad = errFieldValue
		return
	}
	if keep := q.known(f.Known, value); keep {
		h.AddKnownAt(f.Known, f.Name, f.NameLen, f.Value, f.ValueLen)
	}
}

func hasUnderscore(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '_' {
			return true
		}
	}
	return false
}

// known looks at the fields that mean something to the codec, and reports whether the field goes into the Header.
func (q *fieldSet) known(k message.Known, value string) bool {
	switch k {
	case message.Cookie:
		q.cookies++
	case message.Host:
		q.host = value
		q.hosts++
		return false
	case message.ContentLength:
		n, ok := decimal(value)
		if !ok || q.length >= 0 {
			q.bad = errLength
		}
		q.length = n
	case message.TE:
		if value != "trailers" {
			q.bad = errConnection
		}
	case message.Expect:
		q.expects = len(value) == 12 && (value == "100-continue" || message.EqualFold(value, "100-continue"))
	default:
		if hop(k) {
			q.bad = errConnection
		}
	}
	return true
}

// pseudoField takes a pseudo-header field.
func (q *fieldSet) pseudoField(p hpack.Pseudo, value string) *protocol.Error {
	switch {
	case p == hpack.OtherPseudo:
		return errPseudoUnknown
	case q.regular:
		return errPseudoLate
	case q.pseudo&bit(p) != 0:
		return errPseudoTwice
	}
	q.pseudo |= bit(p)
	switch p {
	case hpack.Method:
		q.method = value
	case hpack.Scheme:
		q.scheme = value
	case hpack.Authority:
		q.authority = value
	case hpack.Path:
		q.path = value
	case hpack.Status:
		q.status = value
	case hpack.Protocol:
		q.protocol = value
	}
	return nil
}

// request makes a request of the section (RFC 9113 section 8.3.1).
func (q *fieldSet) request(m *message.Request, secure, connects bool) *protocol.Error {
	if q.pseudo&bit(hpack.Status) != 0 {
		return errPseudoUnknown
	}
	if q.method == "" {
		return errPseudoMissing
	}
	if !all(q.method, classToken) {
		return errPseudoValue
	}
	m.Method, m.Scheme, m.Authority, m.Path = q.method, q.scheme, q.authority, q.path
	if err := q.target(m, connects); err != nil {
		return err
	}
	if q.hosts > 1 {
		return errHostTwice
	}
	if q.hosts == 1 {
		if m.Authority == "" {
			m.Authority = q.host
		} else if !message.EqualFold(q.host, m.Authority) {
			return errHostDiffers
		}
	}
	if q.pseudo&bit(hpack.Authority) != 0 || q.hosts > 0 {
		if !goodAuthority(m.Authority) {
			return errPseudoValue
		}
	}
	return nil
}

// target checks the pseudo-header fields that say where a request goes.
func (q *fieldSet) target(m *message.Request, connects bool) *protocol.Error {
	extended := q.pseudo&bit(hpack.Protocol) != 0
	if q.method == "CONNECT" && !extended {
		if q.pseudo&(bit(hpack.Scheme)|bit(hpack.Path)) != 0 || q.authority == "" {
			return errPseudoMissing
		}
		m.Upgrade, m.Scheme = "connect", "http"
		return nil
	}
	if q.scheme == "" || q.path == "" {
		return errPseudoMissing
	}
	if !goodScheme(q.scheme) || !all(q.path, classPath) || q.path[0] != '/' && (q.path != "*" || q.method != "OPTIONS") {
		return errPseudoValue
	}
	if !extended {
		return nil
	}
	if q.method != "CONNECT" || q.protocol == "" || !all(q.protocol, classToken) || q.authority == "" {
		return errPseudoValue
	}
	if !connects {
		return errConnect
	}
	m.Method, m.Upgrade = "GET", q.protocol
	return nil
}

func goodScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.') {
			continue
		}
		return false
	}
	return true
}

// trailers checks a trailer section.
func (q *fieldSet) trailers() *protocol.Error {
	switch {
	case q.bad != nil:
		return q.bad
	case q.pseudo != 0, q.length >= 0, q.hosts > 0:
		return errTrailers
	}
	return nil
}
