package server

import (
	"maps"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
)

func staticLayer(t *testing.T, name string, values map[string]any) *bootstrapv3.RuntimeLayer {
	t.Helper()
	s, err := structpb.NewStruct(values)
	if err != nil {
		t.Fatal(err)
	}
	return &bootstrapv3.RuntimeLayer{Name: name, LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: s}}
}

func TestLaterRuntimeLayersWin(t *testing.T) {
	store, out := stats.NewStore(stats.Options{}), &extension.Runtime{}
	l := newLayers(store, out)
	l.load(&bootstrapv3.Bootstrap{LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
		staticLayer(t, "base", map[string]any{"a": 1.0, "b": "x"}),
		{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}},
		staticLayer(t, "top", map[string]any{"b": "y"}),
	}}})
	want := map[string]string{"a": "1", "b": "y"}
	if got := out.All(); !maps.Equal(got, want) {
		t.Errorf("runtime = %v, want %v", got, want)
	}
	if err := l.modify(map[string]string{"a": "2", "b": "z", "c": "3"}); err != nil {
		t.Fatal(err)
	}
	want = map[string]string{"a": "2", "b": "y", "c": "3"} // the admin layer is below the top one
	if got := out.All(); !maps.Equal(got, want) {
		t.Errorf("after modify: %v, want %v", got, want)
	}
	for name, n := range map[string]int64{"runtime.num_keys": 3, "runtime.num_layers": 3, "runtime.admin_overrides_active": 1} {
		if got, _ := store.Value(name); got != n {
			t.Errorf("%s = %d, want %d", name, got, n)
		}
	}
	if err := l.modify(map[string]string{"a": "", "b": "", "c": ""}); err != nil {
		t.Fatal(err)
	}
	if got, _ := store.Value("runtime.admin_overrides_active"); got != 0 {
		t.Error("the overrides are gone and still count")
	}
}

func TestRuntimeWithoutAdminLayerCannotBeModified(t *testing.T) {
	l := newLayers(stats.NewStore(stats.Options{}), &extension.Runtime{})
	l.load(&bootstrapv3.Bootstrap{LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
		staticLayer(t, "base", map[string]any{"a": 1.0}),
	}}})
	if err := l.modify(map[string]string{"a": "2"}); err == nil {
		t.Error("modified a layer that is not there")
	}
	l.load(&bootstrapv3.Bootstrap{})
	if err := l.modify(map[string]string{"a": "2"}); err != nil {
		t.Errorf("without a layered_runtime: %v", err)
	}
}
