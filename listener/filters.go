package listener

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

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
