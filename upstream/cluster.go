package upstream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/auto"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/upstream/balance"
	"github.com/weftproxy/weft/upstream/health"
	"github.com/weftproxy/weft/upstream/pool"
)

// A Cluster is a named group of hosts. It works as soon as it was compiled; Start sets off what keeps its hosts up to date, Close ends
// it. All methods are safe for concurrent use.
type Cluster struct {
	Name   string
	Config *Config

	env     CompileEnv
	scope   *stats.Scope
	traffic *stats.Group[Stats]
	members *stats.Group[memberStats]
	limits  *stats.Group[breakerStats]
	hosts   atomic.Pointer[HostSet]
	sockets sockets
	secrets []*subscription.Watch // those of sockets that others deliver
	eds     *eds                  // nil of other types

	breakersOnce sync.Once
	breakers     *[2]pool.Breaker
	poolOnce     sync.Once
	pools        [2]*pool.Options // by poolOf; nil where the version is not spoken
	wanted       atomic.Bool      // somebody has asked for a connection
	draining     atomic.Bool
	dropping     atomic.Pointer[drop] // nil: nothing is
	shed         atomic.Uint64        // how many requests were dropped since the last load report
	marks        loadMarks

	holding sync.Mutex // before mu
	held    bool       // the watches are; guarded by holding

	mu       sync.Mutex
	found    [][]*Host // hosts by endpoint of the configuration; guarded by mu, like all below
	leaving  []*Host   // dropped, with connections in use
	dirty    bool      // hosts changed since the set was built
	building bool
	checker  *health.Checker // nil: no active checks, or not started
	run      context.Context // from Start to Close; nil when nothing runs
	cancel   context.CancelFunc
	unready  int // endpoints without a first answer, and hosts without a first check
	closed   bool
	overprov int      // the overprovisioning factor in force, in percent
	warm     bool     // ready is closed
	then     []func() // to call when it is

	unresolved []bool // by endpoint: its name could not be resolved the last time; each owned by the goroutine that resolves it

	ready   chan struct{} // nil: ready from the start
	running sync.WaitGroup
}

// A PickError says that a cluster has no host for a request.
type PickError struct {
	Cluster string
	Hosts   int // how many there are, all of them unfit
}

// Error implements error.
func (e *PickError) Error() string {
	return fmt.Sprintf("cluster %s: no healthy upstream (%d hosts)", e.Cluster, e.Hosts)
}

// Pick chooses a host. It blocks for nothing. The error is a *PickError.
func (c *Cluster) Pick(h *balance.Hints) (*Host, error) {
	host := c.pick(h)
	if host != nil && h != nil && h.Exclude != nil {
		for range max(h.Attempts, 1) {
			if !h.Exclude(host.Address()) {
				break
			}
			host = c.pick(h)
		}
	}
	if host == nil {
		c.Stats(h.LaneOf()).CxNoneHealthy.Inc()
		return nil, &PickError{Cluster: c.Name, Hosts: c.Hosts().Len()}
	}
	return host, nil
}

func (c *Cluster) pick(h *balance.Hints) *Host {
	share := c.hosts.Load().choose(h)
	if share.panic {
		c.Stats(h.LaneOf()).LBHealthyPanic.Inc()
		if c.Config.NoPanic {
			return nil
		}
	}
	return share.group.pick(h)
}

// Hosts returns the present hosts.
func (c *Cluster) Hosts() *HostSet { return c.hosts.Load() }

// Stats returns a lane's part of the cluster's statistics, made at first use.
func (c *Cluster) Stats(lane uint32) *Stats { return c.traffic.Lane(lane) }

// Scope returns where the cluster's statistics are: cluster.<name>.
func (c *Cluster) Scope() *stats.Scope { return c.scope }

// Breaker returns the circuit breakers of a routing priority: 0 default, 1 high.
func (c *Cluster) Breaker(priority int) *pool.Breaker {
	c.breakersOnce.Do(c.makeBreakers)
	return &c.breakers[min(max(priority, 0), 1)]
}

func (c *Cluster) makeBreakers() {
	lane := c.limits.Lane(0)
	c.breakers = new([2]pool.Breaker)
	for i, g := range []*limitStats{&lane.Default, &lane.High} {
		t, b := &c.Config.Breakers[i], &c.breakers[i]
		tracked := func(g *stats.Gauge) *stats.Gauge {
			if t.TrackRemaining {
				return g
			}
			return nil
		}
		b.Connections.Init(t.Connections, &g.CxOpen, tracked(&g.RemainingCx), nil)
		b.Pending.Init(t.Pending, &g.RqPendingOpen, tracked(&g.RemainingPending), nil)
		b.Requests.Init(t.Requests, &g.RqOpen, tracked(&g.RemainingRq), nil)
		var budget func() int64
		if t.Budget != nil {
			budget = func() int64 { return t.Budget.limit(b.Requests.Active()) }
		}
		b.Retries.Init(t.Retries, &g.RqRetryOpen, tracked(&g.RemainingRetries), budget)
	}
}

// poolOptions returns what the pools of connections of a version share.
func (c *Cluster) poolOptions(v protocol.Version) *pool.Options {
	c.poolOnce.Do(func() {
		c.wanted.Store(true)
		h := &c.Config.HTTP
		o := pool.Options{
			Network: c.env.Network, Local: c.Config.Bind.Local, Control: c.Config.Bind.Control,
			ConnectTimeout: c.Config.ConnectTimeout, IdleTimeout: h.IdleTimeout, MaxDuration: h.MaxDuration, MaxRequests: h.MaxRequests,
			MaxConnections: int(c.Config.PerHost), Breaker: c.Breaker, NextID: c.env.NextID,
			Stats: func(lane uint32) *pool.Stats { return &c.traffic.Lane(lane).Stats },
		}
		if c.env.HTTP1 != nil && (h.Version == protocol.HTTP11 || h.Follow) {
			c.pools[0] = new(o)
			c.pools[0].Client, c.pools[0].Version = c.env.HTTP1(h.Client), protocol.HTTP11
		}
		if h.HTTP2 != nil {
			c.pools[1] = new(o)
			c.pools[1].Client, c.pools[1].Version = c.env.HTTP2(c.http2Client()), protocol.HTTP2
			c.pools[1].MaxStreams = int(h.HTTP2.MaxStreams)
		}
		if h.Auto() {
			c.pools[0] = new(o)
			h1 := c.env.HTTP1(h.Client)
			c.pools[0].Client = auto.NewClient(h1, c.pools[1].Client, h1)
			c.pools[0].MaxStreams = c.pools[1].MaxStreams
		}
		if c.pools[poolOf(h.Version)] == nil {
			c.pools[poolOf(h.Version)] = &o // for TCP only
		}
	})
	return c.pools[poolOf(v)]
}

// http2Client returns the options of the cluster's HTTP/2 codec.
func (c *Cluster) http2Client() http2.ClientOptions {
	group := stats.NewGroup[http2.Stats](c.scope.Scope("http2."))
	o := http2.ClientOptions{Options: *c.Config.HTTP.HTTP2, SettingsTimeout: c.Config.ConnectTimeout}
	o.Stats = group.Lane
	return o
}

// Drain lets go of the cluster's connections: discovery and checks stop, idle connections close, others when they are free. It
// blocks until none is left, or ctx ends. Whoever already has a host may still use it.
func (c *Cluster) Drain(ctx context.Context) {
	c.draining.Store(true)
	c.stop()
	for {
		for _, p := range c.allPools() {
			p.Drain()
		}
		for _, p := range c.allPools() {
			select {
			case <-p.Drained():
			case <-ctx.Done():
				return
			}
		}
		// Those who have looked the cluster up and not yet asked for a connection get the time to do so.
		if !pause(ctx, linger) || c.idle() {
			return
		}
	}
}

// idle reports whether no connection is left.
func (c *Cluster) idle() bool {
	for _, p := range c.allPools() {
		if !p.Empty() {
			return false
		}
	}
	return true
}

// Close ends everything at once, connections in use included. It waits for the cluster's goroutines.
func (c *Cluster) Close() {
	c.draining.Store(true)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	c.mu.Unlock()
	c.stop()
	for _, p := range c.allPools() {
		p.Close(pool.ErrClosed)
	}
	c.running.Wait()
	c.scope.Close()
}

// stop ends discovery and health checks, and waits for them.
func (c *Cluster) stop() {
	c.mu.Lock()
	cancel := c.cancel
	c.run = nil
	c.mu.Unlock()
	c.release()
	if cancel != nil {
		cancel()
		c.running.Wait()
	}
}

// allPools returns the pools that were made, of present hosts and of those that left with connections.
func (c *Cluster) allPools() []*pool.Pool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pools []*pool.Pool
	add := func(hosts []*Host) {
		for _, h := range hosts {
			h.eachPool(func(p *pool.Pool) { pools = append(pools, p) })
		}
	}
	for _, hosts := range c.found {
		add(hosts)
	}
	add(c.leaving)
	return pools
}
