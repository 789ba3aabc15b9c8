package dispatch

import (
	"math"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/upstream"
)

// defaultDrain is Envoy's drain_timeout.
const defaultDrain = 5 * time.Second

// Runtime keys, Envoy's, of the limit of streams that the peer resets early.
const (
	resetCountKey = "overload.premature_reset_total_stream_count"
	resetAgeKey   = "overload.premature_reset_min_stream_lifetime_seconds"
)

// compileHTTP2 turns the options of the HTTP/2 codec into its own terms.
func compileHTTP2(r *extension.Runtime, m *hcmv3.HttpConnectionManager) http2.ServerOptions {
	common, h2 := m.GetCommonHttpProtocolOptions(), m.GetHttp2ProtocolOptions()
	o := http2.ServerOptions{
		Options:        upstream.HTTP2Options(h2),
		IdleTimeout:    duration(common.GetIdleTimeout(), defaultIdle),
		HeadersTimeout: duration(m.GetRequestHeadersTimeout(), 0),
		MaxDuration:    duration(common.GetMaxConnectionDuration(), 0),
		MaxRequests:    int64(common.GetMaxRequestsPerConnection().GetValue()),
		DrainTime:      duration(m.GetDrainTimeout(), defaultDrain),
		DelayedClose:   duration(m.GetDelayedCloseTimeout(), defaultDelayedClose),
		ResetCount:     int(runtimeNumber(r, resetCountKey, math.MaxInt32)),
		ResetAge:       time.Duration(runtimeNumber(r, resetAgeKey, math.MaxInt32)) * time.Second,
	}
	o.MaxHeaderBytes, o.MaxHeaders = headerLimits(m)
	if v := m.GetStreamErrorOnInvalidHttpMessage(); v != nil && h2.GetOverrideStreamErrorOnInvalidHttpMessage() == nil {
		o.StreamErrors = v.GetValue()
	}
	switch common.GetHeadersWithUnderscoresAction() {
	case corev3.HttpProtocolOptions_REJECT_REQUEST:
		o.Underscores = http2.RejectUnderscores
	case corev3.HttpProtocolOptions_DROP_HEADER:
		o.Underscores = http2.DropUnderscores
	}
	return o
}

// headerLimits returns how many bytes, and how many fields, a header section may have.
func headerLimits(m *hcmv3.HttpConnectionManager) (bytes, fields int) {
	bytes, fields = defaultHeaderKB<<10, defaultHeadersCount
	if v := m.GetMaxRequestHeadersKb(); v != nil {
		bytes = int(v.GetValue()) << 10
	}
	if v := m.GetCommonHttpProtocolOptions().GetMaxHeadersCount(); v != nil {
		fields = int(v.GetValue())
	}
	return bytes, fields
}

// runtimeNumber returns the number that the runtime has for a key; 0, and so the codec's default, without one.
func runtimeNumber(r *extension.Runtime, key string, most uint64) uint64 {
	text, ok := r.Lookup(key)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return min(n, most)
}
