package upstream

import (
	"log/slog"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/upstream/discovery"
	"github.com/weftproxy/weft/upstream/health"
)

// CompileEnv is what clusters are built with. All of it is shared by them.
type CompileEnv struct {
	Stats    *stats.Store
	Network  transport.Network
	Log      *slog.Logger                              // nil discards
	Resolver discovery.Resolver                        // nil: one that asks whom /etc/resolv.conf names
	HTTP1    func(HTTP1Options) protocol.Client        // nil where only TCP is proxied
	HTTP2    func(http2.ClientOptions) protocol.Client // nil where HTTP/2 is not spoken
	NextID   func() uint64                             // numbers connections; nil leaves them without
	Bind     *corev3.BindConfig                        // the bootstrap's cluster_manager.upstream_bind_config, for clusters without their own

	Sockets *socket.Registry                         // the transport sockets there are; nil: raw_buffer only
	Hub     *subscription.Hub                        // who delivers endpoints by EDS; nil: nobody
	Secrets *secret.View                             // of the configuration that is being compiled; nil where no transport socket needs one
	Runtime func(key string) (value string, ok bool) // nil: nothing is set
}

// Envoy's defaults.
const (
	defaultConnectTimeout = 5 * time.Second
	defaultBuffer         = 1 << 20
	defaultIdle           = time.Hour
	defaultRefresh        = 5 * time.Second
	defaultOverprov       = 140
)

// A compiler compiles one Cluster message.
type compiler struct {
	m  *clusterv3.Cluster
	at resource.Path
	p  *resource.Problems
	c  *Config
}

// Compile compiles a Cluster message, which Check has passed. It does no I/O and starts nothing. What is wrong goes to p; where that
// has errors the result is not to be used.
func Compile(env CompileEnv, m *clusterv3.Cluster, at resource.Path, p *resource.Problems) *Cluster {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	x := &compiler{m: m, at: at, p: p}
	c := &Cluster{Name: m.GetName(), Config: x.compile(env), env: env}
	c.env.Secrets, c.env.Hub = nil, nil // they are of this compilation
	c.scope = env.Stats.Scope("cluster."+c.Config.StatName+".", stats.Tag{Name: "envoy.cluster_name", Value: c.Config.StatName})
	c.compileSockets(env, m, at, p)
	if p.HasErrors() {
		c.scope.Close()
		return c
	}
	if env.Secrets != nil {
		c.secrets = env.Secrets.Watches()
	}
	c.traffic = stats.NewGroup[Stats](c.scope)
	c.members = stats.NewGroup[memberStats](c.scope)
	c.limits = stats.NewGroup[breakerStats](c.scope)
	c.populate()
	c.compileEDS(x, env)
	if p.HasErrors() { // of the source, or of the assignment that it has already
		c.scope.Close()
		return c
	}
	if c.awaited() {
		c.ready = make(chan struct{})
	}
	return c
}

// populate makes the hosts that the configuration names by address.
func (c *Cluster) populate() {
	a := c.Config.assigned
	c.overprov = a.overprov
	c.dropping.Store(a.drop)
	if c.Config.Type == EDS {
		c.found = make([][]*Host, 1)
	} else {
		c.found = make([][]*Host, len(a.endpoints))
		c.unresolved = make([]bool, len(a.endpoints))
		list := make([]*Host, len(a.endpoints))
		for i, e := range a.endpoints {
			if e.name == "" {
				list[i] = c.newHost(e, e.addr)
				c.found[i] = list[i : i+1 : i+1]
			}
		}
	}
	c.hosts.Store(newHostSet(c.Config, c.overprov, c.flatten()))
}

func (x *compiler) compile(env CompileEnv) *Config {
	m, at, p := x.m, x.at, x.p
	x.c = &Config{Name: m.GetName(), StatName: m.GetName(), settings: settings{lookup: env.Runtime}}
	c := x.c
	if m.GetAltStatName() != "" {
		c.StatName = m.GetAltStatName()
	}
	if c.Name == "" {
		p.Errorf(at.Field("name"), "", "a cluster needs a name")
	}
	c.ConnectTimeout = x.positive("connect_timeout", m.GetConnectTimeout(), defaultConnectTimeout)
	c.BufferLimit = defaultBuffer
	if v := m.GetPerConnectionBufferLimitBytes(); v != nil {
		c.BufferLimit = int(v.GetValue())
	}
	c.Metadata = metadataOf(m.GetMetadata())
	c.WaitForWarm = m.GetWaitForWarmOnInit() == nil || m.GetWaitForWarmOnInit().GetValue()
	c.CloseOnFailure = m.GetCloseConnectionsOnHostHealthFailure()
	c.IgnoreHealthOnDrop = m.GetIgnoreHealthOnHostRemoval()
	if lrs := m.GetLrsServer(); lrs != nil {
		if c.ReportLoad = lrs.GetSelf() != nil; !c.ReportLoad {
			p.Unsupported(at.Field("lrs_server"), "self: {}, or the bootstrap's cluster_manager.load_stats_config")
		}
	}
	x.discovery()
	x.eds(env)
	x.http(env)
	x.balance()
	x.breakers()
	x.dns()
	x.bind(env)
	x.checks(env)
	x.endpoints()
	return c
}

// positive returns a duration that must be greater than zero, or the default.
func (x *compiler) positive(field string, d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	if d.AsDuration() <= 0 {
		x.p.Errorf(x.at.Field(field), "1s", "must be greater than zero")
		return def
	}
	return d.AsDuration()
}

func (x *compiler) discovery() {
	switch x.m.GetType() {
	case clusterv3.Cluster_STATIC:
		x.c.Type = Static
	case clusterv3.Cluster_STRICT_DNS:
		x.c.Type = StrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		x.c.Type = LogicalDNS
	case clusterv3.Cluster_EDS:
		x.c.Type = EDS
	default:
		x.p.Unsupported(x.at.Field("type"), "STATIC, STRICT_DNS, LOGICAL_DNS or EDS")
	}
	if x.m.GetClusterType() != nil {
		x.p.Unsupported(x.at.Field("cluster_type"), "use type")
	}
}

func (x *compiler) breakers() {
	for i := range x.c.Breakers {
		x.c.Breakers[i] = Thresholds{Connections: 1024, Pending: 1024, Requests: 1024, Retries: 3}
	}
	at := x.at.Field("circuit_breakers")
	seen := [2]bool{}
	for i, m := range x.m.GetCircuitBreakers().GetThresholds() {
		n := min(max(int(m.GetPriority()), 0), 1)
		if seen[n] {
			x.p.Warnf(at.Field("thresholds").Index(i), "", "there are thresholds of this priority already; the first count")
			continue
		}
		seen[n] = true
		t := &x.c.Breakers[n]
		for _, f := range []struct {
			to   *uint32
			from interface{ GetValue() uint32 }
			set  bool
		}{
			{&t.Connections, m.GetMaxConnections(), m.GetMaxConnections() != nil},
			{&t.Pending, m.GetMaxPendingRequests(), m.GetMaxPendingRequests() != nil},
			{&t.Requests, m.GetMaxRequests(), m.GetMaxRequests() != nil},
			{&t.Retries, m.GetMaxRetries(), m.GetMaxRetries() != nil},
		} {
			if f.set {
				*f.to = f.from.GetValue()
			}
		}
		t.TrackRemaining = m.GetTrackRemaining()
		if b := m.GetRetryBudget(); b != nil {
			t.Budget = &Budget{Percent: 20, Minimum: 3}
			if b.GetBudgetPercent() != nil {
				t.Budget.Percent = b.GetBudgetPercent().GetValue()
			}
			if b.GetMinRetryConcurrency() != nil {
				t.Budget.Minimum = b.GetMinRetryConcurrency().GetValue()
			}
		}
	}
	x.perHost()
}

// perHost takes the limits of single hosts, of which Envoy has one: max_connections, for the default priority.
func (x *compiler) perHost() {
	for i, m := range x.m.GetCircuitBreakers().GetPerHostThresholds() {
		at := x.at.Field("circuit_breakers").Field("per_host_thresholds").Index(i)
		other := proto.CloneOf(m)
		other.MaxConnections = nil
		if m.GetPriority() != corev3.RoutingPriority_DEFAULT || proto.Size(other) > 0 {
			x.p.Unsupported(at, "only max_connections, without a priority, limits single hosts")
		}
		if v := m.GetMaxConnections(); v != nil && x.c.PerHost == 0 {
			x.c.PerHost = v.GetValue()
		}
	}
}

func (x *compiler) dns() {
	d := &x.c.DNS
	d.Every = x.positive("dns_refresh_rate", x.m.GetDnsRefreshRate(), defaultRefresh)
	d.Jitter, d.RespectTTL = x.m.GetDnsJitter().AsDuration(), x.m.GetRespectDnsTtl()
	d.FailureBase, d.FailureMax = d.Every, d.Every
	if f := x.m.GetDnsFailureRefreshRate(); f != nil {
		d.FailureBase = f.GetBaseInterval().AsDuration()
		d.FailureMax = 10 * d.FailureBase
		if f.GetMaxInterval() != nil {
			d.FailureMax = f.GetMaxInterval().AsDuration()
		}
		if d.FailureMax < d.FailureBase {
			x.p.Errorf(x.at.Field("dns_failure_refresh_rate"), "", "max_interval is less than base_interval")
		}
	} else {
		d.FailureBase = 0 // every time after Every
	}
	switch x.m.GetDnsLookupFamily() {
	case clusterv3.Cluster_V4_ONLY:
		d.Family = discovery.V4Only
	case clusterv3.Cluster_V6_ONLY:
		d.Family = discovery.V6Only
	case clusterv3.Cluster_V4_PREFERRED:
		d.Family = discovery.V4Preferred
	case clusterv3.Cluster_ALL:
		d.Family = discovery.All
	}
	x.resolver()
}

func (x *compiler) checks(env CompileEnv) {
	checks := x.m.GetHealthChecks()
	at := x.at.Field("health_checks")
	switch len(checks) {
	case 0:
		return
	case 1:
	default:
		x.p.Errorf(at, "", "multiple health checks not supported")
		return
	}
	x.c.Health = health.Compile(checks[0], at.Index(0), x.p)
	at = at.Index(0)
	switch h := x.c.Health; {
	case h.HTTP != nil && h.HTTP.Negotiated && (env.HTTP1 == nil || env.HTTP2 == nil):
		x.p.Unsupported(at.Field("http_health_check").Field("use_alpn_protocol"), "there is no HTTP client")
	case h.HTTP != nil && !h.HTTP.HTTP2 && env.HTTP1 == nil:
		x.p.Unsupported(at.Field("http_health_check"), "there is no HTTP client")
	case h.HTTP != nil && h.HTTP.HTTP2 && env.HTTP2 == nil:
		x.p.Unsupported(at.Field("http_health_check").Field("codec_client_type"), "there is no HTTP/2 client")
	case h.GRPC != nil && (x.c.HTTP.HTTP2 == nil || env.HTTP2 == nil):
		x.p.Errorf(at.Field("grpc_health_check"), "give the cluster explicit_http_config.http2_protocol_options",
			"%s cluster must support HTTP/2 for gRPC healthchecking", x.c.Name)
	}
}

func (x *compiler) endpoints() {
	at := x.at.Field("load_assignment")
	if x.c.Type == EDS {
		if x.m.GetLoadAssignment() != nil {
			x.p.Warnf(at, "leave it out", "endpoints of an EDS cluster come from eds_config only")
		}
		x.c.assigned = &assignment{overprov: defaultOverprov}
		return
	}
	x.c.assigned = compileAssignment(x.c.Type, x.m.GetLoadAssignment(), at, x.p)
}

// resolver takes over the options of a resolver for this cluster.
func (x *compiler) resolver() {
	o := discovery.Options{TCP: x.m.GetUseTcpForDnsLookups()}
	o.Servers = x.servers(x.m.GetDnsResolvers(), x.at.Field("dns_resolvers"))
	if r := x.m.GetDnsResolutionConfig(); r != nil {
		o.Servers = x.servers(r.GetResolvers(), x.at.Field("dns_resolution_config").Field("resolvers"))
		o.TCP, o.NoSearch = r.GetDnsResolverOptions().GetUseTcpForDnsLookups(), r.GetDnsResolverOptions().GetNoDefaultSearchDomain()
	}
	if t := x.m.GetTypedDnsResolverConfig(); t != nil {
		at := x.at.Field("typed_dns_resolver_config").Field("typed_config")
		o = x.typedResolver(t, at)
	}
	if len(o.Servers) > 0 || o.TCP || o.NoSearch || o.Attempts > 0 || o.Timeout > 0 {
		x.c.DNS.Resolver = &o
	}
}

func (x *compiler) servers(all []*corev3.Address, at resource.Path) []string {
	var out []string
	for i, a := range all {
		s := a.GetSocketAddress()
		if s == nil || strings.TrimSpace(s.GetAddress()) == "" {
			x.p.Errorf(at.Index(i), "", "a resolver needs a socket_address")
			continue
		}
		out = append(out, hostPort(s, 53))
	}
	return out
}
