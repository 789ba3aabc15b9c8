package health

import "github.com/weftproxy/weft/observe/stats"

// Stats count checks, by Envoy's names below cluster.<name>.health_check.
type Stats struct {
	Attempt        stats.Counter `stat:"attempt"`
	Success        stats.Counter `stat:"success"`
	Failure        stats.Counter `stat:"failure"`
	PassiveFailure stats.Counter `stat:"passive_failure"`
	NetworkFailure stats.Counter `stat:"network_failure"`
	VerifyCluster  stats.Counter `stat:"verify_cluster"`
	Healthy        stats.Gauge   `stat:"healthy"`
	Degraded       stats.Gauge   `stat:"degraded"`
}
