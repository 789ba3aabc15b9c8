package rbac

import (
	"context"
	"errors"
	"fmt"

	configv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	rules "github.com/weftproxy/weft/filter/rbac"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/stats"
)

// A Filter is the filter at work. Immutable and safe for concurrent use.
type Filter struct {
	scope, shadowScope *stats.Scope
	stats              *stats.Group[rules.Stats]
	shadowStats        *stats.Group[rules.ShadowStats]
	prefix             string // rules_stat_prefix, which also begins the keys of the metadata
	shadowPrefix       string
	enforced           *side // nil: nothing is enforced
	shadow             *side // nil: nothing is tried
}

// New compiles the filter.
func New(env *extension.Env, cfg *rbacv3.RBAC) (*Filter, error) {
	f := &Filter{prefix: cfg.GetRulesStatPrefix(), shadowPrefix: cfg.GetShadowRulesStatPrefix()}
	f.scope, f.shadowScope = scopeOf(env.HTTP, f.prefix), scopeOf(env.HTTP, f.shadowPrefix)
	f.stats, f.shadowStats = stats.NewGroup[rules.Stats](f.scope), stats.NewGroup[rules.ShadowStats](f.shadowScope)
	if err := f.compile(cfg); err != nil {
		return nil, err
	}
	return f, nil
}

// scopeOf is rbac.[<prefix>.] below the connection manager's scope.
func scopeOf(http *stats.Scope, prefix string) *stats.Scope {
	if prefix == "" {
		return http.Scope("rbac")
	}
	return http.Scope("rbac."+prefix, stats.Tag{Name: "envoy.rbac_http_prefix", Value: prefix})
}

// ForRoute compiles a route's override. Its statistics are the filter's.
func (f *Filter) ForRoute(cfg *rbacv3.RBACPerRoute) (*Filter, error) {
	g := *f
	if p := cfg.GetRbac().GetRulesStatPrefix(); p != "" {
		g.prefix = p
	}
	if p := cfg.GetRbac().GetShadowRulesStatPrefix(); p != "" {
		g.shadowPrefix = p
	}
	if err := g.compile(cfg.GetRbac()); err != nil {
		return nil, fmt.Errorf("rbac.%w", err)
	}
	return &g, nil
}

// compile compiles the rules of both sides.
func (f *Filter) compile(cfg *rbacv3.RBAC) error {
	switch {
	case cfg.GetMatcher() != nil:
		return errors.New("matcher: not supported; use rules")
	case cfg.GetShadowMatcher() != nil:
		return errors.New("shadow_matcher: not supported; use shadow_rules")
	}
	var err error
	if f.enforced, err = compileSide(cfg.GetRules(), f.prefix+"enforced_"); err != nil {
		return fmt.Errorf("rules.%w", err)
	}
	if f.shadow, err = compileSide(cfg.GetShadowRules(), f.shadowPrefix+"shadow_"); err != nil {
		return fmt.Errorf("shadow_rules.%w", err)
	}
	if f.enforced != nil {
		f.enforced.hint()
	}
	if cfg.GetTrackPerRuleStats() {
		f.enforced.track(f.scope, "")
		f.shadow.track(f.shadowScope, "shadow_")
	}
	return nil
}

// Handle lets the request through or refuses it.
func (f *Filter) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	if f.shadow != nil {
		f.try(x)
	}
	if f.enforced == nil {
		return next.Handle(ctx, x)
	}
	o, st := f.enforced.decide(x), f.stats.Lane(x.Lane)
	o.record(x)
	if !o.allowed {
		st.Denied.Inc()
		return nil, o.denial
	}
	st.Allowed.Inc()
	return next.Handle(ctx, x)
}

// try notes what the shadow rules would have done.
func (f *Filter) try(x *exchange.Exchange) {
	o, st := f.shadow.decide(x), f.shadowStats.Lane(x.Lane)
	o.record(x)
	if o.allowed {
		st.Allowed.Inc()
	} else {
		st.Denied.Inc()
	}
}

// subject is what the rules are asked about.
func subject(x *exchange.Exchange) rules.Subject {
	return rules.Subject{
		Conn: x.Conn, Request: x.Request, Remote: x.Record.Remote.Addr(),
		Metadata: x.Record.Metadata, Route: x.Route.Metadata, State: x.Record.FilterState,
	}
}

func compileSide(cfg *configv3.RBAC, key string) (*side, error) {
	if cfg == nil {
		return nil, nil
	}
	e, err := rules.CompileHTTP(cfg)
	if err != nil {
		return nil, err
	}
	return newSide(e, key), nil
}
