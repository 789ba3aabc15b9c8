//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// streamChunk is how much the origin writes at once: what a server with a
// reasonable buffer does. The proxies' splices depend on how the kernel packs it.
const streamChunk = 256 << 10

// serveStreams listens on addr and sends every client as many bytes as its first
// line asks for, in decimal. It returns once it listens; the goroutines end with
// the process or when ctx does.
func serveStreams(ctx context.Context, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go sendStream(c)
		}
	}()
	return nil
}

func sendStream(c net.Conn) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	left, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return
	}
	chunk := make([]byte, streamChunk)
	for left > 0 {
		n, err := c.Write(chunk[:min(int64(len(chunk)), left)])
		if err != nil {
			return
		}
		left -= int64(n)
	}
}

// receiveStreams moves total bytes over so many connections through addr at once
// and returns what arrived. A stream that ends early, late or not at all is an error.
func receiveStreams(ctx context.Context, addr string, connections int, total int64) (int64, error) {
	var wg sync.WaitGroup
	got := make([]int64, connections)
	errs := make([]error, connections)
	for i := range connections {
		wg.Go(func() { got[i], errs[i] = receiveStream(ctx, addr, total/int64(connections)) })
	}
	wg.Wait()
	var sum int64
	for _, n := range got {
		sum += n
	}
	return sum, errors.Join(errs...)
}

func receiveStream(ctx context.Context, addr string, want int64) (int64, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(raw, "%d\n", want); err != nil {
		return 0, err
	}
	got, err := discard(raw.(*net.TCPConn))
	if err == nil && got != want {
		err = fmt.Errorf("stream of %d bytes ended after %d", want, got)
	}
	return got, err
}

// discard reads to the end without copying the bytes out of the kernel (MSG_TRUNC,
// tcp(7)), so that the receiver costs little beside the proxy.
func discard(c *net.TCPConn) (int64, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 1<<20)
	var sum int64
	for {
		var n int
		var failed error
		err := rc.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			return failed != unix.EAGAIN
		})
		switch err = errors.Join(err, failed); {
		case failed == unix.EINTR:
		case err != nil:
			return sum, err
		case n == 0:
			return sum, nil
		default:
			sum += int64(n)
		}
	}
}
