package http2

import "github.com/weftproxy/weft/observe/stats"

// Stats are the codec's statistics, by Envoy's names below http2. and cluster.<name>.http2.
type Stats struct {
	DroppedUnderscores       stats.Counter `stat:"dropped_headers_with_underscores"`
	GoAwaySent               stats.Counter `stat:"goaway_sent"`
	HeaderOverflow           stats.Counter `stat:"header_overflow"`
	HeadersCbNoStream        stats.Counter `stat:"headers_cb_no_stream"`
	InboundEmptyFlood        stats.Counter `stat:"inbound_empty_frames_flood"`
	InboundPriorityFlood     stats.Counter `stat:"inbound_priority_frames_flood"`
	InboundWindowUpdateFlood stats.Counter `stat:"inbound_window_update_frames_flood"`
	KeepaliveTimeout         stats.Counter `stat:"keepalive_timeout"`
	OutboundControlFlood     stats.Counter `stat:"outbound_control_flood"`
	OutboundFlood            stats.Counter `stat:"outbound_flood"`
	RejectedUnderscores      stats.Counter `stat:"requests_rejected_with_underscores_in_headers"`
	RxMessagingError         stats.Counter `stat:"rx_messaging_error"`
	RxReset                  stats.Counter `stat:"rx_reset"`
	StreamRefusedErrors      stats.Counter `stat:"stream_refused_errors"`
	Trailers                 stats.Counter `stat:"trailers"`
	TxFlushTimeout           stats.Counter `stat:"tx_flush_timeout"`
	TxReset                  stats.Counter `stat:"tx_reset"`
	StreamsActive            stats.Gauge   `stat:"streams_active"`
}
