package route

import (
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/resource"
)

// defaultTimeout is how long a response may take unless the route says otherwise.
const defaultTimeout = 15 * time.Second

// forward compiles a RouteAction.
func (c *compiler) forward(r *exchange.Route, cfg *routev3.RouteAction, v *hostConfig, at resource.Path) {
	r.Target = c.target(cfg, at)
	r.Timeout = duration(cfg.GetTimeout(), defaultTimeout)
	r.IdleTimeout = duration(cfg.GetIdleTimeout(), unset)
	r.MaxStream = duration(cfg.GetMaxStreamDuration().GetMaxStreamDuration(), unset)
	r.GRPC = grpcTimeouts(cfg)
	if cfg.GetMaxStreamDuration() != nil {
		r.Timeout = 0 // it takes the timeout's place
	}
	if cfg.GetPriority() == corev3.RoutingPriority_HIGH {
		r.Priority = 1
	}
	r.Retry = v.retry
	if cfg.GetRetryPolicy() != nil {
		r.Retry = c.retryPolicy(cfg.GetRetryPolicy(), at.Field("retry_policy"))
	}
	c.rewrites(r, cfg, at)
	c.upgrades(r, cfg.GetUpgradeConfigs(), at.Field("upgrade_configs"))
}

// grpcTimeouts compiles what becomes of grpc-timeout; nil where nothing does.
func grpcTimeouts(cfg *routev3.RouteAction) *exchange.GRPCTimeouts {
	d := cfg.GetMaxStreamDuration()
	if d == nil && cfg.GetMaxGrpcTimeout() == nil {
		return nil
	}
	return &exchange.GRPCTimeouts{
		Duration: d != nil, HeaderMax: duration(d.GetGrpcTimeoutHeaderMax(), unset), Offset: duration(d.GetGrpcTimeoutHeaderOffset(), unset),
		Max: duration(cfg.GetMaxGrpcTimeout(), unset), OldOffset: duration(cfg.GetGrpcTimeoutOffset(), unset),
	}
}

// target compiles the cluster specifier.
func (c *compiler) target(cfg *routev3.RouteAction, at resource.Path) *exchange.Target {
	t := &exchange.Target{NotFound: 503}
	switch cfg.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		t.NotFound = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		t.NotFound = 500
	}
	switch s := cfg.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		t.Cluster = s.Cluster
		if s.Cluster == "" {
			c.problems.Errorf(at.Field("cluster"), "", "must not be empty")
		}
		c.names(at.Field("cluster"), s.Cluster)
	case *routev3.RouteAction_ClusterHeader:
		t.ClusterHeader = match.LowerASCII(s.ClusterHeader)
		if t.ClusterHeader == "" {
			c.problems.Errorf(at.Field("cluster_header"), "", "must not be empty")
		}
	case *routev3.RouteAction_WeightedClusters:
		c.weighted(t, s.WeightedClusters, at.Field("weighted_clusters"))
	case nil:
		c.problems.Errorf(at, "add a cluster", "has no cluster specifier")
	}
	return t
}

// names notes that a cluster must exist.
func (c *compiler) names(at resource.Path, cluster string) {
	if c.validate && cluster != "" {
		c.host.clusters = append(c.host.clusters, need{at, cluster})
	}
}

// weighted compiles weighted_clusters.
func (c *compiler) weighted(t *exchange.Target, cfg *routev3.WeightedCluster, at resource.Path) {
	for i, cw := range cfg.GetClusters() {
		here := at.Field("clusters").Index(i)
		switch {
		case cw.GetName() == "" && cw.GetClusterHeader() == "":
			c.problems.Errorf(here, "", "At least one of name or cluster_header need to be specified")
		case cw.GetName() != "" && cw.GetClusterHeader() != "":
			c.problems.Errorf(here, "", "Only one of name or cluster_header can be specified")
		}
		request, response := c.mutations(cw, here)
		t.Weighted = append(t.Weighted, exchange.Weighted{
			Name: cw.GetName(), Header: match.LowerASCII(cw.GetClusterHeader()), Weight: uint64(cw.GetWeight().GetValue()),
			HostRewrite: cw.GetHostRewriteLiteral(), RequestHeaders: request, ResponseHeaders: response, Place: string(here),
		})
		t.Total += uint64(cw.GetWeight().GetValue())
		c.names(here.Field("name"), cw.GetName())
	}
	switch {
	case len(t.Weighted) == 0:
		c.problems.Errorf(at.Field("clusters"), "", "must have at least one cluster")
	case t.Total == 0:
		c.problems.Errorf(at, "", "Sum of weights in the weighted_cluster must be greater than 0.")
	case t.Total > math.MaxUint32:
		c.problems.Errorf(at, "", "The sum of weights of all weighted clusters exceeds %d", uint32(math.MaxUint32))
	}
	t.RandomHeader = match.LowerASCII(cfg.GetHeaderName())
	t.SetRuntime(cfg.GetRuntimeKeyPrefix(), c.env.Runtime)
}

// rewrites compiles what becomes of path and host.
func (c *compiler) rewrites(r *exchange.Route, cfg *routev3.RouteAction, at resource.Path) {
	r.PrefixRewrite = cfg.GetPrefixRewrite()
	r.RegexRewrite = c.substitution(cfg.GetRegexRewrite(), at.Field("regex_rewrite"))
	if r.PrefixRewrite != "" && cfg.GetRegexRewrite() != nil {
		c.problems.Errorf(at, "", "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy")
	}
	switch s := cfg.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		r.HostRewrite.Literal = s.HostRewriteLiteral
	case *routev3.RouteAction_AutoHostRewrite:
		r.HostRewrite.Auto = s.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewriteHeader:
		r.HostRewrite.Header = match.LowerASCII(s.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		r.HostRewrite.Regex = c.substitution(s.HostRewritePathRegex, at.Field("host_rewrite_path_regex"))
	}
	r.AppendXFH = cfg.GetAppendXForwardedHost()
}

// upgrades compiles upgrade_configs.
func (c *compiler) upgrades(r *exchange.Route, cfg []*routev3.RouteAction_UpgradeConfig, at resource.Path) {
	for i, u := range cfg {
		here := at.Index(i)
		kind := strings.ToLower(u.GetUpgradeType())
		if _, twice := r.Upgrades[kind]; twice {
			c.problems.Errorf(here.Field("upgrade_type"), "", "Duplicate upgrade %s", u.GetUpgradeType())
		}
		if r.Upgrades == nil {
			r.Upgrades = map[string]bool{}
		}
		r.Upgrades[kind] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
		if u.GetConnectConfig() == nil {
			continue
		}
		if kind != "connect" {
			c.problems.Errorf(here.Field("connect_config"), "", "Non-CONNECT upgrade type %s has ConnectConfig", u.GetUpgradeType())
		}
		r.ConnectConfig = true
	}
}

// duration reads a duration; a missing one is def.
func duration(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return max(d.AsDuration(), 0)
}
