package rbac

import (
	"maps"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	rules "github.com/weftproxy/weft/filter/rbac"
	"github.com/weftproxy/weft/resource"
)

// name is the filter's, and the namespace of its metadata.
const name = "envoy.filters.http.rbac"

// Extension is the HTTP filter.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: name, Config: &rbacv3.RBAC{}, Override: &rbacv3.RBACPerRoute{},
		New: func(env *extension.Env, cfg proto.Message) (exchange.Filter, error) {
			return New(env, cfg.(*rbacv3.RBAC))
		},
		ForRoute: func(_ *extension.Env, f exchange.Filter, override proto.Message) (exchange.Filter, error) {
			return f.(*Filter).ForRoute(override.(*rbacv3.RBACPerRoute))
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields, those of the rules among them.
func Support() resource.Support {
	const at = "envoy.extensions.filters.http.rbac.v3."
	s := resource.Support{
		at + "RBAC": resource.Names("rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats").
			No("matcher", "use rules").No("shadow_matcher", "use shadow_rules"),
		at + "RBACPerRoute": resource.Names("rbac"),
	}
	maps.Copy(s, rules.Support())
	return s
}
