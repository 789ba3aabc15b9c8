package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/transport"
)

// Causes with which a listener ends connections.
var (
	ErrClosed  = errors.New("listener: closed")
	errRetired = errors.New("listener: filter chain removed, drain time over")
)

// closeGrace is how long Close waits for handlers to return.
const closeGrace = 5 * time.Second

// A Listener is a Config at work. Safe for concurrent use.
type Listener struct {
	env         *extension.Env
	connections *extension.Connections
	log         *slog.Logger
	cfg         atomic.Pointer[Config]
	live        registry
	lot         lot
	ctx         context.Context // of the connections; ends with Close. Set by Bind
	cancel      context.CancelCauseFunc
	running     sync.WaitGroup // accept loops and connections that hold a goroutine

	closing sync.Once

	mu      sync.Mutex
	sockets []socket      // guarded by mu
	stopped chan struct{} // closed by Stop
	timers  map[*time.Timer]struct{}
}

// A socket is one that is listened on.
type socket struct {
	net.Listener
	at *address
}

// New makes a listener that does nothing yet.
func New(cfg *Config, env *extension.Env) *Listener {
	l := &Listener{env: env, connections: env.Options.Connections, log: env.Log, stopped: make(chan struct{}), timers: map[*time.Timer]struct{}{}}
	if l.connections == nil {
		l.connections = &extension.Connections{}
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.cfg.Store(cfg)
	l.live.init()
	l.lot.l = l
	return l
}

// Config returns the configuration in force.
func (l *Listener) Config() *Config { return l.cfg.Load() }

// Bind opens the sockets: all of them, or none and an error that names the listener and the address. Values of ctx are passed on to
// handlers.
func (l *Listener) Bind(ctx context.Context) error {
	cfg := l.cfg.Load()
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if !cfg.bind {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range cfg.addresses {
		if err := l.open(ctx, &cfg.addresses[i]); err != nil {
			for _, s := range l.sockets {
				_ = s.Close() // nobody has connected yet
			}
			l.sockets = nil
			return fmt.Errorf("listener %q: %w", cfg.Name, err)
		}
	}
	return nil
}

// open opens the sockets of one address: one, or with SO_REUSEPORT one for each unit of concurrency. mu is held.
func (l *Listener) open(ctx context.Context, a *address) error {
	sockets := 1
	if a.sockets.reusePort && a.network != "unix" {
		sockets = max(1, l.env.Options.Concurrency)
	}
	where := a.address
	for range sockets {
		ln, err := l.env.Network.Listen(ctx, transport.ListenOptions{
			Network: a.network, Address: where, Mode: a.mode, Backlog: a.sockets.backlog,
			ReusePort: a.sockets.reusePort, Control: a.sockets.control(),
		})
		if err != nil {
			return err
		}
		l.sockets = append(l.sockets, socket{ln, a})
		where = ln.Addr().String() // port 0: the others take the same
		if err := a.sockets.finish(ln); err != nil {
			return fmt.Errorf("listen %s %s: %w", a.network, a.address, err)
		}
	}
	return nil
}

// finish sets the options that belong on a socket that listens.
func (s *socketOptions) finish(ln net.Listener) error {
	late := false
	for i := range s.options {
		late = late || s.options[i].late
	}
	if !late {
		return nil
	}
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil // not a socket of the system
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	return s.set(raw, true)
}

// Addresses returns the addresses bound, with the ports the system chose.
func (l *Listener) Addresses() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for i, s := range l.sockets {
		if i == 0 || s.at != l.sockets[i-1].at {
			all = append(all, s.Addr().String())
		}
	}
	return all
}

// Serve begins to accept on the sockets that Bind opened. It does not block.
func (l *Listener) Serve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sockets {
		l.running.Go(func() { l.accept(s) }) // ends when Stop closes the socket
	}
}

// Stop closes the sockets. Connections live on.
func (l *Listener) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.stopped:
		return
	default:
		close(l.stopped)
	}
	for _, s := range l.sockets {
		_ = s.Close() // nothing to be done about it
	}
}

// Update puts another configuration with the same sockets into effect for new connections. Connections of filter chains that are gone
// or changed are drained, and closed after the drain time; the others do not notice.
func (l *Listener) Update(cfg *Config) {
	old := l.cfg.Swap(cfg)
	if old == cfg {
		return
	}
	gone := map[*Chain]bool{}
	for _, c := range old.chains {
		if !cfg.keeps(c) {
			gone[c] = true
		}
	}
	old.scope.Close() // cfg holds it as well; what has still to be counted is counted unseen when the prefix has changed
	if len(gone) == 0 {
		return
	}
	l.drainChains(gone)
	wait := l.env.Options.DrainTime
	if wait == 0 {
		wait = defaultDrainTime
	}
	l.after(wait, func() { l.retire(gone) })
}

// defaultDrainTime is that of Envoy's --drain-time-s.
const defaultDrainTime = 600 * time.Second

// keeps reports whether connections of an older chain can go on under c.
func (c *Config) keeps(old *Chain) bool {
	for _, chain := range c.chains {
		if chain.serves(old) {
			return true
		}
	}
	return false
}

// drainChains asks the connections of some chains to end with their next exchange. Idle ones stay where they are until then.
func (l *Listener) drainChains(gone map[*Chain]bool) {
	l.live.each(func(s *session) {
		if chain := s.chain.Load(); chain != nil && gone[chain] {
			s.c.DrainGently()
		}
	})
}

// retire ends the connections of some chains.
func (l *Listener) retire(gone map[*Chain]bool) {
	cut := l.env.Options.ClosedByUpdate
	l.live.each(func(s *session) {
		if chain := s.chain.Load(); chain != nil && gone[chain] {
			s.stats.Lane(s.c.Lane).DrainClose.Inc()
			if cut != nil && !s.c.Idle() {
				cut.Inc()
			}
			s.c.Drain() // who waits for the next message goes by that, and not by why he was woken
			s.c.Wake(errRetired)
			l.lot.resume(s)
		}
	})
}

// after runs f after a while, unless the listener is closed before.
func (l *Listener) after(wait time.Duration, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var t *time.Timer
	t = time.AfterFunc(wait, func() {
		l.mu.Lock()
		delete(l.timers, t)
		l.mu.Unlock()
		f()
	})
	l.timers[t] = struct{}{}
}

// Drain stops accepting, asks every connection to end, and waits until the last has or ctx ends.
func (l *Listener) Drain(ctx context.Context) {
	l.Stop()
	l.live.draining.Store(true)
	l.live.each(func(s *session) {
		s.c.Drain()
		l.lot.resume(s)
	})
	l.live.wait(ctx)
}

// Connections returns how many connections are open, parked ones included.
func (l *Listener) Connections() int { return int(l.live.open.Load()) }

// Parked returns how many connections are idle and hold no goroutine.
func (l *Listener) Parked() int { return l.lot.len() }

// Close stops accepting and ends every connection. It returns when they are gone, or after five seconds with those that do not react
// left to themselves.
func (l *Listener) Close() { l.closing.Do(l.close) }

func (l *Listener) close() {
	l.Stop()
	l.mu.Lock()
	for t := range l.timers {
		t.Stop()
	}
	clear(l.timers)
	l.mu.Unlock()
	if l.cancel != nil {
		l.cancel(ErrClosed)
	}
	l.live.closed.Store(true)
	l.live.each(func(s *session) {
		s.c.Wake(ErrClosed)
		l.lot.resume(s)
	})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.context()), closeGrace)
	defer cancel()
	l.live.wait(ctx)
	if left := l.Connections(); left > 0 {
		l.log.Error("connections did not end", "listener", l.Config().Name, "connections", left)
	} else {
		l.running.Wait()
	}
	l.lot.close()
	l.cfg.Load().scope.Close()
}

// context is ctx, or an empty one before Bind.
func (l *Listener) context() context.Context {
	if l.ctx == nil {
		return context.Background() // nothing runs below it: Bind was never called
	}
	return l.ctx
}

// limit returns the runtime's limit of connections under a key, -1 when there is none.
func (l *Listener) limit(key string) int64 {
	v, ok := l.env.Options.Runtime.Lookup(key)
	if !ok {
		return -1
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
