package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/config/xds"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/upstream"
	"github.com/weftproxy/weft/upstream/balance"
)

// newClient makes the client of control planes, and the hub that tells it what is wanted.
func (p *process) newClient(first *loaded, registry *extension.Registry) error {
	var err error
	check := func(cs *corev3.ConfigSource, at resource.Path, problems *resource.Problems) {
		p.client.Check(cs, at, problems)
	}
	p.hub = subscription.New(subscription.Options{Log: p.log, Check: check})
	p.client, err = xds.New(xds.Options{
		Node: p.node, Bootstrap: first.set.Bootstrap, Hub: p.hub, Support: registry.Support(), Stats: p.stats, Log: p.log, Dial: p.dialCluster, Taken: p.promoteNow,
		DialHTTP1: p.dialClusterHTTP1, CacheDir: p.o.XDSCache, RejectUnknown: p.o.RejectUnknownDynamic,
		ClusterKnown: func(name string) bool { return first.set.Get(resource.Key{Type: resource.Cluster, Name: name}) != nil },
	})
	if err != nil {
		return err
	}
	var problems resource.Problems
	p.client.CheckADS(&problems)
	p.client.CheckLoad(&problems)
	first.add(problems.All())
	return nil
}

// dialCluster opens a connection to a host of a cluster, as its transport socket says, to speak HTTP/2. It waits until the cluster is ready.
func (p *process) dialCluster(ctx context.Context, name string) (net.Conn, error) {
	host, err := p.hostOf(ctx, name)
	if err != nil {
		return nil, err
	}
	return host.DialHTTP2(ctx)
}

// dialClusterHTTP1 is dialCluster to speak HTTP/1.1.
func (p *process) dialClusterHTTP1(ctx context.Context, name string) (net.Conn, error) {
	host, err := p.hostOf(ctx, name)
	if err != nil {
		return nil, err
	}
	return host.DialHTTP1(ctx)
}

// hostOf picks a host of a cluster, once the cluster is ready.
func (p *process) hostOf(ctx context.Context, name string) (*upstream.Host, error) {
	c := p.findCluster(name)
	if c == nil {
		return nil, fmt.Errorf("unknown cluster %q", name)
	}
	select {
	case <-c.Ready():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return c.Pick(&balance.Hints{})
}

// firstResources gets what the process itself needs of control planes before its first listeners open: runtime layers, then clusters. Each
// waits no longer than its initial_fetch_timeout; clusters that are not ready then serve when they are.
func (p *process) firstResources(ctx context.Context, first *generation) error {
	if p.asked {
		return nil
	}
	p.asked = true
	b := first.set.Bootstrap
	p.live.mu.Lock()
	p.live.static = first.snap // what clusters may name
	p.live.mu.Unlock()
	p.layers.start()
	if err := subscription.Wait(ctx, p.layers.watches()); err != nil {
		return err
	}
	return p.collect(ctx, b.GetDynamicResources().GetCdsConfig(), resource.Cluster, "cluster_manager.cds.", p.applyClusters)
}

// firstListeners gets the listeners of the control plane, once those that were read are in force.
func (p *process) firstListeners(ctx context.Context, first *generation) error {
	p.live.mu.Lock()
	p.live.open = p.o.Mode != ModeInitOnly
	p.live.mu.Unlock()
	return p.collect(ctx, first.set.Bootstrap.GetDynamicResources().GetLdsConfig(), resource.Listener, "listener_manager.lds.", p.applyListeners)
}

// collect watches all resources of a type, if there is a source for them, until the process ends. It waits until the first have come and
// are warm, but no longer than the timeouts say.
func (p *process) collect(ctx context.Context, from *corev3.ConfigSource, kind, scope string,
	apply func(subscription.Delta) []resource.Rejection,
) error {
	if from == nil {
		return nil
	}
	problems := resource.NewProblems("dynamic_resources")
	w := p.hub.Watch(from, resource.Key{Type: kind, Name: subscription.All}, resource.Path(collectionFields[kind]), problems,
		subscription.User{Apply: apply, Stats: subscription.NewStats(p.stats.Scope(scope))})
	if w == nil {
		return problems.All()[0]
	}
	p.watches = append(p.watches, w)
	w.Hold()
	if err := subscription.Wait(ctx, []*subscription.Watch{w}); err != nil {
		return err
	}
	timeout := time.NewTimer(p.o.initTimeout)
	defer timeout.Stop()
	select {
	case <-p.live.settled():
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timeout.C:
		p.log.Warn("not all of them are ready; they serve when they are", "type", kind, "after", p.o.initTimeout)
	}
	return nil
}

// collectionFields are the fields of the bootstrap that say where a type of resource comes from. Immutable.
var collectionFields = map[string]string{
	resource.Cluster:  "dynamic_resources.cds_config",
	resource.Listener: "dynamic_resources.lds_config",
}

// holdListeners makes what the listeners of next have delivered to them wanted.
func holdListeners(next *generation) []*subscription.Watch {
	var all []*subscription.Watch
	for _, l := range next.snap.Listeners {
		all = append(all, l.Watches()...)
	}
	for _, w := range all {
		w.Hold()
	}
	return all
}

// release ends holds.
func release(all []*subscription.Watch) {
	for _, w := range all {
		w.Release()
	}
}

// endWatches makes nothing wanted any more.
func (p *process) endWatches() {
	p.mu.Lock()
	p.layers.stop()
	release(p.watches)
	release(p.held)
	p.watches, p.held = nil, nil
	p.mu.Unlock()
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	for _, x := range p.live.listeners {
		for _, v := range []*listenerVersion{x.active, x.warming} {
			if v != nil {
				v.release()
			}
		}
	}
}

// firstError is the first problem that is an error, nil when there is none.
func firstError(problems []resource.Problem) error {
	for _, p := range problems {
		if p.Severity == resource.Error {
			return p
		}
	}
	return nil
}

// runClient speaks to control planes until ctx ends.
func (p *process) runClient(ctx context.Context) {
	if err := p.client.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		p.log.Error("the xDS client has ended", "error", err)
	}
}

// reportLoad tells control planes that want to know what the clusters carry, until ctx ends.
func (p *process) reportLoad(ctx context.Context) {
	err := p.client.ReportLoad(ctx, func() []*upstream.Cluster {
		view := p.live.view.Load()
		if view == nil {
			return nil
		}
		return slices.Collect(maps.Values(view.Clusters.All()))
	})
	if err != nil {
		p.log.Error("load reports have ended", "error", err)
	}
}
