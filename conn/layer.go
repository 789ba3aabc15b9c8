package conn

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// A Layer is what lies between the wire and those who read and write the connection: TLS. One goroutine reads and one writes. It reads and
// writes a Wire, whose errWait it has to pass on without remembering it, and go on after it as if nothing had been (crypto/tls does so with
// errors that are Temporary).
type Layer interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	CloseWrite() error // tells the peer that nothing more follows; the socket stays open
}

// errWait is what a Wire's Read returns where it must not wait and nothing has arrived.
var errWait net.Error = waitError{} // immutable

type waitError struct{}

func (waitError) Error() string   { return "conn: nothing has arrived on the wire" }
func (waitError) Timeout() bool   { return false }
func (waitError) Temporary() bool { return true }

// A Wire is the socket of a connection with a layer, for that layer. Read takes what was buffered before the layer was laid, then the
// socket. Until SetLayer it blocks; afterwards the connection decides.
type Wire struct {
	net.Conn // Close and the deadlines are the connection's; a layer does not call them
	c        *Conn
	polled   bool    // Read is called with the socket's descriptor in fd, and must not wait
	fd       uintptr // valid while polled
	ended    bool    // the socket has nothing more to read; of whoever reads
	parting  bool    // the connection is being closed: Write must not wait; guarded by mu

	mu   sync.Mutex
	cork []byte // pooled; what Write has gathered; nil: it does not gather. Guarded by mu
	n    int    // bytes in cork
}

// Wire returns what a layer is to be laid on. A connection has at most one.
func (c *Conn) Wire() *Wire {
	if c.wire == nil {
		c.wire = &Wire{Conn: c.Conn, c: c}
	}
	return c.wire
}

// SetLayer makes the connection read and write through l, which lies on its Wire and whose handshake is over. What is buffered from
// before has to have been read by the layer. Bytes are counted anew, inside the layer.
func (c *Conn) SetLayer(l Layer) {
	c.Release()
	c.in.Store(0)
	c.out.Store(0)
	c.layer = l
}

// Rest gives back what an idle connection can do without: its buffer, and those of a layer that has a method Rest. It is for connections that
// will be idle for long, since they are needed again with the next read. Nobody may read meanwhile.
func (c *Conn) Rest() {
	c.Release()
	if l, ok := c.layer.(interface{ Rest() }); ok {
		l.Rest()
	}
}

// Cut reports whether what was read through a layer has ended because the socket has, without the peer's word for it (close_notify of TLS):
// anybody on the way can do that. Only whoever reads may ask. Without a layer there is no such word, and Cut is false.
func (c *Conn) Cut() bool { return c.layer != nil && c.wire.ended }

// Layered reports whether what is read and written is not what is on the socket.
func (c *Conn) Layered() bool { return c.layer != nil }

// Read implements net.Conn for the layer.
func (w *Wire) Read(p []byte) (int, error) {
	c := w.c
	if w.polled {
		n, errno := readFD(w.fd, p)
		switch {
		case errno == syscall.EAGAIN:
			return 0, errWait
		case errno != 0:
			return 0, c.opError("read", errno)
		case n == 0:
			w.ended = true
			return 0, io.EOF
		}
		return n, nil
	}
	if c.layer == nil && c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.Discard(n)
		c.Release()
		return n, nil
	}
	n, err := c.Conn.Read(p)
	w.ended = w.ended || err == io.EOF
	return n, err
}

// Write implements net.Conn for the layer.
func (w *Wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parting {
		return w.lastWords(p)
	}
	if w.cork == nil {
		return w.Conn.Write(p)
	}
	for rest := p; ; {
		k := copy(w.cork[w.n:], rest)
		w.n += k
		if rest = rest[k:]; len(rest) == 0 {
			return len(p), nil
		}
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
}

// lastWordsWait is how long lastWords takes at most where a write cannot be tried without waiting.
const lastWordsWait = 100 * time.Millisecond

// lastWords writes what the socket takes at once: nobody waits for a peer that does not read when the connection is closed.
func (w *Wire) lastWords(p []byte) (int, error) {
	if w.c.raw == nil {
		_ = w.Conn.SetWriteDeadline(time.Now().Add(lastWordsWait)) // fails only on what is closed
		return w.Conn.Write(p)
	}
	_ = w.Conn.SetWriteDeadline(time.Time{}) // the connection may have been woken to be closed
	err := w.c.raw.Write(func(fd uintptr) bool {
		_, _ = writeFD(fd, &[3][]byte{p})
		return true
	})
	return len(p), err
}

// gather makes Write collect what it is given until release.
func (w *Wire) gather() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cork = GetBuffer(LargeBuffer)
}

// release writes what was collected.
func (w *Wire) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.flush()
	PutBuffer(w.cork)
	w.cork = nil
	return err
}

// flush writes what was collected so far. mu is held.
func (w *Wire) flush() error {
	if w.n == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.cork[:w.n])
	w.n = 0
	return err
}

// SetDeadline implements net.Conn. Like SetReadDeadline and SetWriteDeadline it does nothing: the connection's deadlines are for waking it.
func (w *Wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn; see SetDeadline.
func (w *Wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn; see SetDeadline.
func (w *Wire) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.Conn. It does nothing: who has the connection closes it.
func (w *Wire) Close() error { return nil }

// pull reads through the layer, from the socket with the given descriptor, without waiting.
func (c *Conn) pull(fd uintptr, p []byte) (int, error) {
	c.wire.polled, c.wire.fd = true, fd
	n, err := c.readFromLayer(p)
	c.wire.polled = false
	if n > 0 {
		return n, nil // an error comes again with the next read
	}
	if err == error(errWait) {
		return 0, ErrWouldBlock
	}
	return 0, err
}

// pullPlain reads through the layer on what is not a socket.
func (c *Conn) pullPlain(p []byte) (int, error) {
	n, err := c.readFromLayer(p)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// readFromLayer reads through the layer. Whoever wakes the read sees that it is under way, or is seen here.
func (c *Conn) readFromLayer(p []byte) (int, error) {
	at := c.pulls.Add(1)
	if c.woken.Load() {
		c.unblockLater(at)
	}
	n, err := c.layer.Read(p)
	c.pulls.Add(1)
	return n, err
}

// push writes through the layer: what fits one record as one, more with as few system calls as possible.
func (c *Conn) push(p, q, r []byte) (int, error) {
	total := len(p) + len(q) + len(r)
	if total <= SmallBuffer {
		if len(q)+len(r) == 0 {
			return c.pushed(c.layer.Write(p))
		}
		b := GetBuffer(SmallBuffer)
		n := copy(b, p)
		n += copy(b[n:], q)
		n += copy(b[n:], r)
		n, err := c.layer.Write(b[:n])
		PutBuffer(b)
		return c.pushed(n, err)
	}
	c.wire.gather()
	n := 0
	var err error
	for _, b := range [3][]byte{p, q, r} {
		if len(b) == 0 || err != nil {
			continue
		}
		var k int
		k, err = c.layer.Write(b)
		n += k
	}
	if late := c.wire.release(); err == nil {
		err = late
	}
	return c.pushed(n, err)
}

func (c *Conn) pushed(n int, err error) (int, error) {
	c.out.Add(uint64(n))
	if err != nil {
		err = c.writeError(err)
	}
	return n, err
}

// part tells the peer that the connection ends, if it listens.
func (c *Conn) part() {
	c.wire.mu.Lock()
	c.wire.parting = true
	c.wire.mu.Unlock()
	_ = c.layer.CloseWrite() // the peer may be gone
}
