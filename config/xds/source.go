package xds

import (
	"cmp"
	"context"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// A grpcSource asks a control plane by gRPC streams: one for everything, or one a type.
type grpcSource struct {
	client *Client
	ledger *ledger
	config *corev3.ApiConfigSource
	link   *link

	mu      sync.Mutex
	streams map[*kind]*running // by kind; nil for the aggregated one; guarded by mu
}

// A running stream.
type running struct {
	*stream
	stop context.CancelFunc
	done chan struct{}
}

func newGRPCSource(c *Client, l *ledger, a *corev3.ApiConfigSource) *grpcSource {
	return &grpcSource{client: c, ledger: l, config: a, link: newLink(a, &c.o), streams: map[*kind]*running{}}
}

// runnerOf returns what asks the source of a ledger. The source has passed Check.
func (c *Client) runnerOf(l *ledger) runner {
	a := l.source.Config.GetApiConfigSource()
	switch {
	case l.source.ADS():
		a = c.ads()
	case a == nil:
		return newFileRunner(c, l)
	case a.GetApiType() == corev3.ApiConfigSource_REST:
		return newRESTRunner(c, l)
	}
	return newGRPCSource(c, l, a)
}

// aggregated reports whether one stream serves all types.
func (g *grpcSource) aggregated() bool {
	return g.ledger.source.ADS() || g.config.GetApiType() == corev3.ApiConfigSource_AGGREGATED_GRPC ||
		g.config.GetApiType() == corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC
}

// incremental reports whether deltas are spoken.
func (g *grpcSource) incremental() bool {
	return g.config.GetApiType() == corev3.ApiConfigSource_DELTA_GRPC ||
		g.config.GetApiType() == corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC
}

func (g *grpcSource) run(ctx context.Context) {
	defer g.link.close()
	defer g.stopAll()
	for {
		if g.aggregated() {
			g.poke(ctx, nil)
		} else {
			for i := range kinds {
				g.poke(ctx, &kinds[i])
			}
		}
		select {
		case <-g.ledger.changed:
		case <-ctx.Done():
			return
		}
	}
}

// poke starts a kind's stream if something is wanted by it, tells it what is new, or stops it when nothing is wanted any more.
func (g *grpcSource) poke(ctx context.Context, k *kind) {
	r := g.streams[k]
	wanted := k == nil || len(g.ledger.wanted(k)) > 0
	switch {
	case r == nil && wanted:
		ctx, stop := context.WithCancel(ctx)
		r = &running{stream: newStream(g, k), stop: stop, done: make(chan struct{})}
		g.mu.Lock()
		g.streams[k] = r
		g.mu.Unlock()
		go func() {
			defer close(r.done)
			r.run(ctx)
		}()
	case r != nil && !wanted:
		r.stop()
		<-r.done
		g.mu.Lock()
		delete(g.streams, k)
		g.mu.Unlock()
		g.ledger.news(k)
		g.ledger.keep(k, false)
		g.ledger.leave(k)
	case r != nil:
		select {
		case r.poked <- struct{}{}:
		default:
		}
	}
}

func (g *grpcSource) stopAll() {
	for _, r := range g.streams {
		r.stop()
	}
	for _, r := range g.streams {
		<-r.done
	}
}

func (g *grpcSource) states() []StreamState {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []StreamState
	for _, r := range g.streams {
		if s := r.shown.Load(); s != nil {
			out = append(out, *s)
		}
	}
	return out
}

func sortStates(all []StreamState) {
	slices.SortFunc(all, func(a, b StreamState) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Method, b.Method))
	})
}
