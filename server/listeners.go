package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weftproxy/weft/listener"
)

// fronts are the listeners: those in force by name, and those that drain because they were removed or have moved.
type fronts struct {
	mu       sync.Mutex // readers need only this; whoever changes the maps holds process.mu as well
	active   map[string]*listener.Listener
	draining map[*listener.Listener]struct{}
}

// openListeners binds the sockets of the listeners that are new or have moved to another address: all of them or none.
func (p *process) openListeners(ctx context.Context, next *generation) (map[string]*listener.Listener, error) {
	opened := map[string]*listener.Listener{}
	for name, cfg := range next.snap.Listeners {
		if p.live.hasListener(name) {
			stop(opened)
			return nil, fmt.Errorf("listener %q: a control plane has sent one of this name", name)
		}
		if old := p.fronts.active[name]; old != nil && old.Config().SameSockets(cfg) {
			continue
		}
		l := listener.New(cfg, &p.env)
		if err := l.Bind(ctx); err != nil {
			p.status.listener.createFailure.Inc()
			stop(opened)
			return nil, err
		}
		p.status.listener.createSuccess.Inc()
		opened[name] = l
	}
	return opened, nil
}

// stop closes listeners that were bound and never accepted.
func stop(opened map[string]*listener.Listener) {
	for _, l := range opened {
		l.Stop()
	}
}

// switchListeners puts the listeners of a generation into effect whose handlers are published: new ones accept, those that stayed
// take their new configuration, removed ones drain. live.mu is held.
func (p *process) switchListeners(next *generation, opened map[string]*listener.Listener) {
	p.fronts.mu.Lock()
	defer p.fronts.mu.Unlock()
	stats := &p.status.listener
	for name, l := range opened {
		if old := p.fronts.active[name]; old != nil {
			stats.modified.Inc()
			p.letGo(old)
		} else {
			stats.added.Inc()
		}
		p.fronts.active[name] = l
		l.Serve()
	}
	for name, l := range p.fronts.active {
		cfg := next.snap.Listeners[name]
		switch {
		case p.live.listeners[name] != nil: // a control plane's
		case cfg == nil:
			stats.removed.Inc()
			delete(p.fronts.active, name)
			p.letGo(l)
		case l.Config() != cfg:
			stats.modified.Inc()
			stats.inPlace.Inc()
			l.Update(cfg)
		}
	}
	stats.active.Set(int64(len(p.fronts.active)))
}

// letGo drains a listener that is no longer in force and closes it after the drain time. fronts.mu is held.
func (p *process) letGo(l *listener.Listener) {
	p.fronts.draining[l] = struct{}{}
	p.status.listener.draining.Set(int64(len(p.fronts.draining)))
	p.services.Go(func() { // ends when the connections have, the drain time is over, or closeListeners closes l
		ctx, cancel := context.WithTimeout(p.ctx, p.o.DrainTime)
		defer cancel()
		l.Drain(ctx)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.status.listener.closedByUpdate.Add(uint64(l.Connections()))
		}
		l.Close()
		p.fronts.mu.Lock()
		defer p.fronts.mu.Unlock()
		delete(p.fronts.draining, l)
		p.status.listener.draining.Set(int64(len(p.fronts.draining)))
	})
}

// all are the listeners that may have connections.
func (f *fronts) all() []*listener.Listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*listener.Listener
	for _, l := range f.active {
		out = append(out, l)
	}
	for l := range f.draining {
		out = append(out, l)
	}
	return out
}

// drainListeners makes every listener stop accepting and its connections finish, until ctx ends. It returns how many connections
// are left.
func (p *process) drainListeners(ctx context.Context) int {
	var wg sync.WaitGroup
	all := p.fronts.all()
	for _, l := range all {
		wg.Go(func() { l.Drain(ctx) })
	}
	wg.Wait()
	left := 0
	for _, l := range all {
		left += l.Connections()
	}
	return left
}

// closeListeners cuts off what is left.
func (p *process) closeListeners() {
	var wg sync.WaitGroup
	for _, l := range p.fronts.all() {
		wg.Go(l.Close)
	}
	wg.Wait()
}

// drainByHand is POST /drain_listeners: the listeners close, with graceful only after the drain time, in which responses close their
// connections as --drain-strategy says. Established connections live on.
func (p *process) drainByHand(graceful, inboundOnly, skipExit bool) {
	if !graceful {
		p.stopListeners(inboundOnly)
		return
	}
	window := p.o.DrainTime
	if p.o.DrainStrategy == DrainImmediate {
		window = 0
	}
	if p.drain.Draining() {
		return
	}
	p.drain.Begin(window)
	p.log.Info("draining by hand", "strategy", p.o.DrainStrategy, "time", p.o.DrainTime)
	if skipExit {
		return
	}
	p.tasks.Go(func() { // ends with the drain time, or when the process begins to end
		select {
		case <-time.After(p.o.DrainTime):
			p.stopListeners(inboundOnly)
		case <-p.stopping.Done():
		}
	})
}

// stopListeners makes listeners stop accepting; their connections stay.
func (p *process) stopListeners(inboundOnly bool) {
	p.fronts.mu.Lock()
	defer p.fronts.mu.Unlock()
	for _, l := range p.fronts.active {
		if !inboundOnly || l.Config().Inbound() {
			l.Stop()
			p.status.listener.stopped.Inc()
		}
	}
}

// addresses are what the process listens on.
func (p *process) addresses() Addresses {
	p.fronts.mu.Lock()
	defer p.fronts.mu.Unlock()
	a := Addresses{Admin: p.adminAddr, Listeners: map[string][]string{}}
	for name, l := range p.fronts.active {
		a.Listeners[name] = slices.Clone(l.Addresses())
	}
	return a
}

// refresh updates the gauges that nobody pushes.
func (p *process) refresh() {
	connections := 0
	for _, l := range p.fronts.all() {
		connections += l.Connections()
	}
	p.status.refresh(int64(connections))
	p.status.server.firstExpiry.Set(p.firstExpiry())
}
