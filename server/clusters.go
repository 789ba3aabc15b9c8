package server

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// startClusters starts the clusters that next has and that do not run yet, and waits until each has its first hosts and their health,
// but no longer than the init timeout: one that is late serves when it is ready. The error is ctx's cause.
func (p *process) startClusters(ctx context.Context, next *generation) error {
	p.live.statics.Store(next.snap.Clusters)
	var cold []*upstream.Cluster
	for _, c := range next.snap.Clusters.All() {
		if p.clusters[c] {
			continue
		}
		c.Start(p.ctx)
		p.clusters[c] = true
		cold = append(cold, c)
	}
	timeout := time.NewTimer(p.o.initTimeout)
	defer timeout.Stop()
	for i, c := range cold {
		select {
		case <-c.Ready():
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout.C:
			p.log.Warn("clusters are not ready; going on without them", "clusters", unready(cold[i:]), "after", p.o.initTimeout)
			return nil
		}
	}
	return nil
}

// unready names the clusters that are not ready.
func unready(all []*upstream.Cluster) string {
	var names []string
	for _, c := range all {
		select {
		case <-c.Ready():
		default:
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, " ")
}

// discard closes what a generation has that is not in force: its new clusters, and the listeners that were not opened.
func (p *process) discard(next *generation) {
	clusters, listeners := map[*upstream.Cluster]bool{}, map[*listener.Config]bool{}
	if g := p.current.Load(); g != nil {
		for _, c := range g.snap.Clusters.All() {
			clusters[c] = true
		}
		for _, l := range g.snap.Listeners {
			listeners[l] = true
		}
	}
	for _, c := range next.snap.Clusters.All() {
		if !clusters[c] {
			delete(p.clusters, c)
			c.Close()
		}
	}
	for _, l := range next.snap.Listeners {
		if !listeners[l] {
			l.Discard()
		}
	}
}

// retireClusters lets go of the clusters that are no longer in force: their checks and discovery stop, idle connections close, and
// they end when the exchanges that still use them have.
func (p *process) retireClusters(prev, next *generation) {
	inForce := map[*upstream.Cluster]bool{}
	for _, c := range next.snap.Clusters.All() {
		inForce[c] = true
	}
	for c := range p.clusters {
		if !inForce[c] {
			delete(p.clusters, c)
			p.retire(c)
		}
	}
	var before []*resource.Resource
	if prev != nil {
		before = prev.set.All(resource.Cluster)
	}
	added, modified, removed := compare(before, next.set.All(resource.Cluster))
	stats := &p.status.cluster
	stats.added.Add(uint64(len(added)))
	stats.modified.Add(uint64(len(modified)))
	stats.removed.Add(uint64(len(removed)))
}

// retire closes a cluster when no exchange uses its connections any more.
func (p *process) retire(c *upstream.Cluster) {
	p.services.Go(func() { // ends when the last exchange has ended, or p.ctx does
		c.Drain(p.ctx)
		c.Close()
	})
}

// closeClusters closes those in force; p.ctx ends the others.
func (p *process) closeClusters() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	var wg sync.WaitGroup
	for c := range p.clusters {
		wg.Go(c.Close)
	}
	for _, known := range p.live.clusters {
		for _, v := range []*clusterVersion{known.active, known.warming} {
			if v != nil {
				wg.Go(v.cluster.Close)
			}
		}
	}
	wg.Wait()
}
