package tcp

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func setReusePort(c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); err != nil {
		return err
	}
	return failed
}

// setBacklog changes the length of the accept queue: listen(2) may be called again for that.
func setBacklog(ln net.Listener, n int) error {
	if n <= 0 {
		return nil
	}
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Listen(int(fd), n) }); err != nil {
		return err
	}
	return failed
}

func (o *SocketOptions) apply(network string, fd int) error {
	type option struct {
		name       string
		level, opt int
		value      int
		set        bool
	}
	isTCP := network != "unix"
	freebindLevel, freebind := unix.IPPROTO_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		freebindLevel, freebind = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	for _, s := range []option{
		{"IP_FREEBIND", freebindLevel, freebind, 1, isTCP && o.Freebind},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, isTCP && o.KeepAlive},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, o.KeepAliveProbes, isTCP && o.KeepAliveProbes > 0},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(o.KeepAliveIdle), isTCP && o.KeepAliveIdle > 0},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(o.KeepAliveInterval), isTCP && o.KeepAliveInterval > 0},
	} {
		if !s.set {
			continue
		}
		if err := unix.SetsockoptInt(fd, s.level, s.opt, s.value); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for _, r := range o.Raw {
		if r.Only != "" && r.Only != network {
			continue
		}
		var err error
		if len(r.Buf) > 0 {
			err = unix.SetsockoptString(fd, r.Level, r.Name, string(r.Buf))
		} else {
			err = unix.SetsockoptInt(fd, r.Level, r.Name, r.Int)
		}
		if err != nil {
			return fmt.Errorf("socket option %d of level %d: %w", r.Name, r.Level, err)
		}
	}
	return nil
}

func seconds(d time.Duration) int { return int(d / time.Second) }
