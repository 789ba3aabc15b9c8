package upstream

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/resource"
)

// defaultPingJitter is Envoy's connection_keepalive.interval_jitter, in percent.
const defaultPingJitter = 15

// HTTP2Options compiles the settings that HTTP/2 has on both sides, of a message that resource.Check has passed. What is nil or not set
// gets the codec's defaults.
func HTTP2Options(m *corev3.Http2ProtocolOptions) http2.Options {
	o := http2.Options{
		TableSize:          orZero(m.GetHpackTableSize()),
		MaxStreams:         m.GetMaxConcurrentStreams().GetValue(),
		StreamWindow:       m.GetInitialStreamWindowSize().GetValue(),
		ConnWindow:         m.GetInitialConnectionWindowSize().GetValue(),
		AllowConnect:       m.GetAllowConnect(),
		MaxOutbound:        atMost(m.GetMaxOutboundFrames().GetValue()),
		MaxOutboundControl: atMost(m.GetMaxOutboundControlFrames().GetValue()),
		MaxEmpty:           orZero(m.GetMaxConsecutiveInboundFramesWithEmptyPayload()),
		MaxPriority:        orZero(m.GetMaxInboundPriorityFramesPerStream()),
		MaxWindowUpdates:   atMost(m.GetMaxInboundWindowUpdateFramesPerDataFrameSent().GetValue()),
		StreamErrors:       m.GetStreamErrorOnInvalidHttpMessaging(),
	}
	if v := m.GetOverrideStreamErrorOnInvalidHttpMessage(); v != nil {
		o.StreamErrors = v.GetValue()
	}
	if k := m.GetConnectionKeepalive(); k != nil {
		o.PingInterval, o.PingTimeout = k.GetInterval().AsDuration(), k.GetTimeout().AsDuration()
		o.PingIdleInterval = k.GetConnectionIdleInterval().AsDuration()
		o.PingJitter = defaultPingJitter
		if k.GetIntervalJitter() != nil {
			o.PingJitter = k.GetIntervalJitter().GetValue()
		}
	}
	return o
}

// orZero returns a number for which the codec tells 0 from its default by a value below 0.
func orZero(v *wrapperspb.UInt32Value) int {
	switch {
	case v == nil:
		return 0
	case v.GetValue() == 0:
		return -1
	}
	return atMost(v.GetValue())
}

func atMost(v uint32) int { return int(min(v, math.MaxInt32)) }

// HTTP2Support says which fields of Http2ProtocolOptions are honoured, on both sides.
func HTTP2Support() resource.Support {
	const pkg = "envoy.config.core.v3."
	return resource.Support{
		pkg + "Http2ProtocolOptions": resource.Names(`hpack_table_size max_concurrent_streams initial_stream_window_size
			initial_connection_window_size allow_connect max_outbound_frames max_outbound_control_frames
			max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
			max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
			override_stream_error_on_invalid_http_message connection_keepalive`).
			YesBut("initial_stream_window_size", "the default is 64 KiB").
			YesBut("initial_connection_window_size", "the default is 1 MiB").
			YesBut("max_concurrent_streams", "the default is 100 downstream, and what the server allows upstream").
			NoEffect("use_oghttp2_codec", "the codec is Weft's own").
			NoEffect("enable_huffman_encoding", "what is sent is not Huffman-coded; what comes is read either way").
			NoEffect("max_metadata_size", "METADATA frames are ignored").
			No("allow_metadata", "METADATA frames are not supported").
			No("custom_settings_parameters", "use the named fields").
			No("max_header_field_size_kb", "max_request_headers_kb and max_response_headers_kb bound all fields together").
			No("disallow_obs_text", "").
			No("stream_reset_burst stream_reset_rate", "set the runtime keys overload.premature_reset_total_stream_count and "+
				"overload.premature_reset_min_stream_lifetime_seconds"),
		pkg + "KeepaliveSettings": resource.Names("interval timeout interval_jitter connection_idle_interval"),
	}
}
