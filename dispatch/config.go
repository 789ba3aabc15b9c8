package dispatch

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/protocol/http1"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/resource"
)

// Config is a compiled HttpConnectionManager without its routes. Immutable.
type Config struct {
	StatPrefix       string
	ServerName       string
	ServerHeader     hcmv3.HttpConnectionManager_ServerHeaderTransformation
	UseRemoteAddress bool
	TrustedHops      int
	SkipXFFAppend    bool
	AppendPort       bool
	IPv4Mapped       bool
	Via              string
	AddUserAgent     bool
	GenerateID       bool
	PreserveID       bool
	ReturnID         bool   // always_set_request_id_in_response
	Scheme           string // scheme_header_transformation
	UpstreamScheme   bool   // scheme_header_transformation.match_upstream
	ProxyContinue    bool
	StreamIdle       time.Duration
	RequestTimeout   time.Duration
	MaxStream        time.Duration
	Upgrades         map[string]bool // by lower-case type

	internal   internalAddresses
	path       pathRules
	host       hostRules
	clientCert clientCert
	httpPorts  map[uint32]bool
	httpsPorts map[uint32]bool
	replies    *localReplies
	logs       []accesslog.Writer
	logFirst   bool // flush_access_log_on_new_request
	codec      hcmv3.HttpConnectionManager_CodecType
	http1      http1.ServerOptions
	http2      http2.ServerOptions
	options    extension.Options
}

// Defaults of Envoy's connection manager.
const (
	defaultStreamIdle    = 5 * time.Minute
	defaultIdle          = time.Hour
	defaultDelayedClose  = time.Second
	defaultHeaderKB      = 60
	defaultHeadersCount  = 100
	defaultServerName    = "weft"
	parkAfter            = 5 * time.Second
	clientGoneCheckAfter = 250 * time.Millisecond
)

// compileConfig compiles everything but routes and filters.
func compileConfig(env *extension.Env, m *hcmv3.HttpConnectionManager, at resource.Path) *Config {
	c := &Config{
		StatPrefix: m.GetStatPrefix(), ServerName: orDefault(m.GetServerName(), defaultServerName),
		ServerHeader:     m.GetServerHeaderTransformation(),
		UseRemoteAddress: m.GetUseRemoteAddress().GetValue(),
		TrustedHops:      int(m.GetXffNumTrustedHops()),
		SkipXFFAppend:    m.GetSkipXffAppend(),
		AppendPort:       m.GetAppendXForwardedPort(),
		IPv4Mapped:       m.GetRepresentIpv4RemoteAddressAsIpv4MappedIpv6(),
		Via:              m.GetVia(), AddUserAgent: m.GetAddUserAgent().GetValue(),
		GenerateID:     m.GetGenerateRequestId() == nil || m.GetGenerateRequestId().GetValue(),
		PreserveID:     m.GetPreserveExternalRequestId(),
		ReturnID:       m.GetAlwaysSetRequestIdInResponse(),
		Scheme:         m.GetSchemeHeaderTransformation().GetSchemeToOverwrite(),
		UpstreamScheme: m.GetSchemeHeaderTransformation().GetMatchUpstream(),
		ProxyContinue:  m.GetProxy_100Continue(),
		StreamIdle:     duration(m.GetStreamIdleTimeout(), defaultStreamIdle),
		RequestTimeout: duration(m.GetRequestTimeout(), 0),
		MaxStream:      duration(m.GetCommonHttpProtocolOptions().GetMaxStreamDuration(), 0),
		logFirst:       m.GetAccessLogOptions().GetFlushAccessLogOnNewRequest() || m.GetFlushAccessLogOnNewRequest(),
		options:        env.Options,
	}
	c.path = pathRules{m.GetNormalizePath().GetValue(), m.GetMergeSlashes(), m.GetPathWithEscapedSlashesAction()}
	c.host = hostRules{m.GetStripAnyHostPort(), m.GetStripMatchingHostPort(), m.GetStripTrailingHostDot()}
	c.clientCert = compileClientCert(m)
	c.internal = compileInternal(env, m.GetInternalAddressConfig(), at.Field("internal_address_config"))
	c.Upgrades = map[string]bool{}
	for _, u := range m.GetUpgradeConfigs() {
		c.Upgrades[strings.ToLower(u.GetUpgradeType())] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
	}
	if f := m.GetForwardProtoConfig(); f != nil {
		c.httpPorts, c.httpsPorts = portSet(f.GetHttpDestinationPorts()), portSet(f.GetHttpsDestinationPorts())
	}
	c.replies = compileReplies(env, m.GetLocalReplyConfig(), at.Field("local_reply_config"))
	c.logs = compileLogs(env, m.GetAccessLog(), at.Field("access_log"))
	c.codec = m.GetCodecType()
	c.http1 = compileHTTP1(m)
	c.http1.IgnoreUpgrades = ignoredUpgrades(env, m.GetHttpProtocolOptions(), at.Field("http_protocol_options"))
	c.http2 = compileHTTP2(env.Options.Runtime, m)
	return c
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// duration returns a configured duration, or def when there is none.
func duration(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return d.AsDuration()
}

func portSet(ports []uint32) map[uint32]bool {
	set := map[uint32]bool{}
	for _, p := range ports {
		set[p] = true
	}
	return set
}

func compileInternal(env *extension.Env, c *hcmv3.HttpConnectionManager_InternalAddressConfig, at resource.Path) internalAddresses {
	in := internalAddresses{unix: c.GetUnixSockets()}
	for i, r := range c.GetCidrRanges() {
		p, err := prefixOf(r)
		if err != nil {
			env.Problems.Errorf(at.Field("cidr_ranges").Index(i), "", "%v", err)
			continue
		}
		in.prefixes = append(in.prefixes, p)
	}
	return in
}

func prefixOf(r *corev3.CidrRange) (netip.Prefix, error) {
	a, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(int(r.GetPrefixLen().GetValue()))
}

// ignoredUpgrades returns the upgrades that HTTP/1.1 requests may ask for in vain.
func ignoredUpgrades(env *extension.Env, o *corev3.Http1ProtocolOptions, at resource.Path) []string {
	var tokens []string
	for i, m := range o.GetIgnoreHttp_11Upgrade() {
		exact := m.GetExact()
		if exact == "" {
			env.Problems.Unsupported(at.Field("ignore_http_11_upgrade").Index(i), "only exact is supported")
			continue
		}
		tokens = append(tokens, strings.ToLower(exact))
	}
	return tokens
}

// compileHTTP1 turns the options of the codec into its own terms.
func compileHTTP1(m *hcmv3.HttpConnectionManager) http1.ServerOptions {
	common, h1 := m.GetCommonHttpProtocolOptions(), m.GetHttpProtocolOptions()
	o := http1.ServerOptions{
		AcceptHTTP10:       h1.GetAcceptHttp_10(),
		DefaultHost:        h1.GetDefaultHostForHttp_10(),
		AllowAbsoluteURL:   h1.GetAllowAbsoluteUrl() == nil || h1.GetAllowAbsoluteUrl().GetValue(),
		EnableTrailers:     h1.GetEnableTrailers(),
		AllowChunkedLength: h1.GetAllowChunkedLength(),
		AllowCustomMethods: h1.GetAllowCustomMethods(),
		ProxyContinue:      m.GetProxy_100Continue(),
		IdleTimeout:        duration(common.GetIdleTimeout(), defaultIdle),
		HeadersTimeout:     duration(m.GetRequestHeadersTimeout(), 0),
		MaxDuration:        duration(common.GetMaxConnectionDuration(), 0),
		MaxRequests:        int64(common.GetMaxRequestsPerConnection().GetValue()),
		DelayedClose:       duration(m.GetDelayedCloseTimeout(), defaultDelayedClose),
		ParkAfter:          parkAfter,
		PeekAfter:          clientGoneCheckAfter,
	}
	o.MaxHeaderBytes, o.MaxHeaders = headerLimits(m)
	if v := m.GetStreamErrorOnInvalidHttpMessage(); v != nil {
		o.KeepAfterRefusal = v.GetValue()
	}
	if v := h1.GetOverrideStreamErrorOnInvalidHttpMessage(); v != nil {
		o.KeepAfterRefusal = v.GetValue()
	}
	switch common.GetHeadersWithUnderscoresAction() {
	case corev3.HttpProtocolOptions_REJECT_REQUEST:
		o.Underscores = http1.RejectUnderscores
	case corev3.HttpProtocolOptions_DROP_HEADER:
		o.Underscores = http1.DropUnderscores
	}
	if h1.GetHeaderKeyFormat().GetProperCaseWords() != nil {
		o.HeaderCase = http1.ProperCase
	}
	return o
}
