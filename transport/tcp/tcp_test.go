package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weftproxy/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, o transport.ListenOptions) net.Listener {
	t.Helper()
	ln, err := New().Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// talk sends a word through a connection to ln.
func talk(t *testing.T, ln net.Listener, o transport.DialOptions) net.Conn {
	t.Helper()
	o.Network, o.Address = ln.Addr().Network(), ln.Addr().String()
	c, err := New().Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	_ = s.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("word")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "word" {
		t.Fatalf("got %q, %v", b, err)
	}
	return c
}

func option(t *testing.T, c any, level, name int) int {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	value := 0
	if cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return value
}

func TestListenAndDial(t *testing.T) {
	ln := listen(t, transport.ListenOptions{Network: "tcp", Address: "127.0.0.1:0", Backlog: 7})
	c := talk(t, ln, transport.DialOptions{Local: "127.0.0.2:0"})
	if host, _, _ := net.SplitHostPort(c.LocalAddr().String()); host != "127.0.0.2" {
		t.Errorf("from %s", c.LocalAddr())
	}
	if option(t, c, unix.IPPROTO_TCP, unix.TCP_NODELAY) == 0 {
		t.Error("TCP_NODELAY is off")
	}
	if option(t, c, unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0 {
		t.Error("keep-alive is on")
	}
}

func TestReusePort(t *testing.T) {
	first := listen(t, transport.ListenOptions{Network: "tcp", Address: "127.0.0.1:0", ReusePort: true})
	listen(t, transport.ListenOptions{Network: "tcp", Address: first.Addr().String(), ReusePort: true})
	if _, err := New().Listen(t.Context(), transport.ListenOptions{Network: "tcp", Address: first.Addr().String()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("without SO_REUSEPORT: %v", err)
	}
}

func TestDualStack(t *testing.T) {
	probe, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	_ = probe.Close()
	for network, both := range map[string]bool{"tcp": true, "tcp6": false} {
		ln := listen(t, transport.ListenOptions{Network: network, Address: "[::]:0"})
		port := ln.Addr().(*net.TCPAddr).Port
		c, err := New().Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
		if err == nil {
			_ = c.Close()
		}
		if (err == nil) != both {
			t.Errorf("%s on [::]: IPv4 says %v", network, err)
		}
	}
}

func TestErrorsNameTheAddress(t *testing.T) {
	ln := listen(t, transport.ListenOptions{Network: "tcp", Address: "127.0.0.1:0"})
	address := ln.Addr().String()
	_, err := New().Listen(t.Context(), transport.ListenOptions{Network: "tcp", Address: address})
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
	_ = ln.Close()
	_, err = New().Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: address})
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
	_, err = New().Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: address, Local: "nonsense"})
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v", err)
	}
	if _, err = New().Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: address, Local: "192.0.2.1:0"}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a foreign source address: %v", err)
	}
}

func TestControlErrorsFailTheListener(t *testing.T) {
	no := errors.New("no")
	_, err := New().Listen(t.Context(), transport.ListenOptions{Network: "tcp", Address: "127.0.0.1:0",
		Control: func(string, string, syscall.RawConn) error { return no }})
	if !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
}

func TestSocketOptions(t *testing.T) {
	ln := listen(t, transport.ListenOptions{Network: "tcp", Address: "127.0.0.1:0"})
	o := SocketOptions{Freebind: true, KeepAlive: true, KeepAliveProbes: 4, KeepAliveIdle: 30 * time.Second, KeepAliveInterval: 7 * time.Second,
		Raw: []RawOption{{Level: unix.SOL_SOCKET, Name: unix.SO_RCVBUF, Int: 8192}, {Level: unix.IPPROTO_IPV6, Name: unix.IPV6_TCLASS, Int: 1, Only: "tcp6"}}}
	c := talk(t, ln, transport.DialOptions{Control: func(network, _ string, c syscall.RawConn) error { return o.Apply(network, c) }})
	for _, s := range []struct{ level, name, want int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7}, {unix.IPPROTO_IP, unix.IP_FREEBIND, 1}, {unix.SOL_SOCKET, unix.SO_RCVBUF, 16384},
	} {
		if got := option(t, c, s.level, s.name); got != s.want {
			t.Errorf("option %d of level %d is %d, want %d", s.name, s.level, got, s.want)
		}
	}
	bad := SocketOptions{Raw: []RawOption{{Level: 9999, Name: 1, Int: 1}}}
	_, err := New().Dial(t.Context(), transport.DialOptions{Network: "tcp", Address: ln.Addr().String(),
		Control: func(network, _ string, c syscall.RawConn) error { return bad.Apply(network, c) }})
	if err == nil || !strings.Contains(err.Error(), "level 9999") {
		t.Errorf("got %v", err)
	}
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln := listen(t, transport.ListenOptions{Network: "unix", Address: path, Mode: 0o640})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	talk(t, ln, transport.DialOptions{})
	if _, err := New().Listen(t.Context(), transport.ListenOptions{Network: "unix", Address: path}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), path) {
		t.Errorf("in use: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

func TestStaleUnixSocketsAreReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := listen(t, transport.ListenOptions{Network: "unix", Address: path})
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = old.Close()
	talk(t, listen(t, transport.ListenOptions{Network: "unix", Address: path}), transport.DialOptions{})

	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New().Listen(t.Context(), transport.ListenOptions{Network: "unix", Address: file}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is damaged: %q, %v", b, err)
	}
}

func TestAbstractUnixSockets(t *testing.T) {
	name := "@weft-test-" + strconv.Itoa(os.Getpid())
	talk(t, listen(t, transport.ListenOptions{Network: "unix", Address: name}), transport.DialOptions{})
	if _, err := New().Listen(t.Context(), transport.ListenOptions{Network: "unix", Address: name + "x", Mode: 0o600}); err == nil {
		t.Error("an abstract socket got a mode")
	}
}
