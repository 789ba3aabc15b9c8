package pool

import "github.com/weftproxy/weft/observe/stats"

// Stats are the statistics of a cluster that the pool keeps, by Envoy's names below cluster.<name>.
type Stats struct {
	CxTotal                   stats.Counter   `stat:"upstream_cx_total"`
	CxActive                  stats.Gauge     `stat:"upstream_cx_active"`
	CxHTTP1Total              stats.Counter   `stat:"upstream_cx_http1_total"`
	CxHTTP2Total              stats.Counter   `stat:"upstream_cx_http2_total"`
	CxHTTP3Total              stats.Counter   `stat:"upstream_cx_http3_total"`
	CxConnectFail             stats.Counter   `stat:"upstream_cx_connect_fail"`
	CxConnectTimeout          stats.Counter   `stat:"upstream_cx_connect_timeout"`
	CxConnectWith0RTT         stats.Counter   `stat:"upstream_cx_connect_with_0_rtt"`
	CxConnectAttemptsExceeded stats.Counter   `stat:"upstream_cx_connect_attempts_exceeded"`
	CxIdleTimeout             stats.Counter   `stat:"upstream_cx_idle_timeout"`
	CxMaxDurationReached      stats.Counter   `stat:"upstream_cx_max_duration_reached"`
	CxMaxRequests             stats.Counter   `stat:"upstream_cx_max_requests"`
	CxOverflow                stats.Counter   `stat:"upstream_cx_overflow"`
	CxPoolOverflow            stats.Counter   `stat:"upstream_cx_pool_overflow"`
	CxNoneHealthy             stats.Counter   `stat:"upstream_cx_none_healthy"`
	CxProtocolError           stats.Counter   `stat:"upstream_cx_protocol_error"`
	CxCloseNotify             stats.Counter   `stat:"upstream_cx_close_notify"`
	CxDestroy                 stats.Counter   `stat:"upstream_cx_destroy"`
	CxDestroyLocal            stats.Counter   `stat:"upstream_cx_destroy_local"`
	CxDestroyRemote           stats.Counter   `stat:"upstream_cx_destroy_remote"`
	CxDestroyWithActive       stats.Counter   `stat:"upstream_cx_destroy_with_active_rq"`
	CxDestroyLocalWithActive  stats.Counter   `stat:"upstream_cx_destroy_local_with_active_rq"`
	CxDestroyRemoteWithActive stats.Counter   `stat:"upstream_cx_destroy_remote_with_active_rq"`
	CxRxBytesTotal            stats.Counter   `stat:"upstream_cx_rx_bytes_total"`
	CxTxBytesTotal            stats.Counter   `stat:"upstream_cx_tx_bytes_total"`
	CxRxBytesBuffered         stats.Gauge     `stat:"upstream_cx_rx_bytes_buffered"`
	CxTxBytesBuffered         stats.Gauge     `stat:"upstream_cx_tx_bytes_buffered"`
	CxConnectMs               stats.Histogram `stat:"upstream_cx_connect_ms" unit:"ms"`
	CxLengthMs                stats.Histogram `stat:"upstream_cx_length_ms" unit:"ms"`
	RqPerCx                   stats.Histogram `stat:"upstream_rq_per_cx"`
	RqPendingTotal            stats.Counter   `stat:"upstream_rq_pending_total"`
	RqPendingActive           stats.Gauge     `stat:"upstream_rq_pending_active"`
	RqPendingOverflow         stats.Counter   `stat:"upstream_rq_pending_overflow"`
	RqPendingFailureEject     stats.Counter   `stat:"upstream_rq_pending_failure_eject"`
	BindErrors                stats.Counter   `stat:"bind_errors"`
}

// HostStats are the counters of one host, as /clusters shows them. The pool keeps those of connections (Cx), package forward
// those of requests (Rq).
type HostStats struct {
	CxActive, RqActive                     stats.Gauge
	CxTotal, CxConnectFail                 stats.Counter
	RqTotal, RqSuccess, RqError, RqTimeout stats.Counter
}
