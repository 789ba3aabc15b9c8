package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/snapshot"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/upstream"
)

// A live is the configuration in force: what was read at the start or reloaded, and what control planes have added to it. What they change
// costs what it changes, and one that warms holds up no other.
type live struct {
	view    atomic.Pointer[snapshot.Snapshot] // all of it together; nil until the first is in force
	statics atomic.Pointer[upstream.Table]    // the clusters that were read, which lead to control planes; in force or about to be

	mu        sync.Mutex // held while any of it changes, and never while something is waited for; taken after process.mu
	static    *snapshot.Snapshot
	version   uint64
	clusters  map[string]*dynamicCluster
	listeners map[string]*dynamicListener
	fading    map[*fading]struct{}
	open      bool // listeners may accept

	ripe   ripe
	settle chan struct{} // closed when nothing warms; nil: nobody waits for that. Guarded by mu
}

// A ripe holds what has become warm and waits to be put into effect.
type ripe struct {
	news chan struct{} // has a value when there is something

	mu   sync.Mutex
	todo []func() // each takes one of them into the configuration, with live.mu held; guarded by mu
}

func newLive() *live {
	return &live{
		clusters: map[string]*dynamicCluster{}, listeners: map[string]*dynamicListener{}, fading: map[*fading]struct{}{},
		ripe: ripe{news: make(chan struct{}, 1)},
	}
}

// add notes that something has become warm. It never blocks.
func (r *ripe) add(f func()) {
	r.mu.Lock()
	r.todo = append(r.todo, f)
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default: // one is enough
	}
}

// take returns what was added.
func (r *ripe) take() []func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.todo
	r.todo = nil
	return all
}

// promote puts what has become warm into effect until ctx ends: all that has, at once. After many it waits a moment for more.
func (p *process) promote(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.live.ripe.news:
		}
		p.live.mu.Lock()
		n := p.takeRipe()
		p.live.mu.Unlock()
		if n < manyRipe {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(ripePause):
		}
	}
}

// promoteNow puts what has become warm into effect. A route that comes after the endpoints of a new cluster finds that cluster.
func (p *process) promoteNow() {
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	p.takeRipe()
}

const (
	manyRipe  = 64
	ripePause = 5 * time.Millisecond
)

// takeRipe puts what has become warm into effect and returns how many there were. live.mu is held.
func (p *process) takeRipe() int {
	todo := p.live.ripe.take()
	if len(todo) == 0 {
		return 0
	}
	for _, f := range todo {
		f()
	}
	p.publish()
	return len(todo)
}

// takeOver takes over what a control plane has changed of a collection: remove and warm are called, with live.mu held, for what is no more
// and for what is new. What is ready at once is in force when it returns.
func (p *process) takeOver(what string, d subscription.Delta, remove func(name string), warm func(*resource.Resource) []resource.Problem) (
	rejected []resource.Rejection,
) {
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if p.stopping.Err() != nil {
		return nil
	}
	for _, name := range d.Remove {
		remove(name)
	}
	for _, r := range d.Set {
		if problems := warm(r); len(problems) > 0 {
			rejected = append(rejected, resource.Rejection{Key: r.Key, Problems: problems})
		}
	}
	for _, f := range p.live.ripe.take() {
		f()
	}
	p.publish()
	p.log.Info(what+": taken over", "added_or_changed", len(d.Set)-len(rejected), "removed", len(d.Remove), "rejected", len(rejected),
		"version", d.Version)
	return rejected
}

// publish puts the clusters and listeners that are active into effect: clusters first, then who uses them, then the listeners accept; what
// they replace goes last. live.mu is held.
func (p *process) publish() {
	l := p.live
	l.version++
	all := make([]*upstream.Cluster, 0, len(l.clusters)+64)
	active := 0
	for _, c := range l.clusters {
		if c.active != nil {
			all = append(all, c.active.cluster)
			active++
		}
	}
	for _, c := range l.static.Clusters.All() { // later ones win
		all = append(all, c)
		active++
	}
	view := l.static.With(l.version, upstream.NewTable(all...), l.configs())
	view.Publish()
	for f := range l.fading {
		f.publish(view.Clusters)
	}
	l.view.Store(view)
	if l.open {
		p.switchDynamic()
	}
	p.retireReplaced()
	p.countLive(active)
}

// countLive brings the gauges up to date, and tells who waits until nothing warms. live.mu is held.
func (p *process) countLive(active int) {
	clusters, listeners := p.live.warming()
	p.status.cluster.active.Set(int64(active))
	p.status.cluster.warming.Set(int64(clusters))
	p.status.listener.warming.Set(int64(listeners))
	if p.live.settle != nil && clusters+listeners == 0 {
		close(p.live.settle)
		p.live.settle = nil
	}
}

// warming counts what waits for something. mu is held.
func (l *live) warming() (clusters, listeners int) {
	for _, c := range l.clusters {
		if c.warming != nil {
			clusters++
		}
	}
	for _, x := range l.listeners {
		if x.warming != nil {
			listeners++
		}
	}
	return clusters, listeners
}

// settled returns a channel that is closed when no cluster and no listener of a control plane warms.
func (l *live) settled() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := make(chan struct{})
	if clusters, listeners := l.warming(); clusters+listeners == 0 {
		close(done)
		return done
	}
	if l.settle == nil {
		l.settle = done
	}
	return l.settle
}

// changeStatic puts another static part into effect.
func (p *process) changeStatic(next *generation, switchOver func()) {
	l := p.live
	l.mu.Lock()
	defer l.mu.Unlock()
	l.static = next.snap
	p.publish()
	p.current.Store(next)
	switchOver()
}

// findCluster returns a cluster of the configuration in force, or of the one that is going to be.
func (p *process) findCluster(name string) *upstream.Cluster {
	if c := p.live.statics.Load().Find(name); c != nil {
		return c
	}
	if v := p.live.view.Load(); v != nil {
		return v.Clusters.Find(name)
	}
	return nil
}

// isStatic reports that a resource is one of those that were read, which a control plane cannot change.
func (l *live) isStatic(r *resource.Resource) bool { return l.static.Set.Get(r.Key) != nil }

// hasListener reports whether a control plane has sent a listener of this name.
func (l *live) hasListener(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listeners[name] != nil
}
