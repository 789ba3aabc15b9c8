package server

import (
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"

	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A layer is one layer of the runtime, with the keys it sets.
type layer struct {
	name   string
	values map[string]string // replaced, not changed; guarded by layers.mu
	disk   *diskLayer        // nil: not from a directory
	rtds   *rtdsLayer        // nil: not from a control plane
	admin  bool
}

// layers is the layered runtime: static layers from the bootstrap, directories, what control planes send, and an admin layer that POST
// /runtime_modify changes. Safe for concurrent use; readers use the extension.Runtime it fills.
type layers struct {
	out     *extension.Runtime
	hub     *subscription.Hub // nil: there are no control planes
	cluster string            // the node's, for append_service_cluster
	log     *slog.Logger

	loading sync.Mutex    // held by load, start and stop; taken before mu and the hub's locks
	started bool          // guarded by loading
	roots   chan struct{} // has a value when the directories to watch are others

	mu       sync.Mutex
	all      []*layer          // lowest first; guarded by mu
	base     map[string]string // below all layers: what other fields of the bootstrap say; guarded by mu
	override map[string]string // of the admin layer; guarded by mu

	rtds                   *subscription.Stats
	loads, failures        *stats.Counter
	exists, missing        *stats.Counter
	keys, layers, adminNow *stats.Gauge
}

func newLayers(store *stats.Store, out *extension.Runtime) *layers {
	sc := store.Scope("runtime.")
	sc.Counter("deprecated_feature_use")
	sc.Gauge("deprecated_feature_seen_since_process_start")
	return &layers{
		out: out, log: slog.New(slog.DiscardHandler), roots: make(chan struct{}, 1), override: map[string]string{},
		rtds: subscription.NewStats(sc), loads: sc.Counter("load_success"), failures: sc.Counter("load_error"),
		exists: sc.Counter("override_dir_exists"), missing: sc.Counter("override_dir_not_exists"),
		keys: sc.Gauge("num_keys"), layers: sc.Gauge("num_layers"), adminNow: sc.Gauge("admin_overrides_active"),
	}
}

// use sets what layers from elsewhere need; it is called before load. hub may be nil: then an rtds_layer is an error.
func (l *layers) use(hub *subscription.Hub, serviceCluster string, log *slog.Logger) {
	l.hub, l.cluster, l.log = hub, serviceCluster, log
}

// load replaces the layers by those of a bootstrap. What the admin layer overrides stays, and what has come for an rtds_layer that stays. It
// returns what is wrong with the sources; a layer with such a problem is empty.
func (l *layers) load(b *bootstrapv3.Bootstrap) []resource.Problem {
	l.loading.Lock()
	defer l.loading.Unlock()
	p := resource.NewProblems("")
	before := l.watches()
	all := l.build(b, p)
	found := readings(all)
	l.mu.Lock()
	l.all, l.base = all, overloadLimits(b)
	for _, r := range found {
		r.take(l.log)
	}
	l.publish()
	l.mu.Unlock()
	if l.started {
		l.exchange(before, l.watches())
	}
	select {
	case l.roots <- struct{}{}:
	default: // one is enough
	}
	return p.All()
}

// build makes the layers of a bootstrap.
func (l *layers) build(b *bootstrapv3.Bootstrap, p *resource.Problems) []*layer {
	var all []*layer
	for i, cfg := range b.GetLayeredRuntime().GetLayers() {
		at := resource.Path("layered_runtime").Field("layers").Index(i)
		one := &layer{name: cfg.GetName()}
		switch {
		case cfg.GetAdminLayer() != nil:
			one.admin = true
		case cfg.GetDiskLayer() != nil:
			one.disk = newDiskLayer(cfg.GetDiskLayer(), l.cluster)
		case cfg.GetRtdsLayer() != nil:
			one = l.subscribe(one, cfg.GetRtdsLayer(), at.Field("rtds_layer"), p)
		default:
			only := &bootstrapv3.Bootstrap{LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{cfg}}}
			one.values = file.Runtime(only)
		}
		all = append(all, one)
	}
	if len(all) == 0 { // as in Envoy: without layers of its own the process has one for the admin page
		all = []*layer{{name: "admin", admin: true}}
	}
	return all
}

// modify sets keys of the admin layer; an empty value removes one. Without an admin layer it is an error.
func (l *layers) modify(values map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := false
	for _, one := range l.all {
		found = found || one.admin
	}
	if !found {
		return fmt.Errorf("no admin layer specified")
	}
	for key, value := range values {
		if value == "" {
			delete(l.override, key)
		} else {
			l.override[key] = value
		}
	}
	l.publish()
	return nil
}

// publish puts the layers into effect, later ones over earlier ones. The lock is held.
func (l *layers) publish() {
	all := map[string]string{}
	shown := l.snapshot()
	for _, one := range shown {
		for key, value := range one.values {
			all[key] = file.RuntimeText(value)
		}
	}
	l.keys.Set(int64(len(all)))
	for key, value := range l.base {
		if _, set := all[key]; !set {
			all[key] = value
		}
	}
	l.out.Set(all)
	l.layers.Set(int64(len(shown)))
	l.adminNow.Set(0)
	if len(l.override) > 0 {
		l.adminNow.Set(1)
	}
	l.count()
}

// count counts a load. The lock is held.
func (l *layers) count() {
	disks, failed := 0, false
	for _, one := range l.all {
		if one.disk == nil {
			continue
		}
		failed = failed || one.disk.failed
		if one.disk.there && !one.disk.failed {
			disks++
		}
	}
	if failed {
		l.failures.Inc()
	} else {
		l.loads.Inc()
	}
	if disks > 1 { // the first is the root, as Envoy has it
		l.exists.Inc()
	} else {
		l.missing.Inc()
	}
}

// snapshot is the layers with their values, from the lowest to the highest, without directories that are not there. The lock is held.
func (l *layers) snapshot() []layer {
	out := make([]layer, 0, len(l.all))
	for _, one := range l.all {
		switch {
		case one.admin:
			out = append(out, layer{name: one.name, values: maps.Clone(l.override), admin: true})
		case one.disk == nil || one.disk.there:
			out = append(out, *one)
		}
	}
	return out
}

// list is snapshot for readers.
func (l *layers) list() []layer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snapshot()
}

// overloadLimits are the runtime keys that stand for overload_manager: the limit of downstream connections.
func overloadLimits(b *bootstrapv3.Bootstrap) map[string]string {
	out := map[string]string{}
	for _, m := range b.GetOverloadManager().GetResourceMonitors() {
		if c, err := resource.Unpack[*downstreamv3.DownstreamConnectionsConfig](m.GetTypedConfig()); err == nil {
			out[file.RuntimeMaxConnections] = strconv.FormatInt(c.GetMaxActiveDownstreamConnections(), 10)
		}
	}
	return out
}
