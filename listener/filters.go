package listener

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

// An inspector is a compiled listener filter.
type inspector struct {
	name     string
	filter   extension.Inspector
	disabled predicate // nil: never
}

// A predicate says whether a connection is one that a filter leaves alone.
type predicate func(info *conn.Info) bool

// compileInspectors compiles listener_filters.
func compileInspectors(env *extension.Env, cfg []*listenerv3.ListenerFilter, at resource.Path, p *resource.Problems) []inspector {
	var all []inspector
	for i, f := range cfg {
		here := at.Index(i)
		if f.GetTypedConfig() == nil {
			p.Errorf(here, "give it a typed_config", "listener filter %q has no typed_config", f.GetName())
			continue
		}
		sub := *env
		sub.Path, sub.Problems = here.Field("typed_config"), p
		msg, err := resource.Decode(f.GetTypedConfig())
		if err != nil {
			p.Errorf(sub.Path, "", "%v", err)
			continue
		}
		kind, ok := env.Registry.Listener(msg)
		if !ok {
			p.Add(resource.Problem{Path: sub.Path, Kind: resource.UnsupportedExtension,
				Message: "listener filter " + f.GetName() + " (" + string(msg.ProtoReflect().Descriptor().FullName()) + ") is not supported"})
			continue
		}
		built, err := kind.New(&sub, msg)
		if err != nil {
			p.Errorf(sub.Path, "", "%v", err)
			continue
		}
		all = append(all, inspector{f.GetName(), built, compilePredicate(f.GetFilterDisabled(), here.Field("filter_disabled"), p)})
	}
	return all
}

// withTLSInspector adds the listener filter tls_inspector to those configured, as Envoy does, where filter chains are chosen by what it finds
// out and it is not among them.
func withTLSInspector(env *extension.Env, cfg *listenerv3.Listener) ([]*listenerv3.ListenerFilter, error) {
	all := cfg.GetListenerFilters()
	inspector := &inspectorv3.TlsInspector{}
	if _, ok := env.Registry.Listener(inspector); !ok || !slices.ContainsFunc(cfg.GetFilterChains(), wantsTLSInspector) {
		return all, nil
	}
	if slices.ContainsFunc(all, isTLSInspector) {
		return all, nil
	}
	packed, err := anypb.New(inspector)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(all), &listenerv3.ListenerFilter{
		Name: "envoy.filters.listener.tls_inspector", ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed},
	}), nil
}

// isTLSInspector reports whether a listener filter is tls_inspector.
func isTLSInspector(cfg *listenerv3.ListenerFilter) bool {
	return resource.TypeOf(cfg.GetTypedConfig()) == (*inspectorv3.TlsInspector)(nil).ProtoReflect().Descriptor().FullName()
}

// wantsTLSInspector reports whether a filter chain is chosen by what tls_inspector finds out.
func wantsTLSInspector(cfg *listenerv3.FilterChain) bool {
	m := cfg.GetFilterChainMatch()
	switch m.GetTransportProtocol() {
	case "tls":
		return true
	case "":
		return len(m.GetServerNames())+len(m.GetApplicationProtocols()) > 0
	}
	return false
}

// compilePredicate compiles filter_disabled.
func compilePredicate(cfg *listenerv3.ListenerFilterChainMatchPredicate, at resource.Path, p *resource.Problems) predicate {
	switch r := cfg.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		rules := compilePredicates(r.OrMatch.GetRules(), at.Field("or_match").Field("rules"), p)
		return func(info *conn.Info) bool { return count(rules, info) > 0 }
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		rules := compilePredicates(r.AndMatch.GetRules(), at.Field("and_match").Field("rules"), p)
		return func(info *conn.Info) bool { return count(rules, info) == len(rules) }
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		rule := compilePredicate(r.NotMatch, at.Field("not_match"), p)
		return func(info *conn.Info) bool { return rule != nil && !rule(info) }
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		return func(*conn.Info) bool { return true }
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		from, to := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		if from >= to {
			p.Errorf(at.Field("destination_port_range"), "the end is not part of the range", "empty range [%d, %d)", from, to)
		}
		return func(info *conn.Info) bool {
			port := int32(info.Local.Port())
			return info.Local.IsValid() && from <= port && port < to
		}
	}
	return nil
}

func compilePredicates(cfg []*listenerv3.ListenerFilterChainMatchPredicate, at resource.Path, p *resource.Problems) []predicate {
	var all []predicate
	for i, c := range cfg {
		if rule := compilePredicate(c, at.Index(i), p); rule != nil {
			all = append(all, rule)
		}
	}
	return all
}

func count(rules []predicate, info *conn.Info) int {
	n := 0
	for _, r := range rules {
		if r(info) {
			n++
		}
	}
	return n
}
