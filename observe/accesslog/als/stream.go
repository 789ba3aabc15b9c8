package als

import (
	"sync"
	"time"
)

// A streamConfig is what the configuration says of a stream. Immutable.
type streamConfig struct {
	service  service
	first    []byte        // identifier of the first message, encoded
	entries  byte          // the field of a message that holds the entries
	interval time.Duration // an entry waits at most this long
	size     int           // bytes of entries in a message, from which it is sent at once
}

// A batch is entries that are sent together.
type batch struct {
	bytes []byte // the fields log_entry, one after the other
	n     int    // how many
}

// A stream is where the entries of a log go. Safe for concurrent use.
type stream struct {
	*streamConfig
	set  *Streams
	wake chan struct{} // has a token when there is something new to do

	mu      sync.Mutex
	open    batch   // to which entries are added; guarded by mu
	full    []batch // which are to be sent, in order; guarded by mu
	spare   []byte  // a buffer for the next batch; guarded by mu
	waiting int     // bytes in open, in full and in the batch that is being sent; guarded by mu
	running bool    // guarded by mu
	closed  bool    // guarded by mu
}

// add appends an encoded entry. When 4 MiB wait already it is dropped.
func (s *stream) add(entry []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waiting+len(entry) > maxWaiting {
		s.set.dropped.Inc()
		return
	}
	s.set.written.Inc()
	first := s.open.n == 0
	if s.open.bytes == nil {
		s.open.bytes, s.spare = s.spare[:0], nil
	}
	s.open.bytes = append(s.open.bytes, entry...)
	s.open.n++
	s.waiting += len(entry)
	full := len(s.open.bytes) >= s.size
	if full {
		s.seal()
	}
	if !s.running {
		s.running = true
		s.set.tasks.Add(1)
		go s.run()
	}
	if first || full {
		s.poke()
	}
}

// poke makes run look; it does not block.
func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// seal makes what waits a batch to be sent. mu is held.
func (s *stream) seal() {
	if s.open.n > 0 {
		s.full = append(s.full, s.open)
		s.open = batch{}
	}
}

// flush is seal.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seal()
}

// next returns the next batch to be sent, if there is one.
func (s *stream) next() (batch, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.full) == 0 {
		s.full = nil
		return batch{}, false
	}
	b := s.full[0]
	s.full[0] = batch{}
	s.full = s.full[1:]
	return b, true
}

// done takes a batch back, which was sent or is given up.
func (s *stream) done(b batch, sent bool) {
	if !sent {
		s.set.dropped.Add(uint64(b.n))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= len(b.bytes)
	if cap(b.bytes) <= 2*max(s.size, defaultSize) { // else a burst is over, or entries are large
		s.spare = b.bytes
	}
}

// close makes the stream take no more entries.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// collects tells whether entries wait for more of them.
func (s *stream) collects() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open.n > 0
}

// rest ends run unless there is something to do.
func (s *stream) rest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.n > 0 || len(s.full) > 0 {
		return false
	}
	s.running, s.spare = false, nil
	return true
}

// run sends batches when they are full or old enough, until there have been no entries for long or the set is closed.
func (s *stream) run() {
	defer s.set.tasks.Done()
	l := newLink(s)
	defer l.end()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	collects := false // then the timer is the batch's
	for {
		select {
		case <-s.wake:
		case <-timer.C:
			if !collects && s.rest() {
				return
			}
			s.flush()
			collects = false
		case <-s.set.closing:
			s.flush()
			s.send(l)
			l.finish()
			return
		}
		s.send(l)
		switch now := s.collects(); {
		case now && !collects:
			timer.Reset(s.interval)
			collects = true
		case !now:
			timer.Reset(idle)
			collects = false
		}
	}
}

// send sends all batches that are to be sent. Those that cannot be sent until the set's end are given up.
func (s *stream) send(l *link) {
	for b, ok := s.next(); ok; b, ok = s.next() {
		s.done(b, l.deliver(b.bytes))
	}
}
