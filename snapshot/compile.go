package snapshot

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// Compile turns a set of resources into a snapshot. It does no I/O and starts nothing. What did not change since prev is taken from
// it: equal resource, same pointer. A bad resource is rejected on its own; its previous version, if there is one, stays.
func Compile(prev *Snapshot, set *resource.Set, env *extension.Env, upstreams upstream.CompileEnv) (*Snapshot, []resource.Rejection) {
	if prev == nil {
		prev = &Snapshot{}
	}
	s := &Snapshot{
		Version: prev.Version + 1, Set: set,
		Listeners: map[string]*listener.Config{},
		clusters:  map[string]part[*upstream.Cluster]{},
		listeners: map[string]part[*listener.Config]{},
	}
	var rejected []resource.Rejection
	for _, r := range set.All(resource.Cluster) {
		s.addCluster(prev, r, upstreams, &rejected)
	}
	s.Clusters = upstream.NewTable(values(s.clusters)...)
	taken := map[string]string{}
	for _, r := range set.All(resource.Listener) {
		s.addListener(prev, r, env, taken, &rejected)
	}
	return s, rejected
}

func (s *Snapshot) addCluster(prev *Snapshot, r *resource.Resource, env upstream.CompileEnv, rejected *[]resource.Rejection) {
	old, had := prev.clusters[r.Name]
	if had && old.hash == r.Hash {
		s.clusters[r.Name] = old
		return
	}
	p := resource.NewProblems(r.Key.String())
	c := upstream.Compile(env, r.Message.(*clusterv3.Cluster), r.Path, p)
	if p.HasErrors() {
		*rejected = append(*rejected, resource.Rejection{Key: r.Key, Problems: p.All()})
		if had {
			s.clusters[r.Name] = old
		}
		return
	}
	s.clusters[r.Name] = part[*upstream.Cluster]{r.Hash, c}
}

// addListener compiles a listener. taken says which listener has which address.
func (s *Snapshot) addListener(prev *Snapshot, r *resource.Resource, env *extension.Env, taken map[string]string, rejected *[]resource.Rejection) {
	old, had := prev.listeners[r.Name]
	p := resource.NewProblems(r.Key.String())
	next := old
	if !had || old.hash != r.Hash {
		e := *env
		e.Problems, e.Path = p, r.Path
		next = part[*listener.Config]{r.Hash, listener.Compile(&e, r.Message.(*listenerv3.Listener), r.Path, p, old.value)}
	}
	if !p.HasErrors() {
		s.checkClusters(next.value, p)
		checkAddresses(next.value, r, taken, p)
	}
	if p.HasErrors() {
		*rejected = append(*rejected, resource.Rejection{Key: r.Key, Problems: p.All()})
		next = old
		if !had {
			return
		}
	}
	s.listeners[r.Name] = next
	s.Listeners[r.Name] = next.value
	for _, address := range next.value.Fixed() {
		taken[address] = r.Name
	}
}

// checkAddresses reports addresses that another listener has.
func checkAddresses(l *listener.Config, r *resource.Resource, taken map[string]string, p *resource.Problems) {
	for _, address := range l.Fixed() {
		if other := taken[address]; other != "" {
			p.Errorf(r.Path.Field("address"), "give each listener an address of its own", "duplicate address %s: listener %q has it", address, other)
		}
	}
}

// checkClusters reports clusters that a listener names and that do not exist.
func (s *Snapshot) checkClusters(l *listener.Config, p *resource.Problems) {
	for _, b := range l.Built() {
		for at, name := range b.Clusters {
			if s.Clusters.Find(name) != nil {
				continue
			}
			hint := "define it under static_resources.clusters"
			if s.Set.Get(resource.Key{Type: resource.Cluster, Name: name}) != nil {
				hint = "it is defined, and has errors of its own"
			}
			p.Errorf(at, hint, "unknown cluster %q", name)
		}
	}
}

func values[T any](m map[string]part[T]) []T {
	out := make([]T, 0, len(m))
	for _, p := range m {
		out = append(out, p.value)
	}
	return out
}
