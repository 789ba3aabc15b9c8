package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/config/xds"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/logging"
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/accesslog/als"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/upstream"
)

// keptFailures is how many failed exchanges /failures shows.
const keptFailures = 1000

// A process is everything that lives from start to end.
type process struct {
	o         Options
	logs      *logging.Log
	log       *slog.Logger
	stats     *stats.Store
	status    *status
	layers    *layers
	drain     *extension.Drain
	node      *corev3.Node
	env       extension.Env       // of all compiles; not modified after newProcess
	upstreams upstream.CompileEnv // as env
	secrets   *secret.Store
	adminAddr string // "" without an admin page; set before anything else runs

	current  atomic.Pointer[generation] // of what was read, in force; nil until the first is
	mu       sync.Mutex                 // held while what was read changes
	hub      *subscription.Hub
	client   *xds.Client
	live     *live
	replaced replaced                   // guarded by live.mu
	held     []*subscription.Watch      // of the listeners that were read; guarded by mu
	watches  []*subscription.Watch      // of the process itself, while they are held; guarded by mu
	asked    bool                       // for what the process itself needs; guarded by mu
	fronts   fronts                     // the listeners
	clusters map[*upstream.Cluster]bool // those that run and are not on their way out; guarded by mu

	quit     chan struct{} // closed when the process is told to end by the admin page
	quitOnce sync.Once
	stopping context.Context // done when the end has begun
	stop     context.CancelFunc
	ctx      context.Context // of what runs until the very end: clusters, admin page, timers
	cancel   context.CancelFunc
	tasks    sync.WaitGroup // goroutines that end after stop
	services sync.WaitGroup // goroutines that end after cancel
}

// newProcess builds what compiling needs. It starts nothing; its owner calls close.
func newProcess(o Options, logs *logging.Log, registry *extension.Registry, first *loaded) (*process, error) {
	b := first.set.Bootstrap
	p := &process{
		o: o, logs: logs, log: logs.Logger(), drain: &extension.Drain{}, quit: make(chan struct{}),
		fronts:   fronts{active: map[string]*listener.Listener{}, draining: map[*listener.Listener]struct{}{}},
		clusters: map[*upstream.Cluster]bool{}, live: newLive(),
		node: nodeOf(o, b.GetNode()),
	}
	options, err := statsOptions(o, b)
	if err != nil {
		return nil, err
	}
	p.stats = stats.NewStore(options)
	p.status = newStatus(p.stats, o, p.drain)
	settings := &extension.Runtime{}
	if err := p.newClient(first, registry); err != nil {
		return nil, err
	}
	p.layers = newLayers(p.stats, settings)
	p.layers.use(p.hub, p.node.GetCluster(), p.log)
	first.add(p.layers.load(b))
	p.secrets = secret.NewStore(secret.Options{Stats: p.stats, Log: p.log, Hub: p.hub})
	p.env = extension.Env{
		Stats: p.stats, Log: p.log, Network: o.network(), Registry: registry, Sockets: registry.Sockets(), Hub: p.hub,
		Logs: accesslog.NewFiles(accesslog.FilesOptions{
			FlushInterval: o.FileFlushInterval, FlushSize: o.FileFlushMinSizeKB << 10, Stdout: o.Stdout, Stderr: o.Stderr, Stats: p.stats,
		}),
		Streams: als.NewStreams(als.Options{Node: p.node, Dial: p.dialCluster, Stats: p.stats, Log: p.log}),
		Format:  formatOptions(),
		Options: extension.Options{
			Concurrency: concurrency(o), Node: p.node.GetId(), Cluster: p.node.GetCluster(), Zone: p.node.GetLocality().GetZone(),
			Locality: localityText(p.node.GetLocality()), Version: o.Version, Live: exchange.NewLive(), Failures: exchange.NewFailures(keptFailures),
			Runtime: settings, Drain: p.drain, DrainTime: max(o.DrainTime, 1), Connections: &extension.Connections{},
			ClosedByUpdate: p.status.listener.closedByUpdate,
		},
	}
	if p.upstreams, err = p.upstreamEnv(b); err != nil {
		return nil, err
	}
	p.ctx, p.cancel = context.WithCancel(context.Background()) // Run ends it, after the drain that the end of its own context begins
	p.stopping, p.stop = context.WithCancel(p.ctx)
	return p, nil
}

// close ends whatever still runs and waits for it.
func (p *process) close() {
	p.stop()
	p.tasks.Wait()
	p.endWatches()
	p.closeListeners()
	p.env.Streams.Close() // while there are clusters
	p.closeClusters()
	p.cancel()
	p.services.Wait()
	p.env.Logs.Close()
}

// end tells the process to end, as SIGTERM does.
func (p *process) end() { p.quitOnce.Do(func() { close(p.quit) }) }

// sinceStart is the time since the start, in milliseconds.
func (p *process) sinceStart() uint64 { return uint64(time.Since(p.status.start) / time.Millisecond) }

// nodeOf is the bootstrap's node with what the command line says of it.
func nodeOf(o Options, n *corev3.Node) *corev3.Node {
	node := &corev3.Node{}
	if n != nil {
		node = proto.CloneOf(n)
	}
	if o.ServiceNode != "" {
		node.Id = o.ServiceNode
	}
	if o.ServiceCluster != "" {
		node.Cluster = o.ServiceCluster
	}
	if o.ServiceZone != "" {
		if node.Locality == nil {
			node.Locality = &corev3.Locality{}
		}
		node.Locality.Zone = o.ServiceZone
	}
	node.UserAgentName = "weft"
	node.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: o.Version}
	return node
}

// localityText is a locality as region/zone/sub_zone, "" for none.
func localityText(l *corev3.Locality) string {
	if l == nil {
		return ""
	}
	return l.GetRegion() + "/" + l.GetZone() + "/" + l.GetSubZone()
}

// writeAddress writes the admin page's address where --admin-address-path says.
func (o Options) writeAddress(address string) error {
	if o.AdminAddressPath == "" {
		return nil
	}
	if err := os.WriteFile(o.AdminAddressPath, []byte(address), 0o644); err != nil {
		return fmt.Errorf("--admin-address-path: %w", err)
	}
	return nil
}
