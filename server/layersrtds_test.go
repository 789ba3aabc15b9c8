package server

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

func rtdsConfig(layer, name string) *bootstrapv3.RuntimeLayer {
	return &bootstrapv3.RuntimeLayer{Name: layer, LayerSpecifier: &bootstrapv3.RuntimeLayer_RtdsLayer_{RtdsLayer: &bootstrapv3.RuntimeLayer_RtdsLayer{
		Name: name, RtdsConfig: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}},
	}}}
}

func layered(all ...*bootstrapv3.RuntimeLayer) *bootstrapv3.Bootstrap {
	return &bootstrapv3.Bootstrap{LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: all}}
}

func runtimeResource(t *testing.T, name, version string, values map[string]any) *resource.Resource {
	t.Helper()
	s, err := structpb.NewStruct(values)
	if err != nil {
		t.Fatal(err)
	}
	r, err := resource.New(resource.Key{Type: resource.Runtime, Name: name}, &runtimev3.Runtime{Name: name, Layer: s}, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	r.Version = version
	return r
}

func runtimeIs(t *testing.T, out *extension.Runtime, want map[string]string) {
	t.Helper()
	if got := out.All(); !maps.Equal(got, want) {
		t.Errorf("runtime = %v, want %v", got, want)
	}
}

func TestRTDSReplacesItsLayer(t *testing.T) {
	store, out, hub := stats.NewStore(stats.Options{}), &extension.Runtime{}, subscription.New(subscription.Options{})
	l := newLayers(store, out)
	l.use(hub, "", l.log)
	b := layered(staticLayer(t, "base", map[string]any{"a": 1.0}), rtdsConfig("rtds", "rt"), staticLayer(t, "top", map[string]any{"c": "top"}))
	if problems := l.load(b); len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := hub.Changes(); len(got) > 0 {
		t.Errorf("wanted before start: %v", got)
	}
	l.start()
	watches := l.watches()
	wants := hub.Changes()
	if len(watches) != 1 || len(wants) != 1 || !wants[0].On || wants[0].Name != "rt" {
		t.Fatalf("watches %v, wants %v", watches, wants)
	}
	src := wants[0].Source
	deliver := func(version string, values map[string]any) []resource.Problem {
		problems, asked := hub.Deliver(src, runtimeResource(t, "rt", version, values))
		if !asked {
			t.Error("nobody asked")
		}
		return problems
	}
	runtimeIs(t, out, map[string]string{"a": "1", "c": "top"})
	if p := deliver("1", map[string]any{"a": 2.0, "b": map[string]any{"x": true}, "c": "low"}); len(p) > 0 {
		t.Fatal(p)
	}
	select {
	case <-watches[0].Ready():
	default:
		t.Error("not ready after the first version")
	}
	runtimeIs(t, out, map[string]string{"a": "2", "b.x": "true", "c": "top"})
	if p := deliver("2", map[string]any{"a": []any{1.0}}); len(p) != 1 || p[0].Path != `layer["a"]` {
		t.Errorf("a list was taken: %v", p)
	}
	runtimeIs(t, out, map[string]string{"a": "2", "b.x": "true", "c": "top"})
	l.load(b) // the same configuration: what has come stays, and nothing is asked for anew
	runtimeIs(t, out, map[string]string{"a": "2", "b.x": "true", "c": "top"})
	if got := hub.Changes(); len(got) > 0 {
		t.Errorf("a reload changed what is wanted: %v", got)
	}
	if p := deliver("3", map[string]any{"b": "y"}); len(p) > 0 {
		t.Fatal(p)
	}
	runtimeIs(t, out, map[string]string{"a": "1", "b": "y", "c": "top"})
	for name, n := range map[string]int64{"runtime.update_success": 2, "runtime.update_rejected": 1, "runtime.num_layers": 3, "runtime.num_keys": 3} {
		if got, _ := store.Value(name); got != n {
			t.Errorf("%s = %d, want %d", name, got, n)
		}
	}
	l.load(layered(rtdsConfig("rtds", "other")))
	runtimeIs(t, out, map[string]string{})
	if got := hub.Changes(); len(got) != 2 {
		t.Errorf("wants after another name: %v", got)
	}
	l.stop()
	if got := hub.Changes(); len(got) != 1 || got[0].On {
		t.Errorf("wants after stop: %v", got)
	}
}

func TestRTDSIsAwaitedForItsTimeoutOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, hub := stats.NewStore(stats.Options{}), subscription.New(subscription.Options{})
		l := newLayers(store, &extension.Runtime{})
		l.use(hub, "", l.log)
		l.load(layered(rtdsConfig("rtds", "rt")))
		l.start()
		defer l.stop()
		began := time.Now()
		if err := subscription.Wait(t.Context(), l.watches()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != subscription.DefaultFetchTimeout {
			t.Errorf("waited %v", took)
		}
		if n, _ := store.Value("runtime.init_fetch_timeout"); n != 1 {
			t.Errorf("init_fetch_timeout = %d", n)
		}
	})
}

func TestRTDSNeedsAControlPlane(t *testing.T) {
	l := newLayers(stats.NewStore(stats.Options{}), &extension.Runtime{})
	problems := l.load(layered(rtdsConfig("rtds", "rt")))
	if len(problems) != 1 || problems[0].Path != "layered_runtime.layers[0].rtds_layer.rtds_config" {
		t.Errorf("problems = %v", problems)
	}
	if len(l.watches()) > 0 {
		t.Error("a watch without a hub")
	}
}
