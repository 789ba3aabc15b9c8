package forward

import "github.com/weftproxy/weft/observe/stats"

// Stats are the router's statistics, below http.<stat_prefix>.
type Stats struct {
	NoRoute          stats.Counter `stat:"no_route"`
	NoCluster        stats.Counter `stat:"no_cluster"`
	RqRedirect       stats.Counter `stat:"rq_redirect"`
	RqDirectResponse stats.Counter `stat:"rq_direct_response"`
	RqTotal          stats.Counter `stat:"rq_total"`
	RqResetAfter     stats.Counter `stat:"rq_reset_after_downstream_response_started"`
}
