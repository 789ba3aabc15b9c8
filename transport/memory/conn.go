package memory

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferSize is how many bytes may be on their way in one direction before Write waits.
const bufferSize = 64 << 10

// A Conn is one end of a connection in memory.
type Conn struct {
	local, remote net.Addr
	in, out       *pipe
	read, write   deadline

	mu     sync.Mutex
	linger int // -1: orderly; guarded by mu
	closed bool
}

// pair returns the two ends of a connection, the one that dialled first.
func pair(local, remote net.Addr) (*Conn, *Conn) {
	there, back := newPipe(), newPipe()
	return &Conn{local: local, remote: remote, in: back, out: there, linger: -1},
		&Conn{local: remote, remote: local, in: there, out: back, linger: -1}
}

// Pair returns two connected ends with the given addresses.
func Pair(a, b net.Addr) (*Conn, *Conn) { return pair(a, b) }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p, &c.read)
	if err != nil && err != io.EOF {
		err = c.err("read", err)
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, &c.write)
	if err != nil {
		err = c.err("write", err)
	}
	return n, err
}

func (c *Conn) err(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// CloseWrite ends the outgoing stream: the peer reads io.EOF after what was written.
func (c *Conn) CloseWrite() error {
	if !c.out.end() {
		return c.err("close", net.ErrClosed)
	}
	return nil
}

// SetLinger is as for a TCP connection: with 0, Close resets the connection.
func (c *Conn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = sec
	return nil
}

// Close implements net.Conn. As with TCP, closing with data unread resets the connection, so that the peer's writes fail.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.err("close", net.ErrClosed)
	}
	c.closed = true
	if c.in.unread() || c.linger == 0 {
		c.out.breakOff(syscall.ECONNRESET)
	} else {
		c.out.end()
	}
	c.in.abandon()
	c.in.shut()
	c.out.shutWriter()
	c.read.set(time.Time{})
	c.write.set(time.Time{})
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.read, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.write, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.err("set deadline", net.ErrClosed)
	}
	d.set(t)
	return nil
}

// A pipe is one direction of a connection.
type pipe struct {
	mu                  sync.Mutex
	buf                 []byte        // guarded by mu, like all below
	changed             chan struct{} // closed and replaced when something below changes
	ended               bool          // no more is written
	broken              error         // the writer has reset the connection
	nobody              bool          // the reader is gone
	readShut, writeShut bool          // this end was closed
}

func newPipe() *pipe { return &pipe{changed: make(chan struct{})} }

// update changes the pipe and wakes whoever waits for that.
func (p *pipe) update(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) end() bool {
	was := false
	p.update(func() { was, p.ended = p.writeShut, true })
	return !was
}

func (p *pipe) breakOff(err error) { p.update(func() { p.broken, p.buf = err, nil }) }
func (p *pipe) abandon()           { p.update(func() { p.nobody, p.buf = true, nil }) }
func (p *pipe) shut()              { p.update(func() { p.readShut = true }) }
func (p *pipe) shutWriter()        { p.update(func() { p.writeShut = true }) }

func (p *pipe) unread() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.buf) > 0
}

func (p *pipe) read(dst []byte, d *deadline) (int, error) {
	for {
		due := d.wait()
		p.mu.Lock()
		changed := p.changed
		switch {
		case p.readShut:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case expired(due):
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case p.broken != nil:
			p.mu.Unlock()
			return 0, os.NewSyscallError("read", p.broken)
		case len(p.buf) > 0:
			n := copy(dst, p.buf)
			p.buf = p.buf[n:]
			close(p.changed)
			p.changed = make(chan struct{})
			p.mu.Unlock()
			return n, nil
		case p.ended:
			p.mu.Unlock()
			return 0, io.EOF
		case len(dst) == 0:
			p.mu.Unlock()
			return 0, nil
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-due:
		}
	}
}

func (p *pipe) write(src []byte, d *deadline) (int, error) {
	written := 0
	for {
		due := d.wait()
		p.mu.Lock()
		changed := p.changed
		var err error
		switch {
		case p.writeShut:
			err = net.ErrClosed
		case expired(due):
			err = os.ErrDeadlineExceeded
		case p.broken != nil:
			err = os.NewSyscallError("write", p.broken)
		case p.nobody, p.ended:
			err = os.NewSyscallError("write", syscall.EPIPE)
		}
		if err != nil {
			p.mu.Unlock()
			return written, err
		}
		if room := bufferSize - len(p.buf); room > 0 && len(src) > 0 {
			n := min(room, len(src))
			p.buf = append(p.buf, src[:n]...)
			src, written = src[n:], written+n
			close(p.changed)
			p.changed = make(chan struct{})
			changed = p.changed
		}
		p.mu.Unlock()
		if len(src) == 0 {
			return written, nil
		}
		select {
		case <-changed:
		case <-due:
		}
	}
}

// A deadline is a channel that is closed when a time has come.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer   // guarded by mu, like due
	due   chan struct{} // nil until used
}

func (d *deadline) wait() chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.due == nil {
		d.due = make(chan struct{})
	}
	return d.due
}

func expired(due chan struct{}) bool {
	select {
	case <-due:
		return true
	default:
		return false
	}
}

// set moves the deadline; the zero time is none. Whoever waits goes on waiting for the new one.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.due // the timer has fired: let it close the channel
	}
	d.timer = nil
	if d.due == nil || expired(d.due) {
		d.due = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	due := d.due
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(due) })
		return
	}
	close(due)
}
