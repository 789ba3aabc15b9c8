package kit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// A Head begins a message, whatever the protocol: of a request when Status is 0.
type Head struct {
	Method    string // GET where it is empty; of a tunnel CONNECT, or with Upgrade GET
	Scheme    string // HTTP/2 only; http where it is empty
	Authority string // weft.example where it is empty
	Path      string // / where it is empty
	Upgrade   string // what the tunnel speaks: the Upgrade field of HTTP/1, :protocol of HTTP/2
	Status    int    // of a response; 200 when a tunnel is granted, also where HTTP/1 says 101
	Fields    []Field
	Close     bool   // HTTP/1: Connection: close was there
	Wire      string // of a head that was read: the start line of HTTP/1, the pseudo-header fields of HTTP/2
}

// Get is the value of the field of this name in any spelling, those of several joined by ", ", and whether there is one.
func (h *Head) Get(name string) (string, bool) { return get(h.Fields, name) }

// Value is Get where an absent field is as good as an empty one.
func (h *Head) Value(name string) string {
	v, _ := h.Get(name)
	return v
}

// F makes fields of names and values.
func F(namesAndValues ...string) []Field {
	var fields []Field
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		fields = append(fields, Field{namesAndValues[i], namesAndValues[i+1]})
	}
	return fields
}

// filled has the defaults in place.
func (h Head) filled() Head {
	or := func(s *string, text string) {
		if *s == "" {
			*s = text
		}
	}
	if h.Status == 0 {
		or(&h.Method, "GET")
		or(&h.Scheme, "http")
		or(&h.Authority, "weft.example")
		or(&h.Path, "/")
	}
	return h
}

// pseudo are the head's fields as HTTP/2 has them.
func (h Head) pseudo() []Field {
	switch h = h.filled(); {
	case h.Status != 0:
		return append(F(":status", strconv.Itoa(h.Status)), h.Fields...)
	case h.Upgrade != "":
		return append(F(":method", "CONNECT", ":protocol", h.Upgrade, ":scheme", h.Scheme, ":authority", h.Authority, ":path", h.Path), h.Fields...)
	case h.Method == "CONNECT":
		return append(F(":method", "CONNECT", ":authority", h.Authority), h.Fields...)
	}
	return append(F(":method", h.Method, ":scheme", h.Scheme, ":authority", h.Authority, ":path", h.Path), h.Fields...)
}

// errHead is a head that breaks the protocol although its framing is right.
var errHead = errors.New("malformed head")

// headOf reads a head of HTTP/2.
func headOf(fields []hpack.HeaderField) (*Head, error) {
	h := &Head{}
	var wire []string
	for _, f := range fields {
		if !strings.HasPrefix(f.Name, ":") {
			if f.Name == "connection" || f.Name == "upgrade" || f.Name == "transfer-encoding" || f.Name == "keep-alive" {
				return nil, fmt.Errorf("%w: field %s of HTTP/1", errHead, f.Name)
			}
			h.Fields = append(h.Fields, Field{f.Name, f.Value})
			continue
		}
		wire = append(wire, f.Name+" "+f.Value)
		switch f.Name {
		case ":method":
			h.Method = f.Value
		case ":scheme":
			h.Scheme = f.Value
		case ":authority":
			h.Authority = f.Value
		case ":path":
			h.Path = f.Value
		case ":protocol":
			h.Upgrade = f.Value
		case ":status":
			var err error
			if h.Status, err = strconv.Atoi(f.Value); err != nil || len(f.Value) != 3 {
				return nil, fmt.Errorf("%w: :status %q", errHead, f.Value)
			}
		}
	}
	h.Wire = strings.Join(wire, " ")
	if h.Upgrade != "" {
		if h.Method != "CONNECT" {
			return nil, fmt.Errorf("%w: :protocol with method %s", errHead, h.Method)
		}
		h.Method = "GET"
	}
	return h, nil
}

// plain is a head of HTTP/1: names in lower case, host in Authority, without the fields that frame the message.
func plain(m *Message) *Head {
	h := &Head{Wire: m.Start, Status: m.status}
	if m.request {
		h.Method, h.Path = m.method, m.Target()
	}
	upgrades := false
	for _, f := range m.Fields {
		switch name := strings.ToLower(f.Name); name {
		case "host":
			h.Authority = f.Value
		case "connection":
			h.Close = h.Close || strings.EqualFold(f.Value, "close")
			upgrades = upgrades || strings.EqualFold(f.Value, "upgrade")
		case "upgrade":
			h.Upgrade = f.Value
		case "transfer-encoding", "keep-alive":
		default:
			h.Fields = append(h.Fields, Field{name, f.Value})
		}
	}
	if !upgrades {
		h.Upgrade = ""
	}
	if h.Status == 101 {
		h.Status = 200
	}
	return h
}
