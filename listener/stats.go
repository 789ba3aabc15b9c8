package listener

import "github.com/weftproxy/weft/observe/stats"

// Stats are a listener's statistics, by Envoy's names below listener.<address>.
type Stats struct {
	CxTotal        stats.Counter   `stat:"downstream_cx_total"`
	CxDestroy      stats.Counter   `stat:"downstream_cx_destroy"`
	CxActive       stats.Gauge     `stat:"downstream_cx_active"`
	CxLength       stats.Histogram `stat:"downstream_cx_length_ms" unit:"ms"`
	CxOverflow     stats.Counter   `stat:"downstream_cx_overflow"`
	CxOverload     stats.Counter   `stat:"downstream_cx_overload_reject"`
	GlobalOverflow stats.Counter   `stat:"downstream_global_cx_overflow"`
	ConnectTimeout stats.Counter   `stat:"downstream_cx_transport_socket_connect_timeout"`
	PreCxActive    stats.Gauge     `stat:"downstream_pre_cx_active"`
	PreCxTimeout   stats.Counter   `stat:"downstream_pre_cx_timeout"`
	FilterRemote   stats.Counter   `stat:"downstream_listener_filter_remote_close"`
	FilterError    stats.Counter   `stat:"downstream_listener_filter_error"`
	NoMatch        stats.Counter   `stat:"no_filter_chain_match"`

	AcceptError stats.Counter `stat:"downstream_accept_error" zero:"hide"` // accept failed: out of descriptors or memory
	Panic       stats.Counter `stat:"downstream_cx_panic" zero:"hide"`     // connections closed by a panic
	DrainClose  stats.Counter `stat:"downstream_cx_drain_close" zero:"hide"`
	Parked      stats.Gauge   `stat:"downstream_cx_parked" zero:"hide"` // idle connections that hold no goroutine
}
