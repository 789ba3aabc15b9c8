package forward

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/upstream"
	"github.com/weftproxy/weft/upstream/balance"
	"github.com/weftproxy/weft/upstream/pool"
)

// TCPStats are the statistics of a TCP proxy, by Envoy's names below tcp.<stat_prefix>.
type TCPStats struct {
	CxTotal          stats.Counter `stat:"downstream_cx_total"`
	NoRoute          stats.Counter `stat:"downstream_cx_no_route"`
	RxBytes          stats.Counter `stat:"downstream_cx_rx_bytes_total"`
	RxBuffered       stats.Gauge   `stat:"downstream_cx_rx_bytes_buffered"`
	TxBytes          stats.Counter `stat:"downstream_cx_tx_bytes_total"`
	TxBuffered       stats.Gauge   `stat:"downstream_cx_tx_bytes_buffered"`
	PausedReading    stats.Counter `stat:"downstream_flow_control_paused_reading_total"`
	ResumedReading   stats.Counter `stat:"downstream_flow_control_resumed_reading_total"`
	EarlyData        stats.Counter `stat:"early_data_received_count_total"`
	IdleTimeout      stats.Counter `stat:"idle_timeout"`
	MaxDuration      stats.Counter `stat:"max_downstream_connection_duration"`
	UpstreamFlush    stats.Counter `stat:"upstream_flush_total"`
	UpstreamFlushNow stats.Gauge   `stat:"upstream_flush_active"`
}

// Why a TCP proxy ends a connection.
var (
	errTCPIdle      = errors.New("tcp_proxy: idle timeout")
	errTCPDuration  = errors.New("tcp_proxy: max_downstream_connection_duration reached")
	errTCPNoCluster = errors.New("tcp_proxy: no such cluster")
)

// A TCPProxy forwards the bytes of a connection to a host of its cluster, and back. Safe for concurrent use.
type TCPProxy struct {
	cfg      *tcpConfig
	drain    *extension.Drain
	stats    *stats.Group[TCPStats]
	clusters atomic.Pointer[upstream.Table]
}

func newTCPProxy(env *extension.Env, cfg *tcpConfig) *TCPProxy {
	return &TCPProxy{
		cfg: cfg, drain: env.Options.Drain,
		stats: stats.NewGroup[TCPStats](env.Stats.Scope("tcp."+cfg.prefix, stats.Tag{Name: "envoy.tcp_prefix", Value: cfg.prefix})),
	}
}

// A tcpFlight is one connection on its way through a TCP proxy.
type tcpFlight struct {
	p       *TCPProxy
	c       *conn.Conn // downstream
	raw     *pool.Raw  // upstream; nil until connected
	cluster *upstream.Cluster
	host    *upstream.Host
	stats   *TCPStats
	scope   scope.Scope
	record  observe.Record // while bytes flow, nobody changes it

	moved   atomic.Int64 // scope.Now of the last byte
	in, out atomic.Uint64
	reset   atomic.Uint32  // which side sent a reset: resetDown, resetUp
	pump    sync.WaitGroup // the direction back
}

const (
	resetDown = 1 + iota
	resetUp
)

// ServeConn forwards the connection until both directions have ended, or something else ends it.
func (p *TCPProxy) ServeConn(ctx context.Context, c *conn.Conn) error {
	t := p.begin(ctx, c)
	stop := context.AfterFunc(ctx, func() { t.scope.Cancel(context.Cause(ctx)) })
	defer stop()
	err := t.connect()
	if err == nil {
		err = t.relay()
	}
	t.end(err)
	return err
}

func (p *TCPProxy) begin(ctx context.Context, c *conn.Conn) *tcpFlight {
	t := &tcpFlight{p: p, c: c, stats: p.stats.Lane(c.Lane)}
	t.stats.CxTotal.Inc()
	t.record.Began, t.record.Start = c.Info().Began, scope.Now()
	if t.record.Began.IsZero() {
		t.record.Began = time.Now()
	}
	t.scope.Init(t.expired)
	t.scope.Begin(ctx)
	t.scope.Watch(c)
	if d := p.cfg.duration; d > 0 {
		d += time.Duration(rand.Float64() * p.cfg.jitter * float64(d))
		t.scope.Arm(scope.Stream, t.record.Start+int64(d))
	}
	if p.cfg.logStart {
		t.log(observe.TCPConnectionStart)
	}
	return t
}

// expired says why a deadline that has passed ends the connection. It runs on the timer's goroutine with the scope locked.
func (t *tcpFlight) expired(d scope.Due) error {
	if d == scope.Stream {
		t.stats.MaxDuration.Inc()
		return errTCPDuration
	}
	due := t.moved.Load() + int64(t.p.cfg.idle)
	if due > scope.Now() {
		t.scope.Extend(scope.Idle, due)
		return nil
	}
	t.stats.IdleTimeout.Inc()
	return errTCPIdle
}

// connect connects to a host, and to another one if that fails and may be tried.
func (t *tcpFlight) connect() error {
	cfg := t.p.cfg
	if cfg.onData && len(t.c.Buffered()) == 0 {
		if err := t.c.Fill(); err != nil {
			return err
		}
		t.stats.EarlyData.Inc()
	}
	name := cfg.cluster(rand.Uint64())
	t.record.Cluster = name
	t.cluster = t.p.clusters.Load().Find(name)
	if t.cluster == nil {
		t.stats.NoRoute.Inc()
		t.record.Flags |= observe.NC
		return errTCPNoCluster
	}
	if alt := t.cluster.Config.StatName; alt != name {
		t.record.ClusterAlt = alt
	}
	wait := cfg.backoff
	for attempt := 1; ; attempt++ {
		t.record.Attempts = attempt
		err := t.dial()
		if err == nil {
			return nil
		}
		if cause := t.scope.Err(); cause != nil {
			return cause
		}
		if !isConnectFailure(err) {
			return err
		}
		t.record.Flags |= observe.UF
		t.record.UpstreamFailure = transportReason(classify(err), err)
		if attempt >= cfg.attempts {
			t.record.Flags |= observe.URX
			t.cluster.Stats(t.c.Lane).CxConnectAttemptsExceeded.Inc()
			return err
		}
		if wait > 0 {
			if err := t.pause(time.Duration(rand.Int64N(int64(wait)) + 1)); err != nil {
				return err
			}
			wait = min(2*wait, cfg.maxBackoff)
		}
	}
}

// dial makes one attempt.
func (t *tcpFlight) dial() error {
	host, err := t.cluster.Pick(&balance.Hints{Lane: t.c.Lane})
	if err != nil {
		t.record.Flags |= observe.UH
		return err
	}
	t.host = host
	t.record.UpstreamHost, t.record.UpstreamName = host.AddrPort(), host.Hostname()
	if !t.record.UpstreamHost.IsValid() {
		t.record.UpstreamPath = host.Address()
	}
	raw, err := host.Connect(&t.scope, t.c.Info(), t.c.Lane, 0)
	if err != nil {
		if e := (*pool.Error)(nil); errors.As(err, &e) && e.Kind == pool.Overflow {
			t.record.Flags |= observe.UO
		}
		return err
	}
	t.raw = raw
	info := raw.Conn().Info()
	t.record.UpstreamLocal, t.record.UpstreamConnID, t.record.UpstreamTLS = info.DirectLocal, info.ID, info.TLS
	t.record.UpstreamBegan = scope.Now()
	return nil
}

// isConnectFailure reports whether another attempt may help.
func isConnectFailure(err error) bool {
	e := (*pool.Error)(nil)
	return errors.As(err, &e) && e.Kind != pool.Overflow && e.Kind != pool.Closed
}

// pause waits before the next attempt.
func (t *tcpFlight) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.scope.Done():
		return t.scope.Err()
	}
}

// end closes the upstream connection and the account. The downstream connection is closed by whoever called ServeConn.
func (t *tcpFlight) end(err error) {
	t.record.Done = scope.Now()
	if errors.Is(err, errTCPDuration) {
		t.record.Flags |= observe.DT
	}
	if t.raw != nil {
		reset := t.reset.Load()
		if reset == resetDown {
			t.raw.Conn().SetLinger0()
		}
		if reset == resetUp {
			t.c.SetLinger0()
		}
		t.raw.Close(reset == resetUp || t.record.UpstreamDone != 0)
	}
	t.scope.Unwatch(t.c)
	t.scope.End()
	t.scope.Close()
	t.log(observe.TCPConnectionEnd)
}

// log writes an access log entry of what is known now.
func (t *tcpFlight) log(kind observe.LogType) {
	if len(t.p.cfg.logs) == 0 {
		return
	}
	r := t.record
	r.BytesIn, r.BytesOut = t.in.Load(), t.out.Load()
	r.WireIn, r.WireOut = t.c.BytesIn(), t.c.BytesOut()
	if t.raw != nil {
		r.UpstreamBytesIn, r.UpstreamBytesOut = r.BytesOut, r.BytesIn
		r.UpstreamWireIn, r.UpstreamWireOut = t.raw.Conn().BytesIn(), t.raw.Conn().BytesOut()
	}
	e := observe.Entry{Record: &r, Conn: t.c.Info(), Type: kind}
	if t.cluster != nil {
		e.Metadata.Cluster = t.cluster.Config.Metadata
	}
	if t.host != nil {
		e.Metadata.Host = t.host.Metadata()
	}
	for _, w := range t.p.cfg.logs {
		w.Log(&e)
	}
}
