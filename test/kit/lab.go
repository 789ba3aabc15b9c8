package kit

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/memory"
	"github.com/weftproxy/weft/transport/tcp"
)

const (
	// patience is how long anything may take on real sockets.
	patience = 20 * time.Second
	// fakePatience is that where the clock is fake, and nothing takes as long in fact.
	fakePatience = 3 * time.Hour
)

// A Lab is one test's network. Its methods are for the test's goroutine; they end the test when they fail.
type Lab struct {
	t         testing.TB
	network   transport.Network
	inMemory  bool
	limit     time.Duration
	dir       string
	ports     int // how many addresses were given out, in memory
	upstreams map[string]*Upstream
	listens   map[string]string // addresses to bind to, by listener
	origins   map[string]*Origin
	mu        sync.Mutex
	peers     []*Peer // guarded by mu
	h2s       []*H2   // guarded by mu
	weft      *Weft
	logRead   map[string]int // lines of each access log that were returned
}

// New makes a lab on loopback sockets.
func New(t testing.TB) *Lab { return build(t, tcp.New(), false, patience) }

// NewInMemory makes a lab on a network in memory, for tests in a synctest bubble.
func NewInMemory(t testing.TB) *Lab { return build(t, memory.New(), true, fakePatience) }

func build(t testing.TB, network transport.Network, inMemory bool, limit time.Duration) *Lab {
	l := &Lab{
		t: t, network: network, inMemory: inMemory, limit: limit, dir: t.TempDir(), upstreams: map[string]*Upstream{},
		origins: map[string]*Origin{}, listens: map[string]string{}, logRead: map[string]int{},
	}
	t.Cleanup(l.close)
	return l
}

// Upstream is the upstream of this name, which comes into being when it is first asked for.
func (l *Lab) Upstream(name string) *Upstream {
	l.t.Helper()
	if u := l.upstreams[name]; u != nil {
		return u
	}
	u, err := newUpstream(name, l.network, l.freeAddr(), l.limit)
	if err != nil {
		l.t.Fatal(err)
	}
	l.upstreams[name] = u
	return u
}

// Origin is the origin of this name; it comes into being, with its protocol, when it is first asked for.
func (l *Lab) Origin(name string, p Proto) *Origin {
	l.t.Helper()
	if o := l.origins[name]; o != nil {
		return o
	}
	o := newOrigin(name, p, l)
	if err := o.Accepts(); err != nil {
		l.t.Fatal(err)
	}
	l.origins[name] = o
	return o
}

// addrOf is the address of an origin or, if there is none of this name, of an upstream.
func (l *Lab) addrOf(name string) string {
	if o := l.origins[name]; o != nil {
		return o.addr
	}
	return l.Upstream(name).Addr()
}

// freeAddr is an address to listen on: with port 0 where the system chooses.
func (l *Lab) freeAddr() string {
	if !l.inMemory {
		return "127.0.0.1:0"
	}
	const first = 10000
	l.ports++
	return fmt.Sprintf("127.0.0.1:%d", first+l.ports)
}

// listenAddr is the address that a listener of Weft binds to.
func (l *Lab) listenAddr(name string) string {
	if l.listens[name] == "" {
		l.listens[name] = l.freeAddr()
	}
	return l.listens[name]
}

// Dial connects to a listener of Weft.
func (l *Lab) Dial(listener string) *Peer {
	l.t.Helper()
	p, err := l.connect(listener)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

func (l *Lab) connect(listener string) (*Peer, error) {
	addr, err := l.weft.Addr(listener)
	if err != nil {
		return nil, err
	}
	p, err := dial(l.t.Context(), l.limit, func(ctx context.Context) (net.Conn, error) { return l.dial(ctx, addr) })
	if err != nil {
		return nil, fmt.Errorf("connect to listener %s: %w", listener, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers = append(l.peers, p)
	return p, nil
}

func (l *Lab) dial(ctx context.Context, addr string) (net.Conn, error) {
	return l.network.Dial(ctx, transport.DialOptions{Network: "tcp", Address: addr})
}

// Weft is the Weft that Start started.
func (l *Lab) Weft() *Weft { return l.weft }

// File writes a file into the lab's directory and returns its path.
func (l *Lab) File(name, text string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// Log waits for the next n lines of an access log.
func (l *Lab) Log(name string, n int) ([]string, error) {
	path := filepath.Join(l.dir, name+".log")
	var lines []string
	err := l.eventually(func() error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines = strings.SplitAfter(string(b), "\n")
		lines = lines[l.logRead[name] : len(lines)-1]
		if len(lines) < n {
			return fmt.Errorf("access log %s has %d more lines, want %d: %q", name, len(lines), n, lines)
		}
		return nil
	})
	if err != nil {
		return lines, err
	}
	l.logRead[name] += n
	return lines[:n], nil
}

// eventually tries f until it succeeds or the lab's patience ends, and returns its last error.
func (l *Lab) eventually(f func() error) error {
	const pause = 2 * time.Millisecond
	limit, wait := l.limit, pause
	if l.inMemory {
		limit, wait = 10*time.Second, 10*time.Millisecond // a wait must not let timeouts go by
	}
	tick := time.NewTicker(wait)
	defer tick.Stop()
	for until := time.Now().Add(limit); ; {
		err := f()
		if err == nil || time.Now().After(until) {
			return err
		}
		<-tick.C
	}
}

// close ends everything, clients first, and checks that Weft has nothing left.
func (l *Lab) close() {
	for _, p := range l.peers {
		_ = p.Close() // most are closed already
	}
	for _, h := range l.h2s {
		h.finish()
	}
	for _, u := range l.upstreams {
		u.Drop(false)
	}
	for _, o := range l.origins {
		o.Drop(false)
	}
	if l.weft != nil {
		l.weft.finish()
	}
	for _, u := range l.upstreams {
		u.Close()
	}
	for _, o := range l.origins {
		o.close()
	}
}
