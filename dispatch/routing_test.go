package dispatch

import (
	"runtime"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/resource"
)

// TestTablesAreSharedForAsLongAsTheyAreUsed compiles versions of the same and of other content.
func TestTablesAreSharedForAsLongAsTheyAreUsed(t *testing.T) {
	s := newShop(t)
	shared := newTables()
	version := func(text, host string) *resource.Resource {
		m := &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{Name: host, Domains: []string{"*"}}}}
		r, err := resource.New(resource.Key{Type: resource.Route, Name: "r"}, m, "test", "")
		if err != nil {
			t.Fatal(err)
		}
		r.Version = text
		return r
	}
	first, fresh := shared.compile(s.env, version("1", "a"), nil)
	again, old := shared.compile(s.env, version("2", "a"), nil)
	other, another := shared.compile(s.env, version("2", "b"), first)
	if !fresh || old || !another || first != again || other == first {
		t.Errorf("fresh %v %v %v, shared %v %v", fresh, old, another, first == again, other == first)
	}
	key := content{"r", version("", "a").Hash}
	shared.forget(key)
	if shared.compiled[key].Value() != first {
		t.Error("a table that is in use was forgotten")
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(other)
	first, again, other = nil, nil, nil
	_, _, _ = first, again, other
	runtime.GC()
	shared.forget(key)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if _, kept := shared.compiled[key]; kept {
		t.Error("a table that nobody uses is kept")
	}
}
