package snapshot

import (
	"maps"
	"runtime/debug"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// CompileCluster compiles a cluster that a control plane has sent, which may name the snapshot's secrets. It starts nothing. When the
// problems have errors there is no cluster.
func (s *Snapshot) CompileCluster(r *resource.Resource, env upstream.CompileEnv) (c *upstream.Cluster, p *resource.Problems) {
	p = resource.NewProblems(r.Key.String())
	defer func() {
		if p.HasErrors() {
			c = nil
		}
	}()
	defer report(p)
	env.Secrets = s.view.Fresh()
	return upstream.Compile(env, r.Message.(*clusterv3.Cluster), r.Path, p), p
}

// CompileListener compiles a listener that a control plane has sent, as CompileCluster does. prev is its previous version, nil when there
// is none. Clusters that it names need not exist: they may come later.
func (s *Snapshot) CompileListener(r *resource.Resource, env *extension.Env, prev *listener.Config) (c *listener.Config, p *resource.Problems) {
	p = resource.NewProblems(r.Key.String())
	defer func() {
		if p.HasErrors() && c != nil {
			c.Discard()
			c = nil
		}
	}()
	defer report(p)
	e := *env
	e.Secrets, e.Problems, e.Path = s.view.Fresh(), p, r.Path
	return listener.Compile(&e, r.Message.(*listenerv3.Listener), r.Path, p, prev), p
}

// place is where a resource stands in the configuration that was read; "" for those that a control plane has sent.
func (s *Snapshot) place(k resource.Key) string {
	if r := s.Set.Get(k); r != nil {
		return string(r.Path)
	}
	return ""
}

// inOrder returns the listeners: those that were read in the order they were written, then the others by name.
func (s *Snapshot) inOrder() []*listener.Config {
	out := make([]*listener.Config, 0, len(s.Listeners))
	for _, r := range s.Set.All(resource.Listener) {
		if l := s.Listeners[r.Name]; l != nil {
			out = append(out, l)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Listeners)) {
		if s.Set.Get(resource.Key{Type: resource.Listener, Name: name}) == nil {
			out = append(out, s.Listeners[name])
		}
	}
	return out
}

// report turns a panic in compiling into a problem: a fault of the program is no reason to end a process that serves.
func report(p *resource.Problems) {
	if fault := recover(); fault != nil {
		p.Errorf("", "", "cannot be compiled, which is a fault of the program: %v\n%s", fault, debug.Stack())
	}
}

// With returns the snapshot with other clusters and listeners beside its own, which win where both have a name. clusters has
// all clusters, the snapshot's own among them.
func (s *Snapshot) With(version uint64, clusters *upstream.Table, listeners map[string]*listener.Config) *Snapshot {
	all := maps.Clone(listeners)
	if all == nil {
		all = map[string]*listener.Config{}
	}
	maps.Copy(all, s.Listeners)
	return &Snapshot{Version: version, Set: s.Set, Listeners: all, Clusters: clusters, view: s.view}
}
