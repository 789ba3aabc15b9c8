package forward

import (
	"context"
	"sync/atomic"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/upstream"
	"github.com/weftproxy/weft/upstream/balance"
)

// A flight is an exchange on its way to the upstream and back. Its memory belongs to the exchange and serves the next one too.
// It is used by the exchange's goroutine; what the request's pump touches as well is atomic.
type flight struct {
	r       *Router
	router  *Stats
	x       *exchange.Exchange
	ctx     context.Context
	cluster *upstream.Cluster
	counts  *upstream.Stats
	classes [2]*ClassStats

	orders   orders
	timeouts timeouts
	retries  retries

	source   message.Body     // the request's body as the router got it
	informer message.Informer // where informational responses go
	replay   *message.Replay  // nil: the request has no body, or none of it is kept
	record   message.Replay   // what replay points to
	in       requestBody
	out      responseBody
	entry    observe.Entry // for formatters and upstream logs

	// The present attempt.
	host     *upstream.Host
	reused   bool        // it uses a connection that had served before
	active   bool        // it counts as under way
	child    scope.Scope // its context, where it has timeouts of its own
	nested   bool        // child is in use
	link     scope.Registration
	armed    atomic.Bool // the attempt's timeouts run
	informed atomic.Bool // an informational response was passed on

	grpc     bool // the request is gRPC
	awaiting bool // what the response is for its host is still to come, in the trailers

	attempts  int
	started   bool // an attempt has sent something
	refreshed int  // attempts that were made again on a fresh connection, free of charge
	hints     balance.Hints
	demand    upstream.Demand // of all attempts
	tried     []string        // hosts tried, where they are avoided
	exclude   func(address string) bool
}

// flight prepares the exchange's flight.
func (r *Router) flight(ctx context.Context, x *exchange.Exchange) *flight {
	f, _ := x.Forwarding.(*flight)
	if f == nil {
		f = &flight{}
		f.in.f, f.out.f = f, f
		f.exclude = f.wasTried
		f.child.Init(f.expired)
		x.Forwarding = f
	}
	f.r, f.x, f.ctx = r, x, ctx
	if x.Request.Body != message.Body(&f.in) {
		f.source, f.informer = x.Request.Body, x.Request.Informer
	}
	f.replay, f.host, f.attempts, f.refreshed, f.started, f.awaiting = nil, nil, 0, 0, false, false
	f.informed.Store(false)
	f.hints = balance.Hints{Lane: x.Lane}
	clear(f.tried)
	f.tried = f.tried[:0]
	return f
}

// run is the walk from the route to the response head.
func (f *flight) run() (*message.Response, error) {
	if err := f.prepare(); err != nil {
		return nil, err
	}
	for {
		resp, err := f.attempt()
		wait, again := f.again(resp, err)
		if !again {
			return f.settle(resp, err)
		}
		if err := f.pause(wait); err != nil {
			return f.settle(nil, err)
		}
	}
}

// prepare finds the cluster and makes the request what the upstream is to see.
func (f *flight) prepare() error {
	x, route := f.x, f.x.Route
	var name string
	name, x.Weighted = route.Target.Choose(x.Request, x.Random)
	if f.cluster = x.Clusters.Find(name); f.cluster == nil {
		f.router.NoCluster.Inc()
		return noCluster(route.Target.NotFound)
	}
	h := &x.Request.Header
	if err := f.r.check(h); err != nil {
		return err
	}
	x.Cluster, x.Record.Cluster = f.cluster, f.cluster.Name
	if alt := f.cluster.Config.StatName; alt != f.cluster.Name {
		x.Record.ClusterAlt = alt
	}
	f.counts = f.cluster.Stats(x.Lane)
	f.findClasses()
	if dropped, all := f.cluster.Drops(&f.hints); dropped {
		return f.shed(all)
	}

	f.orders.takeTimeouts(h, f.r.respectExpected)
	f.grpc = grpc.IsRequest(h)
	f.timeouts.of(route, &f.orders, h)
	f.expect(0)
	if route.IncludeAttempt.Request {
		setNumber(h, message.XEnvoyAttemptCount, 1)
	}
	f.rewrite()
	f.ask()
	f.orders.takeRetries(h)
	f.retries.of(route.Retry, &f.orders, x.Request, f.r.runtime)
	f.wrap()
	x.LimitResponse(f.timeouts.global)
	return nil
}

// rewrite applies the route's changes to the request.
func (f *flight) rewrite() {
	x := f.x
	x.Inbound.Path, x.Inbound.Authority = x.Request.Path, x.Request.Authority
	f.entry = x.Entry(nil)
	x.Route.RewriteRequest(x.Request, &f.entry, x.Weighted, !f.r.suppress)
	if x.Request.Path != x.Inbound.Path {
		x.Record.OriginalPath = x.Inbound.Path
	}
}

// wrap watches the request's body, and records it where the exchange may be retried.
func (f *flight) wrap() {
	q := f.x.Request
	if f.informer != nil {
		q.Informer = f
	}
	f.in.begin(f.source, -1)
	if q.Length == 0 && q.Upgrade == "" {
		q.Body = f.source
		return
	}
	if limit := f.recorded(); limit >= 0 {
		f.replay = &f.record
		f.replay.Reset(f.source, limit)
		f.in.begin(f.replay, limit)
	}
	q.Body = &f.in
}

// refusedLimit is how many bytes of a request are kept without a retry policy, for a stream that the upstream refuses: enough for most
// calls.
const refusedLimit = 16 << 10

// recorded returns how many bytes of the request's body are kept for another attempt; -1: it is not watched for that.
func (f *flight) recorded() int {
	route := f.x.Route
	switch {
	case f.x.Request.Upgrade != "":
		return -1
	case f.retries.on != 0 && route.BufferLimit >= 0:
		return route.BufferLimit
	case f.retries.on != 0:
		return f.r.bufferLimit
	case f.cluster.Config.HTTP.HTTP2 != nil:
		return refusedLimit
	}
	return -1
}

// Inform implements message.Informer: after an informational response was passed on there is no retry.
func (f *flight) Inform(status int, h *message.Header) error {
	f.informed.Store(true)
	f.charge(status, false)
	return f.informer.Inform(status, h)
}
