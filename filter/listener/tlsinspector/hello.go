package tlsinspector

import "bytes"

// Extensions of a ClientHello, as IANA numbers them.
const (
	extServerName          = 0
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extSupportedVersions   = 43
)

// A hello is a ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2). Its slices are parts of the message.
type hello struct {
	version    uint16
	ciphers    []byte // two bytes each
	extensions reader // type, length and content of each
	name       []byte // of the server; nil: none was sent
	alpn       []byte // protocols, each with its length before it; nil: none
}

// A reader takes values off the front of a slice. What is not there gives ok == false.
type reader []byte

func (r *reader) take(n int) (b []byte, ok bool) {
	if len(*r) < n {
		return nil, false
	}
	b, *r = (*r)[:n], (*r)[n:]
	return b, true
}

func (r *reader) uint16() (uint16, bool) {
	b, ok := r.take(2)
	if !ok {
		return 0, false
	}
	return uint16(b[0])<<8 | uint16(b[1]), true
}

// vector takes a slice with its length, in size bytes, before it.
func (r *reader) vector(size int) (reader, bool) {
	b, ok := r.take(size)
	if !ok {
		return nil, false
	}
	n := 0
	for _, ch := range b {
		n = n<<8 | int(ch)
	}
	b, ok = r.take(n)
	return b, ok
}

// parse reads the body of a ClientHello. It reports false of what a TLS server has to refuse as malformed.
func (h *hello) parse(body []byte) bool {
	r := reader(body)
	var ok bool
	if h.version, ok = r.uint16(); !ok {
		return false
	}
	if _, ok = r.take(32); !ok { // random
		return false
	}
	if _, ok = r.vector(1); !ok { // session id
		return false
	}
	ciphers, ok := r.vector(2)
	if !ok || len(ciphers)%2 != 0 {
		return false
	}
	h.ciphers = ciphers
	if _, ok = r.vector(1); !ok { // compression methods
		return false
	}
	if len(r) == 0 {
		return true // older clients have no extensions
	}
	if h.extensions, ok = r.vector(2); !ok || len(r) > 0 {
		return false
	}
	return h.read()
}

// read looks for the name and the protocols among the extensions.
func (h *hello) read() bool {
	var seenName, seenALPN bool
	for rest := h.extensions; len(rest) > 0; {
		kind, content, ok := rest.extension()
		if !ok {
			return false
		}
		switch kind {
		case extServerName:
			if seenName || !h.readName(content) {
				return false
			}
			seenName = true
		case extALPN:
			if seenALPN {
				return false
			}
			seenALPN = true
			h.readALPN(content)
		}
	}
	return true
}

// extension takes one extension.
func (r *reader) extension() (kind uint16, content reader, ok bool) {
	if kind, ok = r.uint16(); !ok {
		return 0, nil, false
	}
	content, ok = r.vector(2)
	return kind, content, ok
}

// maxName is how many bytes a host name has at most.
const maxName = 255

// readName reads server_name (RFC 6066 section 3), which holds at most one name of each type; host names have type 0.
func (h *hello) readName(content reader) bool {
	names, ok := content.vector(2)
	if !ok || len(names) == 0 || len(content) > 0 {
		return false
	}
	for len(names) > 0 {
		kind, _ := names.take(1)
		name, ok := names.vector(2)
		if !ok || len(name) == 0 {
			return false
		}
		if kind[0] != 0 {
			continue
		}
		if h.name != nil || len(name) > maxName || bytes.IndexByte(name, 0) >= 0 {
			return false
		}
		h.name = name
	}
	return true
}

// readALPN reads application_layer_protocol_negotiation (RFC 7301 section 3.1). What is malformed is left to the handshake to refuse.
func (h *hello) readALPN(content reader) {
	list, ok := content.vector(2)
	if !ok || len(content) > 0 {
		return
	}
	for rest := list; len(rest) > 0; {
		if name, ok := rest.vector(1); !ok || len(name) == 0 {
			return
		}
	}
	if len(list) > 0 {
		h.alpn = list
	}
}

// find returns the content of an extension, nil when there is none.
func (h *hello) find(want uint16) (content reader, ok bool) {
	for rest := h.extensions; len(rest) > 0; {
		kind, content, ok := rest.extension()
		if !ok {
			return nil, false
		}
		if kind == want {
			return content, true
		}
	}
	return nil, false
}

// protocols returns the names in a list of protocols.
func protocols(alpn []byte) []string {
	all := string(alpn)
	n := 0
	for i := 0; i < len(all); i += 1 + int(all[i]) {
		n++
	}
	names := make([]string, 0, n)
	for i := 0; i < len(all); {
		end := i + 1 + int(all[i])
		names = append(names, all[i+1:end])
		i = end
	}
	return names
}
