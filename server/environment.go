package server

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"

	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http1"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/tcp"
	"github.com/weftproxy/weft/upstream"
	"github.com/weftproxy/weft/upstream/discovery"
)

// concurrency is how many threads run Go code at once.
func concurrency(o Options) int {
	if o.Concurrency > 0 {
		return o.Concurrency
	}
	return runtime.GOMAXPROCS(0)
}

// formatOptions are what format strings may use of the process.
func formatOptions() format.Options {
	host, err := os.Hostname()
	if err != nil {
		host = "" // prints as unknown
	}
	return format.Options{Getenv: os.LookupEnv, Hostname: host, ReadFile: os.ReadFile}
}

// network is where the process listens and dials.
func (o Options) network() transport.Network {
	if o.Network != nil {
		return o.Network
	}
	return tcp.New()
}

// upstreamEnv is what compiling clusters needs.
func (p *process) upstreamEnv(b *bootstrapv3.Bootstrap) (upstream.CompileEnv, error) {
	resolver, err := resolverOptions(b)
	if err != nil {
		return upstream.CompileEnv{}, err
	}
	return upstream.CompileEnv{
		Stats: p.stats, Network: p.env.Network, Log: p.log, Resolver: discovery.NewDNS(resolver), HTTP1: http1Client, HTTP2: http2Client,
		NextID: p.env.Options.Connections.NextID, Bind: b.GetClusterManager().GetUpstreamBindConfig(),
		Sockets: p.env.Sockets, Hub: p.hub, Runtime: p.env.Options.Runtime.Lookup,
	}, nil
}

// http1Client makes the HTTP/1 codec of a cluster.
func http1Client(o upstream.HTTP1Options) protocol.Client {
	c := http1.ClientOptions{
		MaxHeaderBytes: o.MaxHeaderBytes, MaxHeaders: o.MaxHeaders, EnableTrailers: o.EnableTrailers, AllowChunkedLength: o.AllowChunkedLength,
		SendFullyQualifiedURL: o.FullURL,
	}
	if o.ProperCase {
		c.HeaderCase = http1.ProperCase
	}
	return http1.NewClient(c)
}

// http2Client makes the HTTP/2 codec of a cluster.
func http2Client(o http2.ClientOptions) protocol.Client { return http2.NewClient(o) }

// resolverOptions are what the bootstrap says of resolving names; clusters may say otherwise for themselves.
func resolverOptions(b *bootstrapv3.Bootstrap) (discovery.Options, error) {
	o := discovery.Options{TCP: b.GetUseTcpForDnsLookups()}
	resolvers, options := b.GetDnsResolutionConfig().GetResolvers(), b.GetDnsResolutionConfig().GetDnsResolverOptions()
	if t := b.GetTypedDnsResolverConfig().GetTypedConfig(); t != nil && resource.TypeOf(t) == "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig" {
		m, err := resource.Unpack[*caresv3.CaresDnsResolverConfig](t)
		if err != nil {
			return o, fmt.Errorf("typed_dns_resolver_config: %w", err)
		}
		resolvers, options = m.GetResolvers(), m.GetDnsResolverOptions()
		o.Timeout = time.Duration(m.GetQueryTimeoutSeconds().GetValue()) * time.Second
		o.Attempts = int(m.GetQueryTries().GetValue())
	}
	o.TCP = o.TCP || options.GetUseTcpForDnsLookups()
	o.NoSearch = options.GetNoDefaultSearchDomain()
	for _, r := range resolvers {
		at := r.GetSocketAddress()
		if at == nil {
			return o, fmt.Errorf("a DNS resolver needs a socket_address")
		}
		o.Servers = append(o.Servers, net.JoinHostPort(at.GetAddress(), strconv.Itoa(int(either(at.GetPortValue(), 53)))))
	}
	return o, nil
}
