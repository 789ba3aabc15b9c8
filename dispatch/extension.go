package dispatch

import (
	"crypto/sha256"
	"maps"
	"slices"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// Extension is the network filter envoy.filters.network.http_connection_manager.
func Extension() extension.NetworkFilter {
	shared := newTables()
	return extension.NetworkFilter{
		Name: "envoy.filters.network.http_connection_manager", Config: &hcmv3.HttpConnectionManager{}, Terminal: true,
		New: func(env *extension.Env, cfg proto.Message, prev conn.Handler) (extension.Built, error) {
			return build(env, cfg.(*hcmv3.HttpConnectionManager), prev, shared), nil
		},
		Support: Support,
	}
}

// build compiles a connection manager. When only routes and filters changed, the previous Dispatcher serves on and gets a new View on
// publication, so that connections stay.
func build(env *extension.Env, m *hcmv3.HttpConnectionManager, prev conn.Handler, shared *tables) extension.Built {
	at := env.Path
	sub := *env
	sub.HTTP = httpScope(env, m.GetStatPrefix())
	routes := firstRoutes(&sub, m, at)
	filters, dynamic := compileFilters(&sub, m.GetHttpFilters(), at.Field("http_filters"))
	if len(m.GetHttpFilters()) == 0 {
		env.Problems.Errorf(at.Field("http_filters"), "add envoy.filters.http.router", "no HTTP filters: nothing would forward requests")
	}
	cfg := compileConfig(env, m, at)
	key := staticKey(m)
	d, same := prev.(*Dispatcher)
	if !same || d.key != key {
		d = newDispatcher(env, cfg, key)
	}
	b := newBinding(d, &sub, filters, routes)
	built := extension.Built{Handler: d, Publish: b.publish, Explain: &Explainer{cfg: cfg, b: b}}
	for _, i := range slices.Sorted(maps.Keys(dynamic)) {
		built.Watches = appendWatch(built.Watches, dynamic[i].watch(b, i, env.Problems))
	}
	switch {
	case m.GetRds() != nil:
		built.Watches = appendWatch(built.Watches, watchRoutes(b, shared, m.GetRds(), at.Field("rds"), env.Problems))
	case m.GetScopedRoutes() != nil:
		built.Watches = append(built.Watches, watchScopes(b, shared, m.GetScopedRoutes(), at.Field("scoped_routes"), env.Problems)...)
		built.Clusters = routes.clusters()
	default:
		built.Clusters = routes.clusters()
	}
	b.draft = nil
	return built
}

// appendWatch adds a watch, if there is one.
func appendWatch(all []*subscription.Watch, w *subscription.Watch) []*subscription.Watch {
	if w == nil {
		return all
	}
	return append(all, w)
}

// firstRoutes are the routes until others are delivered.
func firstRoutes(env *extension.Env, m *hcmv3.HttpConnectionManager, at resource.Path) *routing {
	if rds := m.GetRds(); rds != nil {
		return noRouting(env, rds.GetRouteConfigName())
	}
	if scoped := m.GetScopedRoutes(); scoped != nil {
		return scopedRoutes(env, scoped, at.Field("scoped_routes"))
	}
	return inlineRoutes(env, m, at)
}

// staticKey identifies the part of the configuration that Config is compiled from.
func staticKey(m *hcmv3.HttpConnectionManager) string {
	static := proto.Clone(m).(*hcmv3.HttpConnectionManager)
	static.RouteSpecifier, static.HttpFilters = nil, nil
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(static)
	if err != nil {
		return "" // never equal to itself, so nothing is reused
	}
	sum := sha256.Sum256(b)
	return string(sum[:])
}

func newDispatcher(env *extension.Env, cfg *Config, key string) *Dispatcher {
	d := &Dispatcher{cfg: cfg, key: key, env: env}
	d.stats = stats.NewGroup[Stats](httpScope(env, cfg.StatPrefix))
	if env.Listener.Scope != nil {
		d.listener = stats.NewGroup[ListenerStats](env.Listener.Scope.Scope("http."+cfg.StatPrefix+".", httpTag(cfg.StatPrefix)))
	}
	d.codec = stats.NewGroup[CodecStats](env.Stats.Scope("http1.")).Lane(0)
	d.server = d.newServer(env)
	return d
}

// httpScope is where the statistics of a connection manager are, its filters' included.
func httpScope(env *extension.Env, prefix string) *stats.Scope {
	return env.Stats.Scope("http."+prefix+".", httpTag(prefix))
}

func httpTag(prefix string) stats.Tag {
	return stats.Tag{Name: "envoy.http_conn_manager_prefix", Value: prefix}
}
