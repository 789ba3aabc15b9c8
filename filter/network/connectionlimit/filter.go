// Package connectionlimit is the network filter envoy.filters.network.connection_limit: it lets only so many connections of a filter chain
// through at the same time.
package connectionlimit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// Extension is the network filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: "envoy.filters.network.connection_limit", Config: &limitv3.ConnectionLimit{},
		Wrap: func(env *extension.Env, cfg proto.Message, next conn.Handler) (conn.Handler, error) {
			return New(env, cfg.(*limitv3.ConnectionLimit), next), nil
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	return resource.Support{
		"envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit": resource.Names("stat_prefix max_connections delay runtime_enabled"),
	}
}

// Stats are the filter's statistics, by Envoy's names below connection_limit.<stat_prefix>.
type Stats struct {
	Limited stats.Counter `stat:"limited_connections"`
	Active  stats.Gauge   `stat:"active_connections"`
}

// ErrLimited is what a connection beyond the limit ends with.
var ErrLimited = errors.New("connection_limit: too many connections")

// A Filter is the filter at work. Safe for concurrent use.
type Filter struct {
	next    conn.Handler
	max     int64
	delay   time.Duration // before a connection beyond the limit is closed
	enabled bool
	key     string // of the runtime, which overrides enabled
	runtime *extension.Runtime
	stats   *stats.Group[Stats]
	active  atomic.Int64
	parked  sync.Map // *conn.Conn of those that hold no goroutine; whether they are counted
}

// New compiles the filter.
func New(env *extension.Env, cfg *limitv3.ConnectionLimit, next conn.Handler) *Filter {
	prefix := cfg.GetStatPrefix()
	return &Filter{
		next: next, max: int64(cfg.GetMaxConnections().GetValue()), delay: cfg.GetDelay().AsDuration(),
		enabled: cfg.GetRuntimeEnabled() == nil || cfg.GetRuntimeEnabled().GetDefaultValue().GetValue(),
		key:     cfg.GetRuntimeEnabled().GetRuntimeKey(), runtime: env.Options.Runtime,
		stats: stats.NewGroup[Stats](env.Stats.Scope("connection_limit."+prefix, stats.Tag{Name: "envoy.connection_limit_prefix", Value: prefix})),
	}
}

// ServeConn hands the connection on, or closes it when there are too many. One that was let in while the filter was off stays uncounted.
func (f *Filter) ServeConn(ctx context.Context, c *conn.Conn) error {
	if !f.enabled && f.key == "" {
		return f.next.ServeConn(ctx, c)
	}
	st := f.stats.Lane(c.Lane)
	counted, known := f.parked.LoadAndDelete(c)
	if known {
		return f.serve(ctx, c, st, counted == true)
	}
	if !f.runtime.Bool(f.key, f.enabled) {
		return f.serve(ctx, c, st, false)
	}
	if f.active.Add(1) > f.max {
		f.active.Add(-1)
		st.Limited.Inc()
		return f.refuse(ctx)
	}
	st.Active.Inc()
	return f.serve(ctx, c, st, true)
}

func (f *Filter) serve(ctx context.Context, c *conn.Conn, st *Stats, counted bool) (err error) {
	done := counted // when next panics as well
	defer func() {
		if done {
			f.active.Add(-1)
			st.Active.Dec()
		}
	}()
	err = f.next.ServeConn(ctx, c)
	if errors.Is(err, conn.ErrParked) {
		f.parked.Store(c, counted)
		done = false
	}
	return err
}

// refuse waits for the delay, so that a peer that tries again at once gains nothing.
func (f *Filter) refuse(ctx context.Context) error {
	if f.delay > 0 {
		t := time.NewTimer(f.delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ErrLimited
}
