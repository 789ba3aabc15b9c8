package conn

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// pair returns a Conn and the other end of its connection.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = far.SetDeadline(time.Now().Add(patience))
	c := New(near)
	t.Cleanup(func() { c.Close(); far.Close() })
	return c, far.(*net.TCPConn)
}

// piped returns a Conn that is not a socket.
func piped(t *testing.T) (*Conn, net.Conn) {
	near, far := net.Pipe()
	_ = far.SetDeadline(time.Now().Add(patience))
	c := New(near)
	t.Cleanup(func() { c.Close(); far.Close() })
	return c, far
}

func send(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func TestInfoComesFromTheSocket(t *testing.T) {
	c, far := pair(t)
	i := c.Info()
	if i.Remote.String() != far.LocalAddr().String() || i.Local.String() != far.RemoteAddr().String() || i.Network != "tcp" {
		t.Errorf("got %+v", i)
	}
}

func TestBufferIsHeldOnlyWhileItHoldsSomething(t *testing.T) {
	c, far := pair(t)
	if err := c.TryFill(); err != ErrWouldBlock || c.buf != nil {
		t.Errorf("nothing to read: %v, buffer %v", err, c.buf != nil)
	}
	done := make(chan error)
	go func() { done <- c.Fill() }()
	send(t, far, "hello world")
	if err := <-done; err != nil || string(c.Buffered()) != "hello world" {
		t.Fatalf("got %q, %v", c.Buffered(), err)
	}
	c.Release()
	if c.buf == nil {
		t.Error("Release took a buffer that was in use")
	}
	c.Discard(6)
	if string(c.Buffered()) != "world" {
		t.Errorf("got %q", c.Buffered())
	}
	c.Discard(5)
	c.Release()
	if c.buf != nil || c.Room() != 0 {
		t.Error("an empty buffer is kept")
	}
	if c.BytesIn() != 11 {
		t.Errorf("counted %d", c.BytesIn())
	}
	far.Close()
	if err := c.Fill(); err != io.EOF || c.buf != nil {
		t.Errorf("at the end: %v, buffer %v", err, c.buf != nil)
	}
}

func TestFullBufferGrows(t *testing.T) {
	c, far := pair(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 5<<10)
	go func() { _, _ = far.Write(data) }()
	for len(c.Buffered()) < SmallBuffer {
		if err := c.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Fill(); err != ErrBufferFull {
		t.Fatalf("full: %v", err)
	}
	c.Discard(1) // there is room again, by moving
	if err := c.Fill(); err != nil || len(c.Buffered()) != SmallBuffer {
		t.Fatalf("%v, %d bytes", err, len(c.Buffered()))
	}
	got, err := c.Peek(len(data) - 1)
	if err != nil || !bytes.Equal(got, data[1:]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestReadIntoGoesPastTheBuffer(t *testing.T) {
	for _, socket := range []bool{true, false} {
		c, far := piped(t)
		var w net.Conn = far
		if socket {
			var tcp *net.TCPConn
			c, tcp = pair(t)
			w = tcp
		}
		go func() { _, _ = io.WriteString(w, "one two") }()
		if _, err := c.Peek(7); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 100)
		if n, err := c.ReadInto(p[:4], true); err != nil || string(p[:n]) != "one " {
			t.Errorf("got %q, %v", p[:n], err)
		}
		if n, err := c.ReadInto(p, true); err != nil || string(p[:n]) != "two" {
			t.Errorf("got %q, %v", p[:n], err)
		}
		if n, err := c.ReadInto(p, true); err != ErrWouldBlock || n != 0 {
			t.Errorf("got %d, %v", n, err)
		}
		go func() { _, _ = io.WriteString(w, "three") }()
		if n, err := c.ReadInto(p, false); err != nil || string(p[:n]) != "three" {
			t.Errorf("got %q, %v", p[:n], err)
		}
		if socket && c.buf != nil {
			t.Error("ReadInto took a buffer")
		}
	}
}

func TestWritesArriveWholeAndInOrder(t *testing.T) {
	a, b, z := bytes.Repeat([]byte("a"), 3<<20), []byte("b"), bytes.Repeat([]byte("z"), 1<<20)
	for _, socket := range []bool{true, false} {
		for _, parts := range [][3][]byte{{a, b, z}, {nil, b, nil}, {b, nil, z}, {nil, nil, b}, {a, nil, nil}, {nil, nil, nil}} {
			c, far := piped(t)
			var r net.Conn = far
			if socket {
				var tcp *net.TCPConn
				c, tcp = pair(t)
				r = tcp
			}
			want := bytes.Join(parts[:], nil)
			got := make(chan [32]byte)
			go func() {
				all := make([]byte, len(want))
				_, _ = io.ReadFull(r, all)
				got <- sha256.Sum256(all)
			}()
			n, err := c.Write3(parts[0], parts[1], parts[2])
			if err != nil || n != len(want) || c.BytesOut() != uint64(n) {
				t.Errorf("socket %v: %d, %v, counted %d", socket, n, err, c.BytesOut())
			}
			if <-got != sha256.Sum256(want) {
				t.Errorf("socket %v: other bytes arrived", socket)
			}
		}
	}
}

func TestWakeEndsWhatBlocksUntilRevive(t *testing.T) {
	cause := errors.New("enough")
	for _, socket := range []bool{true, false} {
		c, far := piped(t)
		var w net.Conn = far
		if socket {
			var tcp *net.TCPConn
			c, tcp = pair(t)
			w = tcp
		}
		done := make(chan error)
		go func() { done <- c.Fill() }()
		c.Wake(cause)
		c.Wake(errors.New("too late"))
		if err := <-done; err != cause || c.Woken() != cause {
			t.Errorf("Fill: %v, woken %v", err, c.Woken())
		}
		if _, err := c.Write(make([]byte, 10)); err != cause {
			t.Errorf("Write: %v", err)
		}
		c.Revive()
		if c.Woken() != nil {
			t.Error("woken after Revive")
		}
		go func() { _, _ = io.WriteString(w, "x") }()
		if err := c.Fill(); err != nil || string(c.Buffered()) != "x" {
			t.Errorf("after Revive: %v", err)
		}
	}
}

func TestWakeEndsABlockedWrite(t *testing.T) {
	c, _ := pair(t)
	cause := errors.New("enough")
	done := make(chan error)
	go func() { _, err := c.Write(make([]byte, 64<<20)); done <- err }()
	c.Wake(cause)
	if err := <-done; err != cause {
		t.Errorf("got %v", err)
	}
}

func TestWakeReadLeavesWritesAlone(t *testing.T) {
	c, far := pair(t)
	cause := errors.New("read no more")
	c.WakeRead(cause)
	if err := c.Fill(); err != cause {
		t.Errorf("Fill: %v", err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("Write: %v", err)
	}
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestWhoReadsRevivesNoWriter(t *testing.T) {
	c, far := pair(t)
	cause := errors.New("enough")
	written, read := make(chan error), make(chan error)
	go func() { _, err := c.Write(make([]byte, 64<<20)); written <- err }()
	go func() {
		err := c.Fill()
		if revived := c.ReviveRead(); err != revived {
			t.Errorf("Fill: %v, revived from %v", err, revived)
		}
		read <- err
	}()
	c.Wake(cause)
	if err := <-read; err != cause {
		t.Errorf("Fill: %v", err)
	}
	if err := <-written; err != cause || c.Woken() != cause {
		t.Errorf("Write: %v, woken %v", err, c.Woken())
	}
	if c.ReviveRead() != nil {
		t.Error("reads are revived twice")
	}
	send(t, far, "x")
	if err := c.Fill(); err != nil {
		t.Errorf("Fill after ReviveRead: %v", err)
	}
	c.WakeRead(cause)
	c.Revive()
	c.WakeRead(cause)
	if c.ReviveRead() != cause || c.Woken() != nil {
		t.Errorf("woken %v after ReviveRead", c.Woken())
	}
}

func TestALimitEndsReadsAndWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(t)
		began := time.Now()
		c.Limit(time.Second)
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
		if err := c.Fill(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Fill: %v", err)
		}
		if d := time.Since(began); d != time.Second {
			t.Errorf("after %v", d)
		}
		cause := errors.New("enough")
		c.Limit(0)
		c.WakeRead(cause)
		c.Limit(time.Second)
		if err := c.Fill(); err != cause || time.Since(began) != time.Second {
			t.Errorf("Fill of what was woken before: %v after %v", err, time.Since(began))
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write while reads are woken: %v", err)
		}
	})
}

func TestDrainWakesOnlyAnIdleConnection(t *testing.T) {
	c, _ := pair(t)
	if !c.SetIdle(true) {
		t.Fatal("draining from the start")
	}
	c.SetIdle(false)
	c.Drain()
	if c.Woken() != nil || !c.Draining() {
		t.Errorf("busy: woken %v, draining %v", c.Woken(), c.Draining())
	}
	if c.SetIdle(true) {
		t.Error("a draining connection becomes idle")
	}
	c, _ = pair(t)
	c.SetIdle(true)
	done := make(chan error)
	go func() { done <- c.Fill() }()
	c.Drain()
	if err := <-done; err != ErrDraining {
		t.Errorf("idle: %v", err)
	}
}

func TestAwaitPeerTakesNothing(t *testing.T) {
	c, far := pair(t)
	done := make(chan error)
	go func() { done <- c.AwaitPeer() }()
	send(t, far, "x")
	if err := <-done; err != nil {
		t.Errorf("bytes: %v", err)
	}
	if err := c.Fill(); err != nil || string(c.Buffered()) != "x" {
		t.Errorf("got %q, %v", c.Buffered(), err)
	}
	go func() { done <- c.AwaitPeer() }()
	cause := errors.New("stop")
	c.WakeRead(cause)
	if err := <-done; err != cause {
		t.Errorf("woken: %v", err)
	}
	c.Revive()
	go func() { done <- c.AwaitPeer() }()
	far.Close()
	if err := <-done; err != io.EOF {
		t.Errorf("end: %v", err)
	}
	p, _ := piped(t)
	if err := p.AwaitPeer(); err != ErrWouldBlock {
		t.Errorf("not a socket: %v", err)
	}
}

func TestHalfCloseAndReset(t *testing.T) {
	c, far := pair(t)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(far); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
	send(t, far, "still here")
	if _, err := c.Peek(10); err != nil {
		t.Error(err)
	}
	c, far = pair(t)
	c.SetLinger0()
	c.Close()
	if _, err := far.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("an orderly end instead of a reset: %v", err)
	}
}

func TestUnreadAndDetachCarryBytesOver(t *testing.T) {
	c, far := pair(t)
	send(t, far, "tail")
	if _, err := c.Peek(4); err != nil {
		t.Fatal(err)
	}
	c.Unread([]byte("head "))
	if string(c.Buffered()) != "head tail" {
		t.Errorf("got %q", c.Buffered())
	}
	fd, unread, err := c.Detach()
	if err != nil || string(unread) != "head tail" {
		t.Fatalf("%q, %v", unread, err)
	}
	defer fd.Close()
	c.Close()
	nc, err := net.FileConn(fd)
	if err != nil {
		t.Fatal(err)
	}
	again := New(nc)
	defer again.Close()
	again.Unread(unread)
	send(t, far, "!")
	if b, err := again.Peek(10); err != nil || string(b) != "head tail!" {
		t.Errorf("%q, %v", b, err)
	}
	if p, _ := piped(t); p != nil {
		if _, _, err := p.Detach(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("not a socket: %v", err)
		}
	}
}

func TestReadAndWriteAllocateNothing(t *testing.T) {
	c, far := pair(t)
	msg, in := []byte("0123456789"), make([]byte, 100)
	if n := testing.AllocsPerRun(500, func() {
		if _, err := far.Write(msg); err != nil {
			t.Fatal(err)
		}
		if err := c.Fill(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write2(c.Buffered(), msg); err != nil {
			t.Fatal(err)
		}
		c.Discard(len(c.Buffered()))
		c.Release()
		if _, err := io.ReadFull(far, in[:20]); err != nil {
			t.Fatal(err)
		}
	}); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}
