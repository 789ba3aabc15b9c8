package kit

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// h1Client is a client that asks one thing after the other.
type h1Client struct{ *Peer }

// Open implements Client.
func (c *h1Client) Open(h Head, end bool) (Stream, error) {
	s := newH1Stream(c.Peer, true)
	return s, s.SendHead(h, end)
}

// h1Stream is one exchange on a connection of HTTP/1.
type h1Stream struct {
	p      *Peer
	client bool

	// Of the message that is sent; owned by who sends.
	method  string // of the request, on both ends
	chunked bool
	tunnel  bool // granted: bytes are sent as they are
	mute    bool // the response has no body, whatever is sent
	upgrade string

	// Of the message that is read; owned by who reads.
	in      framing
	trailer []Field

	mu   sync.Mutex
	sent bool          // the message was sent to its end; guarded by mu
	read bool          // the message was read to its end; guarded by mu
	done chan struct{} // closed when both are
	stop bool          // the connection is not used again; guarded by mu
}

// framing says how a body ends.
type framing struct {
	kind framingKind
	left int64 // of a length, or of a chunk
}

type framingKind uint8

const (
	noBody framingKind = iota
	withLength
	inChunks
	untilEnd
	ended
)

func newH1Stream(p *Peer, client bool) *h1Stream {
	return &h1Stream{p: p, client: client, done: make(chan struct{})}
}

// SendHead implements Stream.
func (s *h1Stream) SendHead(h Head, end bool) error {
	if s.client {
		h = h.filled()
		s.method, s.upgrade = h.Method, h.Upgrade
	}
	if !s.client && s.method == "HEAD" && h.Status >= 200 {
		end, s.mute = true, true
	}
	b := s.startLine(h)
	_, hasLength := h.Get("content-length")
	switch {
	case s.tunnel || h.Status != 0 && h.Status < 200 || h.Status == 204 || h.Status == 304 || s.mute || s.client && s.upgrade != "":
	case s.client && end || hasLength:
	case end:
		b += "content-length: 0\r\n"
	case s.client && s.method == "CONNECT":
		s.tunnel = true
	default:
		b += "transfer-encoding: chunked\r\n"
		s.chunked = true
	}
	for _, f := range h.Fields {
		b += f.Name + ": " + f.Value + "\r\n"
	}
	if err := s.p.write([]byte(b + "\r\n")); err != nil {
		return err
	}
	if s.client && s.upgrade != "" {
		s.tunnel = true // what follows is for the other side of the upgrade
		return nil
	}
	if end && (h.Status == 0 || h.Status >= 200) {
		return s.finishSending()
	}
	return nil
}

// startLine is the head's first line and the fields that stand for parts of it.
func (s *h1Stream) startLine(h Head) string {
	if h.Status == 0 {
		target := h.Path
		if h.Method == "CONNECT" {
			target = h.Authority
		}
		b := fmt.Sprintf("%s %s HTTP/1.1\r\nhost: %s\r\n", h.Method, target, h.Authority)
		if h.Upgrade != "" {
			b += "connection: Upgrade\r\nupgrade: " + h.Upgrade + "\r\n"
		}
		return b
	}
	b := ""
	if s.upgrade != "" && h.Status == 200 {
		h.Status, b = 101, "connection: Upgrade\r\nupgrade: "+s.upgrade+"\r\n"
		s.tunnel = true
	}
	if s.method == "CONNECT" && h.Status/100 == 2 {
		s.tunnel = true
	}
	if h.Close {
		s.abandon()
		b += "connection: close\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %d X\r\n%s", h.Status, b)
}

// Send implements Stream.
func (s *h1Stream) Send(b []byte, end bool) error {
	if s.mute {
		return nil
	}
	if s.chunked && len(b) > 0 {
		b = fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b)
	}
	if s.chunked && end {
		b = append(b[:len(b):len(b)], "0\r\n\r\n"...)
	}
	if len(b) > 0 {
		if err := s.p.write(b); err != nil {
			return err
		}
	}
	if end {
		return s.finishSending()
	}
	return nil
}

// SendTrailer implements Stream.
func (s *h1Stream) SendTrailer(fields ...Field) error {
	if s.mute {
		return nil
	}
	if !s.chunked {
		return errors.New("no trailers in a message that is not chunked")
	}
	b := "0\r\n"
	for _, f := range fields {
		b += f.Name + ": " + f.Value + "\r\n"
	}
	if err := s.p.write([]byte(b + "\r\n")); err != nil {
		return err
	}
	return s.finishSending()
}

func (s *h1Stream) finishSending() error {
	s.over(func() { s.sent = true })
	if s.tunnel {
		return s.p.CloseWrite()
	}
	return nil
}

// over notes that one half is over.
func (s *h1Stream) over(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.sent && s.read
	f()
	if s.sent && s.read && !was {
		close(s.done)
	}
}

// Reset implements Stream.
func (s *h1Stream) Reset() error {
	s.abandon()
	return s.p.Reset()
}

// abandon makes the exchange the connection's last one.
func (s *h1Stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = true
}

// Head implements Stream.
func (s *h1Stream) Head() (*Head, error) {
	if err := s.p.patient(); err != nil {
		return nil, err
	}
	m, err := s.message()
	if err != nil {
		return nil, err
	}
	h := plain(m)
	if !s.client {
		s.method, s.upgrade = h.Method, h.Upgrade
	}
	if m.status >= 100 && m.status < 200 && m.status != 101 {
		return h, nil
	}
	switch length, hasLength := m.Get("content-length"); {
	case h.Upgrade != "" || s.method == "CONNECT" && h.Status < 300:
		s.in = framing{kind: untilEnd}
	case m.bodiless():
		s.in.kind = noBody
	case hasChunks(m):
		s.in = framing{kind: inChunks}
		if hasLength {
			return nil, fmt.Errorf("%w: content-length and transfer-encoding", ErrMalformed)
		}
	case hasLength:
		n, err := strconv.ParseInt(length, 10, 62)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%w: content-length %q", ErrMalformed, length)
		}
		s.in = framing{withLength, n}
	case !m.request:
		s.in = framing{kind: untilEnd}
	}
	if s.in.kind == noBody || s.in.kind == withLength && s.in.left == 0 {
		s.finishReading()
	}
	if h.Close {
		s.abandon()
	}
	return h, nil
}

func (s *h1Stream) message() (*Message, error) {
	if s.client {
		return s.p.in.response(s.method)
	}
	return s.p.in.request()
}

func hasChunks(m *Message) bool {
	coding, ok := m.Get("transfer-encoding")
	return ok && strings.EqualFold(coding, "chunked")
}

func (s *h1Stream) finishReading() {
	s.in.kind = ended
	s.over(func() { s.read = true })
}

// Chunk implements Stream.
func (s *h1Stream) Chunk() ([]byte, error) {
	if err := s.p.patient(); err != nil {
		return nil, err
	}
	switch s.in.kind {
	case noBody, ended:
		return nil, io.EOF
	case untilEnd:
		b, err := s.some(32 << 10)
		if errors.Is(err, io.EOF) {
			s.finishReading()
		}
		return b, err
	case inChunks:
		if s.in.left == 0 {
			if last, err := s.nextChunk(); last || err != nil {
				return nil, err
			}
		}
	}
	b, err := s.some(int(min(s.in.left, 32<<10)))
	s.in.left -= int64(len(b))
	if err != nil {
		return b, unexpected(err)
	}
	switch {
	case s.in.left > 0:
	case s.in.kind == withLength:
		s.finishReading()
	default:
		if line, err := s.p.in.line(); err != nil || line != "" {
			return b, fmt.Errorf("%w: a chunk ends with %q", ErrMalformed, line)
		}
	}
	return b, nil
}

// nextChunk reads a chunk's size, and at the last chunk the trailers.
func (s *h1Stream) nextChunk() (last bool, err error) {
	line, err := s.p.in.line()
	if err != nil {
		return false, unexpected(err)
	}
	if s.in.left, err = strconv.ParseInt(line, 16, 62); err != nil {
		return false, fmt.Errorf("%w: chunk size %q", ErrMalformed, line)
	}
	if s.in.left > 0 {
		return false, nil
	}
	if s.trailer, err = s.p.in.fields(); err != nil {
		return true, err
	}
	s.finishReading()
	return true, io.EOF
}

// some reads up to n bytes, at least one.
func (s *h1Stream) some(n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := s.p.in.br.Read(b)
	if got > 0 {
		err = nil
	}
	return b[:got], err
}

// Trailer implements Stream.
func (s *h1Stream) Trailer() []Field {
	fields := make([]Field, 0, len(s.trailer))
	for _, f := range s.trailer {
		fields = append(fields, Field{strings.ToLower(f.Name), f.Value})
	}
	return fields
}

// Gone implements Stream.
func (s *h1Stream) Gone() error {
	if err := s.p.patient(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, s.p.in.br) // the rest of a message may still come
	if howEnded(err) == "" {
		return err
	}
	return nil
}
