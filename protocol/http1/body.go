package http1

import (
	"io"
	"sync"

	"github.com/weftproxy/weft/message"
)

// A producer is what a body is part of: the stream of a server or the call of a client.
type producer interface {
	// wait blocks until the body's reader has more, and says why it will not have.
	wait(b *body) error
	// ended is called once, when the last byte was read.
	ended()
	// closed is called by each Close, when nobody reads any more.
	closed(cause error)
}

// A body is the body of a message that is being received. It implements message.Pauser.
type body struct {
	r     reader
	of    producer
	tries int // how many more times Ready may try to read; < 0: any number

	mu      sync.Mutex
	idle    sync.Cond // of mu: reading has become false, or held has
	reading bool      // guarded by mu
	shut    error     // why it was closed; guarded by mu
	paused  bool      // guarded by mu
	held    bool      // a tunnel that is not open yet: Next waits; guarded by mu
	waited  bool      // somebody is in awaitEnd; guarded by mu
	roused  error     // why Wake was called while held or waited; guarded by mu
	done    bool      // ended was called; guarded by mu
}

// Next implements message.Body.
func (b *body) Next() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if err := b.gate(); err != nil {
			return nil, err
		}
		if !b.held {
			p, err := b.r.take()
			if p != nil {
				return p, nil
			}
			if err == io.EOF && !b.done {
				b.done = true
				b.idle.Broadcast()
				b.of.ended()
			}
			if err != nil {
				return nil, err
			}
		}
		if err := b.await(); err != nil {
			return nil, err
		}
	}
}

// gate returns why Next may not read. mu is held.
func (b *body) gate() error {
	if b.shut != nil {
		return b.shut
	}
	if b.paused {
		return message.ErrPaused
	}
	return nil
}

// await reads more. mu is held, but not while it blocks.
func (b *body) await() error {
	b.reading = true
	b.mu.Unlock()
	err := b.of.wait(b)
	b.mu.Lock()
	b.reading = false
	b.idle.Broadcast()
	if gate := b.gate(); gate != nil {
		return gate
	}
	if err != nil {
		b.r.err = err
	}
	return err
}

// stopped is gate for producers, which do not hold mu.
func (b *body) stopped() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gate()
}

// Ready implements message.Body.
func (b *body) Ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut != nil || b.paused {
		return true
	}
	if b.held {
		return false
	}
	if b.r.there() {
		return true
	}
	if b.tries == 0 {
		return false
	}
	b.tries--
	return b.r.ready(true)
}

// Trailer implements message.Body.
func (b *body) Trailer() *message.Header {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done && b.r.trailed {
		return &b.r.trailer
	}
	return nil
}

// Pause implements message.Pauser. When it returns nobody is in Next.
func (b *body) Pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = true
	b.join(message.ErrPaused)
}

// Resume implements message.Pauser.
func (b *body) Resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = false
}

// Close implements message.Body.
func (b *body) Close(cause error) {
	b.stop(cause)
	b.of.closed(cause)
}

// stop makes Next fail and waits until nobody is in it.
func (b *body) stop(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cause == nil {
		cause = message.ErrBodyClosed
	}
	if b.shut == nil {
		b.shut = cause
		b.idle.Broadcast()
	}
	b.join(cause)
}

// join wakes a Next that blocks and waits for it. mu is held.
func (b *body) join(cause error) {
	if !b.reading {
		return
	}
	b.idle.Broadcast()
	b.r.c.WakeRead(cause)
	for b.reading {
		b.idle.Wait()
	}
}

// open lets Next read a tunnel, or says that there will be none.
func (b *body) open(tunnel bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.held {
		return
	}
	b.held = false
	b.r.ended = !tunnel
	b.idle.Broadcast()
}

// awaitOpen blocks until open, Close, Pause or Wake.
func (b *body) awaitOpen() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held && b.gate() == nil && b.roused == nil {
		b.idle.Wait()
	}
	err := b.roused
	b.roused = nil
	return err
}

// Wake implements scope.Waker. The scope is locked, so nothing that holds mu may use it.
func (b *body) Wake(cause error) {
	b.r.c.Wake(cause)
	b.rouse(cause)
}

func (b *body) rouse(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held || b.waited {
		b.roused = cause
		b.idle.Broadcast()
	}
}

// awaitEnd blocks until the body was read to its end, broke off or was closed, or until Wake.
func (b *body) awaitEnd() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waited = true
	for !b.done && b.shut == nil && b.r.err == nil && b.roused == nil {
		b.idle.Wait()
	}
	b.waited = false
	err := b.roused
	b.roused = nil
	return err
}

// kept reports that Next has to wait for open.
func (b *body) kept() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// count returns the bytes read, decoded and with framing.
func (b *body) count() (decoded, wire uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.r.bytes, b.r.wire
}

// rest returns how many bytes of the body are not read yet, -1 when nobody knows.
func (b *body) rest() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.r.ended:
		return 0
	case b.r.kind == lengthFraming:
		return b.r.left
	}
	return -1
}

// over reports whether the last byte was read, so that the connection is behind the message.
func (b *body) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.r.ended && b.r.err == nil
}

// begin prepares the body for a message.
func (b *body) begin(of producer, tries int) {
	b.of, b.tries = of, tries
	b.idle.L = &b.mu
}

// release makes the body as new. Nobody uses it any more.
func (b *body) release() {
	b.r.release()
	b.of, b.tries, b.shut, b.roused = nil, 0, nil, nil
	b.paused, b.held, b.done = false, false, false
}
