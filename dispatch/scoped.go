package dispatch

import (
	"maps"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
	"github.com/weftproxy/weft/subscription"
)

// scopedRoutes are the routes of a connection manager with scoped_routes before any are delivered: the scopes that it lists itself.
func scopedRoutes(env *extension.Env, cfg *hcmv3.ScopedRoutes, at resource.Path) *routing {
	if cfg.GetName() == "" {
		env.Problems.Errorf(at.Field("name"), "", "must not be empty")
	}
	if cfg.GetConfigSpecifier() == nil {
		env.Problems.Errorf(at, "", "one of scoped_route_configurations_list and scoped_rds is required")
	}
	keys := route.CompileScopeKeys(cfg.GetScopeKeyBuilder(), at.Field("scope_key_builder"), env.Problems)
	r := newRouting(route.Compile(routeEnv(env), &routev3.RouteConfiguration{}, "", resource.NewProblems("")), "")
	here := at.Field("scoped_route_configurations_list").Field("scoped_route_configurations")
	scopes := route.NewScopes[*routing](keys)
	for i, one := range cfg.GetScopedRouteConfigurationsList().GetScopedRouteConfigurations() {
		s := route.ReadScope(one, here.Index(i), env.Problems)
		if twice, _ := scopes.Get(s.Name); twice != nil {
			env.Problems.Errorf(here.Index(i).Field("name"), "", "duplicate scoped route configuration '%s' found", s.Name)
			continue
		}
		routes := noRouting(env, s.Routes)
		if s.Inline != nil {
			noVhds(s.Inline, here.Index(i).Field("route_configuration"), env.Problems)
			routes = newRouting(route.Compile(routeEnv(env), s.Inline, here.Index(i).Field("route_configuration"), env.Problems), "")
		}
		next, conflicts := scopes.With(nil, []*route.Scope{s}, func(*route.Scope) *routing { return routes })
		if why := conflicts[s.Name]; why != nil {
			env.Problems.Errorf(here.Index(i).Field("key"), "", "%v", why)
		}
		scopes = next
	}
	return r.withScopes(scopes)
}

// clusters are those that must exist: of a table that was not delivered, and of those of its scopes.
func (r *routing) clusters() map[resource.Path]string {
	all := r.table.Clusters()
	if r.scopes != nil {
		for one := range r.scopes.Values() {
			maps.Copy(all, one.table.Clusters())
		}
	}
	return all
}

// of returns the routes that a request is routed by: those of its scope, if there are scopes.
func (r *routing) of(req *message.Request) *routing {
	if r.scopes == nil {
		return r
	}
	if one, ok := r.scopes.Find(req); ok {
		return one
	}
	return r
}

// withScopes returns routes with other scopes. r itself routes what is in none of them: to no route.
func (r *routing) withScopes(scopes *route.Scopes[*routing]) *routing {
	next := *r
	next.scopes, next.special = scopes, nil
	for one := range scopes.Values() {
		next.special = append(next.special, one.special...)
	}
	return &next
}

// A scopeUser is a connection manager with scoped routes: it takes the scopes that are delivered (scoped_rds), and has the route
// configurations that they name delivered, too.
type scopeUser struct {
	b      *binding
	tables *tables
	cfg    *hcmv3.ScopedRoutes
	at     resource.Path
	watch  *subscription.Watch
	held   map[string]*heldRoutes // by scope; used only while a delta is applied or the watch ends

	reload                *stats.Counter // config_reload
	all, demanded, active *stats.Gauge   // all_scopes, on_demand_scopes, active_scopes
	reloadTime            *stats.Gauge   // config_reload_time_ms
}

// A heldRoutes is the route configuration that is delivered for a scope.
type heldRoutes struct {
	name   string
	watch  *subscription.Watch
	enough func()
}

// watchScopes makes the watches that scoped_routes wants: on the scopes, or on the route configurations that those it lists name.
func watchScopes(b *binding, t *tables, cfg *hcmv3.ScopedRoutes, at resource.Path, p *resource.Problems) (all []*subscription.Watch) {
	u := &scopeUser{b: b, tables: t, cfg: cfg, at: at, held: map[string]*heldRoutes{}}
	if rds := cfg.GetScopedRds(); rds != nil {
		return appendWatch(nil, u.subscribe(rds, p))
	}
	for _, s := range b.latest().routes.scopes.All() {
		if s.Inline == nil {
			all = appendWatch(all, u.routes(s, at.Field("rds_config_source"), p))
		}
	}
	return all
}

// subscribe makes the watch on the scopes.
func (u *scopeUser) subscribe(cfg *hcmv3.ScopedRds, p *resource.Problems) *subscription.Watch {
	at := u.at.Field("scoped_rds")
	key := resource.Key{Type: resource.Scope, Name: subscription.All}
	if name := cfg.GetSrdsResourcesLocator(); name != "" {
		if key.Name = name; !subscription.IsCollection(key) {
			p.Errorf(at.Field("srds_resources_locator"), "end it with /*", "%q is not a collection", name)
			return nil
		}
	}
	if u.b.env.Hub == nil {
		p.Errorf(at, "give the scopes inline, in scoped_route_configurations_list", "no configuration is delivered here")
		return nil
	}
	scope := u.b.env.HTTP.Scope("scoped_rds." + u.cfg.GetName() + ".")
	u.reload, u.reloadTime = scope.Counter("config_reload"), scope.Gauge("config_reload_time_ms")
	u.all, u.demanded, u.active = scope.Gauge("all_scopes"), scope.Gauge("on_demand_scopes"), scope.Gauge("active_scopes")
	scope.Counter("update_empty") // shown, as in Envoy
	u.watch = u.b.env.Hub.Watch(cfg.GetScopedRdsConfigSource(), key, at.Field("scoped_rds_config_source"), p, subscription.User{
		Apply: u.apply, Released: u.released, Stats: subscription.NewStats(scope),
	})
	return u.watch
}

// routes makes the watch on the route configuration that a scope names; nil after reporting to p what is wrong.
func (u *scopeUser) routes(s *route.Scope, at resource.Path, p *resource.Problems) *subscription.Watch {
	if u.b.env.Hub == nil {
		p.Errorf(at, "give the routes inline, in route_configuration", "no configuration is delivered here")
		return nil
	}
	if u.cfg.GetRdsConfigSource() == nil {
		p.Errorf(at, "", "rds_config_source is required for route configurations by name")
		return nil
	}
	return watchTable(u.b, u.tables, u.cfg.GetRdsConfigSource(), s.Routes, s.Name, at, p)
}

// change is the change of the scopes to those after a delta, with tables by scope for those of set; the others keep theirs. Nothing else
// changes which scopes there are, so that the conflicts with what is in force now are those that there will be.
func (u *scopeUser) change(remove []string, set []*route.Scope, tables map[string]*routing) (change edit, conflicts map[string]error) {
	value := func(s *route.Scope) *routing { return tables[s.Name] }
	_, conflicts = u.b.latest().routes.scopes.With(remove, set, value)
	change = func(before state) ([]httpFilter, *routing) {
		scopes, _ := before.routes.scopes.With(remove, set, value)
		return before.filters, before.routes.withScopes(scopes)
	}
	return change, conflicts
}

// apply takes what has changed among the scopes.
func (u *scopeUser) apply(d subscription.Delta) (rejected []resource.Rejection) {
	refuse := func(r *resource.Resource, p *resource.Problems) {
		rejected = append(rejected, resource.Rejection{Key: r.Key, Problems: p.All()})
	}
	var set []*route.Scope
	from, tables, watches := map[string]*resource.Resource{}, map[string]*routing{}, map[string]*subscription.Watch{}
	for _, r := range d.Set {
		p := resource.NewProblems(r.Key.String())
		s, routes, watch := u.read(r, p)
		if p.HasErrors() {
			refuse(r, p)
			continue
		}
		set, from[s.Name], tables[s.Name], watches[s.Name] = append(set, s), r, routes, watch
	}
	change, conflicts := u.change(d.Remove, set, tables)
	kept := set[:0:0]
	for _, s := range set {
		if why := conflicts[s.Name]; why != nil {
			p := resource.NewProblems(from[s.Name].Key.String())
			p.Errorf("key", "", "%v", why)
			refuse(from[s.Name], p)
			continue
		}
		kept = append(kept, s)
	}
	u.b.apply(change)
	for _, name := range d.Remove {
		u.release(name)
	}
	for _, s := range kept {
		if h := u.held[s.Name]; h == nil || h.name != s.Routes {
			u.release(s.Name)
			u.hold(s, watches[s.Name])
		}
	}
	u.count()
	return rejected
}

// read reads a scope, with the routes it begins with and the watch on those that it names.
func (u *scopeUser) read(r *resource.Resource, p *resource.Problems) (*route.Scope, *routing, *subscription.Watch) {
	cfg, ok := r.Message.(*routev3.ScopedRouteConfiguration)
	if !ok {
		p.Errorf("", "", "%s is not a ScopedRouteConfiguration", messageName(r.Message))
		return nil, nil, nil
	}
	s := route.ReadScope(cfg, "", p)
	if s.Name != r.Name {
		p.Errorf("name", "", "is %q, and the resource is called %q", s.Name, r.Name)
	}
	if p.HasErrors() {
		return nil, nil, nil
	}
	_, present := u.b.latest().routes.scopes.Get(s.Name)
	if s.Inline == nil {
		if present == nil {
			present = noRouting(u.b.env, s.Routes)
		}
		if h := u.held[s.Name]; h != nil && h.name == s.Routes {
			return s, present, nil
		}
		return s, present, u.routes(s, "route_configuration_name", p) // the routes in force stay until those have come
	}
	noVhds(s.Inline, "route_configuration", p)
	env := routeEnv(u.b.env)
	env.Dynamic = true
	var previous *route.Table
	if present != nil {
		previous = present.table
	}
	routes := newRouting(route.Recompile(previous, env, s.Inline, nil, "route_configuration", p), r.Key.String()+": ")
	if !p.HasErrors() { // are the overrides right for these filters?
		now := u.b.latest()
		u.b.compile(now, func(state) ([]httpFilter, *routing) { return now.filters, routes }, p, "")
	}
	return s, routes, nil
}

// hold begins what a scope wants to be delivered.
func (u *scopeUser) hold(s *route.Scope, w *subscription.Watch) {
	if w == nil {
		return
	}
	u.held[s.Name] = &heldRoutes{name: s.Routes, watch: w, enough: u.watch.Await(w)}
	w.Hold()
}

// release ends what a scope wanted to be delivered.
func (u *scopeUser) release(scope string) {
	if h := u.held[scope]; h != nil {
		delete(u.held, scope)
		h.enough()
		h.watch.Release()
	}
}

// released is called when the watch on the scopes has ended.
func (u *scopeUser) released() {
	for name := range u.held {
		u.release(name)
	}
}

// count brings the statistics up to date.
func (u *scopeUser) count() {
	all := u.b.latest().routes.scopes.All()
	demanded := 0
	for _, s := range all {
		if s.OnDemand {
			demanded++
		}
	}
	u.all.Set(int64(len(all)))
	u.demanded.Set(int64(demanded))
	u.active.Set(int64(len(all)))
	u.reload.Inc()
	u.reloadTime.Set(time.Now().UnixMilli())
}
