package dispatch

import (
	"fmt"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
	"github.com/weftproxy/weft/upstream"
)

// A View is everything an exchange may look at, consistent with itself. Immutable.
type View struct {
	Routes   *route.Table
	Chains   [][]exchange.Filter // by Route.ID: the listener's filters with that route's overrides
	Clusters *upstream.Table
	Internal []string // internal_only_headers
}

// chain returns the filters compiled for a route.
func (v *View) chain(r *exchange.Route) []exchange.Filter { return v.Chains[r.ID] }

// A httpFilter is one compiled entry of http_filters.
type httpFilter struct {
	name     string
	kind     extension.HTTPFilter
	filter   exchange.Filter
	disabled bool // passes through unless a route's override enables it
}

// passThrough takes the place of a filter that is disabled on a route.
type passThrough struct{}

// compileFilters builds the filters of http_filters in order.
func compileFilters(env *extension.Env, cfg []*hcmv3.HttpFilter, at resource.Path) []httpFilter {
	var out []httpFilter
	for i, fc := range cfg {
		here := at.Index(i)
		if fc.GetTypedConfig() == nil {
			env.Problems.Errorf(here, "give it a typed_config", "HTTP filter %q has no typed_config", fc.GetName())
			continue
		}
		msg, err := resource.Decode(fc.GetTypedConfig())
		if err != nil {
			if !fc.GetIsOptional() {
				env.Problems.Errorf(here.Field("typed_config"), "", "%v", err)
			}
			continue
		}
		kind, ok := env.Registry.HTTP(msg)
		if !ok {
			if !fc.GetIsOptional() {
				env.Problems.Errorf(here.Field("typed_config"), "", "HTTP filter %q (%s) is not supported", fc.GetName(), msg.ProtoReflect().Descriptor().FullName())
			}
			continue
		}
		last := i == len(cfg)-1
		switch {
		case kind.Terminal && !last:
			env.Problems.Errorf(here, "move it to the end of http_filters", "terminal filter %q must be the last filter in a http filter chain", fc.GetName())
			continue
		case !kind.Terminal && last:
			env.Problems.Errorf(here, "end http_filters with envoy.filters.http.router", "non-terminal filter %q is the last filter in a http filter chain", fc.GetName())
			continue
		case kind.Terminal && fc.GetDisabled():
			env.Problems.Errorf(here.Field("disabled"), "", "terminal filter %q cannot be disabled", fc.GetName())
			continue
		}
		sub := *env
		sub.Path = here.Field("typed_config")
		f, err := kind.New(&sub, msg)
		if err != nil {
			env.Problems.Errorf(sub.Path, "", "%v", err)
			continue
		}
		out = append(out, httpFilter{fc.GetName(), kind, f, fc.GetDisabled()})
	}
	return out
}

// compileChains gives each route of the table its filters. Routes without overrides share one slice.
func compileChains(env *extension.Env, filters []httpFilter, routes *route.Table) [][]exchange.Filter {
	common := make([]exchange.Filter, len(filters))
	for i := range filters {
		common[i] = filters[i].filter
		if filters[i].disabled {
			common[i] = passThrough{}
		}
	}
	all := routes.Routes()
	chains := make([][]exchange.Filter, len(all))
	for i, r := range all {
		chains[i] = common
		if len(r.Overrides) > 0 {
			chains[i] = overridden(env, filters, common, r)
		}
	}
	return chains
}

// overridden compiles a route's typed_per_filter_config over the common chain. Overrides of filters that the chain does not
// have are of other listeners that share the table, and are none of its business.
func overridden(env *extension.Env, filters []httpFilter, common []exchange.Filter, r *exchange.Route) []exchange.Filter {
	chain := append([]exchange.Filter(nil), common...)
	for i := range filters {
		f := &filters[i]
		o, ok := r.Overrides[f.name]
		if !ok {
			continue
		}
		at := resource.Path(o.Place)
		g, err := override(env, f, o)
		if err != nil {
			env.Problems.Errorf(at, "", "%v", err)
			continue
		}
		chain[i] = g
	}
	return chain
}

func override(env *extension.Env, f *httpFilter, o exchange.Override) (exchange.Filter, error) {
	switch {
	case o.Disabled && f.kind.Terminal:
		return nil, fmt.Errorf("terminal filter %q cannot be disabled", f.name)
	case o.Disabled:
		return passThrough{}, nil
	case o.Config == nil:
		return f.filter, nil
	case f.kind.ForRoute == nil:
		return nil, fmt.Errorf("filter %q takes no per-route configuration", f.name)
	}
	return f.kind.ForRoute(env, f.filter, o.Config)
}
