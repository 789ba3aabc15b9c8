package snapshot

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/upstream"
)

// Compile turns a set of resources into a snapshot. It starts nothing, and reads nothing but the files that the configuration names. What
// did not change since prev is taken from it: equal resource, same pointer. A bad resource is rejected on its own; its previous version, if
// there is one, stays. Secrets come of store, which has to be the same one each time.
func Compile(prev *Snapshot, set *resource.Set, env *extension.Env, upstreams upstream.CompileEnv, store *secret.Store) (
	*Snapshot, []resource.Rejection,
) {
	if prev == nil {
		prev = &Snapshot{}
	}
	s := &Snapshot{
		Version: prev.Version + 1, Set: set,
		Listeners: map[string]*listener.Config{},
		secrets:   map[string]part[*secret.Static]{},
		clusters:  map[string]part[*upstream.Cluster]{},
		listeners: map[string]part[*listener.Config]{},
	}
	var rejected []resource.Rejection
	view := s.addSecrets(prev, store, &rejected)
	s.view = view
	for _, r := range set.All(resource.Cluster) {
		upstreams.Secrets = view.Fresh()
		s.addCluster(prev, r, upstreams, &rejected)
	}
	s.Clusters = upstream.NewTable(values(s.clusters)...)
	taken := map[string]string{}
	listeners := *env
	for _, r := range set.All(resource.Listener) {
		listeners.Secrets = view.Fresh()
		s.addListener(prev, r, &listeners, taken, &rejected)
	}
	return s, rejected
}

// addSecrets compiles the static secrets and returns the view of them.
func (s *Snapshot) addSecrets(prev *Snapshot, store *secret.Store, rejected *[]resource.Rejection) *secret.View {
	var broken []string
	for _, r := range s.Set.All(resource.Secret) {
		old, had := prev.secrets[r.Name]
		if had && old.hash == r.Hash {
			s.secrets[r.Name] = old
			continue
		}
		p := resource.NewProblems(r.Key.String())
		next := store.Compile(r.Message.(*tlsv3.Secret), r.Path, p)
		switch {
		case !s.reject(r.Key, p, rejected):
			s.secrets[r.Name] = part[*secret.Static]{hash: r.Hash, value: next}
		case had:
			s.secrets[r.Name] = old
		default:
			broken = append(broken, r.Name)
		}
	}
	view := store.View(values(s.secrets)...)
	for _, name := range broken {
		view.Break(name)
	}
	return view
}

// reject notes what was found in a resource and says whether that is a reason to reject it.
func (s *Snapshot) reject(k resource.Key, p *resource.Problems, rejected *[]resource.Rejection) bool {
	if p.HasErrors() {
		*rejected = append(*rejected, resource.Rejection{Key: k, Problems: p.All()})
		return true
	}
	s.Warnings = append(s.Warnings, p.All()...)
	return false
}

func (s *Snapshot) addCluster(prev *Snapshot, r *resource.Resource, env upstream.CompileEnv, rejected *[]resource.Rejection) {
	old, had := prev.clusters[r.Name]
	p := resource.NewProblems(r.Key.String())
	next := old
	if had && old.hash == r.Hash {
		env.Secrets.Check(old.names, p)
	} else {
		c := upstream.Compile(env, r.Message.(*clusterv3.Cluster), r.Path, p)
		next = part[*upstream.Cluster]{hash: r.Hash, value: c, names: env.Secrets.Used()}
	}
	if !s.reject(r.Key, p, rejected) {
		s.clusters[r.Name] = next
	} else if had {
		s.clusters[r.Name] = old
	}
}

// addListener compiles a listener. taken says which listener has which address.
func (s *Snapshot) addListener(prev *Snapshot, r *resource.Resource, env *extension.Env, taken map[string]string, rejected *[]resource.Rejection) {
	old, had := prev.listeners[r.Name]
	p := resource.NewProblems(r.Key.String())
	next := old
	if !had || old.hash != r.Hash {
		e := *env
		e.Problems, e.Path = p, r.Path
		next = part[*listener.Config]{hash: r.Hash, value: listener.Compile(&e, r.Message.(*listenerv3.Listener), r.Path, p, old.value)}
	} else {
		env.Secrets.Check(old.value.Secrets(), p)
	}
	if !p.HasErrors() {
		s.checkClusters(next.value, p)
		checkAddresses(next.value, r, taken, p)
	}
	if s.reject(r.Key, p, rejected) {
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

// checkClusters reports clusters that a listener names and that do not exist. Where a control plane sends clusters they may come later.
func (s *Snapshot) checkClusters(l *listener.Config, p *resource.Problems) {
	if s.Set.Bootstrap.GetDynamicResources().GetCdsConfig() != nil {
		return
	}
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
