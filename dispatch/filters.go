package dispatch

import (
	"fmt"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

// A httpFilter is one compiled entry of http_filters.
type httpFilter struct {
	name     string
	kind     extension.HTTPFilter // the zero HTTPFilter when the filter's configuration has not come
	filter   exchange.Filter
	disabled bool // passes through unless a route's override enables it
}

// missing reports whether the filter's configuration has not come, or is no more.
func (f *httpFilter) missing() bool { return f.kind.New == nil }

// passThrough takes the place of a filter that is disabled on a route.
type passThrough struct{}

// compileFilters builds the filters of http_filters in order. Those whose configuration is delivered have what goes without it, and are
// in dynamic by their place among the others.
func compileFilters(env *extension.Env, cfg []*hcmv3.HttpFilter, at resource.Path) (out []httpFilter, dynamic map[int]*dynamicFilter) {
	dynamic = map[int]*dynamicFilter{}
	for i, fc := range cfg {
		here, last := at.Index(i), i == len(cfg)-1
		if fc.GetConfigDiscovery() != nil {
			if d := compileDynamic(env, fc, here, last); d != nil {
				dynamic[len(out)] = d
				out = append(out, d.fallback)
			}
			continue
		}
		if f, ok := compileStatic(env, fc, here, last); ok {
			out = append(out, f)
		}
	}
	return out, dynamic
}

// compileStatic builds a filter whose configuration is at hand.
func compileStatic(env *extension.Env, fc *hcmv3.HttpFilter, here resource.Path, last bool) (f httpFilter, ok bool) {
	if fc.GetTypedConfig() == nil {
		env.Problems.Errorf(here, "give it a typed_config", "HTTP filter %q has no typed_config", fc.GetName())
		return f, false
	}
	at := here.Field("typed_config")
	msg, err := resource.Decode(fc.GetTypedConfig())
	if err != nil {
		if !fc.GetIsOptional() {
			env.Problems.Errorf(at, "", "%v", err)
		}
		return f, false
	}
	kind, ok := env.Registry.HTTP(msg)
	if !ok {
		if !fc.GetIsOptional() {
			env.Problems.Errorf(at, "", "HTTP filter %q (%s) is not supported", fc.GetName(), messageName(msg))
		}
		return f, false
	}
	switch {
	case kind.Terminal && !last:
		env.Problems.Errorf(here, "move it to the end of http_filters", "terminal filter %q must be the last filter in a http filter chain", fc.GetName())
		return f, false
	case !kind.Terminal && last:
		env.Problems.Errorf(here, "end http_filters with envoy.filters.http.router", "non-terminal filter %q is the last filter in a http filter chain", fc.GetName())
		return f, false
	case kind.Terminal && fc.GetDisabled():
		env.Problems.Errorf(here.Field("disabled"), "", "terminal filter %q cannot be disabled", fc.GetName())
		return f, false
	}
	return newFilter(env, fc, kind, msg, at)
}

// newFilter has a filter built.
func newFilter(env *extension.Env, fc *hcmv3.HttpFilter, kind extension.HTTPFilter, msg proto.Message, at resource.Path) (httpFilter, bool) {
	sub := *env
	sub.Path = at
	f, err := kind.New(&sub, msg)
	if err != nil {
		env.Problems.Errorf(at, "", "%v", err)
		return httpFilter{}, false
	}
	return httpFilter{fc.GetName(), kind, f, fc.GetDisabled()}, true
}

// common is the chain of a route without overrides.
func common(filters []httpFilter) []exchange.Filter {
	chain := make([]exchange.Filter, len(filters))
	for i := range filters {
		chain[i] = filters[i].filter
		if filters[i].disabled {
			chain[i] = passThrough{}
		}
	}
	return chain
}

// overridden compiles a route's typed_per_filter_config over the common chain; nil when none of it is about these filters. Overrides of
// filters that the chain does not have are of other listeners that share the table, and are none of its business. A filter whose override
// is wrong lets nothing pass.
func overridden(env *extension.Env, filters []httpFilter, common []exchange.Filter, r *exchange.Route, origin string) []exchange.Filter {
	var chain []exchange.Filter
	for i := range filters {
		f := &filters[i]
		o, ok := r.Overrides[f.name]
		if !ok {
			continue
		}
		if chain == nil {
			chain = append(chain, common...)
		}
		g, err := override(env, f, o)
		if err != nil {
			env.Problems.Errorf(resource.Path(origin+o.Place), "", "%v", err)
			g = missingFilter{}
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
	case o.Config == nil || f.missing():
		return f.filter, nil
	case f.kind.ForRoute == nil:
		return nil, fmt.Errorf("filter %q takes no per-route configuration", f.name)
	case f.kind.Override != nil && messageName(f.kind.Override) != messageName(o.Config):
		return nil, fmt.Errorf("filter %q takes %s, not %s", f.name, messageName(f.kind.Override), messageName(o.Config))
	}
	return f.kind.ForRoute(env, f.filter, o.Config)
}
