package rbac

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	configv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	rules "github.com/weftproxy/weft/filter/rbac"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// name is the filter's, and the namespace of its metadata.
const name = "envoy.filters.network.rbac"

// Extension is the network filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: name, Config: &rbacv3.RBAC{},
		Wrap: func(env *extension.Env, cfg proto.Message, next conn.Handler) (conn.Handler, error) {
			return New(env, cfg.(*rbacv3.RBAC), next)
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields, those of the rules among them.
func Support() resource.Support {
	const once = "the rules are evaluated once, before the first byte: what they look at does not change while the connection lives"
	s := resource.Support{
		"envoy.extensions.filters.network.rbac.v3.RBAC": resource.
			Names("rules shadow_rules shadow_rules_stat_prefix stat_prefix delay_deny").
			YesBut("enforcement_type", once).No("matcher", "use rules").No("shadow_matcher", "use shadow_rules"),
	}
	maps.Copy(s, rules.Support())
	return s
}

// A DeniedError is what a connection ends with that the policies do not allow.
type DeniedError struct{ details string }

// Error implements error.
func (e *DeniedError) Error() string { return "rbac: " + e.details }

// TerminationDetails returns what access logs print for CONNECTION_TERMINATION_DETAILS.
func (e *DeniedError) TerminationDetails() string { return e.details }

// A Filter is the filter at work. Immutable and safe for concurrent use.
type Filter struct {
	next        conn.Handler
	enforced    *rules.Engine // nil: nothing is enforced
	shadow      *rules.Engine // nil: nothing is tried
	denials     []*DeniedError
	delay       time.Duration // before a connection is closed that is denied
	key         string        // shadow_rules_stat_prefix, which also begins the keys of the metadata
	stats       *stats.Group[rules.Stats]
	shadowStats *stats.Group[rules.ShadowStats]
}

// New compiles the filter.
func New(env *extension.Env, cfg *rbacv3.RBAC, next conn.Handler) (*Filter, error) {
	switch {
	case cfg.GetMatcher() != nil:
		return nil, errors.New("matcher: not supported; use rules")
	case cfg.GetShadowMatcher() != nil:
		return nil, errors.New("shadow_matcher: not supported; use shadow_rules")
	}
	if cfg.GetStatPrefix() == "" {
		return nil, errors.New("stat_prefix: must not be empty")
	}
	f := &Filter{next: next, delay: cfg.GetDelayDeny().AsDuration(), key: cfg.GetShadowRulesStatPrefix()}
	var err error
	if f.enforced, err = compile(cfg.GetRules()); err != nil {
		return nil, fmt.Errorf("rules.%w", err)
	}
	if f.shadow, err = compile(cfg.GetShadowRules()); err != nil {
		return nil, fmt.Errorf("shadow_rules.%w", err)
	}
	if f.enforced != nil {
		for _, d := range f.enforced.Decisions() {
			f.denials = append(f.denials, &DeniedError{f.enforced.Details(d.Policy)})
		}
	}
	f.stats = stats.NewGroup[rules.Stats](scopeOf(env.Stats, cfg.GetStatPrefix(), ""))
	f.shadowStats = stats.NewGroup[rules.ShadowStats](scopeOf(env.Stats, cfg.GetStatPrefix(), f.key))
	return f, nil
}

func compile(cfg *configv3.RBAC) (*rules.Engine, error) {
	if cfg == nil {
		return nil, nil
	}
	return rules.CompileNetwork(cfg)
}

// scopeOf is <stat_prefix>.rbac.[<shadow_rules_stat_prefix>.].
func scopeOf(store *stats.Store, prefix, shadow string) *stats.Scope {
	prefix = strings.TrimSuffix(prefix, ".")
	whole := prefix + ".rbac"
	if shadow != "" {
		whole += "." + shadow
	}
	return store.Scope(whole, stats.Tag{Name: "envoy.rbac_prefix", Value: prefix})
}

// ServeConn hands the connection on if the policies allow it. One that was parked was allowed before.
func (f *Filter) ServeConn(ctx context.Context, c *conn.Conn) error {
	if c.Served == 0 && c.IdleSince == 0 {
		if err := f.check(c); err != nil {
			f.wait(ctx)
			return err
		}
	}
	return f.next.ServeConn(ctx, c)
}

// check asks both engines about a connection. What they say is in its metadata and in the statistics.
func (f *Filter) check(c *conn.Conn) error {
	sub := rules.Subject{Conn: c.Info()}
	if f.shadow != nil {
		f.try(c, &sub)
	}
	if f.enforced == nil {
		return nil
	}
	d, st := f.enforced.Decide(&sub), f.stats.Lane(c.Lane)
	if f.enforced.Logs() {
		note(c.Info(), "envoy.common", "access_log_hint", strconv.FormatBool(d.Policy != rules.None))
	}
	if d.Allowed {
		st.Allowed.Inc()
		return nil
	}
	st.Denied.Inc()
	return f.denials[d.Policy+1]
}

// try notes what the shadow rules would have done.
func (f *Filter) try(c *conn.Conn, sub *rules.Subject) {
	d, st := f.shadow.Decide(sub), f.shadowStats.Lane(c.Lane)
	if policy := f.shadow.Name(d.Policy); policy != "" {
		note(c.Info(), name, f.key+"shadow_effective_policy_id", policy)
	}
	result := "denied"
	if d.Allowed {
		st.Allowed.Inc()
		result = "allowed"
	} else {
		st.Denied.Inc()
	}
	note(c.Info(), name, f.key+"shadow_engine_result", result)
}

// note adds to the connection's metadata.
func note(info *conn.Info, namespace, key, value string) {
	if info.Metadata == nil {
		info.Metadata = map[string]map[string]string{}
	}
	if info.Metadata[namespace] == nil {
		info.Metadata[namespace] = map[string]string{}
	}
	info.Metadata[namespace][key] = value
}

// wait takes the delay, so that a peer that tries again at once gains nothing.
func (f *Filter) wait(ctx context.Context) {
	if f.delay <= 0 {
		return
	}
	t := time.NewTimer(f.delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
