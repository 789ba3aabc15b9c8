package server

import (
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/upstream"
)

// A dynamicCluster is a cluster that a control plane sends.
type dynamicCluster struct {
	active, warming *clusterVersion // either may be nil
}

// A clusterVersion is one version of it.
type clusterVersion struct {
	resource *resource.Resource
	cluster  *upstream.Cluster
	since    time.Time
}

// replaced are the clusters and listeners that are to go once what replaces them is in force.
type replaced struct {
	clusters  []*upstream.Cluster
	listeners []*listenerVersion
}

// applyClusters takes over what a control plane has changed of its clusters.
func (p *process) applyClusters(d subscription.Delta) []resource.Rejection {
	return p.takeOver("cds", d, p.removeCluster, p.warmCluster)
}

// warmCluster compiles and starts a new version of a cluster, which takes effect when it is ready; the version before serves until then, and
// one that was still warming is superseded. It returns why the version cannot be taken. live.mu is held.
func (p *process) warmCluster(r *resource.Resource) []resource.Problem {
	l := p.live
	if l.isStatic(r) {
		return taken(r, "the bootstrap has a cluster of this name, which a control plane cannot change")
	}
	c, problems := l.static.CompileCluster(r, p.upstreams)
	if c == nil {
		return problems.All()
	}
	p.logNotes(problems)
	known := l.clusters[r.Name]
	if known == nil {
		known = &dynamicCluster{}
		l.clusters[r.Name] = known
		p.status.cluster.added.Inc()
	} else {
		p.status.cluster.modified.Inc()
	}
	if w := known.warming; w != nil {
		p.goingClusters(w.cluster)
	}
	v := &clusterVersion{resource: r, cluster: c, since: time.Now()}
	known.warming = v
	c.Start(p.ctx)
	c.WhenReady(func() {
		l.ripe.add(func() { p.activateCluster(r.Name, v) })
	})
	return nil
}

// activateCluster makes a version that is ready the active one, unless it was superseded. live.mu is held.
func (p *process) activateCluster(name string, v *clusterVersion) {
	known := p.live.clusters[name]
	if known == nil || known.warming != v {
		return
	}
	if known.active != nil {
		p.goingClusters(known.active.cluster)
	}
	known.active, known.warming = v, nil
}

// removeCluster forgets a cluster. live.mu is held.
func (p *process) removeCluster(name string) {
	known := p.live.clusters[name]
	if known == nil {
		return
	}
	delete(p.live.clusters, name)
	p.status.cluster.removed.Inc()
	for _, v := range []*clusterVersion{known.active, known.warming} {
		if v != nil {
			p.goingClusters(v.cluster)
		}
	}
}

// goingClusters notes a cluster that goes with the next publication. live.mu is held.
func (p *process) goingClusters(c *upstream.Cluster) {
	p.replaced.clusters = append(p.replaced.clusters, c)
}

// retireReplaced lets go of what was replaced. live.mu is held.
func (p *process) retireReplaced() {
	for _, c := range p.replaced.clusters {
		p.retire(c)
	}
	for _, v := range p.replaced.listeners {
		p.fade(v)
		v.release()
	}
	p.replaced = replaced{}
}

// taken is the problem of a resource whose name or address somebody else has.
func taken(r *resource.Resource, why string) []resource.Problem {
	p := resource.NewProblems(r.Key.String())
	p.Errorf("name", "give it another name", "%s", why)
	return p.All()
}

// logNotes logs what is no reason to reject a resource.
func (p *process) logNotes(problems *resource.Problems) {
	for _, problem := range problems.All() {
		if problem.Severity == resource.Warning {
			p.log.Warn(problem.String())
		}
	}
}
