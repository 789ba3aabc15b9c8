package forward

import (
	"fmt"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// TCPExtension is the network filter envoy.filters.network.tcp_proxy.
func TCPExtension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: "envoy.filters.network.tcp_proxy", Config: &tcpv3.TcpProxy{}, Terminal: true,
		New: func(env *extension.Env, cfg proto.Message, prev conn.Handler) (extension.Built, error) {
			return buildTCP(env, cfg.(*tcpv3.TcpProxy), prev)
		},
		Support: tcpSupport,
	}
}

// tcpSupport says what Weft does with the fields of TcpProxy.
func tcpSupport() resource.Support {
	const pkg = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	return resource.Support{
		pkg: resource.Names("stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts backoff_options").
			Yes("max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage").
			Yes("access_log_flush_interval flush_access_log_on_connected access_log_options upstream_connect_mode check_drain_close").
			YesBut("upstream_connect_mode=ON_DOWNSTREAM_TLS_HANDSHAKE", "like IMMEDIATE: the handshake is over before the filter begins").
			YesBut("max_early_data_bytes", "the kernel's socket buffer holds early data; it is as large as the system makes it").
			No("on_demand", "clusters are not fetched on demand").
			No("metadata_match", "there are no subsets").
			No("downstream_idle_timeout upstream_idle_timeout", "use idle_timeout").
			No("hash_policy", "hashing load balancers are not supported").
			No("tunneling_config", "TCP is not tunneled over HTTP").
			No("proxy_protocol_tlvs proxy_protocol_tlv_merge_policy", "give the TLVs in the transport socket's config.added_tlvs"),
		pkg + ".WeightedCluster": resource.Names("clusters"),
		pkg + ".WeightedCluster.ClusterWeight": resource.Names("name weight").
			No("metadata_match", "there are no subsets"),
		pkg + ".TcpAccessLogOptions": resource.Names("access_log_flush_interval flush_access_log_on_connected flush_access_log_on_start"),
	}
}

// Defaults of Envoy's TcpProxy message.
const (
	defaultTCPIdle     = time.Hour
	defaultTCPAttempts = 1
)

// A tcpConfig is a compiled TcpProxy message. Immutable.
type tcpConfig struct {
	message    *tcpv3.TcpProxy // to recognize an equal one
	prefix     string
	targets    []tcpTarget
	total      uint64        // sum of the weights
	idle       time.Duration // 0: none
	attempts   int
	backoff    time.Duration // before the second attempt; 0: none
	maxBackoff time.Duration
	duration   time.Duration // 0: unlimited
	jitter     float64       // part of duration that may come on top
	onData     bool          // connect upstream when the peer has sent something
	checkDrain bool

	logs         []accesslog.Writer
	logInterval  time.Duration // 0: only at the end
	logConnected bool
	logStart     bool
}

// A tcpTarget is a cluster with the sum of the weights up to and including its own.
type tcpTarget struct {
	cluster string
	upTo    uint64
}

func compileTCP(env *extension.Env, m *tcpv3.TcpProxy) *tcpConfig {
	cfg := &tcpConfig{
		message: m, prefix: m.GetStatPrefix(), idle: defaultTCPIdle, attempts: defaultTCPAttempts,
		duration: m.GetMaxDownstreamConnectionDuration().AsDuration(), jitter: m.GetMaxDownstreamConnectionDurationJitterPercentage().GetValue() / 100,
		onData: m.GetUpstreamConnectMode() == tcpv3.UpstreamConnectMode_ON_DOWNSTREAM_DATA, checkDrain: m.GetCheckDrainClose().GetValue(),
		logConnected: m.GetAccessLogOptions().GetFlushAccessLogOnConnected(), logStart: m.GetAccessLogOptions().GetFlushAccessLogOnStart(),
	}
	if d := m.GetIdleTimeout(); d != nil {
		cfg.idle = d.AsDuration()
	}
	if n := m.GetMaxConnectAttempts(); n != nil {
		cfg.attempts = int(n.GetValue())
	}
	if b := m.GetBackoffOptions(); b != nil {
		cfg.backoff, cfg.maxBackoff = b.GetBaseInterval().AsDuration(), b.GetMaxInterval().AsDuration()
		if b.GetMaxInterval() == nil {
			cfg.maxBackoff = 10 * cfg.backoff
		}
		if cfg.maxBackoff < cfg.backoff {
			env.Problems.Errorf(env.Path.Field("backoff_options").Field("max_interval"), "", "less than base_interval")
		}
	}
	if cfg.onData && m.GetMaxEarlyDataBytes() == nil {
		env.Problems.Errorf(env.Path.Field("max_early_data_bytes"), "", "ON_DOWNSTREAM_DATA requires max_early_data_bytes")
	}
	cfg.compileLogs(env, m)
	return cfg
}

// compileLogs compiles the access logs. The fields that access_log_options replaces count where it is missing.
func (cfg *tcpConfig) compileLogs(env *extension.Env, m *tcpv3.TcpProxy) {
	var interval *durationpb.Duration
	if o := m.GetAccessLogOptions(); o != nil {
		interval = o.GetAccessLogFlushInterval()
	} else {
		interval, cfg.logConnected = m.GetAccessLogFlushInterval(), m.GetFlushAccessLogOnConnected()
	}
	cfg.logInterval = interval.AsDuration()
	for i, l := range m.GetAccessLog() {
		cfg.addLog(env, l, env.Path.Field("access_log").Index(i))
	}
}

func (cfg *tcpConfig) addLog(env *extension.Env, l *accesslogv3.AccessLog, at resource.Path) {
	if w := env.CompileLog(l, at); w != nil {
		cfg.logs = append(cfg.logs, w)
	}
}

// compileTargets compiles cluster or weighted_clusters and returns the clusters that must exist.
func (cfg *tcpConfig) compileTargets(env *extension.Env, m *tcpv3.TcpProxy) (map[resource.Path]string, error) {
	wanted := map[resource.Path]string{}
	add := func(name string, weight uint64, at resource.Path) {
		cfg.total += weight
		cfg.targets = append(cfg.targets, tcpTarget{name, cfg.total})
		wanted[at] = name
	}
	switch s := m.GetClusterSpecifier().(type) {
	case *tcpv3.TcpProxy_Cluster:
		add(s.Cluster, 1, env.Path.Field("cluster"))
	case *tcpv3.TcpProxy_WeightedClusters:
		for i, c := range s.WeightedClusters.GetClusters() {
			add(c.GetName(), uint64(c.GetWeight()), env.Path.Field("weighted_clusters").Field("clusters").Index(i).Field("name"))
		}
	}
	if cfg.total == 0 {
		return nil, fmt.Errorf("a TCP proxy needs a cluster, or weighted_clusters with a weight")
	}
	return wanted, nil
}

// cluster chooses one by weight.
func (cfg *tcpConfig) cluster(random uint64) string {
	at := random % cfg.total
	for _, t := range cfg.targets {
		if at < t.upTo {
			return t.cluster
		}
	}
	return "" // at is less than the sum
}

func buildTCP(env *extension.Env, m *tcpv3.TcpProxy, prev conn.Handler) (extension.Built, error) {
	cfg := compileTCP(env, m)
	wanted, err := cfg.compileTargets(env, m)
	if err != nil {
		return extension.Built{}, err
	}
	p, ok := prev.(*TCPProxy)
	if !ok || !proto.Equal(p.cfg.message, m) {
		p = newTCPProxy(env, cfg)
	}
	return extension.Built{
		Handler:  p,
		Publish:  func(clusters *upstream.Table) { p.clusters.Store(clusters) },
		Clusters: wanted,
	}, nil
}
