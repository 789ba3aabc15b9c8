package server

import (
	"time"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/upstream"
)

// A fading is what connections still have of a listener's version that was replaced. Each may have one more exchange, perhaps much later: by
// the routes and clusters that are in force then.
type fading struct {
	front   *listener.Listener
	config  *listener.Config
	built   []extension.Built
	watches []*subscription.Watch
}

// fadingPoll is how often it is looked whether connections still have it.
const fadingPoll = time.Second

// fade keeps what connections still have of a replaced version up to date until none is left. live.mu is held.
func (p *process) fade(v *listenerVersion) {
	p.fronts.mu.Lock()
	front := p.fronts.active[v.resource.Name]
	p.fronts.mu.Unlock()
	if front == nil {
		return
	}
	f := &fading{front: front, config: v.config, built: front.Lingering(v.config)}
	if len(f.built) == 0 {
		return
	}
	for _, b := range f.built {
		f.watches = append(f.watches, b.Watches...)
	}
	for _, w := range f.watches {
		w.Hold()
	}
	p.live.fading[f] = struct{}{}
	p.services.Go(func() { p.forget(f) }) // ends when nothing is left of f, or p.ctx ends
}

// forget lets go of f once no connection has it.
func (p *process) forget(f *fading) {
	tick := time.NewTicker(fadingPoll)
	defer tick.Stop()
	for more := true; more; {
		select {
		case <-tick.C:
			more = len(f.front.Lingering(f.config)) > 0
		case <-p.ctx.Done():
			more = false
		}
	}
	p.live.mu.Lock()
	delete(p.live.fading, f)
	p.live.mu.Unlock()
	release(f.watches)
}

// publish gives f the clusters in force.
func (f *fading) publish(clusters *upstream.Table) {
	for _, b := range f.built {
		if b.Publish != nil {
			b.Publish(clusters)
		}
	}
}
