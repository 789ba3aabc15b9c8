package dispatch

import "github.com/weftproxy/weft/observe/stats"

// Stats are the statistics of a connection manager, below http.<stat_prefix>.
type Stats struct {
	CxTotal             stats.Counter   `stat:"downstream_cx_total"`
	CxHTTP1Total        stats.Counter   `stat:"downstream_cx_http1_total"`
	CxHTTP2Total        stats.Counter   `stat:"downstream_cx_http2_total"`
	CxSSLTotal          stats.Counter   `stat:"downstream_cx_ssl_total"`
	CxActive            stats.Gauge     `stat:"downstream_cx_active"`
	CxSSLActive         stats.Gauge     `stat:"downstream_cx_ssl_active"`
	CxHTTP1Active       stats.Gauge     `stat:"downstream_cx_http1_active"`
	CxHTTP2Active       stats.Gauge     `stat:"downstream_cx_http2_active"`
	CxDestroy           stats.Counter   `stat:"downstream_cx_destroy"`
	CxDestroyRemote     stats.Counter   `stat:"downstream_cx_destroy_remote"`
	CxDestroyLocal      stats.Counter   `stat:"downstream_cx_destroy_local"`
	CxDestroyActive     stats.Counter   `stat:"downstream_cx_destroy_active_rq"`
	CxDestroyRemoteRq   stats.Counter   `stat:"downstream_cx_destroy_remote_active_rq"`
	CxDestroyLocalRq    stats.Counter   `stat:"downstream_cx_destroy_local_active_rq"`
	CxProtocolError     stats.Counter   `stat:"downstream_cx_protocol_error"`
	CxLength            stats.Histogram `stat:"downstream_cx_length_ms" unit:"ms"`
	CxRxBytes           stats.Counter   `stat:"downstream_cx_rx_bytes_total"`
	CxTxBytes           stats.Counter   `stat:"downstream_cx_tx_bytes_total"`
	CxDrainClose        stats.Counter   `stat:"downstream_cx_drain_close"`
	CxIdleTimeout       stats.Counter   `stat:"downstream_cx_idle_timeout"`
	CxMaxDuration       stats.Counter   `stat:"downstream_cx_max_duration_reached"`
	CxMaxRequests       stats.Counter   `stat:"downstream_cx_max_requests_reached"`
	CxUpgradesTotal     stats.Counter   `stat:"downstream_cx_upgrades_total"`
	CxUpgradesActive    stats.Gauge     `stat:"downstream_cx_upgrades_active"`
	RqTotal             stats.Counter   `stat:"downstream_rq_total"`
	RqHTTP1Total        stats.Counter   `stat:"downstream_rq_http1_total"`
	RqHTTP2Total        stats.Counter   `stat:"downstream_rq_http2_total"`
	RqActive            stats.Gauge     `stat:"downstream_rq_active"`
	RqBeforeComplete    stats.Counter   `stat:"downstream_rq_response_before_rq_complete"`
	RqRxReset           stats.Counter   `stat:"downstream_rq_rx_reset"`
	RqTxReset           stats.Counter   `stat:"downstream_rq_tx_reset"`
	RqNonRelativePath   stats.Counter   `stat:"downstream_rq_non_relative_path"`
	RqTooLarge          stats.Counter   `stat:"downstream_rq_too_large"`
	RqFailedNormalize   stats.Counter   `stat:"downstream_rq_failed_path_normalization"`
	RqRedirectNormalize stats.Counter   `stat:"downstream_rq_redirected_with_normalized_path"`
	RqWSOnNonWS         stats.Counter   `stat:"downstream_rq_ws_on_non_ws_route"`
	RqIdleTimeout       stats.Counter   `stat:"downstream_rq_idle_timeout"`
	RqMaxDuration       stats.Counter   `stat:"downstream_rq_max_duration_reached"`
	RqTimeout           stats.Counter   `stat:"downstream_rq_timeout"`
	RqHeaderTimeout     stats.Counter   `stat:"downstream_rq_header_timeout"`
	RqCompleted         stats.Counter   `stat:"downstream_rq_completed"`
	Rq1xx               stats.Counter   `stat:"downstream_rq_1xx"`
	Rq2xx               stats.Counter   `stat:"downstream_rq_2xx"`
	Rq3xx               stats.Counter   `stat:"downstream_rq_3xx"`
	Rq4xx               stats.Counter   `stat:"downstream_rq_4xx"`
	Rq5xx               stats.Counter   `stat:"downstream_rq_5xx"`
	RqTime              stats.Histogram `stat:"downstream_rq_time" unit:"ms"`
	RqTooManyResets     stats.Counter   `stat:"downstream_rq_too_many_premature_resets"`
	RqPanic             stats.Counter   `stat:"downstream_rq_panic"`
}

// ListenerStats are the statistics of a connection manager that are also kept by listener, below
// listener.<address>.http.<stat_prefix>.
type ListenerStats struct {
	RqCompleted stats.Counter `stat:"downstream_rq_completed"`
	Rq1xx       stats.Counter `stat:"downstream_rq_1xx"`
	Rq2xx       stats.Counter `stat:"downstream_rq_2xx"`
	Rq3xx       stats.Counter `stat:"downstream_rq_3xx"`
	Rq4xx       stats.Counter `stat:"downstream_rq_4xx"`
	Rq5xx       stats.Counter `stat:"downstream_rq_5xx"`
}

// CodecStats are the statistics of the HTTP/1 codec of all connection managers, below http1.
type CodecStats struct {
	DroppedUnderscore  stats.Counter `stat:"dropped_headers_with_underscores"`
	RejectedUnderscore stats.Counter `stat:"requests_rejected_with_underscores_in_headers"`
}

// count adds a finished response with that status; 0, no response at all, counts as 5xx does in no class.
func (s *Stats) count(status int) {
	s.RqCompleted.Inc()
	if c := class(status, &s.Rq1xx, &s.Rq2xx, &s.Rq3xx, &s.Rq4xx, &s.Rq5xx); c != nil {
		c.Inc()
	}
}

func (s *ListenerStats) count(status int) {
	s.RqCompleted.Inc()
	if c := class(status, &s.Rq1xx, &s.Rq2xx, &s.Rq3xx, &s.Rq4xx, &s.Rq5xx); c != nil {
		c.Inc()
	}
}

func class(status int, c1, c2, c3, c4, c5 *stats.Counter) *stats.Counter {
	switch status / 100 {
	case 1:
		return c1
	case 2:
		return c2
	case 3:
		return c3
	case 4:
		return c4
	case 5:
		return c5
	}
	return nil
}
