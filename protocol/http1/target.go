package http1

import (
	"strings"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// authority decodes the request target in the form that the method asks for (RFC 9112 section 3.2) and decides which host the request is
// for.
func (h *requestHead) authority(o *ServerOptions, m *message.Request, target string) *protocol.Error {
	if h.hosts > 1 {
		return errHostTwice
	}
	m.Scheme = "http"
	if h.secure {
		m.Scheme = "https"
	}
	m.Authority = h.host
	switch {
	case m.Method == "CONNECT":
		if !goodAuthority(target) || strings.LastIndexByte(target, ':') <= strings.LastIndexByte(target, ']') {
			return errTarget
		}
		m.Authority, m.Path = target, ""
	case target[0] == '/', target == "*" && m.Method == "OPTIONS":
		m.Path = target
	default:
		if err := h.absoluteForm(o, m, target); err != nil {
			return err
		}
	}
	if h.hosts == 0 {
		if h.version == protocol.HTTP11 {
			return errNoHost
		}
		if m.Authority == "" {
			m.Authority = o.DefaultHost
		}
		if m.Authority == "" {
			return errNoHost
		}
		return nil
	}
	if !goodAuthority(h.host) {
		return errAuthority
	}
	return nil
}

// absoluteForm decodes "http://host/path". A Host that names another host is refused: who looks only at one of the two would see
// another request.
func (h *requestHead) absoluteForm(o *ServerOptions, m *message.Request, target string) *protocol.Error {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok {
		return errTarget
	}
	port := ":80"
	switch {
	case fold(scheme, "http"):
	case fold(scheme, "https"):
		if !h.secure {
			return errPlainHTTPS
		}
		port = ":443"
	default:
		return errTarget
	}
	if !o.AllowAbsoluteURL {
		return errAbsolute
	}
	host, path := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
		if path[0] != '/' {
			path = m.Header.Keep("/" + path)
		}
	} else if m.Method == "OPTIONS" {
		path = "*" // RFC 9112 section 3.2.4
	}
	if !goodAuthority(host) {
		return errTarget
	}
	if h.hosts == 1 && !strings.EqualFold(strings.TrimSuffix(host, port), strings.TrimSuffix(h.host, port)) {
		return errHostMismatch
	}
	m.Authority, m.Path = host, path
	return nil
}

// goodAuthority checks uri-host [":" port] (RFC 3986 section 3.2.2), without user information.
func goodAuthority(s string) bool {
	if !all(s, classHost) {
		return false
	}
	host, port := s, ""
	if s[0] == '[' {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return false
		}
		host, port = s[1:i], s[i+1:]
		if host == "" || strings.IndexByte(host, '[') >= 0 || port != "" && port[0] != ':' {
			return false
		}
	} else {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, port = s[:i], s[i:]
		}
		if host == "" || strings.ContainsAny(host, "[]") {
			return false
		}
	}
	if len(port) < 2 {
		return true // an empty port is the default one (RFC 3986 section 3.2.3)
	}
	n, ok := decimal(port[1:])
	return ok && n <= 65535
}
