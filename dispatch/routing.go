package dispatch

import (
	"runtime"
	"strings"
	"sync"
	"weak"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
)

// A routing is a compiled route table with what connection managers want to know of it. Immutable: those that name the same route
// configuration share it.
type routing struct {
	table    *route.Table
	origin   string            // begins the places of a table that is a resource of its own: `route "name": `; "" for an inline one
	special  []*exchange.Route // those with overrides of filters
	internal []string          // internal_only_headers
	problems []resource.Problem
	absent   bool                    // stands for a table that has not come yet
	scopes   *route.Scopes[*routing] // nil: the table routes all requests; else those of no scope
}

func newRouting(table *route.Table, origin string) *routing {
	r := &routing{table: table, origin: origin, internal: table.InternalOnlyHeaders()}
	for _, one := range table.Routes() {
		if len(one.Overrides) > 0 {
			r.special = append(r.special, one)
		}
		if one.Origin != origin { // else it may be in use already
			one.Origin = origin
		}
	}
	return r
}

// noRouting is what routes until the table of a name has come: to no route at all.
func noRouting(env *extension.Env, name string) *routing {
	cfg := &routev3.RouteConfiguration{Name: name}
	r := newRouting(route.Compile(routeEnv(env), cfg, "", resource.NewProblems("")), "")
	r.origin, r.absent = originOf(name), true
	return r
}

func routeEnv(env *extension.Env) route.Env {
	return route.Env{Runtime: env.Options.Runtime, Format: env.Format}
}

// originOf is what the places in a route configuration begin with.
func originOf(name string) string {
	return resource.Key{Type: resource.Route, Name: name}.String() + ": "
}

// place is a place in the table for those who do not know which table it is in.
func (r *routing) place(at string) string {
	return strings.TrimSuffix(r.origin+at, ": ")
}

// Tables compile each version of a route configuration once, however many connection managers use it, and keep it for no longer than they do.
// Safe for concurrent use.
type tables struct {
	mu       sync.Mutex
	compiled map[content]weak.Pointer[routing] // guarded by mu
}

// A content is what a version of a route configuration says, under whatever version and from whatever source.
type content struct {
	name string
	hash uint64
}

func newTables() *tables {
	return &tables{compiled: map[content]weak.Pointer[routing]{}}
}

// compile returns the table of a version, with what it has in common with the one before, which may be nil. fresh says that it was not compiled before, so that its problems are news.
func (t *tables) compile(env *extension.Env, r *resource.Resource, before *routing) (result *routing, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := content{r.Name, r.Hash}
	if old := t.compiled[key].Value(); old != nil {
		return old, false
	}
	p := resource.NewProblems(r.Key.String())
	cfg, ok := r.Message.(*routev3.RouteConfiguration)
	if !ok {
		p.Errorf("", "", "%s is not a RouteConfiguration", messageName(r.Message))
	}
	compiler, origin, previous := routeEnv(env), originOf(r.Name), (*route.Table)(nil)
	compiler.Dynamic = true
	if before != nil && before.origin == origin && !before.absent {
		previous = before.table
	}
	result = newRouting(route.Recompile(previous, compiler, cfg, nil, "", p), origin)
	result.problems = p.All()
	t.compiled[key] = weak.Make(result)
	runtime.AddCleanup(result, t.forget, key)
	return result, true
}

// forget drops what nobody uses any more.
func (t *tables) forget(key content) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.compiled[key].Value() == nil {
		delete(t.compiled, key)
	}
}

func messageName(m proto.Message) string {
	if m == nil {
		return "nothing"
	}
	return string(m.ProtoReflect().Descriptor().FullName())
}
