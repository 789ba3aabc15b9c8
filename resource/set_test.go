package resource

import (
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

func cluster(t *testing.T, name string, change func(*clusterv3.Cluster)) *Resource {
	t.Helper()
	m := &clusterv3.Cluster{Name: name}
	if change != nil {
		change(m)
	}
	r, err := New(Key{Cluster, name}, m, "test", "clusters")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSetFindsAndListsInOrder(t *testing.T) {
	b, a := cluster(t, "b", nil), cluster(t, "a", nil)
	s, err := NewSet(nil, []*Resource{b, a})
	if err != nil {
		t.Fatal(err)
	}
	if s.Get(Key{Cluster, "a"}) != a || s.Get(Key{Listener, "a"}) != nil || s.Len() != 2 || s.Bootstrap == nil {
		t.Error("wrong resource")
	}
	if all := s.All(Cluster); len(all) != 2 || all[0] != b || all[1] != a {
		t.Errorf("%v, want b then a", all)
	}
	_, err = NewSet(nil, []*Resource{a, b, a})
	if err == nil || !strings.Contains(err.Error(), `cluster "a"`) {
		t.Errorf("duplicate: %v", err)
	}
	var none *Set
	if none.Get(Key{Cluster, "a"}) != nil || none.All(Cluster) != nil || none.Len() != 0 {
		t.Error("a nil Set is not empty")
	}
}

func TestHashIsOfTheContent(t *testing.T) {
	a, same := cluster(t, "a", nil), cluster(t, "a", nil)
	other := cluster(t, "a", func(m *clusterv3.Cluster) { m.AltStatName = "x" })
	if a.Hash != same.Hash || a.Hash == other.Hash {
		t.Errorf("hashes %x %x %x", a.Hash, same.Hash, other.Hash)
	}
	if _, err := New(Key{Cluster, "x"}, &clusterv3.Cluster{Name: "\xff"}, "", ""); err == nil {
		t.Error("a name that is not UTF-8 is accepted")
	}
}

func TestFromBootstrapNamesAndRefusesDuplicates(t *testing.T) {
	address := func(port uint32) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "::1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
	}
	pipe := &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/x"}}}
	var p Problems
	s := FromBootstrap(&bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{
		Listeners: []*listenerv3.Listener{{Name: "in"}, {Address: address(80)}, {Address: pipe}, {Address: address(0)}, {Name: "in"}},
		Clusters:  []*clusterv3.Cluster{{Name: "a"}, {Name: ""}, {Name: "b"}, {Name: "a"}, {Name: ""}},
	}}, "file x", &p)
	var names []string
	for _, r := range append(s.All(Listener), s.All(Cluster)...) {
		names = append(names, r.Name)
		if r.Source != "file x" || r.Hash == 0 || r.Path == "" {
			t.Errorf("%+v", r)
		}
	}
	if got, want := strings.Join(names, " "), "in ::1:80 /x #3 a b"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if p.Len() != 2 || p.All()[0].Path != "static_resources.listeners[4]" || p.All()[1].Path != "static_resources.clusters[3]" {
		t.Errorf("%v", p.All())
	}
}
