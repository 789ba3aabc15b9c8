package xds

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	lrsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

const (
	loadMethod  = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
	loadFeature = "envoy.lrs.supports_send_all_clusters"
	loadWait    = 5 * time.Second        // how often it is looked whether there is somebody to report to
	loadFastest = 100 * time.Millisecond // the shortest interval
)

// CheckLoad reports to p what is wrong with cluster_manager.load_stats_config.
func (c *Client) CheckLoad(p *resource.Problems) {
	a := c.o.Bootstrap.GetClusterManager().GetLoadStatsConfig()
	if a == nil {
		return
	}
	at := resource.Path("cluster_manager").Field("load_stats_config")
	if a.GetApiType() != corev3.ApiConfigSource_GRPC {
		p.Add(resource.Problem{Path: at.Field("api_type"), Kind: resource.UnsupportedValue, Message: a.GetApiType().String() + " is not supported",
			Hint: "use GRPC"})
		return
	}
	c.checkGRPC(a, at, p)
}

// ReportLoad reports to a control plane what clusters carry until ctx ends: to load_stats_config what it asks for, or else to the aggregated
// source for those clusters that say lrs_server: {self: {}}. clusters returns those in force; nobody else may take their load. It returns nil.
func (c *Client) ReportLoad(ctx context.Context, clusters func() []*upstream.Cluster) error {
	r := &loadReporter{node: loadNode(c.o.Node), clusters: clusters, log: c.log.With("service", "load reports")}
	service := c.o.Bootstrap.GetClusterManager().GetLoadStatsConfig()
	if service == nil {
		service = c.ads()
		r.clusters = func() []*upstream.Cluster { return asked(clusters()) }
		for service != nil && len(r.clusters()) == 0 {
			if !rest(ctx, loadWait) {
				return nil
			}
		}
	}
	if service == nil || len(service.GetGrpcServices()) == 0 {
		return nil
	}
	sc := c.o.Stats.Scope("load_reporter")
	r.requests, r.responses, r.errors, r.retries = sc.Counter("requests"), sc.Counter("responses"), sc.Counter("errors"), sc.Counter("retries")
	r.link, r.backoff = newLink(service, &c.o), newBackoff(service.GetGrpcServices()[0].GetRetryPolicy())
	defer r.link.close()
	r.run(ctx)
	return nil
}

// asked returns the clusters whose load goes to where they come from.
func asked(all []*upstream.Cluster) []*upstream.Cluster {
	var out []*upstream.Cluster
	for _, u := range all {
		if u.Config.ReportLoad {
			out = append(out, u)
		}
	}
	return out
}

// loadNode is the node that reports, with the feature that is its own.
func loadNode(n *corev3.Node) *corev3.Node {
	out := &corev3.Node{}
	if n != nil {
		out = proto.CloneOf(n)
	}
	out.ClientFeatures = append(out.ClientFeatures, loadFeature)
	return out
}

func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A loadReporter has a stream to a load reporting service. Used by one goroutine.
type loadReporter struct {
	node     *corev3.Node
	clusters func() []*upstream.Cluster
	link     *link
	backoff  *backoff
	log      *slog.Logger

	requests, responses, errors, retries *stats.Counter

	// What the control plane has asked for on this stream.
	every     time.Duration // 0: nothing yet
	all       bool
	names     map[string]bool
	endpoints bool
	since     map[string]time.Time // since when the load of a cluster is counted, by its name
	last      time.Time            // when the last report was made, or the first was asked for
}

// run keeps a stream open until ctx ends.
func (r *loadReporter) run(ctx context.Context) {
	for {
		err := r.session(ctx)
		if ctx.Err() != nil {
			return
		}
		r.errors.Inc()
		r.log.Warn("the stream of load reports has ended", "error", err)
		r.link.check()
		if !rest(ctx, r.backoff.next()) {
			return
		}
		r.retries.Inc()
	}
}

// session is one stream. The error says why it has ended.
func (r *loadReporter) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer cancel()
	conn, err := r.link.stream(ctx, loadMethod)
	if err != nil {
		return err
	}
	r.every, r.since = 0, nil
	if err := r.send(conn, &lrsv3.LoadStatsRequest{Node: r.node}); err != nil {
		return err
	}
	type said struct {
		*lrsv3.LoadStatsResponse
		err error
	}
	in := make(chan said)
	receiving.Go(func() {
		for {
			m := &lrsv3.LoadStatsResponse{}
			err := conn.RecvMsg(m)
			if errors.Is(err, io.EOF) {
				err = errors.New("closed by the control plane")
			}
			select {
			case in <- said{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case m := <-in:
			if m.err != nil {
				return m.err
			}
			r.backoff.reset()
			if r.order(m.LoadStatsResponse, time.Now()) {
				timer.Reset(r.every)
			}
		case <-timer.C:
			if err := r.send(conn, r.report(time.Now())); err != nil {
				return err
			}
			timer.Reset(r.every)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *loadReporter) send(conn grpc.ClientStream, m *lrsv3.LoadStatsRequest) error {
	err := conn.SendMsg(m)
	if errors.Is(err, io.EOF) { // the status says why
		err = conn.RecvMsg(&lrsv3.LoadStatsResponse{})
	}
	if err == nil {
		r.requests.Inc()
	}
	return err
}

// order takes over what the control plane asks for. It reports whether the next report is to be a whole interval away from now. What
// a cluster carried before it was asked for is not reported.
func (r *loadReporter) order(m *lrsv3.LoadStatsResponse, now time.Time) bool {
	r.responses.Inc()
	every := m.GetLoadReportingInterval().AsDuration()
	if every <= 0 {
		r.log.Warn("a control plane asks for load reports without an interval")
		return false
	}
	r.every, r.all, r.endpoints = max(every, loadFastest), m.GetSendAllClusters(), m.GetReportEndpointGranularity()
	r.names = make(map[string]bool, len(m.GetClusters()))
	for _, name := range m.GetClusters() {
		r.names[name] = true
	}
	before := r.since
	r.since, r.last = map[string]time.Time{}, now
	for _, u := range r.clusters() {
		if !r.all && !r.names[u.Name] {
			continue
		}
		at, known := before[u.Name]
		if !known {
			u.TakeLoad()
			at = now
		}
		r.since[u.Name] = at
	}
	return true
}

// report returns what there is to tell now.
func (r *loadReporter) report(now time.Time) *lrsv3.LoadStatsRequest {
	out := &lrsv3.LoadStatsRequest{}
	next := make(map[string]time.Time, len(r.since))
	for _, u := range r.clusters() {
		if !r.all && !r.names[u.Name] {
			continue
		}
		since, known := r.since[u.Name]
		if !known {
			since = r.last // it has come since then
		}
		load := u.TakeLoad()
		out.ClusterStats = append(out.ClusterStats, clusterStats(&load, now.Sub(since), r.endpoints))
		next[u.Name] = now
	}
	r.since, r.last = next, now
	return out
}

// clusterStats is a cluster's load in the words of the protocol.
func clusterStats(l *upstream.Load, interval time.Duration, endpoints bool) *endpointv3.ClusterStats {
	out := &endpointv3.ClusterStats{
		ClusterName: l.Cluster, ClusterServiceName: l.Service, TotalDroppedRequests: l.Dropped, LoadReportInterval: durationpb.New(interval),
	}
	if l.Shed > 0 {
		out.DroppedRequests = []*endpointv3.ClusterStats_DroppedRequests{{Category: l.Category, DroppedCount: l.Shed}}
	}
	for i := range l.Localities {
		z := &l.Localities[i]
		m := &endpointv3.UpstreamLocalityStats{
			Locality:                &corev3.Locality{Region: z.Region, Zone: z.Zone, SubZone: z.SubZone},
			Priority:                uint32(z.Priority),
			TotalSuccessfulRequests: z.Succeeded, TotalErrorRequests: z.Failed, TotalRequestsInProgress: z.Active, TotalIssuedRequests: z.Issued,
		}
		for j := range z.Hosts {
			if !endpoints {
				break
			}
			h := &z.Hosts[j]
			m.UpstreamEndpointStats = append(m.UpstreamEndpointStats, &endpointv3.UpstreamEndpointStats{
				Address:                 addressOf(h.Host),
				TotalSuccessfulRequests: h.Succeeded, TotalErrorRequests: h.Failed, TotalRequestsInProgress: h.Active, TotalIssuedRequests: h.Issued,
			})
		}
		out.UpstreamLocalityStats = append(out.UpstreamLocalityStats, m)
	}
	return out
}

func addressOf(h *upstream.Host) *corev3.Address {
	at := h.AddrPort()
	if at == (netip.AddrPort{}) {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: h.Address()}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: at.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}
