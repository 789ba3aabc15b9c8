package listener

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe/stats"
)

// A session is a connection with what the listener keeps for it.
type session struct {
	c     *conn.Conn
	stats *stats.Group[Stats]
	began int64                 // scope.Now
	ended bool                  // owned by the goroutine that serves
	chain atomic.Pointer[Chain] // nil until matched

	fd         int32    // while parked; guarded by lot.mu
	parked     bool     // guarded by lot.mu
	prev, next *session // guarded by the shard's mu
}

// registry holds the open connections. Entering and leaving cost an uncontended lock each. Lock order: a shard's mu before lot.mu.
type registry struct {
	open     atomic.Int64
	draining atomic.Bool
	closed   atomic.Bool
	waiting  atomic.Int32
	empty    chan struct{} // gets a token when the last connection is gone and somebody waits
	shards   [registryShards]shard
}

const registryShards = 16

type shard struct {
	mu   sync.Mutex
	head session // ring; the sentinel
	_    [64]byte
}

func (r *registry) init() {
	r.empty = make(chan struct{}, 1)
	for i := range r.shards {
		h := &r.shards[i].head
		h.prev, h.next = h, h
	}
}

func (r *registry) shard(s *session) *shard { return &r.shards[s.c.Lane%registryShards] }

// enter adds a connection. One that comes when the listener is already draining or closed is told at once: either enter sees the flag, or
// each sees the connection.
func (r *registry) enter(s *session) {
	r.open.Add(1)
	sh := r.shard(s)
	sh.mu.Lock()
	s.prev, s.next = sh.head.prev, &sh.head
	s.prev.next, s.next.prev = s, s
	sh.mu.Unlock()
	if r.draining.Load() {
		s.c.Drain()
	}
	if r.closed.Load() {
		s.c.Wake(ErrClosed)
	}
}

// leave takes a connection out. No call of each holds it any more when leave has returned.
func (r *registry) leave(s *session) {
	sh := r.shard(s)
	sh.mu.Lock()
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next = nil, nil
	sh.mu.Unlock()
	if r.open.Add(-1) == 0 && r.waiting.Load() > 0 {
		r.signal()
	}
}

func (r *registry) signal() {
	select {
	case r.empty <- struct{}{}:
	default:
	}
}

// each calls f for every connection. f must not block.
func (r *registry) each(f func(s *session)) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		for s := sh.head.next; s != &sh.head; s = s.next {
			f(s)
		}
		sh.mu.Unlock()
	}
}

// wait blocks until no connection is open or ctx ends.
func (r *registry) wait(ctx context.Context) {
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	for r.open.Load() > 0 {
		select {
		case <-r.empty:
		case <-ctx.Done():
			return
		}
	}
	r.signal() // for the next one who waits
}
