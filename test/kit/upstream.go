package kit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/memory"
)

// An Upstream is a fake host: it records what it sees and answers as told, by default 200 with its name as the body. Safe for
// concurrent use.
type Upstream struct {
	Name string

	network transport.Network
	addr    string
	limit   time.Duration
	serving sync.WaitGroup // the accept loop and all connections

	mu        sync.Mutex
	ln        net.Listener      // nil while it refuses; guarded by mu
	conns     map[net.Conn]bool // guarded by mu
	accepted  int               // guarded by mu
	bytes     int64             // received; guarded by mu
	seen      []*Message        // in the order in which they were complete, or broke off; guarded by mu
	taken     int               // how many of seen Next has returned; guarded by mu
	answers   []Answer          // of the next requests; guarded by mu
	otherwise Answer            // of the requests after them; guarded by mu
	manual    bool              // connections are left to the test; guarded by mu
	waiting   []*Peer           // connections left to the test that Accept has not returned; guarded by mu
	closed    bool              // guarded by mu
	changed   chan struct{}     // closed, and replaced, when any of these changes; guarded by mu
}

func newUpstream(name string, network transport.Network, addr string, limit time.Duration) (*Upstream, error) {
	u := &Upstream{
		Name: name, network: network, addr: addr, limit: limit, conns: map[net.Conn]bool{}, changed: make(chan struct{}),
		otherwise: Reply(200, name),
	}
	return u, u.Accepts()
}

// Addr is the upstream's address; it stays the same when it refuses and accepts again.
func (u *Upstream) Addr() string { return u.addr }

// Accepts makes the upstream listen.
func (u *Upstream) Accepts() error {
	ln, err := u.network.Listen(context.Background(), transport.ListenOptions{Network: "tcp", Address: u.addr})
	if err != nil {
		return fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.addr, u.ln = ln.Addr().String(), ln
	u.serving.Go(func() { u.accept(ln) })
	return nil
}

// Refuses makes the upstream refuse connections, and closes those it has.
func (u *Upstream) Refuses() {
	u.mu.Lock()
	ln := u.ln
	u.ln = nil
	u.mu.Unlock()
	if ln != nil {
		_ = ln.Close() // which ends its accept loop
	}
	u.Drop(false)
}

// Hangs makes connecting to the upstream take for ever, where the network is in memory.
func (u *Upstream) Hangs() error {
	n, ok := u.network.(*memory.Network)
	if !ok {
		return errors.ErrUnsupported
	}
	n.Hang(u.addr)
	return nil
}

// Drop closes the upstream's connections, with a reset or in order.
func (u *Upstream) Drop(abort bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.conns {
		if abort {
			_ = reset(c) // it is gone either way
		} else {
			_ = c.Close()
		}
	}
}

// Answer makes these the answers to the next requests, in this order, after those that are still to come.
func (u *Upstream) Answer(answers ...Answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answers = append(u.answers, answers...)
}

// Otherwise is the answer to requests that Answer says nothing about.
func (u *Upstream) Otherwise(a Answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.otherwise = a
}

// Manual leaves the connections that come from now on to the test, which gets them from Accept.
func (u *Upstream) Manual() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.manual = true
}

// Accept returns the next connection of those left to the test.
func (u *Upstream) Accept() (*Peer, error) {
	var p *Peer
	err := u.wait(func() bool {
		if len(u.waiting) == 0 {
			return false
		}
		p, u.waiting = u.waiting[0], u.waiting[1:]
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: no connection: %w", u.Name, err)
	}
	return p, nil
}

// Next returns the next request the upstream has seen to its end, whether that was in order or not.
func (u *Upstream) Next() (*Message, error) {
	var m *Message
	err := u.wait(func() bool {
		if u.taken == len(u.seen) {
			return false
		}
		m = u.seen[u.taken]
		u.taken++
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: no request: %w", u.Name, err)
	}
	return m, nil
}

// Left returns the requests that were seen and that Next has not returned.
func (u *Upstream) Left() []*Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen[u.taken:]
}

// Skip forgets the requests that Next has not returned.
func (u *Upstream) Skip() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.taken = len(u.seen)
}

// Received is how many bytes the upstream has received in all, and on how many connections.
func (u *Upstream) Received() (n int64, connections int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes, u.accepted
}

// wait waits until ok, which is called with mu held.
func (u *Upstream) wait(ok func() bool) error {
	timer := time.NewTimer(u.limit)
	defer timer.Stop()
	for {
		u.mu.Lock()
		if ok() {
			u.mu.Unlock()
			return nil
		}
		changed := u.changed
		u.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return fmt.Errorf("waited %v", u.limit)
		}
	}
}

// note changes something under mu and wakes who waits.
func (u *Upstream) note(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
	close(u.changed)
	u.changed = make(chan struct{})
}

// Close ends the upstream and its connections, and waits for their goroutines.
func (u *Upstream) Close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.Refuses()
	u.serving.Wait()
}

func (u *Upstream) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return // closed
		}
		if !u.track(c) {
			continue
		}
		u.serving.Go(func() { u.serve(c) })
	}
}

// track keeps a new connection; it is false for one that the test or nobody serves.
func (u *Upstream) track(c net.Conn) bool {
	serve := false
	u.note(func() {
		if u.closed {
			_ = c.Close() // nobody is interested
			return
		}
		u.accepted++
		u.conns[c] = true
		if u.manual {
			u.waiting = append(u.waiting, newPeer(&counted{c, u}, u.limit))
			return
		}
		serve = true
	})
	return serve
}

// serve answers the requests of a connection.
func (u *Upstream) serve(c net.Conn) {
	defer func() {
		_ = c.Close() // ended either way
		u.note(func() { delete(u.conns, c) })
	}()
	in := newRecorder(&counted{c, u})
	for {
		t := &Talk{conn: c, in: in, upstream: u}
		m, err := in.request()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			u.note(func() {
				u.seen = append(u.seen, &Message{Start: "<broken head>", Raw: bytes.Clone(in.raw.Bytes()), Err: err})
			})
			return
		}
		t.Request = m
		u.answer()(t)
		t.ReadBody()
		if t.over {
			return
		}
	}
}

// answer takes the answer to the next request.
func (u *Upstream) answer() Answer {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.answers) == 0 {
		return u.otherwise
	}
	a := u.answers[0]
	u.answers = u.answers[1:]
	return a
}

// counted counts what an upstream receives.
type counted struct {
	net.Conn
	u *Upstream
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.u.mu.Lock()
	c.u.bytes += int64(n)
	c.u.mu.Unlock()
	return n, err
}

// CloseWrite ends the sending half.
func (c *counted) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// SetLinger is the connection's.
func (c *counted) SetLinger(sec int) error {
	return c.Conn.(interface{ SetLinger(sec int) error }).SetLinger(sec)
}
