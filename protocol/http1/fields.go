package http1

import (
	"bytes"
	"strings"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// A section is what the fields of one message say to the codec. Strings are borrowed from the message's header.
type section struct {
	host, connection, length, coding, upgrade, expect string
	hosts, lengths, codings                           int
	hasConnection, trailersWanted                     bool

	// what Connection says
	close, keepAlive, upgrading bool
}

// A fieldReader reads field lines into a header. It is on the stack of whoever parses.
type fieldReader struct {
	h           *message.Header
	s           *section
	b           []byte // the section as it is in the read buffer
	base        int    // where it is in h's arena
	underscores Underscores
	dropped     func()
	underscored bool // a name has an underscore that RejectUnderscores is about
}

// read parses the field lines that begin at from and end at lines.
func (r *fieldReader) read(from int, lines []uint32) *protocol.Error {
	for _, end := range lines {
		if err := r.line(from, int(end)-2); err != nil {
			return err
		}
		from = int(end)
	}
	return nil
}

// line parses b[from:to], a field line without its CRLF.
func (r *fieldReader) line(from, to int) *protocol.Error {
	i := from
	for i < to && classes[r.b[i]]&classToken != 0 {
		i++
	}
	if i == to {
		return errNoColon
	}
	if i == from || r.b[i] != ':' {
		if r.b[from] == ' ' || r.b[from] == '\t' {
			return errFolded
		}
		return errName
	}
	name := r.b[from:i]
	if len(name) > message.MaxNameLen {
		return errHeadSize
	}
	value, end := trim(r.b, i+1, to)
	if !goodValue(r.b[value:end]) {
		return errValue
	}
	k := message.LookupKnown(name)
	if k == message.Unknown {
		if keep, err := r.unknown(name); !keep {
			return err
		}
	} else if !r.known(k, value, end) {
		return nil
	}
	r.h.AddKnownAt(k, r.base+from, len(name), r.base+value, end-value)
	return nil
}

// unknown decides about names with an underscore.
func (r *fieldReader) unknown(name []byte) (keep bool, err *protocol.Error) {
	if bytes.IndexByte(name, '_') < 0 {
		return true, nil
	}
	switch {
	case foldBytes(name, "transfer_encoding"), foldBytes(name, "content_length"):
		return false, errName // some parsers take them for the names with a dash
	case r.underscores == RejectUnderscores:
		r.underscored = true // and go on: what frames the message has to be known
	case r.underscores == DropUnderscores:
		if r.dropped != nil {
			r.dropped()
		}
		return false, nil
	}
	return true, nil
}

func foldBytes(b []byte, lower string) bool { return len(b) == len(lower) && fold(string(b), lower) }

// known takes note of the fields that are the codec's business. It reports whether the field stays in the header.
func (r *fieldReader) known(k message.Known, from, to int) bool {
	s := r.s
	switch k {
	case message.Host:
		s.host = r.borrow(from, to)
		s.hosts++
	case message.Connection:
		s.connection = r.join(s.hasConnection, s.connection, from, to)
		s.hasConnection = true
	case message.ContentLength:
		s.length = r.borrow(from, to)
		s.lengths++
		return true
	case message.TransferEncoding:
		s.coding = r.borrow(from, to)
		s.codings++
	case message.Upgrade:
		s.upgrade = r.join(s.upgrade != "", s.upgrade, from, to)
	case message.Expect:
		s.expect = r.join(s.expect != "", s.expect, from, to)
		return true
	case message.TE:
		s.trailersWanted = s.trailersWanted || hasToken(r.borrow(from, to), "trailers")
	case message.KeepAlive, message.ProxyConnection, message.HTTP2Settings:
	default:
		return true
	}
	return false
}

func (r *fieldReader) borrow(from, to int) string { return r.h.Borrow(r.base+from, to-from) }

// join appends a further field of the same name to a list.
func (r *fieldReader) join(more bool, list string, from, to int) string {
	v := r.borrow(from, to)
	if more {
		v = r.h.Keep(list + "," + v)
	}
	return v
}

// hasToken reports whether a list has an element, parameters aside.
func hasToken(list, lower string) bool {
	for list != "" {
		var t string
		t, list = nextToken(list)
		if i := strings.IndexByte(t, ';'); i >= 0 {
			t = space(t[:i])
		}
		if fold(t, lower) {
			return true
		}
	}
	return false
}

// maxNominated is how many options of Connection Envoy takes.
const maxNominated = 9

// hop obeys Connection: it takes note of the options and deletes the fields they nominate (RFC 9110 section 7.6.1). A request may not
// nominate fields that decide what happens to it; a response's such nomination is ignored.
func (s *section) hop(h *message.Header, request bool) *protocol.Error {
	if s.trailersWanted {
		h.AddKnown(message.TE, "trailers")
	}
	if !s.hasConnection {
		return nil
	}
	n := 0
	for list := s.connection; list != ""; {
		var t string
		t, list = nextToken(list)
		if t == "" {
			continue
		}
		if n++; n > maxNominated && request {
			return errConnection
		}
		switch {
		case fold(t, "close"):
			s.close = true
		case fold(t, "keep-alive"):
			s.keepAlive = true
		case fold(t, "upgrade"):
			s.upgrading = true
		case fold(t, "te"), fold(t, "http2-settings"):
		case !all(t, classToken) && request, protected(t) && request:
			return errConnection
		case !protected(t):
			h.Del(t)
		}
	}
	return nil
}

// protected are the fields that Connection may not strip: they decide framing, routing, identity or trust.
func protected(name string) bool {
	switch message.LookupKnown(name) {
	case message.Host, message.ContentLength, message.TransferEncoding, message.Cookie, message.SetCookie, message.Authorization,
		message.ProxyAuthorization, message.Expect, message.Via, message.XRequestID, message.ContentType, message.ContentEncoding,
		message.Location, message.CacheControl, message.Date, message.WWWAuthenticate:
		return true
	}
	if len(name) < 8 {
		return false
	}
	return name[0]|0x20 == 'x' && (len(name) > 12 && fold(name[:12], "x-forwarded-") || fold(name[:8], "x-envoy-") || fold(name, "x-real-ip")) ||
		fold(name, "forwarded")
}

// framing returns how long the body is according to the fields: chunked, or length bytes, -1 when they say nothing.
func (s *section) framing(h *message.Header, http10, allowBoth bool) (length int64, chunked bool, err *protocol.Error) {
	length = -1
	if s.lengths > 0 {
		if s.lengths > 1 {
			return 0, false, errLengthTwice
		}
		n, ok := decimal(s.length)
		if !ok || len(s.length) > 1 && s.length[0] == '0' {
			return 0, false, errLength
		}
		length = n
	}
	if s.codings == 0 {
		return length, false, nil
	}
	switch {
	case http10:
		return 0, false, errCodingHTTP10
	case s.codings > 1:
		return 0, false, errCodingTwice
	case !fold(s.coding, "chunked"):
		return 0, false, errCoding
	case s.lengths > 0 && !allowBoth:
		return 0, false, errBothLengths
	case s.lengths > 0:
		h.DelKnown(message.ContentLength)
	}
	return -1, true, nil
}
