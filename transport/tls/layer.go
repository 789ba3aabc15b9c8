package tls

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// A layer is a TLS connection whose handshake is over.
type layer struct{ *tls.Conn }

// Rest drops the buffers of crypto/tls that nothing waits in. It keeps them for as long as there is a connection: 4 KiB that the ClientHello
// was in, and 40 KiB after the first large record, which is many times what an idle connection needs otherwise. Nobody may read meanwhile.
func (l layer) Rest() {
	for _, at := range buffers {
		if b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(l.Conn), at)); b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}

// buffers is where in a tls.Conn its buffers are. Those that a version of Go does not have are left out, and so are left alone. Immutable.
var buffers = buffersOf(reflect.TypeFor[tls.Conn](), "rawInput", "hand")

func buffersOf(t reflect.Type, names ...string) []uintptr {
	var out []uintptr
	for _, name := range names {
		if f, ok := t.FieldByName(name); ok && len(f.Index) == 1 && f.Type == reflect.TypeFor[bytes.Buffer]() {
			out = append(out, f.Offset)
		}
	}
	return out
}
