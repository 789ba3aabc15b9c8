package server

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A dynamicListener is a listener that a control plane sends.
type dynamicListener struct {
	active, warming *listenerVersion // either may be nil
}

// A listenerVersion is one version of it.
type listenerVersion struct {
	resource *resource.Resource
	config   *listener.Config
	opened   *listener.Listener // bound and not yet accepting; nil where the sockets of the version before will do
	watches  []*subscription.Watch
	since    time.Time
}

// hold makes what the listener needs wanted and calls ready once all of it is there, or there is no more waiting for it.
func (v *listenerVersion) hold(ready func()) {
	v.watches = v.config.Watches()
	var left atomic.Int64
	left.Store(int64(len(v.watches)) + 1)
	one := func() {
		if left.Add(-1) == 0 {
			ready()
		}
	}
	for _, w := range v.watches {
		w.Hold()
		w.WhenReady(one)
	}
	one()
}

// release lets go of a version that is no longer in force, or never was.
func (v *listenerVersion) release() {
	for _, w := range v.watches {
		w.Release()
	}
	v.watches = nil
}

// configs returns the active listeners that control planes sent. mu is held.
func (l *live) configs() map[string]*listener.Config {
	out := make(map[string]*listener.Config, len(l.listeners))
	for name, x := range l.listeners {
		if x.active != nil {
			out[name] = x.active.config
		}
	}
	return out
}

// applyListeners takes over what a control plane has changed of its listeners.
func (p *process) applyListeners(d subscription.Delta) []resource.Rejection {
	return p.takeOver("lds", d, p.removeListener, p.warmListener)
}

// warmListener compiles a new version of a listener, binds its sockets if they are others, and has it wait for its routes and secrets; the
// version before serves until then, and one that was still warming is superseded. live.mu is held.
func (p *process) warmListener(r *resource.Resource) []resource.Problem {
	l := p.live
	if l.isStatic(r) {
		return taken(r, "the bootstrap has a listener of this name, which a control plane cannot change")
	}
	known := l.listeners[r.Name]
	var prev *listener.Config
	if known != nil && known.active != nil {
		prev = known.active.config
	}
	cfg, problems := l.static.CompileListener(r, &p.env, prev)
	if cfg != nil {
		p.checkFree(cfg, r, problems)
	}
	v := &listenerVersion{resource: r, config: cfg, since: time.Now()}
	if cfg != nil && !problems.HasErrors() {
		p.bindDynamic(v, prev, problems)
	}
	if problems.HasErrors() {
		if cfg != nil {
			cfg.Discard()
		}
		return problems.All()
	}
	p.logNotes(problems)
	if known == nil {
		known = &dynamicListener{}
		l.listeners[r.Name] = known
	} else if known.warming != nil {
		p.supersede(known.warming)
	}
	known.warming = v
	v.hold(func() {
		l.ripe.add(func() { p.activateListener(r.Name, v) })
	})
	return nil
}

// checkFree reports the addresses of a listener that another one has. live.mu is held.
func (p *process) checkFree(cfg *listener.Config, r *resource.Resource, problems *resource.Problems) {
	check := func(name string, other *listener.Config) {
		for _, address := range other.Fixed() {
			if name != r.Name && slices.Contains(cfg.Fixed(), address) {
				problems.Errorf("address", "give each listener an address of its own", "duplicate address %s: listener %q has it", address, name)
			}
		}
	}
	for name, other := range p.live.static.Listeners {
		check(name, other)
	}
	for name, other := range p.live.listeners {
		for _, v := range []*listenerVersion{other.active, other.warming} {
			if v != nil {
				check(name, v.config)
			}
		}
	}
}

// bindDynamic binds the sockets of a version that has others than the one in force.
func (p *process) bindDynamic(v *listenerVersion, prev *listener.Config, problems *resource.Problems) {
	if prev != nil && prev.SameSockets(v.config) {
		return
	}
	front := listener.New(v.config, &p.env)
	if err := front.Bind(p.ctx); err != nil {
		p.status.listener.createFailure.Inc()
		problems.Errorf("address", "", "%v", err)
		return
	}
	p.status.listener.createSuccess.Inc()
	v.opened = front
}

// supersede lets go of a version that was still warming. live.mu is held.
func (p *process) supersede(v *listenerVersion) {
	if v.opened != nil {
		v.opened.Stop()
	}
	v.config.Discard()
	p.replaced.listeners = append(p.replaced.listeners, v)
}

// activateListener makes a version that is ready the active one, unless it was superseded. live.mu is held.
func (p *process) activateListener(name string, v *listenerVersion) {
	known := p.live.listeners[name]
	if known == nil || known.warming != v {
		return
	}
	if known.active != nil {
		p.replaced.listeners = append(p.replaced.listeners, known.active)
	}
	known.active, known.warming = v, nil
}

// removeListener forgets a listener; its connections drain. live.mu is held.
func (p *process) removeListener(name string) {
	known := p.live.listeners[name]
	if known == nil {
		return
	}
	delete(p.live.listeners, name)
	if known.warming != nil {
		p.supersede(known.warming)
	}
	if known.active == nil {
		return
	}
	p.replaced.listeners = append(p.replaced.listeners, known.active)
	if known.active.opened != nil {
		known.active.opened.Stop()
	}
	p.fronts.mu.Lock()
	defer p.fronts.mu.Unlock()
	if front := p.fronts.active[name]; front != nil {
		p.status.listener.removed.Inc()
		delete(p.fronts.active, name)
		p.letGo(front)
		p.status.listener.active.Set(int64(len(p.fronts.active)))
	}
}

// switchDynamic makes the listeners of control planes accept by their active versions, whose handlers are published. live.mu is held.
func (p *process) switchDynamic() {
	p.fronts.mu.Lock()
	defer p.fronts.mu.Unlock()
	for name, x := range p.live.listeners {
		v, front := x.active, p.fronts.active[name]
		switch {
		case v == nil || front != nil && v.opened == nil && front.Config() == v.config:
		case v.opened == nil:
			p.status.listener.modified.Inc()
			p.status.listener.inPlace.Inc()
			front.Update(v.config)
		default:
			if front != nil {
				p.status.listener.modified.Inc()
				p.letGo(front)
			} else {
				p.status.listener.added.Inc()
			}
			p.fronts.active[name] = v.opened
			v.opened.Serve()
			v.opened = nil
			p.log.Info(fmt.Sprintf("listener %q accepts", name), "version", v.resource.Version)
		}
	}
	p.status.listener.active.Set(int64(len(p.fronts.active)))
}
