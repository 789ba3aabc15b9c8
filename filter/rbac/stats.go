package rbac

import "github.com/weftproxy/weft/observe/stats"

// Stats are the statistics of rules that are enforced, by Envoy's names.
type Stats struct {
	Allowed stats.Counter `stat:"allowed"`
	Denied  stats.Counter `stat:"denied"`
}

// ShadowStats are the statistics of rules that are only tried.
type ShadowStats struct {
	Allowed stats.Counter `stat:"shadow_allowed"`
	Denied  stats.Counter `stat:"shadow_denied"`
}
