package rbac

import (
	"github.com/weftproxy/weft/exchange"
	rules "github.com/weftproxy/weft/filter/rbac"
	"github.com/weftproxy/weft/observe/stats"
)

// commonNamespace is the metadata namespace in which LOG tells access logs what to do.
const commonNamespace = "envoy.common"

// A side is an engine with what follows from each of its decisions.
type side struct {
	engine   *rules.Engine
	outcomes []outcome // by policy, after that of no policy
}

// An outcome is what follows from a decision.
type outcome struct {
	allowed  bool
	policy   string                    // "": none
	metadata map[string]map[string]any // for the record; not changed any more
	denial   *exchange.Error
	hits     *stats.Counter // of the policy; nil: not counted
}

// newSide prepares the outcomes. key begins the keys of the metadata.
func newSide(e *rules.Engine, key string) *side {
	s := &side{engine: e}
	for _, d := range e.Decisions() {
		o := outcome{allowed: d.Allowed, policy: e.Name(d.Policy)}
		fields := map[string]any{key + "engine_result": result(d.Allowed)}
		if o.policy != "" {
			fields[key+"effective_policy_id"] = o.policy
		}
		o.metadata = map[string]map[string]any{name: fields}
		o.denial = &exchange.Error{
			Stage: exchange.Filtering, Side: exchange.Downstream, Status: 403, Body: "RBAC: access denied", Details: e.Details(d.Policy),
		}
		s.outcomes = append(s.outcomes, o)
	}
	return s
}

func result(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}

// hint adds to the metadata whether the access log is wanted, where the action is LOG.
func (s *side) hint() {
	if !s.engine.Logs() {
		return
	}
	for i, d := range s.engine.Decisions() {
		s.outcomes[i].metadata[commonNamespace] = map[string]any{"access_log_hint": d.Policy != rules.None}
	}
}

// track makes a counter for each policy: policy.<name>.[shadow_]allowed or denied.
func (s *side) track(sc *stats.Scope, prefix string) {
	if s == nil {
		return
	}
	for i := range s.outcomes {
		if o := &s.outcomes[i]; o.policy != "" {
			o.hits = sc.Counter("policy."+o.policy+"."+prefix+result(o.allowed), stats.Tag{Name: "envoy.rbac_policy_name", Value: o.policy})
		}
	}
}

// decide asks the engine about a request.
func (s *side) decide(x *exchange.Exchange) *outcome {
	sub := subject(x)
	return &s.outcomes[s.engine.Decide(&sub).Policy+1]
}

// record notes the outcome.
func (o *outcome) record(x *exchange.Exchange) {
	x.Record.AddMetadata(o.metadata)
	if o.hits != nil {
		o.hits.Inc()
	}
}
