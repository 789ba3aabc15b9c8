package rbac

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/weftproxy/weft/match"
)

// An Engine is a compiled RBAC: an action and policies, in the order of their names. Immutable and safe for concurrent use.
type Engine struct {
	action   rbacv3.RBAC_Action
	policies []policy
}

type policy struct {
	name string
	rule rule
}

// None is the Policy of a Decision that no policy made.
const None = -1

// A Decision is what an engine says about a subject.
type Decision struct {
	Allowed bool
	Policy  int // the index of the first policy that matched, or None
}

// CompileHTTP compiles the rules of an HTTP filter. Errors begin with the place of what is wrong.
func CompileHTTP(cfg *rbacv3.RBAC) (*Engine, error) { return compile(cfg, &compiler{http: true}) }

// CompileNetwork compiles the rules of a network filter. Rules about requests are errors.
func CompileNetwork(cfg *rbacv3.RBAC) (*Engine, error) { return compile(cfg, &compiler{}) }

func compile(cfg *rbacv3.RBAC, c *compiler) (*Engine, error) {
	e := &Engine{action: cfg.GetAction()}
	switch e.action {
	case rbacv3.RBAC_ALLOW, rbacv3.RBAC_DENY, rbacv3.RBAC_LOG:
	default:
		return nil, fmt.Errorf("action: %s is not supported", e.action)
	}
	if cfg.GetAuditLoggingOptions() != nil {
		return nil, errors.New("audit_logging_options: not supported")
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.GetPolicies())) {
		r, err := c.policy(cfg.GetPolicies()[name])
		if err != nil {
			return nil, below(fmt.Sprintf("policies[%q]", name), err)
		}
		e.policies = append(e.policies, policy{name, r})
	}
	return e, nil
}

// policy compiles a policy: one of its permissions and one of its principals.
func (c *compiler) policy(cfg *rbacv3.Policy) (rule, error) {
	switch {
	case cfg.GetCondition() != nil:
		return rule{}, errors.New("condition: CEL expressions are not supported")
	case cfg.GetCheckedCondition() != nil:
		return rule{}, errors.New("checked_condition: CEL expressions are not supported")
	case cfg.GetCelConfig() != nil:
		return rule{}, errors.New("cel_config: CEL expressions are not supported")
	}
	can, err := c.permissions(some, "permissions", cfg.GetPermissions())
	if err != nil {
		return rule{}, err
	}
	who, err := c.principals(some, "principals", cfg.GetPrincipals())
	return rule{kind: all, set: []rule{can, who}}, err
}

// Decide asks the policies about s, one after the other until one matches. It allocates nothing, unless a rule is about metadata of the
// connection or about a header that is there several times.
func (e *Engine) Decide(s *Subject) Decision {
	enough := unknown // a policy that denies, or asks to be logged, matches unless it is known not to
	if e.action == rbacv3.RBAC_ALLOW {
		enough = yes
	}
	if s.Request != nil {
		s.path = match.BarePath(s.Request.Path)
	}
	for i := range e.policies {
		if e.policies[i].rule.eval(s) >= enough {
			return Decision{Allowed: e.action != rbacv3.RBAC_DENY, Policy: i}
		}
	}
	return Decision{Allowed: e.action != rbacv3.RBAC_ALLOW, Policy: None}
}

// Logs reports whether the action is LOG: everything is allowed, and a policy that matches asks for the access log.
func (e *Engine) Logs() bool { return e.action == rbacv3.RBAC_LOG }

// Decisions returns every decision that the engine may come to: that of no policy, then those of the policies in order.
func (e *Engine) Decisions() []Decision {
	out := []Decision{{Allowed: e.action != rbacv3.RBAC_ALLOW, Policy: None}}
	for i := range e.policies {
		out = append(out, Decision{Allowed: e.action != rbacv3.RBAC_DENY, Policy: i})
	}
	return out
}

// Name returns the name of a policy, "" of None.
func (e *Engine) Name(policy int) string {
	if policy == None {
		return ""
	}
	return e.policies[policy].name
}

// Details returns what access logs say of a denial: "rbac_access_denied_matched_policy[NAME]", "none" for no policy, white space in the
// name replaced.
func (e *Engine) Details(policy int) string {
	name := e.Name(policy)
	if name == "" {
		name = "none"
	}
	clean := strings.Map(func(r rune) rune {
		if r == ' ' || r >= '\t' && r <= '\r' {
			return '_'
		}
		return r
	}, name)
	return "rbac_access_denied_matched_policy[" + clean + "]"
}
