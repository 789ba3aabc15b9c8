//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// An origin is the upstream of every proxy: one thread, one epoll set, answers
// prepared beforehand. It shares its CPU with the load generator, so it does two
// system calls a request and next to nothing else. It trusts what it reads: proxies
// talk to it, nobody else.
//
// With HTTP/1 the path's first segment chooses the body: /64k, /1m, anything else 100 bytes.
type origin struct {
	epoll, wake          int
	listeners            map[int]service
	answers              map[service]h2Answers
	small, medium, large []byte // whole HTTP/1 responses
	refused              []byte
	conns                map[int]*originConn
	scratch              []byte
}

// An originConn is a connection from a proxy.
type originConn struct {
	fd      int
	head    []byte // the beginning of a head that has not arrived whole
	due     []byte // the response owed once the request's body is here
	body    int    // bytes of that body still to come, to be dropped
	out     []byte // what the socket did not take
	closing bool   // no more requests; close once out is written
	writing bool   // waits for EPOLLOUT; with HTTP/1 it does not read meanwhile
	h2      *h2Conn
}

const maxOriginHead = 32 << 10

// runOrigin is the origin process: it serves HTTP and streams until it is killed.
func runOrigin(args []string) error {
	f := flag.NewFlagSet("origin", flag.ContinueOnError)
	addrs := map[service]*string{}
	for _, s := range services() {
		addrs[s] = f.String(string(s), "", "`address` of this service")
	}
	stream := f.String("stream", "", "`address` to serve streams on")
	if err := f.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serveStreams(ctx, *stream); err != nil {
		return err
	}
	o, err := newOrigin()
	if err != nil {
		return err
	}
	for s, addr := range addrs {
		if err := o.listen(s, *addr); err != nil {
			return err
		}
	}
	return o.serve(ctx)
}

// newOrigin returns an origin that listens nowhere yet.
func newOrigin() (o *origin, err error) {
	o = &origin{
		listeners: map[int]service{}, answers: map[service]h2Answers{},
		small:   response("200 OK", 100),
		medium:  response("200 OK", 64<<10),
		large:   response("200 OK", 1<<20),
		refused: []byte("HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
		conns:   map[int]*originConn{},
		scratch: make([]byte, 256<<10),
	}
	if o.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if o.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return o, o.watch(unix.EPOLL_CTL_ADD, o.wake, unix.EPOLLIN)
}

// listen offers s on the IPv4 address addr.
func (o *origin) listen(s service, addr string) error {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return err
	}
	fd, err := listenTCP4(a)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	o.listeners[fd] = s
	if s != serviceHTTP1 {
		o.answers[s] = prepareH2(s)
	}
	return o.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN)
}

func listenTCP4(a *net.TCPAddr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	sa := &unix.SockaddrInet4{Port: a.Port}
	copy(sa.Addr[:], a.IP.To4())
	// Accepted sockets inherit TCP_NODELAY.
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func response(status string, size int) []byte {
	head := fmt.Sprintf("HTTP/1.1 %s\r\nServer: origin\r\nContent-Type: application/octet-stream\r\n"+
		"Last-Modified: Mon, 05 Jan 2026 10:00:00 GMT\r\nContent-Length: %d\r\n\r\n", status, size)
	return append([]byte(head), bytes.Repeat([]byte{'x'}, size)...)
}

// serve answers requests until ctx ends. It owns all of the origin's descriptors.
func (o *origin) serve(ctx context.Context) error {
	spareProcessor()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(o.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer stop()
	defer o.close()
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := rawEpollWait(o.epoll, events)
		if err == unix.EINTR {
			continue
		}
		if err != 0 {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:n] {
			fd := int(e.Fd)
			if fd == o.wake {
				return nil
			}
			if c := o.conns[fd]; c != nil {
				o.handle(c)
			} else if s, ok := o.listeners[fd]; ok {
				o.accept(fd, s)
			}
		}
	}
}

func (o *origin) close() {
	for _, c := range o.conns {
		unix.Close(c.fd)
	}
	for fd := range o.listeners {
		unix.Close(fd)
	}
	unix.Close(o.wake)
	unix.Close(o.epoll)
}

func (o *origin) watch(op, fd int, events uint32) error {
	return unix.EpollCtl(o.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func (o *origin) accept(listener int, s service) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return
		}
		if o.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN) != nil {
			unix.Close(fd)
			continue
		}
		c := &originConn{fd: fd}
		o.conns[fd] = c
		if s != serviceHTTP1 {
			c.h2 = newH2Conn(s, o.answers[s])
			o.flush(c)
		}
	}
}

func (o *origin) drop(c *originConn) {
	delete(o.conns, c.fd)
	unix.Close(c.fd)
}

// handle goes on with a connection that can be read or, when writing, written.
func (o *origin) handle(c *originConn) {
	if c.writing && c.h2 == nil && !o.write(c, c.out) {
		return
	}
	n, err := rawRead(c.fd, o.scratch)
	if err == unix.EAGAIN || err == unix.EINTR {
		if c.writing && c.h2 != nil {
			o.flush(c)
		}
		return
	}
	if err != 0 || n == 0 {
		o.drop(c)
		return
	}
	in := o.scratch[:n]
	if len(c.head) > 0 {
		in = append(c.head, in...)
		c.head = nil
	}
	if c.h2 != nil {
		o.frames(c, in)
	} else {
		o.requests(c, in)
	}
}

// requests answers every request that is whole in in and keeps what is not.
func (o *origin) requests(c *originConn, in []byte) {
	for len(in) > 0 {
		if c.due == nil {
			end := bytes.Index(in, []byte("\r\n\r\n"))
			if end < 0 {
				break
			}
			c.due = o.answer(c, in[:end+2])
			in = in[end+4:]
		}
		n := min(c.body, len(in))
		c.body -= n
		in = in[n:]
		if c.body > 0 {
			return
		}
		answer := c.due
		c.due = nil
		if !o.write(c, answer) {
			break
		}
	}
	if o.conns[c.fd] != c || len(in) == 0 {
		return
	}
	if len(in) > maxOriginHead {
		o.drop(c)
		return
	}
	c.head = append([]byte(nil), in...)
}

// answer chooses the response to a request head and notes what follows it.
func (o *origin) answer(c *originConn, head []byte) []byte {
	c.closing = field(head, "connection") == "close"
	if !bytes.HasPrefix(head, []byte("GET ")) {
		if field(head, "transfer-encoding") != "" {
			c.closing = true
			return o.refused
		}
		c.body, _ = strconv.Atoi(field(head, "content-length"))
		return o.small
	}
	switch path := head[len("GET "):]; {
	case bytes.HasPrefix(path, []byte("/64k ")):
		return o.medium
	case bytes.HasPrefix(path, []byte("/1m ")):
		return o.large
	}
	return o.small
}

// field returns the value of the field called name, in lower case, or "".
func field(head []byte, name string) string {
	for {
		at := bytes.IndexByte(head, '\n')
		if at < 0 {
			return ""
		}
		head = head[at+1:]
		if len(head) > len(name) && head[len(name)] == ':' && bytes.EqualFold(head[:len(name)], []byte(name)) {
			value := head[len(name)+1:]
			return string(bytes.ToLower(bytes.TrimSpace(value[:bytes.IndexByte(value, '\r')])))
		}
	}
}

// write sends b and reports whether the connection is ready for its next request;
// otherwise it is closed or waits until the socket takes the rest.
func (o *origin) write(c *originConn, b []byte) bool {
	for len(b) > 0 {
		n, err := rawWrite(c.fd, b)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			c.out = b
			if !c.writing {
				c.writing = true
				_ = o.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLOUT)
			}
			return false
		case err != 0:
			o.drop(c)
			return false
		default:
			b = b[n:]
		}
	}
	c.out = nil
	if c.closing {
		o.drop(c)
		return false
	}
	if c.writing {
		c.writing = false
		_ = o.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN)
	}
	return true
}
