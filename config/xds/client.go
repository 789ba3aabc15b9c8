package xds

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"sync"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// Options are what a Client is made with.
type Options struct {
	Node      *corev3.Node           // who asks; not modified
	Bootstrap *bootstrapv3.Bootstrap // its dynamic_resources.ads_config is the source that ConfigSource.ads means; nil: there is none
	Hub       *subscription.Hub      // required
	Support   resource.Support       // what resources may say
	Stats     *stats.Store           // nil: an own one
	Log       *slog.Logger           // nil discards

	// Dial connects to a host of a cluster, its transport socket included: the stream that HTTP/2 is spoken on, without ALPN needed.
	Dial func(ctx context.Context, cluster string) (net.Conn, error)
	// DialHTTP1 is Dial for HTTP/1.1, which REST is spoken in; nil: Dial.
	DialHTTP1 func(ctx context.Context, cluster string) (net.Conn, error)
	// ClusterKnown reports whether a source may use a cluster; nil: any.
	ClusterKnown func(name string) bool
	// RejectUnknown makes fields that the API does not have errors (--reject-unknown-dynamic-fields); otherwise they are ignored, and
	// counted in xds.dynamic_unknown_fields.
	RejectUnknown bool
	// MaxReceive is the size of the largest message that is accepted, in bytes; 0 means 128 MiB. max_receive_message_length may lower it.
	MaxReceive int
	// Taken is called when a response was taken, before it is acknowledged and before the next one of its stream is taken; nil: nobody is. It puts
	// into effect what the response has made ready, so that what comes next may build on that.
	Taken func()
	// CacheDir is where the last good resources are kept for the next start (--xds-cache); "": nowhere.
	CacheDir string
}

// A Client asks the sources for what its hub wants. Safe for concurrent use.
type Client struct {
	o     Options
	log   *slog.Logger
	stats *clientStats
	seed  maphash.Seed
	kick  chan struct{} // has a value when sources have come or gone
	cache *cache        // nil: there is none

	mu      sync.Mutex
	ledgers map[string]*ledger // by source ID; guarded by mu
	running map[string]*worker // guarded by mu
}

// A worker is the goroutine of a source.
type worker struct {
	stop context.CancelFunc
	done chan struct{}
	from runner
}

// A runner asks one source: by streams, by polling, by reading a file. It ends when ctx does.
type runner interface {
	run(ctx context.Context)
	states() []StreamState
}

// clientStats are about all sources.
type clientStats struct {
	ignored *stats.Counter // resources that nobody wanted
	expired *stats.Counter // resources whose TTL was over
	unknown *stats.Counter
	stray   *stats.Counter // responses about a type that was not asked for
}

// New returns a Client that does nothing until Run.
func New(o Options) (*Client, error) {
	if o.Hub == nil {
		return nil, errors.New("xds: no hub")
	}
	if o.Stats == nil {
		o.Stats = stats.NewStore(stats.Options{})
	}
	if o.MaxReceive <= 0 {
		o.MaxReceive = 128 << 20
	}
	c := &Client{
		o: o, log: o.Log, seed: maphash.MakeSeed(), kick: make(chan struct{}, 1),
		ledgers: map[string]*ledger{}, running: map[string]*worker{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	sc := o.Stats.Scope("xds")
	c.stats = &clientStats{
		ignored: sc.Counter("resources_ignored"), expired: sc.Counter("resources_expired"),
		unknown: sc.Counter("dynamic_unknown_fields"), stray: sc.Counter("responses_ignored"),
	}
	var err error
	c.cache, err = newCache(c, o.CacheDir)
	return c, err
}

// Run asks the sources for what the hub wants, until ctx ends. It returns nil once all of them have stopped.
func (c *Client) Run(ctx context.Context) error {
	cached := make(chan struct{})
	go func() {
		defer close(cached)
		c.cache.run(ctx)
	}()
	for {
		c.sort()
		c.reconcile(ctx)
		select {
		case <-c.o.Hub.News():
		case <-c.kick:
		case <-ctx.Done():
			<-cached // it writes what is in force, which goes with the sources
			c.stopAll()
			return nil
		}
	}
}

// sort tells each source what has changed for it. Sources call it, too, before they send requests: what a response has made wanted is in
// the requests that follow it.
func (c *Client) sort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.o.Hub.Changes() {
		l := c.ledgers[w.Source.ID]
		if l == nil {
			l = newLedger(w.Source)
			c.ledgers[w.Source.ID] = l
		}
		l.note(w)
	}
	for id, l := range c.ledgers {
		if (c.running[id] == nil) != l.idle() {
			select {
			case c.kick <- struct{}{}:
			default:
			}
		}
	}
}

// reconcile starts the sources that are wanted and stops the others.
func (c *Client) reconcile(ctx context.Context) {
	var ended []*worker
	c.mu.Lock()
	for id, l := range c.ledgers {
		w := c.running[id]
		switch {
		case w == nil && !l.idle():
			c.running[id] = c.start(ctx, l)
		case w != nil && l.idle():
			w.stop()
			ended = append(ended, w)
			delete(c.running, id)
			delete(c.ledgers, id)
			l.close()
		case l.idle():
			delete(c.ledgers, id)
		}
	}
	c.mu.Unlock()
	for _, w := range ended {
		<-w.done
	}
}

// start runs what asks the source of a ledger.
func (c *Client) start(ctx context.Context, l *ledger) *worker {
	ctx, stop := context.WithCancel(ctx)
	w := &worker{stop: stop, done: make(chan struct{}), from: c.runnerOf(l)}
	go func() {
		defer close(w.done)
		defer stop()
		w.from.run(ctx)
	}()
	return w
}

func (c *Client) stopAll() {
	c.mu.Lock()
	running := c.running
	c.running = map[string]*worker{}
	for id, l := range c.ledgers {
		l.close()
		delete(c.ledgers, id)
	}
	c.mu.Unlock()
	for _, w := range running {
		w.stop()
	}
	for _, w := range running {
		<-w.done
	}
}

// ledgerOf returns the ledger of a source, made if need be.
func (c *Client) ledgerOf(s subscription.Source) *ledger {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.ledgers[s.ID]
	if l == nil {
		l = newLedger(s)
		c.ledgers[s.ID] = l
	}
	return l
}
