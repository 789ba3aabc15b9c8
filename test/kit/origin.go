package kit

import (
	"context"
	"errors"
	"fmt"

	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/transport"
)

// An Origin is a fake host that speaks any protocol of a lab. It answers with 200 and its name unless told otherwise. Safe for
// concurrent use.
type Origin struct {
	Name  string
	Proto Proto

	lab     *Lab
	addr    string
	serving sync.WaitGroup // the accept loop, all connections, and handlers

	mu      sync.Mutex
	options H2Options
	ln      net.Listener        // nil while it refuses; guarded by mu
	conns   map[net.Conn]func() // what ends each at once; guarded by mu
	total   int                 // connections accepted; guarded by mu
	bytes   int64               // received; guarded by mu
	streams int                 // requests begun; guarded by mu
	handler func(Stream)        // guarded by mu; nil: streams are left to Accept
	waiting []Stream            // guarded by mu
	changed chan struct{}       // closed, and replaced, when any of these changes; guarded by mu
}

func newOrigin(name string, p Proto, l *Lab) *Origin {
	o := &Origin{Name: name, Proto: p, lab: l, addr: l.freeAddr(), conns: map[net.Conn]func(){}, changed: make(chan struct{})}
	o.handler = o.answer
	o.options.Settings = []http2.Setting{{ID: http2.SettingEnableConnectProtocol, Val: 1}}
	return o
}

// answer is what an origin does with a request unless it is told something else.
func (o *Origin) answer(s Stream) {
	if w, err := Read(s); err == nil && w.Err == nil {
		_ = Respond(s, 200, o.Name) // the client may be gone
	}
}

// Begin says how connections of HTTP/2 that come from now on begin.
func (o *Origin) Begin(options H2Options) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.options = options
}

// Handle is what becomes of the streams that come from now on. When f returns, an answer that is not complete breaks off.
func (o *Origin) Handle(f func(Stream)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.handler = f
}

// Manual leaves the streams that come from now on to the test, which gets them from Accept.
func (o *Origin) Manual() { o.Handle(nil) }

// Accept returns the next stream of those left to the test, with the head of its request.
func (o *Origin) Accept() (Stream, *Head, error) {
	timer := time.NewTimer(o.lab.limit)
	defer timer.Stop()
	for {
		o.mu.Lock()
		if len(o.waiting) > 0 {
			s := o.waiting[0]
			o.waiting = o.waiting[1:]
			o.mu.Unlock()
			h, err := s.Head()
			return s, h, err
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return nil, nil, fmt.Errorf("origin %s: no stream within %v", o.Name, o.lab.limit)
		}
	}
}

// Began is how many requests have come, on how many connections, and of how many bytes.
func (o *Origin) Began() (streams, connections int, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.streams, o.total, o.bytes
}

// Accepts makes the origin listen.
func (o *Origin) Accepts() error {
	ln, err := o.lab.network.Listen(context.Background(), transport.ListenOptions{Network: "tcp", Address: o.addr})
	if err != nil {
		return fmt.Errorf("origin %s: %w", o.Name, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.addr, o.ln = ln.Addr().String(), ln
	o.serving.Go(func() { // ends with ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			o.serving.Go(func() { o.serve(c) })
		}
	})
	return nil
}

// Refuses makes the origin refuse connections, and closes those it has.
func (o *Origin) Refuses() {
	o.mu.Lock()
	ln := o.ln
	o.ln = nil
	o.mu.Unlock()
	if ln != nil {
		_ = ln.Close() // which ends its accept loop
	}
	o.Drop(false)
}

// Drop closes the origin's connections, with a reset or in order.
func (o *Origin) Drop(abort bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c, end := range o.conns {
		end()
		if abort {
			_ = reset(c) // it is gone either way
		} else {
			_ = c.Close()
		}
	}
}

func (o *Origin) close() {
	o.Refuses()
	o.serving.Wait()
}

func (o *Origin) note(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	close(o.changed)
	o.changed = make(chan struct{})
}

// serve serves a connection to its end.
func (o *Origin) serve(c net.Conn) {
	gone := make(chan struct{})
	var options H2Options
	o.note(func() {
		o.total++
		o.conns[c], options = sync.OnceFunc(func() { close(gone) }), o.options
		if o.ln == nil {
			_ = c.Close() // it came too late
		}
	})
	defer func() {
		_ = c.Close() // ended either way
		o.note(func() { delete(o.conns, c) })
	}()
	in := &received{Conn: c, o: o}
	if o.Proto == HTTP2 {
		o.serveH2(in, options)
		return
	}
	for p := newPeer(in, o.lab.limit); o.serveH1(p, gone); {
	}
}

// serveH1 serves one exchange; it is false at the connection's end.
func (o *Origin) serveH1(p *Peer, gone chan struct{}) bool {
	s := newH1Stream(p, false)
	if err := p.SetReadDeadline(time.Time{}); err != nil {
		return false
	}
	if _, err := p.in.br.Peek(1); err != nil {
		return false
	}
	if handled := o.start(s); handled != nil {
		handled(s)
		if !s.settle() {
			return false
		}
	}
	select {
	case <-s.done:
		return !s.stop && !s.tunnel
	case <-gone:
		return false
	}
}

// settle brings an exchange to its end whose handler has returned; it is false when that has left the response unfinished.
func (s *h1Stream) settle() bool {
	s.mu.Lock()
	sent := s.sent
	s.mu.Unlock()
	if !sent {
		return false
	}
	_, err := Body(s)
	return err == nil
}

func (o *Origin) serveH2(c net.Conn, options H2Options) {
	h := newH2(c, true, o.lab.limit, options)
	h.accept = func(s *h2Stream) {
		if handled := o.start(s); handled != nil {
			o.serving.Go(func() { // ends with the handler
				handled(s)
				if unfinished, code := s.left(); unfinished {
					_ = ResetWith(s, code) // the connection may be gone
				}
			})
		}
	}
	if err := h.begin(); err == nil {
		h.reading.Wait()
	}
}

// left reports whether a stream whose handler has returned is still open, and with which code it is to be reset.
func (s *h2Stream) left() (bool, http2.ErrCode) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	over := s.sent && s.ended || s.err != nil || s.h.seen.End != nil
	if s.sent {
		return !over, http2.ErrCodeNo // the answer came early: the rest of the request is not needed
	}
	return !over, http2.ErrCodeInternal
}

// start takes a stream; the handler is nil where it is left to the test.
func (o *Origin) start(s Stream) (handler func(Stream)) {
	o.note(func() {
		o.streams++
		if handler = o.handler; handler == nil {
			o.waiting = append(o.waiting, s)
		}
	})
	return handler
}

// WaitBegan waits until that many requests have come.
func (o *Origin) WaitBegan(n int) error {
	return o.lab.eventually(func() error {
		if got, _, _ := o.Began(); got != n {
			return fmt.Errorf("origin %s has got %d requests, want %d", o.Name, got, n)
		}
		return nil
	})
}

// received counts what an origin receives.
type received struct {
	net.Conn
	o *Origin
}

func (c *received) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.o.mu.Lock()
	c.o.bytes += int64(n)
	c.o.mu.Unlock()
	return n, err
}

// CloseWrite ends the sending half.
func (c *received) CloseWrite() error {
	if hc, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return hc.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger is the connection's.
func (c *received) SetLinger(sec int) error {
	if l, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		return l.SetLinger(sec)
	}
	return errors.ErrUnsupported
}
