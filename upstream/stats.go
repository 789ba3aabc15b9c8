package upstream

import (
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/upstream/pool"
)

// Stats are the traffic statistics of a cluster, by Envoy's names below cluster.<name>. Those of connections and of waiting for them
// are kept by the pool; package forward keeps the others.
type Stats struct {
	pool.Stats

	RqTotal                   stats.Counter `stat:"upstream_rq_total"`
	RqActive                  stats.Gauge   `stat:"upstream_rq_active"`
	RqCompleted               stats.Counter `stat:"upstream_rq_completed"`
	RqCancelled               stats.Counter `stat:"upstream_rq_cancelled"`
	RqMaintenanceMode         stats.Counter `stat:"upstream_rq_maintenance_mode"`
	RqMaxDurationReached      stats.Counter `stat:"upstream_rq_max_duration_reached"`
	RqTimeout                 stats.Counter `stat:"upstream_rq_timeout"`
	RqPerTryTimeout           stats.Counter `stat:"upstream_rq_per_try_timeout"`
	RqPerTryIdleTimeout       stats.Counter `stat:"upstream_rq_per_try_idle_timeout"`
	RqRxReset                 stats.Counter `stat:"upstream_rq_rx_reset"`
	RqTxReset                 stats.Counter `stat:"upstream_rq_tx_reset"`
	Rq0RTT                    stats.Counter `stat:"upstream_rq_0rtt"`
	RqRetry                   stats.Counter `stat:"upstream_rq_retry"`
	RqRetryBackoffExponential stats.Counter `stat:"upstream_rq_retry_backoff_exponential"`
	RqRetryBackoffRateLimited stats.Counter `stat:"upstream_rq_retry_backoff_ratelimited"`
	RqRetryLimitExceeded      stats.Counter `stat:"upstream_rq_retry_limit_exceeded"`
	RqRetryOverflow           stats.Counter `stat:"upstream_rq_retry_overflow"`
	RqRetrySuccess            stats.Counter `stat:"upstream_rq_retry_success"`
	RetryOrShadowAbandoned    stats.Counter `stat:"retry_or_shadow_abandoned"`
	InternalRedirectFailed    stats.Counter `stat:"upstream_internal_redirect_failed_total"`
	InternalRedirectSucceeded stats.Counter `stat:"upstream_internal_redirect_succeeded_total"`
	FlowBackedUp              stats.Counter `stat:"upstream_flow_control_backed_up_total"`
	FlowDrained               stats.Counter `stat:"upstream_flow_control_drained_total"`
	FlowPausedReading         stats.Counter `stat:"upstream_flow_control_paused_reading_total"`
	FlowResumedReading        stats.Counter `stat:"upstream_flow_control_resumed_reading_total"`
	HTTP3Broken               stats.Counter `stat:"upstream_http3_broken"`
	OriginalDstHostInvalid    stats.Counter `stat:"original_dst_host_invalid"`

	LBHealthyPanic stats.Counter `stat:"lb_healthy_panic"`

	Codes    stats.Codes     `stat:"upstream_rq" zero:"hide"`
	RqTime   stats.Histogram `stat:"upstream_rq_time" unit:"ms" zero:"hide"`
	Internal ResponseStats   `stat:"internal."`
	External ResponseStats   `stat:"external."`
	Canary   ResponseStats   `stat:"canary."`
	Retry    stats.Codes     `stat:"retry.upstream_rq" zero:"hide"`
}

// ResponseStats are the responses to one kind of request.
type ResponseStats struct {
	Codes  stats.Codes     `stat:"upstream_rq" zero:"hide"`
	RqTime stats.Histogram `stat:"upstream_rq_time" unit:"ms" zero:"hide"`
}

// memberStats are about the hosts of a cluster. They live on one lane.
type memberStats struct {
	UpdateAttempt             stats.Counter `stat:"update_attempt"`
	UpdateSuccess             stats.Counter `stat:"update_success"`
	UpdateFailure             stats.Counter `stat:"update_failure"`
	UpdateEmpty               stats.Counter `stat:"update_empty"`
	UpdateNoRebuild           stats.Counter `stat:"update_no_rebuild"`
	AssignmentStale           stats.Counter `stat:"assignment_stale"`
	AssignmentTimeoutReceived stats.Counter `stat:"assignment_timeout_received"`
	AssignmentUseCached       stats.Counter `stat:"assignment_use_cached"`
	Version                   stats.Gauge   `stat:"version"`
	WarmingState              stats.Gauge   `stat:"warming_state"`

	MembershipChange   stats.Counter `stat:"membership_change"`
	MembershipTotal    stats.Gauge   `stat:"membership_total"`
	MembershipHealthy  stats.Gauge   `stat:"membership_healthy"`
	MembershipDegraded stats.Gauge   `stat:"membership_degraded"`
	MembershipExcluded stats.Gauge   `stat:"membership_excluded"`
	MaxHostWeight      stats.Gauge   `stat:"max_host_weight"`

	DefaultSocket stats.Counter `stat:"default.total_match_count"`

	LBSubsetsActive          stats.Gauge   `stat:"lb_subsets_active"`
	LBSubsetsCreated         stats.Counter `stat:"lb_subsets_created"`
	LBSubsetsFallback        stats.Counter `stat:"lb_subsets_fallback"`
	LBSubsetsFallbackPanic   stats.Counter `stat:"lb_subsets_fallback_panic"`
	LBSubsetsRemoved         stats.Counter `stat:"lb_subsets_removed"`
	LBSubsetsSelected        stats.Counter `stat:"lb_subsets_selected"`
	LBLocalClusterNotOK      stats.Counter `stat:"lb_local_cluster_not_ok"`
	LBRecalculateZones       stats.Counter `stat:"lb_recalculate_zone_structures"`
	LBZoneClusterTooSmall    stats.Counter `stat:"lb_zone_cluster_too_small"`
	LBZoneNoCapacityLeft     stats.Counter `stat:"lb_zone_no_capacity_left"`
	LBZoneRoutingAllDirectly stats.Counter `stat:"lb_zone_routing_all_directly"`
	LBZoneRoutingCrossZone   stats.Counter `stat:"lb_zone_routing_cross_zone"`
	LBZoneRoutingSampled     stats.Counter `stat:"lb_zone_routing_sampled"`
}

// edsStats are about the assignment of an EDS cluster. They live on one lane.
type edsStats struct {
	UpdateRejected   stats.Counter   `stat:"update_rejected"`
	InitFetchTimeout stats.Counter   `stat:"init_fetch_timeout"`
	UpdateTime       stats.Gauge     `stat:"update_time"`
	UpdateDuration   stats.Histogram `stat:"update_duration" unit:"ms"`
}

// breakerStats are the gauges of the circuit breakers. They live on one lane.
type breakerStats struct {
	Default limitStats `stat:"circuit_breakers.default."`
	High    limitStats `stat:"circuit_breakers.high."`
}

// limitStats are the gauges of the circuit breakers of one priority.
type limitStats struct {
	CxOpen           stats.Gauge `stat:"cx_open"`
	CxPoolOpen       stats.Gauge `stat:"cx_pool_open"`
	RqOpen           stats.Gauge `stat:"rq_open"`
	RqPendingOpen    stats.Gauge `stat:"rq_pending_open"`
	RqRetryOpen      stats.Gauge `stat:"rq_retry_open"`
	RemainingCx      stats.Gauge `stat:"remaining_cx" zero:"hide"`
	RemainingCxPools stats.Gauge `stat:"remaining_cx_pools" zero:"hide"`
	RemainingPending stats.Gauge `stat:"remaining_pending" zero:"hide"`
	RemainingRetries stats.Gauge `stat:"remaining_retries" zero:"hide"`
	RemainingRq      stats.Gauge `stat:"remaining_rq" zero:"hide"`
}
