package http1

import (
	"bytes"
	"slices"
	"strings"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// A requestHead is a decoded request head, but for what is in the message.
type requestHead struct {
	section
	version protocol.Version
	secure  bool // the connection is TLS
	chunked bool
	length  int64
	last    bool // the client wants no further exchange
	expects bool // it waits for 100 before it sends the body
	// What the handler may change in the message, and the response depends on.
	head, connect bool
	wants         string // Upgrade
}

// parse decodes b, a whole head whose lines were found by s, into m. Even when it fails, m holds what could be decoded and h.version
// is right.
func (o *ServerOptions) parse(h *requestHead, m *message.Request, b []byte, s *scan) *protocol.Error {
	base := m.Header.Block(b)
	h.version = protocol.HTTP11
	line := b[:s.lines[0]-2]
	target, err := h.requestLine(m, line, base, o.AllowCustomMethods)
	if err != nil {
		return err
	}
	r := fieldReader{h: &m.Header, s: &h.section, b: b, base: base, underscores: o.Underscores, dropped: o.DroppedUnderscore}
	if err := r.read(int(s.lines[0]), s.lines[1:]); err != nil {
		return err
	}
	http10 := h.version == protocol.HTTP10
	h.length, h.chunked, err = h.framing(&m.Header, http10, o.AllowChunkedLength)
	if err != nil {
		return err
	}
	if err = h.hop(&m.Header, true); err != nil {
		return err
	}
	h.last = h.close || http10 && !h.keepAlive
	if err = h.body(o, m); err != nil {
		return err
	}
	h.head, h.connect, h.wants = m.Method == "HEAD", m.Method == "CONNECT", m.Upgrade
	if err = h.authority(o, m, target); err != nil {
		return err
	}
	if r.underscored {
		return errUnderscore
	}
	if http10 && !o.AcceptHTTP10 {
		return errOldVersion
	}
	return h.expectation(m)
}

// requestLine decodes "METHOD target HTTP/1.1": two single spaces, nothing else.
func (h *requestHead) requestLine(m *message.Request, line []byte, base int, custom bool) (target string, err *protocol.Error) {
	i := bytes.IndexByte(line, ' ')
	if i <= 0 || !all(line[:i], classToken) {
		return "", errMethod
	}
	m.Method = knownMethod(line[:i])
	if m.Method == "" {
		if !custom {
			return "", errMethod
		}
		m.Method = m.Header.Borrow(base, i)
	}
	j := len(line) - len(" HTTP/1.1")
	if j <= i || line[j] != ' ' {
		return "", errRequestLine
	}
	if h.version, err = parseVersion(line[j+1:]); err != nil {
		return "", err
	}
	if !all(line[i+1:j], classTarget) {
		return "", errTarget
	}
	return m.Header.Borrow(base+i+1, j-i-1), nil
}

// parseVersion decodes "HTTP/1.1", all of whose letters are upper-case (RFC 9112 section 2.3).
func parseVersion(b []byte) (protocol.Version, *protocol.Error) {
	if len(b) == 8 && string(b[:7]) == "HTTP/1." {
		switch b[7] {
		case '1':
			return protocol.HTTP11, nil
		case '0':
			return protocol.HTTP10, nil
		}
	}
	if len(b) == 8 && string(b[:5]) == "HTTP/" && b[6] == '.' && classes[b[5]]&classes[b[7]]&classDigit != 0 {
		return protocol.HTTP11, errVersion
	}
	return protocol.HTTP11, errVersionSyntax
}

// knownMethod returns the constant for a method that Envoy's parser knows, "" for others.
func knownMethod(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "HEAD":
		return "HEAD"
	case "DELETE":
		return "DELETE"
	case "OPTIONS":
		return "OPTIONS"
	case "PATCH":
		return "PATCH"
	case "CONNECT":
		return "CONNECT"
	}
	for _, m := range rareMethods {
		if string(b) == m {
			return m
		}
	}
	return ""
}

// rareMethods are the other methods. Immutable.
var rareMethods = [...]string{"ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL",
	"MOVE", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK",
	"UNLOCK", "UNSUBSCRIBE"}

// body decides what follows the head: nothing, a body, or a tunnel if the handler agrees.
func (h *requestHead) body(o *ServerOptions, m *message.Request) *protocol.Error {
	if m.Method == "CONNECT" {
		if h.chunked {
			return errCoding
		}
		if h.length > 0 {
			return errConnectBody
		}
		m.Header.DelKnown(message.ContentLength)
		m.Upgrade, m.Length = "connect", -1
		return nil
	}
	if !h.chunked && h.length < 0 {
		h.length = 0
	}
	m.Length = h.length
	// An upgrade together with a body could be framed in two ways; the server may ignore the wish (RFC 9110 section 7.8).
	if h.upgrading && h.upgrade != "" && h.length == 0 && !h.chunked && h.version == protocol.HTTP11 {
		if m.Upgrade = o.wanted(h.upgrade); m.Upgrade != "" {
			m.Length = -1
		}
	}
	return nil
}

// wanted returns the token of Upgrade in lower case, "" when it is one to ignore.
func (o *ServerOptions) wanted(token string) string {
	switch {
	case fold(token, "websocket"):
		token = "websocket"
	case fold(token, "h2c"):
		return ""
	default:
		if !upgradeToken(token) {
			return ""
		}
		token = strings.ToLower(token)
	}
	if slices.Contains(o.IgnoreUpgrades, token) {
		return ""
	}
	return token
}

// upgradeToken checks protocol-name ["/" protocol-version].
func upgradeToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '/' {
			return all(s[:i], classToken) && all(s[i+1:], classToken)
		}
	}
	return all(s, classToken)
}

func (h *requestHead) expectation(m *message.Request) *protocol.Error {
	if h.expect == "" || h.version == protocol.HTTP10 {
		return nil
	}
	if !fold(h.expect, "100-continue") {
		return errExpectation
	}
	h.expects = m.Length != 0 && m.Upgrade == ""
	return nil
}
