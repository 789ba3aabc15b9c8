package dispatch

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
	"github.com/weftproxy/weft/subscription"
)

// inlineRoutes compiles route_config.
func inlineRoutes(env *extension.Env, m *hcmv3.HttpConnectionManager, at resource.Path) *routing {
	noVhds(m.GetRouteConfig(), at.Field("route_config"), env.Problems)
	return newRouting(route.Compile(routeEnv(env), m.GetRouteConfig(), at.Field("route_config"), env.Problems), "")
}

// A routeUser is a connection manager that has its routes delivered (rds).
type routeUser struct {
	b          *binding
	tables     *tables
	scope      string              // whose routes these are; "": of all requests
	watch      *subscription.Watch // on the route configuration
	hosts      *hostUser
	reload     *stats.Counter // config_reload
	reloadTime *stats.Gauge   // config_reload_time_ms
}

// watchRoutes makes the watch on the route configuration that rds names; nil after reporting to p what is wrong.
func watchRoutes(b *binding, t *tables, cfg *hcmv3.Rds, at resource.Path, p *resource.Problems) *subscription.Watch {
	name := cfg.GetRouteConfigName()
	switch {
	case name == "":
		p.Errorf(at.Field("route_config_name"), "", "must not be empty")
		return nil
	case b.env.Hub == nil:
		p.Errorf(at, "give the routes inline, in route_config", "no configuration is delivered here")
		return nil
	}
	return watchTable(b, t, cfg.GetConfigSource(), name, "", at.Field("config_source"), p)
}

// watchTable makes the watch on a route configuration, for all requests or those of a scope; nil after reporting to p what is wrong with
// its source.
func watchTable(
	b *binding, t *tables, src *corev3.ConfigSource, name, scope string, at resource.Path, p *resource.Problems,
) *subscription.Watch {
	sc := b.env.HTTP.Scope("rds."+name+".", stats.Tag{Name: "envoy.rds_route_config", Value: name})
	u := &routeUser{b: b, tables: t, scope: scope, reload: sc.Counter("config_reload"), reloadTime: sc.Gauge("config_reload_time_ms")}
	u.hosts = &hostUser{u: u}
	sc.Counter("update_empty") // shown, as in Envoy; an empty answer says nothing about the routes
	key := resource.Key{Type: resource.Route, Name: name}
	u.watch = b.env.Hub.Watch(src, key, at, p, subscription.User{Prepare: u.take, Released: u.hosts.drop, Stats: subscription.NewStats(sc)})
	return u.watch
}

// current returns the routes that the user has put into effect, or those before; nil when its scope is gone.
func (u *routeUser) current() *routing {
	routes := u.b.latest().routes
	if u.scope != "" {
		_, routes = routes.scopes.Get(u.scope)
	}
	return routes
}

// put is the change that puts the user's routes into effect.
func (u *routeUser) put(next *routing) edit {
	return func(before state) ([]httpFilter, *routing) {
		if u.scope != "" {
			return before.filters, before.routes.withScopes(before.routes.scopes.Replace(u.scope, next))
		}
		return before.filters, next
	}
}

// take compiles a version.
func (u *routeUser) take(r *resource.Resource, p *resource.Problems) func() {
	var commit func()
	q := resource.NewProblems(r.Key.String())
	cfg, _ := r.Message.(*routev3.RouteConfiguration)
	if cfg.GetVhds() != nil {
		commit = u.hosts.take(cfg, q)
	} else {
		commit = u.whole(r, q)
	}
	p.Append(q)
	if commit == nil {
		return nil
	}
	return func() {
		commit()
		u.reload.Inc()
		u.reloadTime.Set(time.Now().UnixMilli())
	}
}

// whole compiles a version that is a whole table.
func (u *routeUser) whole(r *resource.Resource, q *resource.Problems) func() {
	routes, fresh := u.tables.compile(u.b.env, r, u.current())
	for _, problem := range routes.problems {
		if fresh || problem.Severity == resource.Error {
			q.Add(problem)
		}
	}
	if q.HasErrors() {
		return nil
	}
	put := u.b.prepare(u.put(routes), q, "")
	if put == nil {
		return nil
	}
	return func() {
		put()
		u.hosts.drop()
	}
}
