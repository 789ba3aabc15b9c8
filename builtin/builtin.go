// Package builtin is the one list of compiled-in extensions. A private build with extensions of its own is a main of ten lines that adds
// to this list.
package builtin

import (
	"google.golang.org/protobuf/proto"

	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	grpcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	getaddrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	re2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/regex_engines/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/config/xds"
	"github.com/weftproxy/weft/dispatch"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/filter/http/grpchttp1bridge"
	"github.com/weftproxy/weft/filter/http/grpchttp1reversebridge"
	"github.com/weftproxy/weft/filter/http/grpcjson"
	"github.com/weftproxy/weft/filter/http/grpcstats"
	"github.com/weftproxy/weft/filter/http/grpcweb"
	httprbac "github.com/weftproxy/weft/filter/http/rbac"
	"github.com/weftproxy/weft/filter/listener/httpinspector"
	"github.com/weftproxy/weft/filter/listener/proxyproto"
	"github.com/weftproxy/weft/filter/listener/tlsinspector"
	"github.com/weftproxy/weft/filter/network/connectionlimit"
	"github.com/weftproxy/weft/filter/network/directresponse"
	"github.com/weftproxy/weft/filter/network/echo"
	networkrbac "github.com/weftproxy/weft/filter/network/rbac"
	"github.com/weftproxy/weft/forward"
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/accesslog/als"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
	upstreamproxyproto "github.com/weftproxy/weft/transport/proxyproto"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/transport/starttls"
	"github.com/weftproxy/weft/transport/tls"
	"github.com/weftproxy/weft/upstream"
)

// Extensions lists what is compiled in. The order has no meaning.
func Extensions() extension.Extensions {
	return extension.Extensions{
		HTTP: []extension.HTTPFilter{
			router(), grpcstats.Extension(), grpcweb.Extension(), grpchttp1bridge.Extension(), grpchttp1reversebridge.Extension(),
			grpcjson.Extension(), httprbac.Extension(),
		},
		Network: []extension.NetworkFilter{
			dispatch.Extension(), forward.TCPExtension(), echo.Extension(), directresponse.Extension(), connectionlimit.Extension(),
			networkrbac.Extension(),
		},
		Listener: []extension.ListenerFilter{httpinspector.Extension(), proxyproto.Extension(), tlsinspector.Extension()},
		Transport: []socket.Factory{
			tls.Downstream(), tls.Upstream(), upstreamproxyproto.Upstream(), starttls.Downstream(), starttls.Upstream(),
		},
		AccessLog: []extension.AccessLog{fileLog(), stdoutLog(), stderrLog(), httpLog(), tcpLog()},
		Opaque: []extension.Opaque{
			{Name: "envoy.transport_sockets.raw_buffer", Config: &rawv3.RawBuffer{}},
			{Name: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", Config: &upstreamhttpv3.HttpProtocolOptions{}},
			{Name: "envoy.network.dns_resolver.cares", Config: &caresv3.CaresDnsResolverConfig{}},
			{Name: "envoy.network.dns_resolver.getaddrinfo", Config: &getaddrinfov3.GetAddrInfoDnsResolverConfig{}},
			{Name: "envoy.http.stateful_header_formatters.preserve_case", Config: &preservecasev3.PreserveCaseFormatterConfig{}},
			{Name: "envoy.retry_host_predicates.previous_hosts", Config: &previoushostsv3.PreviousHostsPredicate{}},
			{Name: "envoy.regex_engines.google_re2", Config: &re2v3.GoogleRE2{}},
			{Name: "envoy.resource_monitors.global_downstream_max_connections", Config: &downstreamv3.DownstreamConnectionsConfig{}},
		},
		Support: []func() resource.Support{
			resource.Values, resource.Core, resource.Matchers, file.Support, listener.Support, route.Support, upstream.Support,
			accesslog.Support, als.Support, secret.Support, xds.Support,
		},
	}
}

func router() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: "envoy.filters.http.router", Config: &routerv3.Router{}, Terminal: true,
		New: func(env *extension.Env, cfg proto.Message) (exchange.Filter, error) {
			return forward.NewRouter(env, cfg.(*routerv3.Router))
		},
		Support: forward.Support,
	}
}

func fileLog() extension.AccessLog {
	return extension.AccessLog{
		Name: "envoy.access_loggers.file", Config: &filev3.FileAccessLog{},
		New: func(env *extension.Env, cfg proto.Message) (accesslog.Writer, error) {
			return accesslog.NewFile(env.Logs, env.Format, cfg.(*filev3.FileAccessLog))
		},
	}
}

func stdoutLog() extension.AccessLog {
	return extension.AccessLog{
		Name: "envoy.access_loggers.stdout", Config: &streamv3.StdoutAccessLog{},
		New: func(env *extension.Env, cfg proto.Message) (accesslog.Writer, error) {
			return accesslog.NewStdout(env.Logs, env.Format, cfg.(*streamv3.StdoutAccessLog))
		},
	}
}

func stderrLog() extension.AccessLog {
	return extension.AccessLog{
		Name: "envoy.access_loggers.stderr", Config: &streamv3.StderrAccessLog{},
		New: func(env *extension.Env, cfg proto.Message) (accesslog.Writer, error) {
			return accesslog.NewStderr(env.Logs, env.Format, cfg.(*streamv3.StderrAccessLog))
		},
	}
}

func httpLog() extension.AccessLog {
	return extension.AccessLog{
		Name: "envoy.access_loggers.http_grpc", Config: &grpcv3.HttpGrpcAccessLogConfig{},
		New: func(env *extension.Env, cfg proto.Message) (accesslog.Writer, error) {
			return als.NewHTTP(env.Streams, env.Format, cfg.(*grpcv3.HttpGrpcAccessLogConfig))
		},
	}
}

func tcpLog() extension.AccessLog {
	return extension.AccessLog{
		Name: "envoy.access_loggers.tcp_grpc", Config: &grpcv3.TcpGrpcAccessLogConfig{},
		New: func(env *extension.Env, cfg proto.Message) (accesslog.Writer, error) {
			return als.NewTCP(env.Streams, env.Format, cfg.(*grpcv3.TcpGrpcAccessLogConfig))
		},
	}
}
