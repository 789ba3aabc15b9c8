package server

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/admin"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/upstream"
)

// startAdmin opens the admin page where the bootstrap says; without an address there is none.
func (p *process) startAdmin(b *bootstrapv3.Bootstrap) error {
	at := b.GetAdmin().GetAddress()
	if at == nil {
		return nil
	}
	o, err := listenOptions(at)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	allow, err := allowPaths(b.GetAdmin().GetAllowPaths())
	if err != nil {
		return fmt.Errorf("admin.allow_paths: %w", err)
	}
	ln, err := p.env.Network.Listen(p.ctx, o)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	p.adminAddr = ln.Addr().String()
	if err := p.o.writeAddress(p.adminAddr); err != nil {
		_ = ln.Close()
		return err
	}
	server := admin.New(p.adminState(b, allow))
	p.services.Go(func() { // ends when p.ctx does
		if err := server.Serve(p.ctx, ln); err != nil {
			p.log.Error("the admin page has ended", "error", err)
		}
	})
	p.log.Info("admin address: " + p.adminAddr)
	return nil
}

// listenOptions says how to listen on an address of the configuration.
func listenOptions(a *corev3.Address) (transport.ListenOptions, error) {
	if pipe := a.GetPipe(); pipe != nil {
		return transport.ListenOptions{Network: "unix", Address: pipe.GetPath(), Mode: pipe.GetMode()}, nil
	}
	s := a.GetSocketAddress()
	if s == nil {
		return transport.ListenOptions{}, fmt.Errorf("an address needs a socket_address or a pipe")
	}
	return transport.ListenOptions{Network: "tcp", Address: net.JoinHostPort(s.GetAddress(), fmt.Sprint(s.GetPortValue()))}, nil
}

// adminState is what the admin page shows and does.
func (p *process) adminState(b *bootstrapv3.Bootstrap, allow func(path string) bool) admin.State {
	return admin.State{
		Stats: p.stats, FlushOnAdmin: b.GetStatsFlushOnAdmin(),
		Info: admin.Info{
			Version: p.o.Version, HotRestartVersion: p.o.HotRestartVersion, Started: p.status.start, Options: p.o.commandLine(), Node: p.node,
		},
		Ready: p.status.state, Clusters: p.adminClusters, Listeners: p.adminListeners, Dump: p.dump, Streams: p.streams, Certs: p.certs,
		Live: p.env.Options.Live, Failures: p.env.Options.Failures,
		Layers: p.adminLayers, SetRuntime: p.layers.modify,
		Loggers: p.adminLoggers, SetLevel: p.logs.SetLevel,
		Explain: p.explain, Reload: p.reload,
		Drain: p.drainByHand, FailHealth: p.status.fail, Quit: p.end, ReopenLogs: p.reopenLogs,
		Allow: allow, Log: p.log,
	}
}

func (p *process) adminLayers() []admin.RuntimeLayer {
	var out []admin.RuntimeLayer
	for _, l := range p.layers.list() {
		out = append(out, admin.RuntimeLayer{Name: l.name, Values: l.values})
	}
	return out
}

func (p *process) adminLoggers() []admin.Logger {
	var out []admin.Logger
	for _, s := range p.logs.Levels() {
		out = append(out, admin.Logger{Name: s.Component, Level: s.Level})
	}
	return out
}

func (p *process) adminListeners() []admin.Listener {
	var out []admin.Listener
	for name, at := range p.addresses().Listeners {
		out = append(out, admin.Listener{Name: name, Addresses: at})
	}
	slices.SortFunc(out, func(a, b admin.Listener) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// commandLine is the options as /server_info shows them.
func (o Options) commandLine() *adminv3.CommandLineOptions {
	c := &adminv3.CommandLineOptions{
		BaseId: uint64(o.BaseID), Concurrency: uint32(concurrency(o)), ConfigPath: o.ConfigPath, ConfigYaml: o.ConfigYAML,
		AllowUnknownStaticFields: o.AllowUnknownStaticFields, RejectUnknownDynamicFields: o.RejectUnknownDynamic,
		IgnoreUnknownDynamicFields: o.IgnoreUnknownDynamic, AdminAddressPath: o.AdminAddressPath,
		LogLevel: o.LogLevel, ComponentLogLevel: o.ComponentLogLevel, LogFormat: o.LogFormat, LogFormatEscaped: o.LogFormatEscaped, LogPath: o.LogPath,
		ServiceCluster: o.ServiceCluster, ServiceNode: o.ServiceNode, ServiceZone: o.ServiceZone,
		FileFlushInterval: durationpb.New(o.FileFlushInterval), FileFlushMinSize: uint32(o.FileFlushMinSizeKB), DrainTime: durationpb.New(o.DrainTime),
		ParentShutdownTime: durationpb.New(o.ParentShutdownTime), DisableHotRestart: o.DisableHotRestart, EnableCoreDump: o.EnableCoreDump,
		RestartEpoch: o.RestartEpoch, SkipDeprecatedLogs: o.SkipDeprecatedLogs,
	}
	if o.LocalAddressIPVersion == "v6" {
		c.LocalAddressIpVersion = adminv3.CommandLineOptions_v6
	}
	if o.DrainStrategy == DrainImmediate {
		c.DrainStrategy = adminv3.CommandLineOptions_Immediate
	}
	if o.Mode == ModeInitOnly {
		c.Mode = adminv3.CommandLineOptions_InitOnly
	}
	for _, t := range o.StatsTags {
		c.StatsTag = append(c.StatsTag, t.Name+":"+t.Value)
	}
	return c
}

// explain answers /explain.
func (p *process) explain(_ context.Context, q admin.Question) (string, any, error) {
	g, view := p.current.Load(), p.live.view.Load()
	if g == nil {
		return "", nil, fmt.Errorf("the process is still initializing")
	}
	return explain(view, g.place, Question{
		Method: q.Method, URL: q.URL, Headers: q.Headers, Listener: q.Listener, Remote: q.Remote, SNI: q.SNI, ALPN: q.ALPN,
	})
}

// allowPaths compiles Admin.allow_paths; nil allows every path.
func allowPaths(patterns []*matcherv3.StringMatcher) (func(path string) bool, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	re, err := compileNames(patterns)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// adminClusters is what /clusters shows.
func (p *process) adminClusters() []admin.Cluster {
	view := p.live.view.Load()
	if view == nil {
		return nil
	}
	all := view.Clusters.All()
	out := make([]admin.Cluster, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		out = append(out, admin.Cluster{
			Name: c.Name, ObservabilityName: c.Config.StatName,
			Default: thresholds(c.Config.Breakers[0]), High: thresholds(c.Config.Breakers[1]), Hosts: hostsOf(c),
		})
	}
	return out
}

func thresholds(t upstream.Thresholds) admin.Thresholds {
	return admin.Thresholds{Connections: t.Connections, PendingRequests: t.Pending, Requests: t.Requests, Retries: t.Retries}
}

// hostsOf is what the admin page shows of a cluster's hosts.
func hostsOf(c *upstream.Cluster) []admin.Host {
	all := c.Hosts().All()
	out := make([]admin.Host, len(all))
	for i, h := range all {
		st := h.Stats()
		out[i] = admin.Host{
			Address: h.Address(), Hostname: h.Hostname(), Weight: h.Weight(), Priority: uint32(h.Priority()), Canary: h.Canary(),
			Stats: admin.HostStats{
				CxConnectFail: st.CxConnectFail.Value(), CxTotal: st.CxTotal.Value(), RqError: st.RqError.Value(), RqSuccess: st.RqSuccess.Value(),
				RqTimeout: st.RqTimeout.Value(), RqTotal: st.RqTotal.Value(),
				CxActive: uint64(max(st.CxActive.Value(), 0)), RqActive: uint64(max(st.RqActive.Value(), 0)),
			},
			Health: admin.HostHealth(h.Health()), // the same reasons in the same order
		}
		out[i].Region, out[i].Zone, out[i].SubZone = h.Locality()
	}
	return out
}
