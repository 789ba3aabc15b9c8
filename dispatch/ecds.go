package dispatch

import (
	"context"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// errNoFilterConfig is what requests get where a filter's configuration has not come and it has no default. Immutable.
var errNoFilterConfig = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Local, Status: 500, Flag: observe.NFCF}

// A missingFilter is in the place of a filter without configuration.
type missingFilter struct{}

// Handle refuses the exchange.
func (missingFilter) Handle(context.Context, *exchange.Exchange, exchange.Next) (*message.Response, error) {
	return nil, errNoFilterConfig
}

// A dynamicFilter is an entry of http_filters whose configuration is delivered by name (config_discovery).
type dynamicFilter struct {
	cfg      *hcmv3.HttpFilter
	types    []string       // that its configuration may have
	env      *extension.Env // what the filter is built with; its scope of statistics is the filter's own
	fallback httpFilter     // what goes without a version: the default_config, or one that lets nothing pass

	at                     resource.Path
	place                  int // among the filters
	b                      *binding
	reload, fail, conflict *stats.Counter
}

// compileDynamic compiles what an entry with config_discovery says; nil after reporting what is wrong.
func compileDynamic(env *extension.Env, fc *hcmv3.HttpFilter, here resource.Path, last bool) *dynamicFilter {
	at, src := here.Field("config_discovery"), fc.GetConfigDiscovery()
	p := env.Problems
	switch {
	case last:
		p.Errorf(at, "end http_filters with a typed_config of envoy.filters.http.router",
			"the configuration of the last filter (%q) cannot be delivered by name", fc.GetName())
		return nil
	case env.Hub == nil:
		p.Errorf(at, "give the filter's configuration in typed_config", "no configuration is delivered here")
		return nil
	case src.GetApplyDefaultConfigWithoutWarming() && src.GetDefaultConfig() == nil:
		p.Errorf(at.Field("default_config"), "", "filter config %s applied without warming but has no default config", fc.GetName())
		return nil
	case len(src.GetTypeUrls()) == 0:
		p.Errorf(at.Field("type_urls"), "", "must have at least one item")
		return nil
	}
	f := &dynamicFilter{cfg: fc, at: at}
	for i, url := range src.GetTypeUrls() {
		name := url[strings.LastIndexByte(url, '/')+1:]
		if !env.Registry.HasHTTP(protoreflect.FullName(name)) {
			p.Errorf(at.Field("type_urls").Index(i), "", "no factory found for a required type URL %s", name)
			return nil
		}
		f.types = append(f.types, name)
	}
	scope := env.Stats.Scope("extension_config_discovery.http_filter." + fc.GetName() + ".")
	f.reload, f.fail, f.conflict = scope.Counter("config_reload"), scope.Counter("config_fail"), scope.Counter("config_conflict")
	own := *env
	own.HTTP, own.Problems = scope, nil
	f.env = &own
	f.fallback = httpFilter{name: fc.GetName(), filter: missingFilter{}, disabled: fc.GetDisabled()}
	if a := src.GetDefaultConfig(); a != nil {
		var ok bool
		if f.fallback, ok = f.compile(a, at.Field("default_config"), p); !ok {
			return nil
		}
	}
	return f
}

// compile builds the filter from a version of its configuration.
func (f *dynamicFilter) compile(a *anypb.Any, at resource.Path, p *resource.Problems) (httpFilter, bool) {
	msg, err := resource.Decode(a)
	if err != nil {
		p.Errorf(at, "", "%v", err)
		return httpFilter{}, false
	}
	if name := messageName(msg); !slices.Contains(f.types, name) {
		p.Errorf(at, "", "filter config has type URL %s but expect %s", name, strings.Join(f.types, ", "))
		return httpFilter{}, false
	}
	kind, _ := f.env.Registry.HTTP(msg) // each of f.types is there
	if kind.Terminal {
		p.Errorf(at, "", "terminal filter %q must be the last filter in a http filter chain", f.cfg.GetName())
		return httpFilter{}, false
	}
	env := *f.env
	env.Problems = p
	return newFilter(&env, f.cfg, kind, msg, at)
}

// watch makes the watch on the filter's configuration, which changes the filter at a place of a binding; nil after reporting to p what is
// wrong with its source.
func (f *dynamicFilter) watch(b *binding, place int, p *resource.Problems) *subscription.Watch {
	f.b, f.place = b, place
	src := f.cfg.GetConfigDiscovery()
	key := resource.Key{Type: resource.Filter, Name: f.cfg.GetName()}
	scope := f.env.HTTP
	return f.env.Hub.Watch(src.GetConfigSource(), key, f.at.Field("config_source"), p, subscription.User{
		Prepare: f.take,
		Removed: func() {
			b.apply(f.put(f.fallback))
			f.reload.Inc()
		},
		NoWait: src.GetApplyDefaultConfigWithoutWarming(),
		Stats:  subscription.NewStats(scope),
	})
}

// put is the change that puts a filter into the place.
func (f *dynamicFilter) put(one httpFilter) edit {
	return func(before state) ([]httpFilter, *routing) {
		filters := slices.Clone(before.filters)
		filters[f.place] = one
		return filters, before.routes
	}
}

// take compiles a version. One that was delivered before and does not fit a connection manager that comes later does not keep that from
// being accepted, as in Envoy: it goes without.
func (f *dynamicFilter) take(r *resource.Resource, p *resource.Problems) func() {
	var commit func()
	q := resource.NewProblems(r.Key.String())
	cfg, ok := r.Message.(*corev3.TypedExtensionConfig)
	if !ok {
		q.Errorf("", "", "%s is not a TypedExtensionConfig", messageName(r.Message))
	} else if next, ok := f.compile(cfg.GetTypedConfig(), "typed_config", q); ok {
		commit = f.b.prepare(f.put(next), q, f.b.latest().routes.origin)
	}
	switch {
	case q.HasErrors() && f.b.draft != nil:
		f.conflict.Inc()
		return nil
	case q.HasErrors():
		f.fail.Inc()
		p.Append(q)
		return nil
	}
	p.Append(q)
	return func() {
		commit()
		f.reload.Inc()
	}
}
