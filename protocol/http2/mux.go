package http2

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol/http2/hpack"
)

// queueFull is how many bytes may wait to be written before streams have to wait, too. Frames that answer the peer's own do not wait; floods
// of them are counted.
const queueFull = 32 << 10

// A mux is one connection: what both sides of the protocol have in common. One goroutine reads (see reader); everything else is guarded
// by mu, which is never held while something blocks.
type mux struct {
	c           *conn.Conn
	headTimeout time.Duration // of a header section in several frames; 0: none
	o           *Options      // with defaults filled in
	stats       *Stats
	alarm       scope.Scope // deadlines of the connection; its fire only sets alarms and wakes the reader

	alarms atomic.Uint32 // bits of scope.Due that have passed, and the flags below

	mu      sync.Mutex
	table   table
	blocked []*stream // wait for room in out or for the connection's window
	failed  error     // the connection is dead; nothing is written any more
	verdict error     // the reader is to end the connection with this

	// Writing.
	out      []byte // pooled; frames that wait for the flusher
	spare    []byte // pooled; what the flusher writes, or wrote last
	batch    uint32 // counts the buffers that the flusher took: tells whether a frame is still in out
	flushing bool
	written  sync.Cond // of mu: the flusher has written something, or has ended
	queued   uint64    // bytes ever put into out
	sent     uint64    // bytes of these written
	begun    uint64    // bytes of these that the flusher has begun to write
	control  int       // control frames in out
	frames   int       // frames in out
	enc      hpack.Encoder

	// What the peer allows.
	sendWindow   int64
	peerWindow   int64 // SETTINGS_INITIAL_WINDOW_SIZE
	peerFrame    int
	peerStreams  uint32
	peerConnects bool // SETTINGS_ENABLE_CONNECT_PROTOCOL

	// What the peer was allowed.
	acked      bool  // it knows Weft's settings
	recvWindow int64 // bytes the peer may still send
	credit     int64 // bytes consumed that it was not told of
	eager      bool  // data counts as consumed when it arrives: a slow reader must not stop other streams

	dataFrames uint64 // DATA frames sent, for the budget of WINDOW_UPDATE
	tiny       int    // of these cut to next to nothing by the window
}

// Flags in alarms, above the bits of scope.Due.
const (
	alarmDrain   = 1 << (16 + iota) // somebody asks for the end of the connection
	alarmDead                       // failed was set by another goroutine
	alarmVerdict                    // verdict was set
)

// begin prepares a mux. wake is the alarms' fire.
func (m *mux) begin(c *conn.Conn, o *Options, eager bool) {
	m.c, m.o, m.eager = c, o, eager
	m.stats = o.stats(c.Lane)
	m.sendWindow, m.peerWindow, m.peerFrame, m.peerStreams = defaultWindow, defaultWindow, maxFrame, initialPeerMost
	m.recvWindow = int64(o.ConnWindow)
	m.enc.Init(o.TableSize)
	m.written.L = &m.mu
	m.alarm.Init(m.fire)
}

// fire implements the alarms of the connection: the reader looks at them.
func (m *mux) fire(d scope.Due) error {
	m.rouse(1 << d)
	return nil
}

// rouse makes the reader look at its alarms.
func (m *mux) rouse(bits uint32) {
	m.alarms.Or(bits)
	m.c.WakeRead(errAlarm)
}

// kill ends the connection: streams fail with err, nothing is written any more. Any goroutine may call it.
func (m *mux) kill(err error) {
	m.mu.Lock()
	first := m.failed == nil
	if first {
		m.fail(err)
	}
	m.mu.Unlock()
	if first {
		m.alarms.Or(alarmDead)
		m.c.Wake(err)
	}
}

// giveUp makes the reader end the connection with err, in good order. Any goroutine may call it, without mu.
func (m *mux) giveUp(err error) {
	m.mu.Lock()
	if m.verdict == nil {
		m.verdict = err
	}
	m.mu.Unlock()
	m.rouse(alarmVerdict)
}

// sentence returns what the connection ends with: how it failed, or what giveUp said.
func (m *mux) sentence() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	return m.verdict
}

// fail notes that the connection is dead. mu is held.
func (m *mux) fail(err error) {
	m.failed = err
	for _, s := range m.table.all() {
		s.breakOff(err)
	}
	m.unblock()
}

// unblock wakes whoever waits for room or for the connection's window. mu is held.
func (m *mux) unblock() {
	for i, s := range m.blocked {
		s.waiting = false
		s.writable.Signal()
		m.blocked[i] = nil
	}
	m.blocked = m.blocked[:0]
}

// put returns out with room for n more bytes; the caller stores what it appended with set. mu is held.
func (m *mux) put(n int) []byte {
	if cap(m.out)-len(m.out) >= n {
		return m.out
	}
	size := len(m.out) + n
	b := conn.GetBuffer(size)
	if size > conn.LargeBuffer {
		conn.PutBuffer(b)
		b = make([]byte, 2*size)
	}
	b = append(b[:0], m.out...)
	if m.out != nil {
		conn.PutBuffer(m.out)
	}
	m.out = b
	return b
}

// set stores out after something was appended, and sees to it that it is written. mu is held.
func (m *mux) set(b []byte, frames int) {
	m.queued += uint64(len(b) - len(m.out))
	m.out = b
	m.frames += frames
	if !m.flushing && m.failed == nil {
		m.flushing = true
		go m.flush() // ends when there is nothing left to write
	}
}

// setGrown is set for a buffer that may have outgrown out: the old one is given back. mu is held.
func (m *mux) setGrown(b []byte, frames int) {
	if cap(b) != cap(m.out) && m.out != nil {
		old := m.out
		m.out = b[:len(old)]
		conn.PutBuffer(old)
	}
	m.set(b, frames)
}

// answer appends a control frame that the peer provoked. mu is held.
func (m *mux) answer(kind frameType, flags uint8, id uint32, payload []byte) error {
	if m.failed != nil {
		return m.failed
	}
	if m.control++; m.control > m.o.MaxOutboundControl {
		m.stats.OutboundControlFlood.Inc()
		return errControlFlood
	}
	if m.frames >= m.o.MaxOutbound {
		m.stats.OutboundFlood.Inc()
		return errOutboundFlood
	}
	b := appendFrame(m.put(frameHead+len(payload)), kind, flags, id, len(payload))
	m.set(append(b, payload...), 1)
	return nil
}

// flush writes what streams append, until there is nothing more. It lets every goroutine that can run append first: writes are the
// whole cost of a connection.
func (m *mux) flush() {
	runtime.Gosched()
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.out) > 0 && m.failed == nil {
		b := m.out
		m.out, m.spare = m.spare, b
		m.control, m.frames = 0, 0
		m.batch++
		m.begun += uint64(len(b))
		m.mu.Unlock()
		n, err := m.c.Write(b)
		m.mu.Lock()
		m.sent += uint64(n)
		m.written.Broadcast()
		m.spare = b[:0]
		if err != nil {
			m.broken(err)
			break
		}
		m.unblock()
	}
	m.flushing = false
	m.written.Broadcast()
	if m.out != nil && len(m.out) == 0 {
		conn.PutBuffer(m.out)
		m.out = nil
	}
	if m.spare != nil {
		conn.PutBuffer(m.spare)
		m.spare = nil
	}
}

// awaitFlusher waits until everything is written that is queued now, or, once the connection is dead, until the flusher has ended. Streams
// may go on writing meanwhile.
func (m *mux) awaitFlusher() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for upTo := m.queued; m.flushing && (m.failed != nil || m.sent < upTo); {
		m.written.Wait()
	}
}

// broken ends the connection whose write failed. mu is held by the flusher.
func (m *mux) broken(err error) {
	if m.failed != nil {
		return
	}
	m.fail(err)
	m.mu.Unlock()
	m.alarms.Or(alarmDead)
	m.c.Wake(err)
	m.mu.Lock()
}

// greet queues what a connection begins with: settings, and a larger window. mu is held.
func (m *mux) greet(preface string, settings []byte) {
	b := append(m.put(len(preface)+2*frameHead+len(settings)+4), preface...)
	b = append(appendFrame(b, frameSettings, 0, 0, len(settings)), settings...)
	if extra := m.o.ConnWindow - defaultWindow; extra > 0 {
		b = appendUint32(appendFrame(b, frameWindowUpdate, 0, 0, 4), extra)
	}
	m.set(b, 1)
}

// settings returns the parameters that both sides announce.
func (m *mux) settings() []byte {
	var b []byte
	if m.o.TableSize != DefaultTableSize {
		b = appendSetting(b, settingTableSize, uint32(m.o.TableSize))
	}
	if m.o.StreamWindow != defaultWindow {
		b = appendSetting(b, settingWindow, m.o.StreamWindow)
	}
	return appendSetting(b, settingMaxHeaderList, uint32(m.o.MaxHeaderBytes))
}

// consumed notes that n bytes of data need no more room, and tells the peer now and then. mu is held.
func (m *mux) consumed(n int) {
	m.credit += int64(n)
	if m.credit < int64(m.o.ConnWindow)/2 || m.failed != nil {
		return
	}
	b := appendFrame(m.put(frameHead+4), frameWindowUpdate, 0, 0, 4)
	m.set(appendUint32(b, uint32(m.credit)), 1)
	m.recvWindow += m.credit
	m.credit = 0
}

// resetStream queues RST_STREAM. mu is held.
func (m *mux) resetStream(id uint32, code Code) error {
	m.stats.TxReset.Inc()
	var p [4]byte
	return m.answer(frameRST, 0, id, appendUint32(p[:0], uint32(code)))
}

// goAway queues GOAWAY. mu is held.
func (m *mux) goAway(last uint32, code Code) {
	if m.failed != nil {
		return
	}
	m.stats.GoAwaySent.Inc()
	b := appendFrame(m.put(frameHead+8), frameGoAway, 0, 0, 8)
	m.set(appendUint32(appendUint32(b, last), uint32(code)), 1)
}
