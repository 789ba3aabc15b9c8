package http1

import (
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// A responseHead is a decoded response head, but for what is in the message.
type responseHead struct {
	section
	version protocol.Version
	kind    framing
	length  int64 // for lengthFraming
	last    bool  // the connection is not used again
}

// asked is what a response's framing depends on besides itself (RFC 9112 section 6.3).
type asked struct {
	head, connect, upgrade bool
}

// parse decodes b, a whole head whose lines were found by s, into m.
func (o *ClientOptions) parse(h *responseHead, m *message.Response, b []byte, s *scan, q asked) *protocol.Error {
	base := m.Header.Block(b)
	if err := h.statusLine(m, b[:s.lines[0]-2]); err != nil {
		return err
	}
	r := fieldReader{h: &m.Header, s: &h.section, b: b, base: base}
	if err := r.read(int(s.lines[0]), s.lines[1:]); err != nil {
		return err
	}
	http10 := h.version == protocol.HTTP10
	length, chunked, err := h.framing(&m.Header, http10, o.AllowChunkedLength)
	if err != nil {
		return err
	}
	if err = h.hop(&m.Header, false); err != nil {
		return err
	}
	h.last = h.close || http10 && !h.keepAlive
	return h.frame(m, length, chunked, q)
}

// statusLine decodes "HTTP/1.1 200 OK"; the reason, and the space before it, may be missing.
func (h *responseHead) statusLine(m *message.Response, line []byte) (err *protocol.Error) {
	if len(line) < 12 || line[8] != ' ' {
		return errStatusLine
	}
	if h.version, err = parseVersion(line[:8]); err != nil {
		return err
	}
	n, ok := decimal(string(line[9:12]))
	if !ok || n < 100 || len(line) > 12 && line[12] != ' ' || !goodValue(line[12:]) {
		return errStatusLine
	}
	m.Status = int(n)
	return nil
}

// frame decides how the body ends.
func (h *responseHead) frame(m *message.Response, length int64, chunked bool, q asked) *protocol.Error {
	status := m.Status
	switch {
	case status == 101 && !q.upgrade:
		return errSwitch
	case status == 101, q.connect && status/100 == 2:
		if chunked || length > 0 {
			return errNotAllowed
		}
		if status == 101 && h.upgrade != "" {
			m.Header.AddKnown(message.Upgrade, h.upgrade)
		}
		m.Header.DelKnown(message.ContentLength)
		m.Tunnel, m.Length, h.kind, h.last = true, -1, tunnelFraming, true
	case status/100 == 1, status == 204:
		if chunked {
			return errTENotAllowed
		}
		if length > 0 {
			return errNotAllowed
		}
		m.Header.DelKnown(message.ContentLength)
		h.kind, m.Length = noFraming, 0
	case q.head, status == 304:
		h.kind, m.Length = noFraming, 0
	case chunked:
		h.kind, m.Length = chunkedFraming, -1
	case length >= 0:
		h.kind, h.length, m.Length = lengthFraming, length, length
	default:
		h.kind, m.Length, h.last = closeFraming, -1, true
	}
	return nil
}
