package http2

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/weftproxy/weft/message"
)

// A stream is what both sides' streams have in common: data that comes and goes under flow control. It implements message.Pauser for what
// arrives. Everything is guarded by the mux's mu.
type stream struct {
	m        *mux
	id       uint32
	listed   bool          // it is in the mux's table
	srv      *serverStream // what it is part of: one of the two
	call     *call
	readable sync.Cond // of m.mu: something has arrived, or will not any more
	readers  int       // that wait for readable
	writable sync.Cond // of m.mu: window, room, or the end

	// Receiving.
	roused     atomic.Bool // Wake was called since forget
	in         inbox
	recvWindow int64 // bytes the peer may still send
	credit     int64 // bytes consumed that it was not told of
	left       int64 // bytes that content-length still promises; -1: none was promised
	ended      bool  // END_STREAM has arrived
	trailed    bool  // trailers have arrived
	trailer    message.Header
	reading    bool  // somebody is in Next
	done       bool  // Next has returned io.EOF
	shut       error // the reader has closed the body
	paused     bool
	got        uint64 // bytes of data that arrived
	gotWire    uint64 // bytes of frames that arrived after the head

	// Sending.
	sendWindow int64
	sent       bool // END_STREAM is queued
	waiting    bool // it is in m.blocked
	stuck      bool // waits for the peer's window
	endAt      int  // where in out the last frame begins that END_STREAM could be added to
	endBatch   uint32
	halt       error // nothing more is to be sent
	put        uint64
	putWire    uint64

	pins   int   // reasons why the stream's memory must not be given away yet
	cutOff bool  // RST_STREAM was sent or received
	dead   error // reset by either side, or with the connection
	woken  error // the scope's cause
}

// start prepares a stream for a new number. mu is held.
func (s *stream) start(m *mux, id uint32) {
	s.m, s.id, s.listed = m, id, true
	s.readable.L, s.writable.L = &m.mu, &m.mu
	s.recvWindow, s.sendWindow, s.left = int64(m.o.StreamWindow), m.peerWindow, -1
	if !m.acked { // the peer may not know its window yet (RFC 9113 section 6.9.3)
		s.recvWindow = max(s.recvWindow, defaultWindow)
	}
	m.table.add(s)
	m.stats.StreamsActive.Inc()
}

// leave takes the stream out of the table. mu is held.
func (s *stream) leave() {
	if !s.listed {
		return
	}
	s.listed = false
	s.m.table.remove(s)
	s.m.stats.StreamsActive.Dec()
}

// clear makes the stream as new. Nobody knows it any more.
func (s *stream) clear() {
	s.in.settle()
	s.in.drop()
	s.trailer.Reset()
	if s.trailer.Cap() > maxKept {
		s.trailer = message.Header{}
	}
	own, trailer := s.in.own, s.trailer
	*s = stream{}
	s.in.own, s.trailer = own, trailer
}

// maxKept is how much memory of a header is kept for the next message, in bytes.
const maxKept = 16 << 10

// await blocks until announce. mu is held.
func (s *stream) await() {
	s.readers++
	s.readable.Wait()
	s.readers--
}

// announce wakes everybody who waits for readable. mu is held.
func (s *stream) announce() {
	if s.readers > 0 {
		s.readable.Broadcast()
	}
}

// breakOff ends the stream because of what happened to it or its connection. mu is held.
func (s *stream) breakOff(err error) {
	if s.dead == nil {
		s.dead = err
	}
	s.announce()
	s.writable.Broadcast()
}

// Wake implements scope.Waker.
func (s *stream) Wake(cause error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.woken = cause
	s.roused.Store(true)
	if s.stuck {
		s.m.stats.TxFlushTimeout.Inc()
	}
	s.announce()
	s.writable.Broadcast()
}

// forget makes the stream usable again after Wake.
func (s *stream) forget() {
	s.roused.Store(false)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.woken = nil
}

// take returns the next chunk, blocking until there is one. wait is called, with mu held, before each time it blocks.
func (s *stream) take(wait func() error) ([]byte, error) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	s.settle()
	for {
		switch {
		case s.shut != nil:
			return nil, s.shut
		case s.paused:
			return nil, message.ErrPaused
		case len(s.in.buf) > 0:
			return s.in.take(), nil
		case s.ended:
			s.done = true
			s.announce() // awaitEnd
			return nil, io.EOF
		case s.dead != nil:
			return nil, s.dead
		case s.woken != nil:
			return nil, s.woken
		}
		if wait != nil {
			if err := wait(); err != nil {
				return nil, err
			}
		}
		s.reading = true
		s.await()
		s.reading = false
		if s.shut != nil || s.paused {
			s.announce() // join
		}
	}
}

// settle gives the peer the window back that the last chunk took. mu is held.
func (s *stream) settle() {
	n := len(s.in.lent)
	if n == 0 {
		return
	}
	s.in.settle()
	s.consumed(n)
}

// consumed notes that n bytes need no more room. mu is held.
func (s *stream) consumed(n int) {
	m := s.m
	if !m.eager {
		m.consumed(n)
	}
	s.replenish(n)
}

// replenish notes that n bytes need no more room of the stream's, and tells the peer now and then. mu is held.
func (s *stream) replenish(n int) {
	m := s.m
	if s.ended || s.dead != nil || !s.listed || s.shut != nil {
		return
	}
	s.credit += int64(n)
	if s.credit < int64(m.o.StreamWindow)/2 || m.failed != nil {
		return
	}
	b := appendFrame(m.put(frameHead+4), frameWindowUpdate, 0, s.id, 4)
	m.set(appendUint32(b, uint32(s.credit)), 1)
	s.recvWindow += s.credit
	s.credit = 0
}

// Ready implements message.Body.
func (s *stream) Ready() bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return len(s.in.buf) > 0 || s.ended || s.dead != nil || s.shut != nil || s.paused
}

// Trailer implements message.Body.
func (s *stream) Trailer() *message.Header {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.done && s.trailed {
		return &s.trailer
	}
	return nil
}

// Pause implements message.Pauser. When it returns nobody is in Next.
func (s *stream) Pause() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.paused = true
	s.join()
}

// Resume implements message.Pauser.
func (s *stream) Resume() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.paused = false
}

// stop makes Next fail and waits until nobody is in it. What arrives from now on is thrown away.
func (s *stream) stop(cause error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if cause == nil {
		cause = message.ErrBodyClosed
	}
	if s.shut == nil {
		s.shut = cause
	}
	s.join()
	n := len(s.in.lent)
	s.in.settle()
	s.discard(n + s.in.drop())
}

// discard counts data that nobody will read as consumed. mu is held.
func (s *stream) discard(n int) {
	if n > 0 && !s.m.eager {
		s.m.consumed(n)
	}
}

// join waits for a Next that blocks to return. mu is held.
func (s *stream) join() {
	s.announce()
	for s.reading {
		s.await()
	}
}

// awaitEnd blocks until what arrives has been read to its end, broke off or is not wanted, or until Wake.
func (s *stream) awaitEnd() error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for !s.done && s.shut == nil && s.dead == nil && s.woken == nil {
		s.await()
	}
	if s.done || s.shut != nil {
		return nil
	}
	if s.dead != nil {
		return s.dead
	}
	return s.woken
}

// arrived takes n bytes of data of a frame. mu is held.
func (s *stream) arrived(p []byte) {
	s.got += uint64(len(p))
	if s.m.eager {
		s.m.consumed(len(p))
	}
	if s.shut != nil {
		s.discard(len(p))
		return
	}
	if len(p) > 0 {
		s.in.add(p)
		s.announce()
	}
}
