package memory

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"github.com/weftproxy/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns the two ends of a connection, the one that dialled first.
func connect(t testing.TB, n *Network, address string) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := n.Listen(t.Context(), transport.ListenOptions{Network: "tcp", Address: address})
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestConnBehavesLikeANetworkConnection(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := connect(t, New(), "127.0.0.1:0")
		return a, b, func() { _, _ = a.Close(), b.Close() }, nil
	})
}

func TestAddressesLookLikeTCP(t *testing.T) {
	n := New()
	a, b := connect(t, n, "10.1.2.3:80")
	remote, ok := a.RemoteAddr().(*net.TCPAddr)
	if !ok || remote.AddrPort().String() != "10.1.2.3:80" || a.LocalAddr().String() != b.RemoteAddr().String() {
		t.Errorf("%v to %v, seen from %v", a.LocalAddr(), a.RemoteAddr(), b.RemoteAddr())
	}
	_, _ = a.Close(), b.Close()
}

func TestDialFindsWildcardsAndRefuses(t *testing.T) {
	n := New()
	ln, err := n.Listen(t.Context(), transport.ListenOptions{Network: "tcp", Address: "0.0.0.0:80"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen(t.Context(), transport.ListenOptions{Network: "tcp", Address: "0.0.0.0:80"}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
	c, err := n.Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: "10.0.0.1:80", Local: "10.9.9.9:0"})
	if err != nil {
		t.Fatal(err)
	}
	if host, _, _ := net.SplitHostPort(c.LocalAddr().String()); host != "10.9.9.9" {
		t.Errorf("from %s", c.LocalAddr())
	}
	if _, err := n.Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: "10.0.0.1:81"}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("nobody accepted: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if got := n.Dials("10.0.0.1:80"); got != 1 {
		t.Errorf("%d dials", got)
	}
	_ = c.Close()
}

func TestUnixSockets(t *testing.T) {
	n := New()
	ln, err := n.Listen(t.Context(), transport.ListenOptions{Network: "unix", Address: "/run/x.sock"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.Dial(t.Context(), transport.DialOptions{Network: "unix", Address: "/run/x.sock"})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Close(), ln.Close()
}

func TestHalfCloseAndReset(t *testing.T) {
	a, b := connect(t, New(), "10.0.0.1:80")
	if _, err := a.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := a.(*Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); err != nil || string(got) != "last" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	if _, err := b.Write([]byte("still")); err != nil {
		t.Errorf("the other direction: %v", err)
	}
	if err := b.(*Conn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 9)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %v", err)
	}
	_ = a.Close()
	if err := a.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
}

func TestCloseWithDataUnreadResets(t *testing.T) {
	a, b := connect(t, New(), "10.0.0.1:80")
	_, _ = a.Write([]byte("unread"))
	_ = b.Close()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
	_ = a.Close()
}

func TestWriteWaitsForTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connect(t, New(), "10.0.0.1:80")
		data := bytes.Repeat([]byte("0123456789"), 50000)
		var wg sync.WaitGroup
		done := false
		wg.Go(func() {
			if n, err := a.Write(data); n != len(data) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
			done = true
			_ = a.Close()
		})
		synctest.Wait()
		if done {
			t.Error("half a megabyte went into a buffer")
		}
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		wg.Wait()
		_ = b.Close()
	})
}

func TestDeadlinesAreThoseOfTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connect(t, New(), "10.0.0.1:80")
		began := time.Now()
		_ = a.SetReadDeadline(began.Add(time.Hour))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		go func() {
			time.Sleep(time.Minute)
			_ = a.SetReadDeadline(time.Unix(1, 0)) // wakes the read below
		}()
		_ = a.SetReadDeadline(time.Time{})
		began = time.Now()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = a.SetReadDeadline(time.Time{})
		_, _ = b.Write([]byte("x"))
		if n, err := a.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("after the deadline was lifted: %d, %v", n, err)
		}
		_, _ = a.Close(), b.Close()
	})
}

func TestHangingDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		n.Hang("10.0.0.1:80")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := n.Dial(ctx, transport.DialOptions{Network: "tcp", Address: "10.0.0.1:80"})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		n.Answer("10.0.0.1:80")
		if _, err := n.Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: "10.0.0.1:80"}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
	})
}
