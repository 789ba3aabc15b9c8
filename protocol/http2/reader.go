package http2

import (
	"encoding/binary"
	"io"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol/http2/hpack"
)

// A side is the part of reading that servers and clients do differently. All of it runs on the reader's goroutine.
type side interface {
	// head takes a whole header section; block lives for the duration of the call.
	head(f frame, block []byte) error
	// fresh reports whether a stream of that number was never opened.
	fresh(id uint32) bool
	// opened returns how many streams there were.
	opened() uint64
	// reset says that the peer reset a stream, cut that the reader did.
	reset(s *stream, code Code) error
	cut(s *stream, code Code, why error) error
	// ended says that a stream's END_STREAM has arrived. mu is held.
	ended(s *stream)
	// strayed decides about a DATA frame for a stream that is closed.
	strayed(f frame) error
	goneAway(last uint32, code Code) error
	pong(p []byte) error
	// resized says that SETTINGS have changed.
	resized()
	// rung handles alarms.
	rung(bits uint32) error
}

// A reader takes frames from a connection.
type reader struct {
	m    *mux
	side side
	dec  hpack.Decoder

	settled bool   // the peer's first SETTINGS have come
	began   frame  // HEADERS whose section is not complete; id 0: none
	block   []byte // that section so far
	conts   int    // CONTINUATION frames of that section

	now        int64 // scope.Now at the last read: when everything that is buffered arrived
	empty      int   // consecutive frames with an empty payload
	priorities uint64
	updates    uint64
}

// run reads frames until the connection ends, and says why.
func (r *reader) run() error {
	for {
		if err := r.need(frameHead); err != nil {
			return err
		}
		f := parseFrame(r.m.c.Buffered())
		if f.length > maxFrame {
			return errFrameLarge
		}
		if !r.settled && (f.kind != frameSettings || f.flags&flagAck != 0) {
			return errNoSettings
		}
		if r.began.id != 0 && (f.kind != frameContinuation || f.id != r.began.id) {
			return errContinuation
		}
		if err := r.floods(f); err != nil {
			return err
		}
		if err := r.take(f); err != nil {
			return err
		}
	}
}

// take reads the payload of f and acts on it.
func (r *reader) take(f frame) error {
	c := r.m.c
	if f.kind == frameData {
		c.Discard(frameHead)
		return r.data(f)
	}
	if err := r.need(frameHead + f.length); err != nil {
		return err
	}
	err := r.act(f, c.Buffered()[frameHead:frameHead+f.length])
	c.Discard(frameHead + f.length)
	return err
}

func (r *reader) act(f frame, p []byte) error {
	switch f.kind {
	case frameHeaders:
		return r.headers(f, p)
	case frameContinuation:
		return r.continuation(f, p)
	case framePriority:
		return r.priority(f, p)
	case frameRST:
		return r.rst(f, p)
	case frameSettings:
		return r.settings(f, p)
	case framePush:
		return errPush
	case framePing:
		return r.ping(f, p)
	case frameGoAway:
		if f.id != 0 {
			return errNotStreamZero
		}
		if len(p) < 8 {
			return errFrameSize
		}
		return r.side.goneAway(binary.BigEndian.Uint32(p)&maxStreamID, Code(binary.BigEndian.Uint32(p[4:])))
	case frameWindowUpdate:
		return r.window(f, p)
	}
	return nil // unknown types are for extensions (RFC 9113 section 4.1)
}

// need reads until n bytes are buffered.
func (r *reader) need(n int) error {
	c := r.m.c
	for len(c.Buffered()) < n {
		if len(c.Buffered()) == 0 {
			c.Release()
			c.Yield(1) // what streams write now the peer may have answered by the time of the read
		}
		if err := r.fill(n); err != nil {
			return err
		}
	}
	return nil
}

// fill reads more, and handles alarms meanwhile.
func (r *reader) fill(n int) error {
	m, c := r.m, r.m.c
	for {
		if bits := m.alarms.Swap(0); bits != 0 {
			if err := r.side.rung(bits); err != nil {
				return err
			}
		}
		err := c.Fill()
		switch {
		case err == nil:
			r.now = scope.Now()
			return nil
		case err == conn.ErrBufferFull:
			c.Grow(max(n, conn.LargeBuffer))
		case c.ReviveRead() != nil: // the flusher may be writing
			if c.Draining() { // Drain sets no alarm of its own
				m.alarms.Or(alarmDrain)
			}
		case err == io.EOF && len(c.Buffered()) > 0:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

// headers takes a HEADERS frame.
func (r *reader) headers(f frame, p []byte) error {
	if f.id == 0 {
		return errStreamZero
	}
	p, err := unpad(f, p)
	if err != nil {
		return err
	}
	selfish := false
	if f.flags&flagPriority != 0 {
		if len(p) < 5 {
			return errFrameSize
		}
		selfish = binary.BigEndian.Uint32(p)&maxStreamID == f.id
		p = p[5:]
	}
	if selfish {
		return errStreamID // a stream that depends on itself (RFC 7540 section 5.3.1)
	}
	if f.flags&flagEndHeaders != 0 {
		return r.side.head(f, p)
	}
	r.began, r.conts = f, 0
	r.block = append(r.block[:0], p...)
	if d := r.m.headTimeout; d > 0 {
		r.m.alarm.Arm(scope.Headers, scope.Now()+int64(d))
	}
	return nil
}

// continuation takes a CONTINUATION frame. The section is decoded when it is complete, and so is bounded here.
func (r *reader) continuation(f frame, p []byte) error {
	if r.began.id == 0 {
		return errContinuation
	}
	r.conts++
	if len(r.block)+len(p) > r.m.o.MaxHeaderBytes+maxFrame || r.conts > max(mostContinuations, 2*r.m.o.MaxHeaderBytes/maxFrame) {
		r.m.stats.HeaderOverflow.Inc()
		return errHeaderBlock
	}
	r.block = append(r.block, p...)
	if f.flags&flagEndHeaders == 0 {
		return nil
	}
	began := r.began
	r.began = frame{}
	r.m.alarm.Extend(scope.Headers, 0)
	err := r.side.head(began, r.block)
	r.block = nil
	return err
}

// priority checks a PRIORITY frame and ignores what it says (RFC 9113 section 5.3.2).
func (r *reader) priority(f frame, p []byte) error {
	switch {
	case f.id == 0:
		return errStreamZero
	case len(p) != 5:
		return r.fault(f.id, CodeFrameSize, errFrameSize)
	case binary.BigEndian.Uint32(p)&maxStreamID == f.id:
		return r.fault(f.id, CodeProtocol, errStreamID)
	}
	return nil
}

// fault is a stream error on a stream that may not be open.
func (r *reader) fault(id uint32, code Code, why *connError) error {
	m := r.m
	m.mu.Lock()
	s := m.table.find(id)
	if s == nil {
		m.mu.Unlock()
		return why
	}
	s.pins++
	m.mu.Unlock()
	err := r.side.cut(s, code, why)
	s.unpin()
	return err
}

func (r *reader) rst(f frame, p []byte) error {
	switch {
	case f.id == 0:
		return errStreamZero
	case len(p) != 4:
		return errFrameSize
	case r.side.fresh(f.id):
		return errIdle
	}
	m := r.m
	m.stats.RxReset.Inc()
	m.mu.Lock()
	s := m.table.find(f.id)
	if s == nil {
		m.mu.Unlock()
		return nil
	}
	s.pins++
	m.mu.Unlock()
	err := r.side.reset(s, Code(binary.BigEndian.Uint32(p)))
	s.unpin()
	return err
}

func (r *reader) ping(f frame, p []byte) error {
	if f.id != 0 {
		return errNotStreamZero
	}
	if len(p) != 8 {
		return errFrameSize
	}
	if f.flags&flagAck != 0 {
		return r.side.pong(p)
	}
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.answer(framePing, flagAck, 0, p)
}

// settings takes what the peer says about itself.
func (r *reader) settings(f frame, p []byte) error {
	switch {
	case f.id != 0:
		return errNotStreamZero
	case f.flags&flagAck != 0 && len(p) != 0, len(p)%6 != 0:
		return errFrameSize
	case f.flags&flagAck != 0:
		r.dec.Acked()
		r.m.mu.Lock()
		r.m.acked = true
		r.m.mu.Unlock()
		return nil
	}
	m := r.m
	m.mu.Lock()
	if !r.settled {
		m.peerStreams = maxStreamID
		r.settled = true
	}
	for ; len(p) > 0; p = p[6:] {
		if err := m.learn(setting(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])); err != nil {
			m.mu.Unlock()
			return err
		}
	}
	err := m.answer(frameSettings, flagAck, 0, nil)
	m.mu.Unlock()
	r.side.resized()
	return err
}

// learn takes one setting of the peer's. mu is held.
func (m *mux) learn(s setting, v uint32) error {
	switch s {
	case settingTableSize:
		m.enc.SetPeerSize(int(min(v, 1<<20)))
	case settingPush:
		if v > 1 {
			return errSetting
		}
	case settingMaxStreams:
		m.peerStreams = v
	case settingWindow:
		return m.resizeWindow(v)
	case settingMaxFrame:
		if v < maxFrame || v > maxFrameLimit {
			return errSetting
		}
	case settingConnect:
		if v > 1 {
			return errSetting
		}
		m.peerConnects = v == 1
	}
	return nil
}

// resizeWindow applies SETTINGS_INITIAL_WINDOW_SIZE to the streams that are open (RFC 9113 section 6.9.2). mu is held.
func (m *mux) resizeWindow(v uint32) error {
	if v > maxWindow {
		return errSettingWindow
	}
	delta := int64(v) - m.peerWindow
	m.peerWindow = int64(v)
	for _, s := range m.table.all() {
		if s.sendWindow += delta; s.sendWindow > maxWindow {
			return errSettingWindow
		}
		if delta > 0 {
			s.writable.Broadcast()
		}
	}
	return nil
}

// window takes WINDOW_UPDATE.
func (r *reader) window(f frame, p []byte) error {
	if len(p) != 4 {
		return errFrameSize
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if f.id == 0 {
		return r.connWindow(n)
	}
	if r.side.fresh(f.id) {
		return errIdle
	}
	m := r.m
	m.mu.Lock()
	s := m.table.find(f.id)
	if s == nil {
		m.mu.Unlock()
		return nil
	}
	if s.sendWindow+n <= maxWindow && n > 0 {
		s.sendWindow += n
		s.writable.Broadcast()
		m.mu.Unlock()
		return nil
	}
	s.pins++
	m.mu.Unlock()
	code, why := CodeFlowControl, errWindowLarge
	if n == 0 {
		code, why = CodeProtocol, errWindowZero
	}
	err := r.side.cut(s, code, why)
	s.unpin()
	return err
}

func (r *reader) connWindow(n int64) error {
	if n == 0 {
		return errWindowZero
	}
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sendWindow += n; m.sendWindow > maxWindow {
		return errWindowLarge
	}
	m.unblock()
	return nil
}

// data takes a DATA frame whose header has been read, piece by piece as it arrives.
func (r *reader) data(f frame) error {
	if f.id == 0 {
		return errStreamZero
	}
	m, left, pad := r.m, f.length, 0
	if p := m.c.Buffered(); f.flags&flagPadded == 0 && left > 0 && left <= len(p) && r.whole(f, p[:left]) {
		m.c.Discard(left)
		return nil
	}
	if f.flags&flagPadded != 0 {
		if f.length == 0 {
			return errFrameSize
		}
		if err := r.need(1); err != nil {
			return err
		}
		pad = int(m.c.Buffered()[0])
		m.c.Discard(1)
		if left--; pad > left {
			return errPadding
		}
		left -= pad
		if err := r.payload(left > 0 || f.flags&flagEndStream != 0); err != nil {
			return err
		}
	}
	if err := r.charge(f, f.length-left); err != nil {
		return err
	}
	for first := true; first || left > 0; first = false {
		if left > 0 {
			if err := r.need(1); err != nil {
				return err
			}
		}
		p := m.c.Buffered()
		p = p[:min(left, len(p))]
		left -= len(p)
		if err := r.deliver(f, p, left == 0); err != nil {
			return err
		}
		m.c.Discard(len(p))
	}
	return r.skip(pad)
}

// whole takes a DATA frame that is there at once and breaks no rule. It reports false, having done nothing, when the frame needs a closer look.
func (r *reader) whole(f frame, p []byte) bool {
	m, n := r.m, int64(len(p))
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.table.find(f.id)
	end := f.flags&flagEndStream != 0
	switch {
	case s == nil, s.dead != nil, s.ended, m.recvWindow < n, s.recvWindow < n, s.call != nil && s.call.state == headAwaited:
		return false
	case s.left >= 0 && (s.left < n || end && s.left > n):
		return false
	}
	m.recvWindow -= n
	s.recvWindow -= n
	if s.left >= 0 {
		s.left -= n
	}
	s.gotWire += uint64(n) + frameHead
	s.arrived(p)
	if end {
		s.finished()
		r.side.ended(s)
	}
	return true
}

// skip reads padding.
func (r *reader) skip(n int) error {
	for n > 0 {
		if err := r.need(1); err != nil {
			return err
		}
		k := min(n, len(r.m.c.Buffered()))
		r.m.c.Discard(k)
		n -= k
	}
	return nil
}

// charge takes a DATA frame from the windows; waste is how much of it is padding.
func (r *reader) charge(f frame, waste int) error {
	m := r.m
	m.mu.Lock()
	if m.recvWindow -= int64(f.length); m.recvWindow < 0 {
		m.mu.Unlock()
		return errWindow
	}
	if waste > 0 {
		m.consumed(waste)
	}
	s := m.table.find(f.id)
	if s == nil {
		m.mu.Unlock()
		if r.side.fresh(f.id) {
			return errIdle
		}
		return r.side.strayed(f)
	}
	code, why := CodeNo, error(nil)
	s.recvWindow -= int64(f.length)
	switch {
	case s.ended:
		code, why = CodeStreamClosed, errHalfClosed
	case s.recvWindow < 0:
		code, why = CodeFlowControl, errWindow
	case s.call != nil && s.call.state == headAwaited:
		code, why = CodeProtocol, errEarlyData
	}
	if why == nil {
		s.gotWire += uint64(frameHead + waste)
		if waste > 0 {
			s.replenish(waste) // padding counts against the windows (RFC 9113 section 6.9.1), and nobody reads it
		}
		m.mu.Unlock()
		return nil
	}
	s.pins++
	m.mu.Unlock()
	err := r.side.cut(s, code, why)
	s.unpin()
	return err
}

// deliver gives a piece of a DATA frame to its stream; last says that the frame is at its end.
func (r *reader) deliver(f frame, p []byte, last bool) error {
	m := r.m
	m.mu.Lock()
	s := m.table.find(f.id)
	if s == nil || s.dead != nil {
		m.consumed(len(p)) // closed meanwhile, or by charge
		m.mu.Unlock()
		return nil
	}
	end := last && f.flags&flagEndStream != 0
	if s.left >= 0 {
		if s.left -= int64(len(p)); s.left < 0 || end && s.left > 0 {
			m.consumed(len(p))
			s.pins++
			m.mu.Unlock()
			err := r.side.cut(s, CodeProtocol, errLengthBody)
			s.unpin()
			return err
		}
	}
	s.gotWire += uint64(len(p))
	s.arrived(p)
	if end {
		s.finished()
		r.side.ended(s)
	}
	m.mu.Unlock()
	return nil
}

// finished notes END_STREAM. mu is held.
func (s *stream) finished() {
	s.ended = true
	s.announce()
}

// unpin lets the stream's owner go on that waits in unpinned.
func (s *stream) unpin() {
	s.m.mu.Lock()
	s.pins--
	s.announce()
	s.m.mu.Unlock()
}
