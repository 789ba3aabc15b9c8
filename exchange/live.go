package exchange

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/upstream"
)

// Live is the table of exchanges under way, for /exchanges. Entering and leaving it costs an uncontended lock each; what changes on
// the way is kept in atomics, so that a reader disturbs nobody.
type Live struct{ shards [liveShards]liveShard }

const liveShards = 16

type liveShard struct {
	mu   sync.Mutex
	head Tracked // ring; head is the sentinel
	_    [64]byte
}

// Tracked is an exchange's place in the table. Method, host and path are borrowed from the request: they are read only under the
// shard's lock, which Leave takes before the request is released.
type Tracked struct {
	prev, next *Tracked
	shard      *liveShard
	start      int64
	info       *conn.Info
	method     string
	host       string
	path       string
	stage      atomic.Uint32
	tries      atomic.Int32
	route      atomic.Pointer[Route]
	upstream   atomic.Pointer[upstream.Host]
}

// NewLive returns an empty table.
func NewLive() *Live {
	l := &Live{}
	for i := range l.shards {
		h := &l.shards[i].head
		h.prev, h.next = h, h
	}
	return l
}

// Enter puts the exchange into the table. A nil table takes nothing.
func (l *Live) Enter(x *Exchange) {
	if l == nil {
		return
	}
	t, s := &x.tracked, &l.shards[x.Lane%liveShards]
	t.shard, t.start, t.info = s, x.Record.Start, x.Conn
	t.method, t.host, t.path = x.Request.Method, x.Request.Authority, x.Request.Path
	t.stage.Store(uint32(Decode))
	t.tries.Store(0)
	t.route.Store(nil)
	t.upstream.Store(nil)
	s.mu.Lock()
	t.prev, t.next = s.head.prev, &s.head
	t.prev.next, t.next.prev = t, t
	s.mu.Unlock()
}

// Leave takes the exchange out of the table.
func (l *Live) Leave(x *Exchange) {
	if l == nil {
		return
	}
	t := &x.tracked
	t.shard.mu.Lock()
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
	t.shard.mu.Unlock()
}

// At notes the stage the exchange is in.
func (x *Exchange) At(s Stage) { x.tracked.stage.Store(uint32(s)) }

// Stage returns the stage the exchange is in.
func (x *Exchange) Stage() Stage { return Stage(x.tracked.stage.Load()) }

// Trying notes the host and the number of the present attempt.
func (x *Exchange) Trying(h *upstream.Host, try int) {
	x.Host = h
	x.tracked.upstream.Store(h)
	x.tracked.tries.Store(int32(try))
}

// A Row is one exchange under way.
type Row struct {
	Age                time.Duration
	Stage              string
	Method, Host, Path string
	Listener, Remote   string
	Conn               uint64
	Route, Place       string
	Cluster, Upstream  string
	Try                int
}

// Rows returns at most limit exchanges under way, the oldest first. Its strings are owned.
func (l *Live) Rows(limit int) []Row {
	var rows []Row
	now := scope.Now()
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		// A shard is in order of age, so the oldest of all are among the oldest of each.
		for t, n := s.head.next, 0; t != &s.head && n < limit; t, n = t.next, n+1 {
			rows = append(rows, t.row(now))
		}
		s.mu.Unlock()
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(b.Age, a.Age) })
	return rows[:min(len(rows), limit)]
}
