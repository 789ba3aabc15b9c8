package dispatch

import (
	"slices"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
	"github.com/weftproxy/weft/subscription"
)

// A hostUser takes the virtual hosts that are delivered for a route configuration (vhds) of a connection manager, besides those it lists.
type hostUser struct {
	u *routeUser

	mu    sync.Mutex // held while a table is compiled and put into effect
	cfg   *routev3.RouteConfiguration
	found []*resource.Resource // by name
	watch *subscription.Watch  // nil: the configuration in force wants none
	// enough ends the waiting of the route configuration's watch for this one.
	enough func()
	reload *stats.Counter // config_reload
}

// deltaOnly is why other sources are refused, as in Envoy.
const deltaOnly = "vhds: only 'DELTA_GRPC' is supported as an api_type."

// take compiles a version of a route configuration that wants virtual hosts, with those there are, and makes the watch on them. The commit
// holds it.
func (h *hostUser) take(cfg *routev3.RouteConfiguration, p *resource.Problems) (commit func()) {
	at := resource.Path("vhds").Field("config_source")
	src := cfg.GetVhds().GetConfigSource()
	if src.GetAds() == nil {
		switch src.GetApiConfigSource().GetApiType() {
		case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		default:
			p.Errorf(at, "", "%s", deltaOnly)
			return nil
		}
	}
	scope := h.u.b.env.HTTP.Scope("vhds." + cfg.GetName() + ".")
	key := resource.Key{Type: resource.VHost, Name: cfg.GetName() + "/" + subscription.All}
	watch := h.u.b.env.Hub.Watch(src, key, at, p, subscription.User{Apply: h.apply, Stats: subscription.NewStats(scope)})
	if watch == nil {
		return nil
	}
	reload := scope.Counter("config_reload")
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.found
	if h.watch == nil || h.watch.Source().ID != watch.Source().ID {
		known = nil
	}
	routes := h.compile(cfg, known, p)
	if p.HasErrors() {
		return nil
	}
	put := h.u.b.prepare(h.u.put(routes), p, "")
	if put == nil {
		return nil
	}
	return func() {
		h.mu.Lock()
		same := h.watch != nil && h.watch.Source().ID == watch.Source().ID
		before := h.watch
		if same && !sameList(h.found, known) { // more has come meanwhile
			h.u.b.apply(h.u.put(h.compile(cfg, h.found, resource.NewProblems(""))))
		} else {
			put()
		}
		h.cfg, h.reload = cfg, reload
		if !same {
			h.found = nil
		}
		h.mu.Unlock()
		if !same {
			h.hold(before, watch)
		}
	}
}

// noVhds refuses to have virtual hosts delivered for a table that is not delivered by its own name.
func noVhds(cfg *routev3.RouteConfiguration, at resource.Path, p *resource.Problems) {
	if cfg.GetVhds() != nil {
		p.Unsupported(at.Field("vhds"), "it is for route configurations that come by rds")
	}
}

// sameList reports whether two lists are one: they are copied to be changed.
func sameList(a, b []*resource.Resource) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// hold changes the watch that is held. mu is not held: Hold gives apply what there is.
func (h *hostUser) hold(before, next *subscription.Watch) {
	if before != nil {
		h.enough()
		before.Release()
	}
	h.mu.Lock()
	h.watch = next
	h.mu.Unlock()
	if next == nil {
		return
	}
	h.enough = func() {}
	if h.u.watch != nil {
		h.enough = h.u.watch.Await(next)
	}
	next.Hold()
}

// drop forgets all that has been delivered: the configuration in force wants no virtual hosts, or is in force no longer.
func (h *hostUser) drop() {
	h.mu.Lock()
	before := h.watch
	h.found, h.cfg = nil, nil
	h.mu.Unlock()
	if before != nil {
		h.hold(before, nil)
	}
}

// compile makes the table of a route configuration and virtual hosts that have been delivered. mu is held.
func (h *hostUser) compile(cfg *routev3.RouteConfiguration, found []*resource.Resource, p *resource.Problems) *routing {
	env, origin, previous := routeEnv(h.u.b.env), originOf(cfg.GetName()), (*route.Table)(nil)
	env.Dynamic = true
	if before := h.u.current(); before != nil && before.origin == origin && !before.absent {
		previous = before.table
	}
	return newRouting(route.Recompile(previous, env, cfg, found, "", p), origin)
}

// apply takes what has changed among the virtual hosts.
func (h *hostUser) apply(d subscription.Delta) (rejected []resource.Rejection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cfg == nil {
		return nil // given up meanwhile
	}
	set := d.Set
	for {
		p := resource.NewProblems("")
		next := merge(h.found, set, d.Remove)
		var put func()
		if routes := h.compile(h.cfg, next, p); !p.HasErrors() {
			put = h.u.b.prepare(h.u.put(routes), p, "")
		}
		if put != nil {
			put()
			h.found = next
			h.reload.Inc()
			return rejected
		}
		refused := culprits(set, p.All())
		if len(refused) == 0 {
			return rejected // what is left is nothing but removals, and those break nothing
		}
		for _, r := range refused {
			rejected = append(rejected, r)
			set = slices.DeleteFunc(slices.Clone(set), func(x *resource.Resource) bool { return x.Name == r.Key.Name })
		}
	}
}

// merge returns a list by name after a change.
func merge(list, set []*resource.Resource, remove []string) []*resource.Resource {
	gone := make(map[string]bool, len(set)+len(remove))
	for _, name := range remove {
		gone[name] = true
	}
	for _, r := range set {
		gone[r.Name] = true
	}
	out := make([]*resource.Resource, 0, len(list)+len(set))
	for _, r := range list {
		if !gone[r.Name] {
			out = append(out, r)
		}
	}
	out = append(out, set...)
	slices.SortFunc(out, func(a, b *resource.Resource) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// culprits finds out which of the new virtual hosts are wrong: those whose places the errors name; all, if none of them is.
func culprits(set []*resource.Resource, problems []resource.Problem) []resource.Rejection {
	var some, all []resource.Rejection
	for _, r := range set {
		begin := string(resource.Path("vhds").Key(r.Name))
		one := resource.Rejection{Key: r.Key}
		for _, problem := range problems {
			rest, own := strings.CutPrefix(string(problem.Path), begin)
			if own {
				problem.Path, problem.Resource = resource.Path(strings.TrimPrefix(rest, ".")), r.Key.String()
				one.Problems = append(one.Problems, problem)
			}
		}
		if slices.ContainsFunc(one.Problems, func(p resource.Problem) bool { return p.Severity == resource.Error }) {
			some = append(some, one)
		}
		all = append(all, resource.Rejection{Key: r.Key, Problems: problems})
	}
	if len(some) > 0 {
		return some
	}
	return all
}
