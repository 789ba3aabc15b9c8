package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"

	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// A layer is one layer of the runtime, with the keys it sets.
type layer struct {
	name   string
	values map[string]string
}

// layers is the layered runtime: static layers from the bootstrap, and an admin layer that POST /runtime_modify changes. Safe
// for concurrent use; readers use the extension.Runtime it fills.
type layers struct {
	out *extension.Runtime

	mu       sync.Mutex
	static   []layer           // guarded by mu
	base     map[string]string // below all layers: what other fields of the bootstrap say; guarded by mu
	override map[string]string // of the admin layer; guarded by mu
	admin    int               // the admin layer's place among the static ones; -1: there is none; guarded by mu

	loads, failures        *stats.Counter
	keys, layers, adminNow *stats.Gauge
}

func newLayers(store *stats.Store, out *extension.Runtime) *layers {
	sc := store.Scope("runtime.")
	for _, name := range []string{"deprecated_feature_use", "override_dir_exists", "override_dir_not_exists"} {
		sc.Counter(name)
	}
	sc.Gauge("deprecated_feature_seen_since_process_start")
	return &layers{
		out: out, admin: -1, override: map[string]string{},
		loads: sc.Counter("load_success"), failures: sc.Counter("load_error"),
		keys: sc.Gauge("num_keys"), layers: sc.Gauge("num_layers"), adminNow: sc.Gauge("admin_overrides_active"),
	}
}

// load replaces the layers by those of a bootstrap; what the admin layer overrides stays.
func (l *layers) load(b *bootstrapv3.Bootstrap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.static, l.admin, l.base = nil, -1, overloadLimits(b)
	for i, one := range b.GetLayeredRuntime().GetLayers() {
		if one.GetAdminLayer() != nil {
			l.admin = i
		}
		only := &bootstrapv3.Bootstrap{LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{one}}}
		l.static = append(l.static, layer{one.GetName(), file.Runtime(only)})
	}
	if len(l.static) == 0 { // as in Envoy: without layers of its own the process has one for the admin page
		l.static, l.admin = []layer{{"admin", map[string]string{}}}, 0
	}
	l.loads.Inc()
	l.publish()
}

// modify sets keys of the admin layer; an empty value removes one. Without an admin layer it is an error.
func (l *layers) modify(values map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admin < 0 {
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
	for _, one := range l.snapshot() {
		maps.Copy(all, one.values)
	}
	l.keys.Set(int64(len(all)))
	for key, value := range l.base {
		if _, set := all[key]; !set {
			all[key] = value
		}
	}
	l.out.Set(all)
	l.layers.Set(int64(len(l.static)))
	l.adminNow.Set(0)
	if len(l.override) > 0 {
		l.adminNow.Set(1)
	}
}

// snapshot is the layers with their values, from the lowest to the highest. The lock is held.
func (l *layers) snapshot() []layer {
	out := slices.Clone(l.static)
	if l.admin >= 0 {
		out[l.admin].values = maps.Clone(l.override)
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
