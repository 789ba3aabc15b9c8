package server

import (
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"

	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// An rtdsLayer is where a layer's values come from.
type rtdsLayer struct {
	key   resource.Key
	watch *subscription.Watch // nil: its source cannot be used
}

// subscribe makes a layer of an rtds_layer, or returns the present one if its source and resource are the same. loading is held.
func (l *layers) subscribe(one *layer, cfg *bootstrapv3.RuntimeLayer_RtdsLayer, at resource.Path, p *resource.Problems) *layer {
	key := resource.Key{Type: resource.Runtime, Name: cfg.GetName()}
	if l.hub == nil || cfg.GetRtdsConfig() == nil {
		p.Unsupported(at.Field("rtds_config"), "there is no control plane")
		return one
	}
	source := subscription.NewSource(cfg.GetRtdsConfig())
	if old := l.find(one.name, source, key); old != nil {
		return old
	}
	one.rtds = &rtdsLayer{key: key}
	one.rtds.watch = l.hub.Watch(cfg.GetRtdsConfig(), key, at.Field("rtds_config"), p, subscription.User{
		Stats: l.rtds,
		Prepare: func(r *resource.Resource, p *resource.Problems) func() {
			m, ok := r.Message.(*runtimev3.Runtime)
			if !ok {
				p.Errorf("", "", "want an envoy.service.runtime.v3.Runtime")
				return nil
			}
			values := file.RuntimeLayer(m, p)
			return func() { l.set(one, values) }
		},
		Removed: func() { l.set(one, nil) },
	})
	return one
}

// find returns the layer of that name that has the source and the resource.
func (l *layers) find(name string, s subscription.Source, key resource.Key) *layer {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		if one.name == name && one.rtds != nil && one.rtds.watch != nil && one.rtds.key == key && one.rtds.watch.Source().ID == s.ID {
			return one
		}
	}
	return nil
}

// set replaces the values of a layer.
func (l *layers) set(one *layer, values map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.values = values
	if slices.Contains(l.all, one) {
		l.publish()
	}
}

// watches are the subscriptions of the layers in force: whoever starts waits for them after start. start holds them.
func (l *layers) watches() []*subscription.Watch {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*subscription.Watch
	for _, one := range l.all {
		if one.rtds != nil && one.rtds.watch != nil {
			out = append(out, one.rtds.watch)
		}
	}
	return out
}

// exchange holds the watches that are new and releases those that are gone. loading is held.
func (l *layers) exchange(before, after []*subscription.Watch) {
	for _, w := range after {
		if !slices.Contains(before, w) {
			w.Hold()
		}
	}
	for _, w := range before {
		if !slices.Contains(after, w) {
			w.Release()
		}
	}
}

// start makes what control planes are to send wanted. run has to follow.
func (l *layers) start() {
	l.loading.Lock()
	defer l.loading.Unlock()
	if !l.started {
		l.started = true
		l.exchange(nil, l.watches())
	}
}

// stop ends what start began; the values stay.
func (l *layers) stop() {
	l.loading.Lock()
	defer l.loading.Unlock()
	if l.started {
		l.started = false
		l.exchange(l.watches(), nil)
	}
}
