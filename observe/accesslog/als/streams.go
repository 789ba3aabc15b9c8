package als

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/observe/stats"
)

// How entries wait.
const (
	defaultInterval = time.Second
	defaultSize     = 16 << 10
	maxSize         = 1 << 20         // bytes of entries in a message, whatever the configuration says: receivers take 4 MiB
	maxWaiting      = 4 << 20         // bytes of entries of a log that wait for its service
	idle            = 5 * time.Minute // without an entry, after which a stream ends
	closing         = time.Second     // how long Close waits for services
	keepScratch     = 16 << 10        // bytes of the largest scratch buffer that is kept
)

// Options are what streams need of the process.
type Options struct {
	Node  *corev3.Node                                                // who says it
	Dial  func(ctx context.Context, cluster string) (net.Conn, error) // opens a connection to a cluster, to speak HTTP/2
	Stats *stats.Store                                                // access_logs.grpc_access_log.*; nil: not counted where it can be seen
	Log   *slog.Logger                                                // nil: nothing is said
}

// Streams are the streams to access log services, shared by all logs whose configurations say the same of them. Safe for concurrent use.
type Streams struct {
	o                Options
	written, dropped *stats.Counter
	ctx              context.Context // of what is sent; ends a second after Close has begun
	cancel           context.CancelFunc
	closing          chan struct{} // closed when Close begins
	tasks            sync.WaitGroup
	scratch          sync.Pool // of *[]byte

	mu     sync.Mutex
	all    map[string]*stream // by configuration; guarded by mu
	closed bool               // guarded by mu
}

// NewStreams returns a set without streams. Its owner calls Close.
func NewStreams(o Options) *Streams {
	if o.Stats == nil {
		o.Stats = stats.NewStore(stats.Options{})
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	sc := o.Stats.Scope("access_logs.grpc_access_log.")
	set := &Streams{
		o: o, written: sc.Counter("logs_written"), dropped: sc.Counter("logs_dropped"), closing: make(chan struct{}), all: map[string]*stream{},
	}
	set.ctx, set.cancel = context.WithCancel(context.Background())
	return set
}

// Close sends what waits, for a second at most, and ends all streams. Entries logged later are dropped.
func (set *Streams) Close() {
	set.mu.Lock()
	first := !set.closed
	set.closed = true
	all := set.all
	set.all = nil
	set.mu.Unlock()
	if !first {
		return
	}
	for _, s := range all {
		s.close()
	}
	limit := time.AfterFunc(closing, set.cancel)
	close(set.closing)
	set.tasks.Wait()
	limit.Stop()
	set.cancel()
}

// open returns the stream of a configuration.
func (set *Streams) open(key string, c *streamConfig) *stream {
	set.mu.Lock()
	defer set.mu.Unlock()
	s := set.all[key]
	if s == nil {
		s = &stream{set: set, streamConfig: c, wake: make(chan struct{}, 1), closed: set.closed}
		if !set.closed {
			set.all[key] = s
		}
	}
	return s
}

// take returns a buffer for an entry.
func (set *Streams) take() *[]byte {
	if b, ok := set.scratch.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 1<<10)
	return &b
}

// put takes a buffer back.
func (set *Streams) put(b *[]byte) {
	if cap(*b) <= keepScratch {
		set.scratch.Put(b)
	}
}
