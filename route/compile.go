package route

import (
	"maps"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

// Env is what a table is compiled with. The zero Env has no runtime, no environment and no files.
type Env struct {
	Runtime match.Runtime  // overrides fractions and weights while the table is in use; may be nil
	Format  format.Options // host name, environment and files, for header values and direct responses
}

// A compiler is one run of Compile.
type compiler struct {
	env      Env
	cfg      *routev3.RouteConfiguration
	problems *resource.Problems
	table    *Table
	validate bool // clusters must exist
	bodyMax  int  // bytes of a direct response
	reuse    map[string]*match.Regex
	level    level // of the table
}

// A level is what a virtual host, or a table, hands down to its routes.
type level struct {
	request, response *exchange.Mutations
	overrides         map[string]exchange.Override
}

// defaultBodyMax is the default of max_direct_response_body_size_bytes.
const defaultBodyMax = 4096

// Compile compiles a RouteConfiguration whose place is at. Problems go to p; a table with errors must not be used to route. It reads
// files of direct responses through env and does no other I/O. A nil configuration is an empty table. Fields that Support does not
// list are reported by resource.Check, not here.
func Compile(env Env, cfg *routev3.RouteConfiguration, at resource.Path, p *resource.Problems) *Table {
	c := &compiler{
		env: env, cfg: cfg, problems: p, reuse: map[string]*match.Regex{}, bodyMax: defaultBodyMax,
		validate: cfg.GetValidateClusters() == nil || cfg.GetValidateClusters().GetValue(),
		table: &Table{
			name: cfg.GetName(), place: at, ignoreParams: cfg.GetIgnorePathParametersInPathMatching(),
			domains: domains{ignorePort: cfg.GetIgnorePortInHostMatching()}, clusters: map[resource.Path]string{},
		},
	}
	if limit := cfg.GetMaxDirectResponseBodySizeBytes(); limit != nil {
		c.bodyMax = int(limit.GetValue())
	}
	for _, name := range cfg.GetInternalOnlyHeaders() {
		c.table.internal = append(c.table.internal, match.LowerASCII(name))
	}
	c.level = c.compileLevel(cfg, at)
	for i, vh := range cfg.GetVirtualHosts() {
		c.virtualHost(vh, at.Field("virtual_hosts").Index(i))
	}
	c.table.none = NotFound()
	c.table.none.Table = cfg.GetName()
	c.enter(c.table.none)
	return c.table
}

// enter gives a route its ID.
func (c *compiler) enter(r *exchange.Route) {
	r.ID = len(c.table.routes)
	c.table.routes = append(c.table.routes, r)
}

// virtualHost compiles a virtual host and enters its domains.
func (c *compiler) virtualHost(cfg *routev3.VirtualHost, at resource.Path) {
	h := &host{name: cfg.GetName(), place: at, tls: cfg.GetRequireTls()}
	for i, text := range cfg.GetDomains() {
		here := at.Field("domains").Index(i)
		switch {
		case text == "":
			c.problems.Errorf(here, "", "must not be empty")
		case c.table.domains.add(text, h):
		case text == "*":
			c.problems.Errorf(here, "", "Only a single wildcard domain is permitted in route %s", c.table.name)
		default:
			c.problems.Errorf(here, "", "Only unique values for domains are permitted. Duplicate entry of domain %s in route %s", text, c.table.name)
		}
	}
	v := c.hostDefaults(cfg, at)
	routes := at.Field("routes")
	h.entries = make([]entry, 0, len(cfg.GetRoutes()))
	for i, r := range cfg.GetRoutes() {
		if e, ok := c.route(r, v, routes.Index(i)); ok {
			h.entries = append(h.entries, e)
		}
	}
	h.plain, h.folded = newIndex(h.entries, false), newIndex(h.entries, true)
	if h.tls != routev3.VirtualHost_NONE {
		h.redirect = c.tlsRedirect(v, at)
	}
}

// A hostConfig is what the routes of a virtual host have in common.
type hostConfig struct {
	cfg      *routev3.VirtualHost
	level    level
	retry    *exchange.RetryPolicy
	clusters *exchange.VirtualClusters
	buffer   int
	request  []*exchange.Mutations // of a route without mutations of its own
	response []*exchange.Mutations
}

func (c *compiler) hostDefaults(cfg *routev3.VirtualHost, at resource.Path) *hostConfig {
	v := &hostConfig{cfg: cfg, level: c.compileLevel(cfg, at), buffer: bufferLimit(cfg, unset)}
	v.level.overrides = inherit(c.level.overrides, v.level.overrides)
	v.request = c.order(nil, v.level.request, c.level.request)
	v.response = c.order(nil, v.level.response, c.level.response)
	if cfg.GetRetryPolicy() != nil {
		v.retry = c.retryPolicy(cfg.GetRetryPolicy(), at.Field("retry_policy"))
	}
	for i, vc := range cfg.GetVirtualClusters() {
		here := at.Field("virtual_clusters").Index(i)
		if len(vc.GetHeaders()) == 0 {
			c.problems.Errorf(here.Field("headers"), "", "virtual clusters must define 'headers'")
		}
		if v.clusters == nil {
			v.clusters = &exchange.VirtualClusters{}
		}
		v.clusters.List = append(v.clusters.List, exchange.VirtualCluster{
			Name: vc.GetName(), Headers: c.headers(vc.GetHeaders(), here.Field("headers"))})
	}
	return v
}

// order puts the mutations of three levels into the order in which they are applied: the most specific first, so that the least
// specific wins, or the other way round.
func (c *compiler) order(route, host, table *exchange.Mutations) []*exchange.Mutations {
	levels := [...]*exchange.Mutations{route, host, table}
	if c.cfg.GetMostSpecificHeaderMutationsWins() {
		levels[0], levels[2] = levels[2], levels[0]
	}
	var out []*exchange.Mutations
	for _, m := range levels {
		if m != nil {
			out = append(out, m)
		}
	}
	return out
}

// tlsRedirect is the route of what require_tls sends to https.
func (c *compiler) tlsRedirect(v *hostConfig, at resource.Path) *exchange.Route {
	r := NotFound()
	r.Place, r.VirtualHost, r.Table = string(at.Field("require_tls")), v.cfg.GetName(), c.table.name
	r.Redirect = &exchange.Redirect{Status: 301, HTTPS: true, KeepPort: true}
	r.Overrides = v.level.overrides
	c.enter(r)
	return r
}

// inherit returns what holds where more specific overrides meet those of the level above. Equal maps are shared.
func inherit(above, own map[string]exchange.Override) map[string]exchange.Override {
	if len(own) == 0 {
		return above
	}
	if len(above) == 0 {
		return own
	}
	all := maps.Clone(above)
	for name, o := range own {
		if o.Config == nil {
			o.Config = above[name].Config
		}
		all[name] = o
	}
	return all
}
