package http1

import (
	"io"
	"strconv"
	"unsafe"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// Sizes in bytes.
const (
	copied  = 4 << 10  // a chunk up to this is copied behind what is waiting to be written, a longer one is written from where it is
	pending = 12 << 10 // what waits is written when it is more
	maxKept = 16 << 10 // pooled memory that is larger is left to the garbage collector
)

// A writer encodes messages onto a connection. Heads and small chunks gather in out.
type writer struct {
	c     *conn.Conn
	out   []byte
	names HeaderCase
	bytes uint64 // of bodies
	wire  uint64 // of everything
}

// release makes the writer as new.
func (w *writer) release() {
	out := w.out[:0]
	if cap(out) > maxKept {
		out = nil
	}
	*w = writer{out: out}
}

// flush writes what waits.
func (w *writer) flush() error { return w.write(nil, nil) }

// write writes what waits, then p and q.
func (w *writer) write(p, q []byte) error {
	n, err := w.c.Write3(w.out, p, q)
	w.wire += uint64(n)
	w.out = w.out[:0]
	return err
}

// statusLine appends a response's first line.
func (w *writer) statusLine(version protocol.Version, status int) {
	switch {
	case version == protocol.HTTP10:
		w.out = append(w.out, "HTTP/1.0 "...)
	case status == 200:
		w.out = append(w.out, "HTTP/1.1 200 OK\r\n"...)
		return
	default:
		w.out = append(w.out, "HTTP/1.1 "...)
	}
	w.out = append(w.out, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10), ' ')
	w.out = append(w.out, reason(status)...)
	w.crlf()
}

func (w *writer) crlf() { w.out = append(w.out, '\r', '\n') }

// A lengthRule says what becomes of Content-Length.
type lengthRule uint8

const (
	noLength   lengthRule = iota // it goes
	setLength                    // it says what is right, in its place when there is one
	keepLength                   // what is there stays: it is about another response
)

// fields appends the fields of h that may cross a hop. length is for setLength.
func (w *writer) fields(h *message.Header, rule lengthRule, length int64) error {
	written := false
	for i := range h.Slots() {
		name, value, k, ok := h.At(i)
		if !ok {
			continue
		}
		switch k {
		case message.Host, message.Connection, message.TransferEncoding, message.KeepAlive, message.ProxyConnection, message.Upgrade,
			message.HTTP2Settings:
			continue
		case message.ContentLength:
			n, ok := decimal(value)
			if !ok || written || rule == noLength || rule == setLength && n != length {
				continue
			}
			written = true
		case message.Unknown:
			if !all(name, classToken) {
				return errUnfit
			}
		}
		if !goodValue(unsafe.Slice(unsafe.StringData(value), len(value))) {
			return errUnfit
		}
		w.name(name)
		w.out = append(append(w.out, value...), '\r', '\n')
	}
	if rule == setLength && !written {
		w.name("content-length")
		w.out = append(strconv.AppendInt(w.out, length, 10), '\r', '\n')
	}
	return nil
}

// field appends one field whose value is known to be good.
func (w *writer) field(name, value string) {
	w.name(name)
	w.out = append(append(w.out, value...), '\r', '\n')
}

// name appends a field name in the spelling that is wanted, and the colon.
func (w *writer) name(name string) {
	from := len(w.out)
	w.out = append(append(w.out, name...), ':', ' ')
	switch w.names {
	case LowerCase:
		for i, c := range w.out[from:] {
			if c-'A' < 26 {
				w.out[from+i] = c | 0x20
			}
		}
	case ProperCase:
		up := true
		for i, c := range w.out[from:] {
			if c |= 0x20; up && c-'a' < 26 {
				w.out[from+i] = c &^ 0x20
			} else if !up && c-'a' < 26 {
				w.out[from+i] = c
			}
			up = w.out[from+i] == '-'
		}
	}
}

// A sourceError is the failure of the body that was being sent, as opposed to that of the connection.
type sourceError struct{ error }

// Unwrap returns the body's error.
func (e sourceError) Unwrap() error { return e.error }

// An outgoing is a body that is being written, step by step.
type outgoing struct {
	w        *writer
	b        message.Body
	kind     framing
	left     int64 // of lengthFraming
	trailers bool
}

// all writes what waits and the body, to its end.
func (o *outgoing) all() error {
	for {
		if done, err := o.step(); done || err != nil {
			return err
		}
	}
}

// step writes one chunk of the body, or its end.
func (o *outgoing) step() (done bool, err error) {
	switch {
	case o.kind == noFraming:
		return true, o.none()
	case o.kind == lengthFraming && o.left == 0:
		return true, o.complete()
	}
	p, err := o.w.next(o.b)
	if err == io.EOF {
		return true, o.end()
	}
	if err != nil {
		return false, err
	}
	switch o.kind {
	case lengthFraming:
		if o.left -= int64(len(p)); o.left < 0 {
			return false, sourceError{errTooLong}
		}
	case chunkedFraming:
		return false, o.w.chunk(p)
	}
	return false, o.w.raw(p)
}

// none ends a message that has no body, whatever its Body says.
func (o *outgoing) none() error {
	if err := o.w.flush(); err != nil {
		return err
	}
	if o.b.Ready() {
		_, _ = o.b.Next() // lets a body that is empty find out
	}
	return nil
}

// complete ends a message whose length has been reached.
func (o *outgoing) complete() error {
	if len(o.w.out) > 0 {
		if err := o.w.flush(); err != nil {
			return err
		}
	}
	if p, _ := o.b.Next(); len(p) > 0 { // the message is complete, whatever else is wrong with the body
		return sourceError{errTooLong}
	}
	return nil
}

// end ends a message whose body has ended.
func (o *outgoing) end() error {
	switch o.kind {
	case lengthFraming:
		return sourceError{errTooShort}
	case chunkedFraming:
		return o.w.lastChunk(o.b.Trailer(), o.trailers)
	}
	if len(o.w.out) > 0 {
		return o.w.flush()
	}
	return nil
}

// next returns the body's next chunk. What waits is written before it blocks.
func (w *writer) next(b message.Body) ([]byte, error) {
	if len(w.out) > 0 && !b.Ready() {
		if err := w.flush(); err != nil {
			return nil, err
		}
	}
	p, err := b.Next()
	if err != nil && err != io.EOF {
		err = sourceError{err}
	}
	return p, err
}

// raw writes p, or keeps a copy of it for later.
func (w *writer) raw(p []byte) error {
	w.bytes += uint64(len(p))
	if len(p) > copied {
		return w.write(p, nil)
	}
	if w.out = append(w.out, p...); len(w.out) > pending {
		return w.flush()
	}
	return nil
}

// chunk writes p as a chunk, or keeps a copy of it for later.
func (w *writer) chunk(p []byte) error {
	w.bytes += uint64(len(p))
	w.out = strconv.AppendUint(w.out, uint64(len(p)), 16)
	w.crlf()
	if len(p) > copied {
		return w.write(p, crlf)
	}
	w.out = append(w.out, p...)
	w.crlf()
	if len(w.out) > pending {
		return w.flush()
	}
	return nil
}

var crlf = []byte("\r\n") // immutable

// lastChunk writes the end of a chunked body.
func (w *writer) lastChunk(t *message.Header, trailers bool) error {
	w.out = append(w.out, '0', '\r', '\n')
	if t != nil && trailers {
		n := len(w.out)
		if err := w.trailer(t); err != nil {
			w.out = w.out[:n]
		}
	}
	w.crlf()
	return w.flush()
}

// trailer appends the trailer fields that may be one.
func (w *writer) trailer(h *message.Header) error {
	for i := range h.Slots() {
		if name, _, k, ok := h.At(i); ok && !trailing(name, k) {
			h.DelAt(i)
		}
	}
	return w.fields(h, noLength, 0)
}
