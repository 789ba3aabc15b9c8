package http2

import "time"

// Defaults of options that are zero. Windows, streams and flood limits are Envoy's, as its guide for edge proxies sets them.
const (
	DefaultTableSize    = 4096
	DefaultMaxStreams   = 100
	DefaultStreamWindow = 64 << 10
	DefaultConnWindow   = 1 << 20

	DefaultMaxHeaderBytes = 60 << 10 // max_request_headers_kb
	DefaultMaxHeaders     = 100      // max_headers_count

	DefaultMaxOutbound        = 10000
	DefaultMaxOutboundControl = 1000
	DefaultMaxEmpty           = 1
	DefaultMaxPriority        = 100
	DefaultMaxWindowUpdates   = 10
)

// Options are Envoy's Http2ProtocolOptions, whose fields the comments name. Zero values are the defaults above.
type Options struct {
	TableSize          int    // hpack_table_size, in bytes; < 0: 0
	MaxStreams         uint32 // max_concurrent_streams: of the peer's on a server, of ours on a client
	StreamWindow       uint32 // initial_stream_window_size, in bytes
	ConnWindow         uint32 // initial_connection_window_size, in bytes
	AllowConnect       bool   // allow_connect: extended CONNECT (RFC 8441)
	MaxOutbound        int    // max_outbound_frames: frames that wait to be written
	MaxOutboundControl int    // max_outbound_control_frames: of these PING, SETTINGS and RST_STREAM
	MaxEmpty           int    // max_consecutive_inbound_frames_with_empty_payload; < 0: 0
	MaxPriority        int    // max_inbound_priority_frames_per_stream; < 0: 0
	MaxWindowUpdates   int    // max_inbound_window_update_frames_per_data_frame_sent
	StreamErrors       bool   // override_stream_error_on_invalid_http_message: a malformed message resets its stream, not the connection

	PingInterval     time.Duration // connection_keepalive.interval; 0: no pings at intervals
	PingTimeout      time.Duration // connection_keepalive.timeout
	PingJitter       float64       // connection_keepalive.interval_jitter, in percent
	PingIdleInterval time.Duration // connection_keepalive.connection_idle_interval: ping before a connection idle this long is used; 0: do not

	MaxHeaderBytes int // of a header section: max_request_headers_kb, max_response_headers_kb; names, values and 32 a field
	MaxHeaders     int // max_headers_count: fields of a header section, cookie crumbs each

	Stats func(lane uint32) *Stats // where to count; nil: nowhere
}

// Underscores is Envoy's headers_with_underscores_action.
type Underscores uint8

// What becomes of a request with an underscore in a field name.
const (
	AllowUnderscores Underscores = iota
	RejectUnderscores
	DropUnderscores // the field goes, the request goes on
)

// ServerOptions are the settings of a downstream codec. The comments name the fields of Envoy's HttpConnectionManager.
type ServerOptions struct {
	Options
	Underscores    Underscores
	IdleTimeout    time.Duration // common_http_protocol_options.idle_timeout: without streams; 0: none
	HeadersTimeout time.Duration // request_headers_timeout, from a header section's first frame to its last; 0: none
	MaxDuration    time.Duration // max_connection_duration; 0: none
	MaxRequests    int64         // max_requests_per_connection; 0: any number
	DrainTime      time.Duration // drain_timeout: between the first GOAWAY and the last; 0: 5 s
	DelayedClose   time.Duration // delayed_close_timeout: how long to wait for the peer's end after the last GOAWAY; 0: do not

	// Premature resets close a connection (Envoy's runtime keys overload.premature_reset_*): more than half of the last
	// ResetCount streams, and at least half of ResetCount in all, ended by a reset within ResetAge.
	ResetCount int           // 0: 500; < 0: no limit
	ResetAge   time.Duration // 0: 1 s

	ProxyContinue bool   // proxy_100_continue: the codec sends no 100 of its own
	TooManyResets func() // called when premature resets close a connection (downstream_rq_too_many_premature_resets); may be nil
}

// ClientOptions are the settings of an upstream codec.
type ClientOptions struct {
	Options
	ContinueTimeout time.Duration // how long a request with "Expect: 100-continue" waits before it sends its body; 0: 1 s
	SettingsTimeout time.Duration // how long an extended CONNECT waits for the server's SETTINGS: the cluster's connect_timeout; 0: 5 s
}
