package dispatch

import (
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// A binding is one compiled connection manager: the state of its routes and filters, which change while it is in use, and the clusters it was
// published with. A Dispatcher may have several, one in force and others that warm; only the one in force decides what it shows.
type binding struct {
	d     *Dispatcher
	env   *extension.Env // for what is compiled later; without Problems
	draft *state         // while the connection manager is being compiled: with the versions that wait for Hold; nil afterwards

	now      *state          // guarded by d.mu
	clusters *upstream.Table // guarded by d.mu
}

// newBinding compiles the first state. Problems go to those of env.
func newBinding(d *Dispatcher, env *extension.Env, filters []httpFilter, routes *routing) *binding {
	later := *env
	later.Problems = nil
	b := &binding{d: d, env: &later}
	b.now = b.compile(&state{}, func(state) ([]httpFilter, *routing) { return filters, routes }, env.Problems, routes.origin)
	b.draft = b.now
	return b
}

// An edit says what filters and routes are to follow those of a state.
type edit func(before state) ([]httpFilter, *routing)

// compile makes the state that follows another. Problems in overrides of filters are in places that begin with origin.
func (b *binding) compile(before *state, change edit, p *resource.Problems, origin string) *state {
	env := *b.env
	env.Problems = p
	filters, routes := change(*before)
	next := &state{filters: filters, routes: routes, common: before.common}
	reuse := before.special
	if !sameFilters(filters, before.filters) {
		next.common, reuse = common(filters), nil
	}
	for _, r := range routes.special {
		chain := reuse[r]
		if chain == nil {
			chain = overridden(&env, filters, next.common, r, origin)
		}
		if chain == nil {
			continue
		}
		if next.special == nil {
			next.special = make(map[*exchange.Route][]exchange.Filter, len(routes.special))
		}
		next.special[r] = chain
	}
	return next
}

// sameFilters reports whether two lists are one: they are copied to be changed.
func sameFilters(a, b []httpFilter) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// prepare compiles a change and returns what puts it into effect; nil after reporting to p why it cannot be.
func (b *binding) prepare(change edit, p *resource.Problems, origin string) (commit func()) {
	before := b.latest()
	next := b.compile(before, change, p, origin)
	if p.HasErrors() {
		return nil
	}
	if b.draft != nil {
		b.draft = next
	}
	return func() {
		b.d.mu.Lock()
		defer b.d.mu.Unlock()
		if b.now == before {
			b.now = next
			b.show()
			return
		}
		b.change(change) // something else has changed meanwhile
	}
}

// apply puts a change into effect that cannot be refused.
func (b *binding) apply(change edit) {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	b.change(change)
}

// change puts a change into effect. Filters whose override turns out not to fit let nothing pass. d.mu is held.
func (b *binding) change(change edit) {
	p := resource.NewProblems("")
	b.now = b.compile(b.now, change, p, "")
	for _, problem := range p.All() {
		b.env.Log.Error("a route does not fit a filter that has changed at the same time", "error", problem.Error())
	}
	b.show()
}

// show gives the Dispatcher a new View, if this is the binding in force. d.mu is held.
func (b *binding) show() {
	if b.d.published == b {
		b.d.view.Store(&View{state: b.now, Clusters: b.clusters})
	}
}

// publish puts the binding in force, in the place of the one before.
func (b *binding) publish(clusters *upstream.Table) {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	b.d.published, b.clusters = b, clusters
	b.show()
}

// state returns the present state.
func (b *binding) state() *state {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	return b.now
}

// latest is the present state, or the draft of it.
func (b *binding) latest() *state {
	if b.draft != nil {
		return b.draft
	}
	return b.state()
}
