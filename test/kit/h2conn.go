package kit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// H2Options are how a peer of HTTP/2 begins.
type H2Options struct {
	Settings []http2.Setting // of the first frame
	Silent   bool            // says nothing by itself, not even the preface: the test sends all frames
	Deaf     bool            // reads nothing from the socket until Listen
	Stalled  bool            // never gives the other side back what its DATA took of the windows
}

// Seen is what an H2 has received.
type Seen struct {
	Frames   map[http2.FrameType]int
	Pongs    int                        // PING frames with ACK
	Agreed   int                        // SETTINGS frames with ACK
	Resets   map[uint32]http2.ErrCode   // by stream
	GoAways  []GoAway                   // in order
	Settings map[http2.SettingID]uint32 // the last value of each
	Opened   int                        // streams that the peer opened
	Data     int                        // bytes of DATA frames
	End      error                      // why reading has ended; nil: it has not
}

// GoAway is a frame that was received.
type GoAway struct {
	Last uint32
	Code http2.ErrCode
}

// Refused reports whether a GOAWAY with an error, or the connection's end, was seen.
func (s *Seen) Refused() bool {
	return s.End != nil || len(s.GoAways) > 0 && s.GoAways[len(s.GoAways)-1].Code != http2.ErrCodeNo
}

// An H2 is one end of a connection of HTTP/2 that keeps to the protocol by itself, and can be made to send anything. Safe for
// concurrent use.
type H2 struct {
	conn    net.Conn
	server  bool
	limit   time.Duration
	options H2Options
	accept  func(*h2Stream) // takes the streams of an upstream; nil on a client
	reading sync.WaitGroup

	wmu sync.Mutex // before mu
	fr  *http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer // what enc writes to

	mu      sync.Mutex
	seen    Seen
	streams map[uint32]*h2Stream // guarded by mu
	next    uint32               // the id of the next stream; guarded by mu
	window  int64                // of the connection, for sending; guarded by mu
	first   int64                // the peer's initial window; guarded by mu
	leaving bool                 // takes no new streams; guarded by mu
	frame   int                  // the peer's largest frame; guarded by mu
	changed chan struct{}        // closed, and replaced, when any of these changes; guarded by mu
}

func newH2(c net.Conn, server bool, limit time.Duration, o H2Options) *H2 {
	h := &H2{
		conn: c, server: server, limit: limit, options: o, streams: map[uint32]*h2Stream{}, next: 1,
		window: 65535, first: 65535, frame: 16384, changed: make(chan struct{}),
		seen: Seen{Frames: map[http2.FrameType]int{}, Resets: map[uint32]http2.ErrCode{}, Settings: map[http2.SettingID]uint32{}},
	}
	h.fr = http2.NewFramer(c, c)
	h.fr.AllowIllegalWrites = true
	h.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.buf)
	return h
}

// DialH2 connects to a listener of Weft.
func (l *Lab) DialH2(listener string, o H2Options) *H2 {
	l.t.Helper()
	h, err := l.connectH2(listener, o)
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

func (l *Lab) connectH2(listener string, o H2Options) (*H2, error) {
	p, err := l.connect(listener)
	if err != nil {
		return nil, err
	}
	h := newH2(p.Conn, false, l.limit, o)
	l.mu.Lock()
	l.h2s = append(l.h2s, h)
	l.mu.Unlock()
	return h, h.begin()
}

// begin sends what a connection begins with, and starts reading.
func (h *H2) begin() error {
	if !h.options.Silent {
		if !h.server {
			if err := h.Raw([]byte(http2.ClientPreface)); err != nil {
				return err
			}
		}
		if err := h.Frames(func(fr *http2.Framer) error { return fr.WriteSettings(h.options.Settings...) }); err != nil {
			return err
		}
	}
	if !h.options.Deaf {
		h.Listen()
	}
	return nil
}

// Listen starts reading on a peer that was deaf.
func (h *H2) Listen() {
	h.reading.Go(func() { // ends with the connection
		err := h.read()
		h.note(func() { h.seen.End = err })
	})
}

// Frames sends frames in one go, however wrong.
func (h *H2) Frames(f func(*http2.Framer) error) error {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	if err := h.conn.SetWriteDeadline(time.Now().Add(h.limit)); err != nil {
		return err
	}
	return f(h.fr)
}

// Raw sends bytes as they are.
func (h *H2) Raw(b []byte) error {
	return h.Frames(func(*http2.Framer) error {
		_, err := h.conn.Write(b)
		return err
	})
}

// Block encodes fields with HPACK. The block must be sent before the next one is made.
func (h *H2) Block(fields ...Field) []byte {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	return bytes.Clone(h.encode(fields))
}

// encode is called with wmu held.
func (h *H2) encode(fields []Field) []byte {
	h.buf.Reset()
	for _, f := range fields {
		_ = h.enc.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value}) // a buffer takes everything
	}
	return h.buf.Bytes()
}

// Wait waits until what was seen is as wanted; the test looks at it under the connection's lock.
func (h *H2) Wait(what string, ok func(*Seen) bool) error {
	return h.wait(what, func() bool { return ok(&h.seen) })
}

// Ping waits until the peer has answered a PING, and so has read everything sent before it.
func (h *H2) Ping() error {
	h.mu.Lock()
	want := h.seen.Pongs + 1
	h.mu.Unlock()
	if err := h.Frames(func(fr *http2.Framer) error { return fr.WritePing(false, [8]byte{1}) }); err != nil {
		return err
	}
	err := h.Wait("PING ACK", func(s *Seen) bool { return s.Pongs >= want || s.End != nil })
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && h.seen.Pongs < want {
		return h.seen.End
	}
	return err
}

// Close implements Client.
func (h *H2) Close() error { return h.conn.Close() }

// Reset implements Client.
func (h *H2) Reset() error { return reset(h.conn) }

// GoAway says that no streams beyond last are taken.
func (h *H2) GoAway(last uint32, code http2.ErrCode) error {
	return h.Frames(func(fr *http2.Framer) error { return fr.WriteGoAway(last, code, nil) })
}

// Leaving reports whether the peer takes no more streams.
func (h *H2) Leaving() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.seen.GoAways) > 0 || h.seen.End != nil
}

// TurnedAway reports whether the stream that a client opened last, and that has failed, is known not to have been served, and may be
// tried again on another connection: the peer's last GOAWAY, which it has crossed, excludes it (RFC 9113 section 6.8), or the peer
// never sent a frame.
func (h *H2) TurnedAway() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.seen.Frames) == 0 {
		return true
	}
	n := len(h.seen.GoAways)
	return n > 0 && h.seen.GoAways[n-1].Last+2 < h.next
}

// Leave takes no more streams of the peer's than there are now: it says so in a GOAWAY, ignores those that come after it, and closes the
// connection when all are over.
func (h *H2) Leave() error {
	var last uint32
	h.note(func() { h.leaving, last = true, h.next })
	return errors.Join(h.GoAway(last, http2.ErrCodeNo), h.closeWhenIdle())
}

// closeWhenIdle closes a connection that is leaving and has nothing left to do.
func (h *H2) closeWhenIdle() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.streams {
		if !(s.sent && s.ended) && s.err == nil {
			return nil
		}
	}
	hc, ok := h.conn.(interface{ CloseWrite() error })
	if !h.leaving || !ok {
		return nil
	}
	return hc.CloseWrite() // the peer closes: what it has sent meanwhile must not make this a reset
}

// Open implements Client.
func (h *H2) Open(head Head, end bool) (Stream, error) {
	s := &h2Stream{h: h}
	return s, s.SendHead(head, end)
}

// OpenStream sends a header section as it is on a new stream.
func (h *H2) OpenStream(fields []Field, end bool) (Stream, error) {
	s := &h2Stream{h: h}
	return s, s.sendHeaders(fields, end, true)
}

// OpenRaw is OpenStream for who only needs the stream's number.
func (h *H2) OpenRaw(fields []Field, end bool) (uint32, error) {
	s := &h2Stream{h: h}
	err := s.sendHeaders(fields, end, true)
	return s.id, err
}

// SendBlock sends a header section that was encoded, on a new stream.
func (h *H2) SendBlock(block []byte, end bool) error {
	s := &h2Stream{h: h}
	return h.Frames(func(fr *http2.Framer) error { return s.writeBlock(fr, block, end, true) })
}

// wait waits until ok, which is called with mu held.
func (h *H2) wait(what string, ok func() bool) error {
	timer := time.NewTimer(h.limit)
	defer timer.Stop()
	for {
		h.mu.Lock()
		if ok() {
			h.mu.Unlock()
			return nil
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			h.mu.Lock()
			defer h.mu.Unlock()
			return fmt.Errorf("no %s within %v; seen: %+v", what, h.limit, h.seen)
		}
	}
}

// note changes something under mu and wakes who waits.
func (h *H2) note(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// read reads frames until the connection ends.
func (h *H2) read() error {
	if h.server {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(h.conn, preface); err != nil {
			return err
		}
		if string(preface) != http2.ClientPreface {
			return fmt.Errorf("%w: preface %q", ErrMalformed, preface)
		}
	}
	for {
		f, err := h.fr.ReadFrame()
		var bad http2.StreamError
		if errors.As(err, &bad) {
			h.note(func() {
				if s := h.streams[bad.StreamID]; s != nil && s.err == nil {
					s.err = fmt.Errorf("%w: %w", errHead, err)
				}
			})
			continue
		}
		if err != nil {
			return err
		}
		if err := h.take(f); err != nil {
			return err
		}
	}
}

// take handles a frame.
func (h *H2) take(f http2.Frame) error {
	h.note(func() { h.seen.Frames[f.Header().Type]++ })
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return h.takeSettings(f)
	case *http2.PingFrame:
		if f.IsAck() {
			h.note(func() { h.seen.Pongs++ })
			return nil
		}
		if h.options.Silent {
			return nil
		}
		return h.Frames(func(fr *http2.Framer) error { return fr.WritePing(true, f.Data) })
	case *http2.GoAwayFrame:
		h.note(func() { h.seen.GoAways = append(h.seen.GoAways, GoAway{f.LastStreamID, f.ErrCode}) })
	case *http2.RSTStreamFrame:
		h.note(func() {
			h.seen.Resets[f.StreamID] = f.ErrCode
			if s := h.streams[f.StreamID]; s != nil && s.err == nil {
				s.err = &CodeError{f.ErrCode}
			}
		})
	case *http2.WindowUpdateFrame:
		h.note(func() {
			if f.StreamID == 0 {
				h.window += int64(f.Increment)
			} else if s := h.streams[f.StreamID]; s != nil {
				s.window += int64(f.Increment)
			}
		})
	case *http2.MetaHeadersFrame:
		return h.takeHeaders(f)
	case *http2.DataFrame:
		return h.takeData(f)
	}
	return nil
}

func (h *H2) takeSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		h.note(func() { h.seen.Agreed++ })
		return nil
	}
	table := int64(-1)
	h.note(func() {
		_ = f.ForeachSetting(func(s http2.Setting) error { // the function does not fail
			h.seen.Settings[s.ID] = s.Val
			switch s.ID {
			case http2.SettingInitialWindowSize:
				for _, open := range h.streams {
					open.window += int64(s.Val) - h.first
				}
				h.first = int64(s.Val)
			case http2.SettingMaxFrameSize:
				h.frame = int(s.Val)
			case http2.SettingHeaderTableSize:
				table = int64(s.Val)
			}
			return nil
		})
	})
	if h.options.Silent {
		return nil
	}
	return h.Frames(func(fr *http2.Framer) error {
		if table >= 0 {
			h.enc.SetMaxDynamicTableSizeLimit(uint32(table))
		}
		return fr.WriteSettingsAck()
	})
}

func (h *H2) takeHeaders(f *http2.MetaHeadersFrame) error {
	if f.Truncated {
		return fmt.Errorf("%w: header section too large", ErrMalformed)
	}
	var fresh *h2Stream
	h.note(func() {
		s := h.streams[f.StreamID]
		if s == nil && h.server && !h.leaving {
			s = &h2Stream{h: h, id: f.StreamID, window: h.first}
			h.streams[f.StreamID], h.next, fresh = s, f.StreamID, s
			h.seen.Opened++
		}
		if s == nil || s.err != nil {
			return
		}
		s.takeHead(f)
	})
	if fresh != nil {
		h.accept(fresh)
	}
	return nil
}

func (h *H2) takeData(f *http2.DataFrame) error {
	n := f.Length
	h.note(func() {
		h.seen.Data += len(f.Data())
		if s := h.streams[f.StreamID]; s != nil {
			s.data = append(s.data, f.Data()...)
			s.padding += int(n) - len(f.Data())
			s.ended = s.ended || f.StreamEnded()
		}
	})
	if n == 0 || h.options.Silent || h.options.Stalled {
		return nil
	}
	return h.Frames(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, n) }) // a slow stream does not hold up the others
}

// finish closes the connection and waits for its goroutine.
func (h *H2) finish() {
	_ = h.conn.Close() // most are closed already
	h.reading.Wait()
}
