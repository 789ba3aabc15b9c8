package upstream

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
)

// optionsKey is the name under which HTTP protocol options are found.
const optionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// httpOptions are the options of a cluster, wherever they are in its configuration.
type httpOptions struct {
	common *corev3.HttpProtocolOptions
	h1     *corev3.Http1ProtocolOptions
	h2     *corev3.Http2ProtocolOptions // nil: HTTP/2 was not mentioned
	h2at   resource.Path
	follow bool // the downstream's version decides
	auto   bool // the TLS handshake decides
	names  *corev3.UpstreamHttpProtocolOptions
}

// httpOptions takes the options from typed_extension_protocol_options, or else from the deprecated fields of the cluster. It reports false
// where they cannot be read.
func (x *compiler) httpOptions() (o httpOptions, ok bool) {
	any := x.m.GetTypedExtensionProtocolOptions()[optionsKey]
	if any == nil {
		return httpOptions{
			common: x.m.GetCommonHttpProtocolOptions(), h1: x.m.GetHttpProtocolOptions(), h2: x.m.GetHttp2ProtocolOptions(),
			h2at:   x.at.Field("http2_protocol_options"),
			follow: x.m.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL,
			names:  x.m.GetUpstreamHttpProtocolOptions(),
		}, true
	}
	at := x.at.Field("typed_extension_protocol_options").Key(optionsKey)
	m, err := resource.Unpack[*upstreamhttpv3.HttpProtocolOptions](any)
	if err != nil {
		x.p.Errorf(at, "", "%v", err)
		return o, false
	}
	o.common, o.names = m.GetCommonHttpProtocolOptions(), m.GetUpstreamHttpProtocolOptions()
	switch how := m.GetUpstreamProtocolOptions().(type) {
	case *upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		at = at.Field("explicit_http_config")
		o.h1, o.h2 = how.ExplicitHttpConfig.GetHttpProtocolOptions(), how.ExplicitHttpConfig.GetHttp2ProtocolOptions()
	case *upstreamhttpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		at = at.Field("use_downstream_protocol_config")
		o.h1, o.h2 = how.UseDownstreamProtocolConfig.GetHttpProtocolOptions(), how.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
		o.follow = true
	case *upstreamhttpv3.HttpProtocolOptions_AutoConfig:
		at = at.Field("auto_config")
		o.h1, o.h2 = how.AutoConfig.GetHttpProtocolOptions(), how.AutoConfig.GetHttp2ProtocolOptions()
		o.auto = true
	case nil:
		x.p.Errorf(at, "explicit_http_config: {http_protocol_options: {}}",
			"one of explicit_http_config, use_downstream_protocol_config, auto_config is required")
	}
	o.h2at = at.Field("http2_protocol_options")
	return o, true
}

// http compiles how the cluster's HTTP connections are used.
func (x *compiler) http(env CompileEnv) {
	h := &x.c.HTTP
	*h = HTTP{Version: protocol.HTTP11, IdleTimeout: defaultIdle, Client: HTTP1Options{MaxHeaders: 100, MaxHeaderBytes: 60 << 10}}
	o, ok := x.httpOptions()
	if !ok {
		return
	}
	common, h1 := o.common, o.h1
	if v := x.m.GetMaxRequestsPerConnection(); v != nil {
		h.MaxRequests = int64(v.GetValue())
	}
	if v := common.GetIdleTimeout(); v != nil {
		h.IdleTimeout = v.AsDuration()
	}
	h.MaxDuration = common.GetMaxConnectionDuration().AsDuration()
	h.MaxStream = common.GetMaxStreamDuration().AsDuration()
	if v := common.GetMaxRequestsPerConnection(); v != nil {
		h.MaxRequests = int64(v.GetValue())
	}
	if v := common.GetMaxHeadersCount(); v != nil {
		h.Client.MaxHeaders = int(v.GetValue())
	}
	if v := common.GetMaxResponseHeadersKb(); v != nil {
		h.Client.MaxHeaderBytes = int(v.GetValue()) << 10
	}
	h.Client.ProperCase = h1.GetHeaderKeyFormat().GetProperCaseWords() != nil
	h.Client.EnableTrailers = h1.GetEnableTrailers()
	h.Client.AllowChunkedLength = h1.GetAllowChunkedLength()
	h.Client.FullURL = h1.GetSendFullyQualifiedUrl()
	h.AutoSNI, h.AutoSAN = o.names.GetAutoSni(), o.names.GetAutoSanValidation()
	h.SNIHeader = o.names.GetOverrideAutoSniHeader()
	x.http2(env, o)
}

// http2 compiles what HTTP/2 needs, where it is spoken.
func (x *compiler) http2(env CompileEnv, o httpOptions) {
	h := &x.c.HTTP
	if o.h2 == nil && !o.follow && !o.auto {
		return
	}
	if env.HTTP2 == nil {
		x.p.Unsupported(o.h2at, "there is no HTTP/2 client")
		return
	}
	h2 := HTTP2Options(o.h2)
	h2.MaxHeaders, h2.MaxHeaderBytes = h.Client.MaxHeaders, h.Client.MaxHeaderBytes
	h.HTTP2, h.Follow = &h2, o.follow
	switch {
	case o.auto && env.HTTP1 == nil:
		x.p.Unsupported(o.h2at, "there is no HTTP/1 client")
	case o.auto:
		h.Version = protocol.VersionUnknown
	case !o.follow:
		h.Version = protocol.HTTP2
	}
}
