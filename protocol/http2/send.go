package http2

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"unsafe"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol/http2/hpack"
)

// A sourceError is the failure of the body that is being sent, not of where it goes.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// tinyFrame is the size, in bytes, below which a DATA frame that the window cut counts as dribble, and tinyMost how many a connection may
// ask for: a peer that opens its window byte by byte makes Weft work for nothing (CVE-2019-9511).
const (
	tinyFrame = 64
	tinyMost  = 1000
)

// blockedBy returns why nothing can be sent any more. mu is held.
func (s *stream) blockedBy() error {
	switch {
	case s.dead != nil:
		return s.dead
	case s.m.failed != nil:
		return s.m.failed
	case s.halt != nil:
		return s.halt
	}
	return s.woken
}

// room waits until out has room. mu is held.
func (s *stream) room() error {
	for {
		if err := s.blockedBy(); err != nil {
			return err
		}
		if len(s.m.out) < queueFull {
			return nil
		}
		s.block()
	}
}

// block waits for room or for the connection's window. mu is held.
func (s *stream) block() {
	if !s.waiting {
		s.waiting = true
		s.m.blocked = append(s.m.blocked, s)
	}
	s.writable.Wait()
}

// unlist takes the stream out of those that wait. mu is held.
func (s *stream) unlist() {
	if !s.waiting {
		return
	}
	s.waiting = false
	b := s.m.blocked
	for i := range b {
		if b[i] == s {
			s.m.blocked = append(b[:i], b[i+1:]...)
			return
		}
	}
}

// data sends p. It returns when all of it is in out, so that p may change.
func (s *stream) data(p []byte) error {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	defer s.unlist()
	for len(p) > 0 {
		if err := s.room(); err != nil {
			return err
		}
		n := min(int64(len(p)), s.sendWindow, m.sendWindow, int64(m.peerFrame))
		if n <= 0 {
			if s.srv != nil && s.srv.answered != nil {
				return errMessaging // the reader waits for this answer, and so reads no WINDOW_UPDATE
			}
			s.stuck = true
			if s.sendWindow <= 0 {
				s.writable.Wait()
			} else {
				s.block()
			}
			s.stuck = false
			continue
		}
		switch {
		case n >= tinyFrame:
			m.tiny = max(0, m.tiny-int(n/tinyFrame)) // honest peers open their windows a little now and then, and more between
		case n < int64(len(p)):
			if m.tiny++; m.tiny > tinyMost {
				return s.dribble()
			}
		}
		s.append(p[:n])
		p = p[n:]
	}
	return nil
}

// dribble ends the connection of a peer that opens its windows byte by byte. mu is held.
func (s *stream) dribble() error {
	m := s.m
	m.stats.InboundWindowUpdateFlood.Inc()
	m.mu.Unlock()
	m.giveUp(errUpdateFlood)
	m.mu.Lock()
	return errUpdateFlood
}

// append queues a DATA frame. mu is held.
func (s *stream) append(p []byte) {
	m := s.m
	n := len(p)
	b := m.put(frameHead + n)
	s.endAt, s.endBatch = len(b), m.batch
	b = append(appendFrame(b, frameData, 0, s.id, n), p...)
	m.set(b, 1)
	m.dataFrames++
	s.sendWindow -= int64(n)
	m.sendWindow -= int64(n)
	s.put += uint64(n)
	s.putWire += uint64(n) + frameHead
}

// finishWith sends the end of the stream: trailers, or a flag on the last frame where that is still to be written.
func (s *stream) finishWith(trailer *message.Header) error {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := s.blockedBy(); err != nil {
		return err
	}
	if s.sent {
		return nil
	}
	switch {
	case trailer != nil && trailer.Len() > 0:
		return s.sendTrailer(trailer)
	case s.endBatch == m.batch && len(m.out) > s.endAt:
		m.out[s.endAt+4] |= flagEndStream
	default:
		m.set(appendFrame(m.put(frameHead), frameData, flagEndStream, s.id, 0), 1)
		s.putWire += frameHead
	}
	s.saidAll()
	return nil
}

// saidAll notes that END_STREAM is queued. mu is held.
func (s *stream) saidAll() {
	s.sent = true
	if s.ended && s.srv != nil {
		s.srv.v.over(s)
	}
}

func (s *stream) sendTrailer(h *message.Header) error {
	if !fit(h) {
		return sourceError{errOutbound}
	}
	defer s.unlist()
	if err := s.room(); err != nil {
		return err
	}
	w := s.section()
	w.fields(h, dropLength)
	s.putWire += uint64(w.done(true)) + frameHead
	s.saidAll()
	s.m.stats.Trailers.Inc()
	return nil
}

// relay sends a body to its end. What is not there yet does not keep what is from being written.
func (s *stream) relay(b message.Body) error {
	for {
		p, err := b.Next()
		if err == io.EOF {
			return s.finishWith(b.Trailer())
		}
		if err != nil {
			return sourceError{err}
		}
		if err = s.data(p); err != nil {
			return err
		}
	}
}

// ofSource takes a sourceError apart.
func ofSource(err error) (error, bool) {
	var src sourceError
	if errors.As(err, &src) {
		return src.error, true
	}
	return err, false
}

// A lengthRule says what becomes of content-length.
type lengthRule uint8

const (
	dropLength lengthRule = iota
	keepLength
	setLength
)

// fit reports whether HTTP/2 can carry the fields of h.
func fit(h *message.Header) bool {
	for i := range h.Slots() {
		name, value, k, ok := h.At(i)
		if ok && (k == message.Unknown && (name == "" || !all(name, classToken)) || !printable(value)) {
			return false
		}
	}
	return true
}

// A section is a header section on its way into out. The mux stays locked from section to done.
type section struct {
	s     *stream
	b     []byte
	start int
}

// section begins a header section, leaving room for its frame's header. mu is held.
func (s *stream) section() section {
	b := s.m.put(1 << 10)
	w := section{s: s, start: len(b)}
	w.b = s.m.enc.Begin(appendFrame(b, frameHeaders, 0, s.id, 0))
	return w
}

// fields appends the fields of h that HTTP/2 carries. fit was asked before.
func (w *section) fields(h *message.Header, rule lengthRule) {
	enc := &w.s.m.enc
	for i := range h.Slots() {
		name, value, k, ok := h.At(i)
		if !ok || hop(k) || k == message.Host || k == message.HTTP2Settings || k == message.ContentLength && rule != keepLength {
			continue
		}
		w.b = enc.Field(w.b, k, name, value)
	}
}

// length appends content-length.
func (w *section) length(n int64) {
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], n, 10)
	w.b = w.s.m.enc.Field(w.b, message.ContentLength, "content-length", unsafe.String(&d[0], len(d)))
}

// done frames the section and queues it; it returns the size of the header block.
func (w *section) done(end bool) int {
	m, s := w.s.m, w.s
	size := len(w.b) - w.start - frameHead
	flags := uint8(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	s.endAt, s.endBatch = w.start, m.batch
	if size <= m.peerFrame {
		appendFrame(w.b[:w.start], frameHeaders, flags, s.id, size)
		m.setGrown(w.b, 1)
	} else {
		w.split(flags)
	}
	return size
}

// split cuts a section that is too large for one frame.
func (w *section) split(flags uint8) {
	m, s := w.s.m, w.s
	cut := w.start + frameHead + m.peerFrame
	rest := bytes.Clone(w.b[cut:])
	b := w.b[:cut]
	appendFrame(b[:w.start], frameHeaders, flags&^flagEndHeaders, s.id, m.peerFrame)
	frames := 1
	for len(rest) > 0 {
		n := min(len(rest), m.peerFrame)
		last := uint8(0)
		if n == len(rest) {
			last = flagEndHeaders
		}
		b = append(appendFrame(b, frameContinuation, last, s.id, n), rest[:n]...)
		rest = rest[n:]
		frames++
	}
	m.setGrown(b, frames)
}

// status appends :status.
func (w *section) status(code int) { w.b = w.s.m.enc.Status(w.b, code) }

// pseudo appends a pseudo-header field.
func (w *section) pseudo(p hpack.Pseudo, value string) { w.b = w.s.m.enc.Pseudo(w.b, p, value) }
