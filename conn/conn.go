package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
)

// A Handler serves a connection. It owns c until it returns; the caller closes c then. ErrParked and ErrDetached say that
// nothing was wrong: the connection goes on elsewhere or later.
type Handler interface {
	ServeConn(ctx context.Context, c *Conn) error
}

// Errors with which a Handler gives back a connection that is not finished.
var (
	ErrParked   = errors.New("conn: idle, to be served again when it is readable")
	ErrDetached = errors.New("conn: detached")
)

// ErrWouldBlock is what TryFill returns when nothing has arrived.
var ErrWouldBlock = errors.New("conn: would block")

// A Conn is a connection with a read buffer that exists only while there is something in it or somebody waits for it. One goroutine
// reads and one writes; Wake and Close may be called by any.
type Conn struct {
	net.Conn
	info Info

	buf  []byte // pooled; nil while idle
	r, w int    // buf[r:w] is unread

	raw     syscall.RawConn // nil when the connection is not a socket
	readFn  func(fd uintptr) bool
	writeFn func(fd uintptr) bool
	rp      []byte // where readFn reads to instead of buf
	rn      int    // what readFn read
	rerr    error
	try     bool      // readFn must not wait
	wp      [3][]byte // what writeFn has still to write
	werr    error

	mu         sync.Mutex
	readCause  error       // why reads were woken; guarded by mu
	writeCause error       // why writes were; guarded by mu
	woken      atomic.Bool // there is a cause; stored with mu held

	layer Layer         // nil: what is on the socket is what is read and written
	wire  *Wire         // what the layer lies on; nil until there is to be one
	pulls atomic.Uint32 // how many reads through the layer have begun and ended; odd: one is under way

	in, out atomic.Uint64 // bytes read and written, inside the layer
	state   atomic.Uint32 // idle and draining bits

	// Handler state that survives parking. Owned by whoever serves the connection.
	IdleSince int64  // scope.Now when the connection became idle; 0 while it is busy
	Served    int64  // requests so far
	WakeAt    int64  // scope.Now when a parked connection is to be served again though nothing has arrived; 0: never
	Lane      uint32 // which lane of the statistics this connection adds to
}

// New wraps an accepted or dialled connection. Info's addresses are taken from the socket.
func New(nc net.Conn) *Conn {
	c := &Conn{Conn: nc}
	c.info.Network = "tcp"
	c.info.DirectLocal = AddrPort(nc.LocalAddr())
	c.info.DirectRemote = AddrPort(nc.RemoteAddr())
	c.info.Local, c.info.Remote = c.info.DirectLocal, c.info.DirectRemote
	if ua, ok := nc.LocalAddr().(*net.UnixAddr); ok {
		c.info.Network, c.info.LocalPath = "unix", ua.Name
	}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.readFn, c.writeFn = c.readOnce, c.writeOnce
		}
	}
	return c
}

// Info returns the facts about the connection. Only listener filters and the handshake change them.
func (c *Conn) Info() *Info { return &c.info }

// BytesIn returns the bytes read so far, as they are inside of TLS.
func (c *Conn) BytesIn() uint64 { return c.in.Load() }

// BytesOut returns the bytes written so far, as they are inside of TLS.
func (c *Conn) BytesOut() uint64 { return c.out.Load() }

// Buffered returns what has been read and not consumed. It is valid until the next Fill, TryFill, Grow or Release.
func (c *Conn) Buffered() []byte { return c.buf[c.r:c.w] }

// Discard consumes n bytes of Buffered.
func (c *Conn) Discard(n int) {
	c.r += n
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
}

// Release gives the buffer back when it is empty, so that an idle connection holds none.
func (c *Conn) Release() {
	if c.buf != nil && c.r == c.w {
		PutBuffer(c.buf)
		c.buf, c.r, c.w = nil, 0, 0
	}
}

// Grow makes the buffer hold at least size bytes in all, keeping what is unread.
func (c *Conn) Grow(size int) {
	if len(c.buf) >= size {
		return
	}
	b := GetBuffer(size)
	n := copy(b, c.buf[c.r:c.w])
	if c.buf != nil {
		PutBuffer(c.buf)
	}
	c.buf, c.r, c.w = b, 0, n
}

// ErrBufferFull is what Fill returns when the buffer has no room: the caller consumes, grows or gives up.
var ErrBufferFull = errors.New("conn: buffer full")

// Fill blocks until more bytes are buffered. An idle connection waits without a buffer. It returns io.EOF at the end of the
// stream and the cause of Wake when it was woken.
func (c *Conn) Fill() error { return c.fill(false) }

// TryFill is Fill without waiting: ErrWouldBlock when nothing has arrived. Where the connection is not a socket it always returns
// ErrWouldBlock.
func (c *Conn) TryFill() error {
	if c.raw == nil {
		return ErrWouldBlock
	}
	return c.fill(true)
}

func (c *Conn) fill(try bool) error {
	if c.raw == nil {
		return c.fillPlain()
	}
	if err := c.makeRoom(); err != nil {
		return err
	}
	n, err := c.readRaw(try)
	c.w += n
	return err
}

// readRaw runs readFn, waiting unless try is set.
func (c *Conn) readRaw(try bool) (int, error) {
	c.try, c.rn, c.rerr = try, 0, nil
	if err := c.raw.Read(c.readFn); err != nil {
		return 0, c.readError(err)
	}
	if c.rerr != nil {
		return 0, c.rerr
	}
	if c.rn == 0 {
		return 0, io.EOF
	}
	c.in.Add(uint64(c.rn))
	return c.rn, nil
}

// makeRoom moves unread bytes to the front when the buffer is full at its end.
func (c *Conn) makeRoom() error {
	if c.buf == nil || c.w < len(c.buf) {
		return nil
	}
	if c.r == 0 {
		return ErrBufferFull
	}
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
	return nil
}

// readOnce is one non-blocking read, into a buffer that is taken only for it. The poller calls it when the socket may be
// readable; false means wait.
func (c *Conn) readOnce(fd uintptr) bool {
	dst := c.rp
	if dst == nil {
		if c.buf == nil {
			c.buf = GetBuffer(SmallBuffer)
		}
		dst = c.buf[c.w:]
	}
	if c.layer != nil {
		return c.readLayer(fd, dst)
	}
	n, errno := readFD(fd, dst)
	if errno == 0 {
		c.rn = n
		if n == 0 && c.rp == nil {
			c.Release()
		}
		return true
	}
	if c.rp == nil {
		c.Release()
	}
	if errno == syscall.EAGAIN {
		if c.try {
			c.rerr = ErrWouldBlock
		}
		return c.try
	}
	c.rerr = c.opError("read", errno)
	return true
}

// readLayer is readOnce through the layer.
func (c *Conn) readLayer(fd uintptr, dst []byte) bool {
	n, err := c.pull(fd, dst)
	if n > 0 {
		c.rn = n
		return true
	}
	if c.rp == nil {
		c.Release()
	}
	switch {
	case err == ErrWouldBlock && !c.try:
		return false
	case err != io.EOF: // which is nothing read
		c.rerr = err
	}
	return true
}

func (c *Conn) opError(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: c.info.Network, Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}

// fillPlain reads from a connection that is not a socket.
func (c *Conn) fillPlain() error {
	if err := c.makeRoom(); err != nil {
		return err
	}
	if c.buf == nil {
		c.buf = GetBuffer(SmallBuffer)
	}
	n, err := c.readPlain(c.buf[c.w:])
	c.w += n
	c.in.Add(uint64(n))
	if n > 0 {
		return nil
	}
	c.Release()
	if err == nil {
		err = io.ErrNoProgress
	}
	return c.readError(err)
}

func (c *Conn) readPlain(p []byte) (int, error) {
	if c.layer != nil {
		return c.pullPlain(p)
	}
	return c.Conn.Read(p)
}

// Peek blocks until n bytes are buffered and returns them unconsumed. It returns what there is with the error that ended it.
func (c *Conn) Peek(n int) ([]byte, error) {
	for c.w-c.r < n {
		c.Grow(n)
		if err := c.Fill(); err != nil {
			return c.Buffered(), err
		}
	}
	return c.buf[c.r : c.r+n], nil
}

// Read implements net.Conn: buffered bytes first, then the socket, directly into p.
func (c *Conn) Read(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.Discard(n)
		c.Release()
		return n, nil
	}
	if c.layer != nil && c.raw != nil {
		c.rp = p
		n, err := c.readRaw(false)
		c.rp = nil
		return n, err
	}
	n, err := c.readPlain(p)
	c.in.Add(uint64(n))
	if err != nil && err != io.EOF {
		err = c.readError(err)
	}
	return n, err
}

// ReadInto reads into p what is buffered, else from the socket with one system call, past the buffer. With try it returns
// ErrWouldBlock rather than wait. Codecs use it for bodies larger than their buffer.
func (c *Conn) ReadInto(p []byte, try bool) (int, error) {
	if c.r == c.w && c.raw != nil {
		c.rp = p
		n, err := c.readRaw(try)
		c.rp = nil
		return n, err
	}
	if try && c.r == c.w {
		return 0, ErrWouldBlock
	}
	return c.Read(p)
}

// Room returns how many bytes Fill may add without moving what is buffered; 0 also while there is no buffer.
func (c *Conn) Room() int { return len(c.buf) - c.w }

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.Write3(p, nil, nil) }

// Write2 writes two slices with as few system calls as possible. It blocks until all is written; n counts both.
func (c *Conn) Write2(p, q []byte) (int, error) { return c.Write3(p, q, nil) }

// Write3 is Write2 for three slices.
func (c *Conn) Write3(p, q, r []byte) (int, error) {
	if c.layer != nil {
		return c.push(p, q, r)
	}
	if c.raw == nil {
		return c.writePlain(p, q, r)
	}
	c.wp, c.werr = [3][]byte{p, q, r}, nil
	err := c.raw.Write(c.writeFn)
	n := len(p) + len(q) + len(r) - len(c.wp[0]) - len(c.wp[1]) - len(c.wp[2])
	c.wp = [3][]byte{}
	c.out.Add(uint64(n))
	if err != nil {
		return n, c.writeError(err)
	}
	return n, c.werr
}

// writeOnce writes as much of wp as the socket takes; false means wait.
func (c *Conn) writeOnce(fd uintptr) bool {
	for len(c.wp[0])+len(c.wp[1])+len(c.wp[2]) > 0 {
		n, errno := writeFD(fd, &c.wp)
		if errno == syscall.EAGAIN {
			return false
		}
		if errno != 0 {
			c.werr = c.opError("write", errno)
			return true
		}
		for i := range c.wp {
			k := min(n, len(c.wp[i]))
			c.wp[i] = c.wp[i][k:]
			n -= k
		}
	}
	return true
}

// writePlain writes to a connection that is not a socket: small pieces as one, because each write may become a packet or a record.
func (c *Conn) writePlain(p, q, r []byte) (int, error) {
	if len(q)+len(r) > 0 && len(p)+len(q)+len(r) <= SmallBuffer {
		b := GetBuffer(SmallBuffer)
		defer PutBuffer(b)
		n := copy(b, p)
		n += copy(b[n:], q)
		n += copy(b[n:], r)
		p, q, r = b[:n], nil, nil
	}
	total := 0
	for _, b := range [3][]byte{p, q, r} {
		if len(b) == 0 {
			continue
		}
		n, err := c.Conn.Write(b)
		total += n
		c.out.Add(uint64(n))
		if err != nil {
			return total, c.writeError(err)
		}
	}
	return total, nil
}

// AwaitPeer blocks until the peer has sent something, without taking it: nil when there are bytes, io.EOF at the end of the stream,
// the cause of a wake, or what the socket said. It may run while another goroutine writes. Where the connection is not a
// socket it returns ErrWouldBlock at once. Through a layer it takes what comes into the buffer, since a record may hold no bytes.
func (c *Conn) AwaitPeer() error {
	if c.raw == nil {
		return ErrWouldBlock
	}
	if c.layer != nil {
		if c.r < c.w {
			return nil
		}
		return c.Fill()
	}
	var n int
	var errno syscall.Errno
	err := c.raw.Read(func(fd uintptr) bool {
		n, errno = peekFD(fd)
		return errno != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return c.readError(err)
	case errno != 0:
		return c.opError("read", errno)
	case n == 0:
		return io.EOF
	}
	return nil
}

// Yield lets other goroutines run a few times before a read whose answer is on its way. With an idle run queue it costs next to
// nothing; under load it saves the read that would find nothing and the trip through the poller.
func (c *Conn) Yield(times int) {
	if c.raw == nil {
		return
	}
	for range times {
		runtime.Gosched()
	}
}

// CloseWrite closes the sending side. The peer reads io.EOF and may go on sending.
func (c *Conn) CloseWrite() error {
	if c.layer != nil {
		if err := c.layer.CloseWrite(); err != nil {
			return c.writeError(err)
		}
	}
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Raw returns access to the socket, nil when the connection is not one. What is read or written through it is not counted until
// Count. Where the connection is Layered it is good only for watching and for socket options.
func (c *Conn) Raw() syscall.RawConn { return c.raw }

// Count adds bytes that were moved through Raw.
func (c *Conn) Count(in, out uint64) {
	c.in.Add(in)
	c.out.Add(out)
}

// SetLinger0 makes Close send a reset instead of an orderly end.
func (c *Conn) SetLinger0() {
	if l, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0) // fails only on a closed socket
	}
}

// Close closes the socket and gives the buffer back. Only the goroutine that reads may call it; others call Wake.
func (c *Conn) Close() error {
	c.r, c.w = 0, 0
	c.Release()
	if c.layer != nil {
		c.part()
	}
	return c.Conn.Close()
}
