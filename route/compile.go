package route

import (
	"maps"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/fair"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

// Env is what a table is compiled with. The zero Env has no runtime, no environment and no files.
type Env struct {
	Runtime match.Runtime  // overrides fractions and weights while the table is in use; may be nil
	Format  format.Options // host name, environment and files, for header values and direct responses
	Dynamic bool           // the tables come by RDS: their clusters need not exist unless validate_clusters says so
}

// A compiler is one run of Recompile.
type compiler struct {
	env      Env
	cfg      *routev3.RouteConfiguration
	problems *resource.Problems
	table    *Table
	validate bool // clusters must exist
	bodyMax  int  // bytes of a direct response
	reuse    map[string]*match.Regex
	level    level // of the table
	previous *previous
	host     *host // that is being compiled; nil at the table's level
	outside  *bool // something was read that is not in the message
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
	return Recompile(nil, env, cfg, nil, at, p)
}

// Recompile is Compile for a table that takes the place of another one, which may be nil and had no errors. Virtual hosts that have not
// changed are not compiled again: their routes are the same, under the same ID; what has changed only its place is copied. found are the
// virtual hosts that VHDS has delivered, in any stable order. env must be the one that prev was compiled with.
func Recompile(
	prev *Table, env Env, cfg *routev3.RouteConfiguration, found []*resource.Resource, at resource.Path, p *resource.Problems,
) *Table {
	c := &compiler{
		env: env, cfg: cfg, problems: p, reuse: map[string]*match.Regex{}, bodyMax: defaultBodyMax, validate: !env.Dynamic,
		outside: new(bool),
		table: &Table{
			name: cfg.GetName(), place: at, ignoreParams: cfg.GetIgnorePathParametersInPathMatching(),
			domains: domains{ignorePort: cfg.GetIgnorePortInHostMatching()},
		},
	}
	if v := cfg.GetValidateClusters(); v != nil {
		c.validate = v.GetValue()
	}
	if limit := cfg.GetMaxDirectResponseBodySizeBytes(); limit != nil {
		c.bodyMax = int(limit.GetValue())
	}
	if read := env.Format.ReadFile; read != nil {
		outside := c.outside // and nothing else of the compiler, for what is compiled may keep this
		c.env.Format.ReadFile = func(name string) ([]byte, error) {
			*outside = true
			return read(name)
		}
	}
	for _, name := range cfg.GetInternalOnlyHeaders() {
		c.table.internal = append(c.table.internal, match.LowerASCII(name))
	}
	all := sources(cfg, found)
	c.compare(prev, all)
	c.level = c.compileLevel(cfg, at)
	c.table.outside = *c.outside
	c.grow(len(all))
	for i := range all {
		fair.Turn(i)
		c.enterHost(&all[i])
	}
	if c.table.none == nil {
		c.table.none = NotFound()
		c.table.none.Table = cfg.GetName()
		c.enter(c.table.none)
	}
	c.fill()
	return c.table
}

// grow makes room for n virtual hosts.
func (c *compiler) grow(n int) {
	var like *domains
	if c.previous != nil {
		like = &c.previous.table.domains
	}
	c.table.domains.grow(like, n)
	c.table.hosts, c.table.messages = make([]*host, 0, n), make([]*routev3.VirtualHost, 0, n)
}

// enter gives a route its ID.
func (c *compiler) enter(r *exchange.Route) {
	if c.host != nil {
		c.host.routes = append(c.host.routes, r)
	}
	if id, ok := c.previous.take(); ok {
		r.ID = id
		c.table.routes[id] = r
		return
	}
	r.ID = len(c.table.routes)
	c.table.routes = append(c.table.routes, r)
}

// enterHost enters a virtual host and its domains, compiled if need be.
func (c *compiler) enterHost(s *source) {
	h := s.host
	if h == nil {
		h = c.virtualHost(s.cfg, s.place(c.table.place))
		h.key, h.index, h.resource = s.key, s.index, s.name
	}
	c.table.hosts, c.table.messages = append(c.table.hosts, h), append(c.table.messages, s.cfg)
	for i := range h.domains {
		d := &h.domains[i]
		switch {
		case d.text == "" || c.table.domains.add(d):
		case d.text == "*":
			c.problems.Errorf(h.place.Field("domains").Index(i), "", "Only a single wildcard domain is permitted in route %s", c.table.name)
		default:
			c.problems.Errorf(h.place.Field("domains").Index(i), "",
				"Only unique values for domains are permitted. Duplicate entry of domain %s in route %s", d.text, c.table.name)
		}
	}
}

// virtualHost compiles a virtual host.
func (c *compiler) virtualHost(cfg *routev3.VirtualHost, at resource.Path) *host {
	h := &host{name: cfg.GetName(), place: at, tls: cfg.GetRequireTls(), domains: make([]domain, 0, len(cfg.GetDomains()))}
	c.host, *c.outside = h, false
	for i, text := range cfg.GetDomains() {
		if text == "" {
			c.problems.Errorf(at.Field("domains").Index(i), "", "must not be empty")
		}
		h.domains = append(h.domains, newDomain(text, h))
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
	c.host, h.outside = nil, *c.outside
	return h
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
