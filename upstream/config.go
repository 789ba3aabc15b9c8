package upstream

import (
	"math"
	"syscall"
	"time"

	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/upstream/balance"
	"github.com/weftproxy/weft/upstream/discovery"
	"github.com/weftproxy/weft/upstream/health"
)

// A Discovery is where a cluster's hosts come from: Envoy's discovery type.
type Discovery uint8

// The kinds of discovery.
const (
	Static     Discovery = iota // the configuration names addresses
	StrictDNS                   // every address of every name is a host
	LogicalDNS                  // one host, whose address is the first one of a name
	EDS                         // a control plane names addresses
)

// String returns Envoy's name for the kind.
func (d Discovery) String() string {
	return [...]string{"STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS"}[d]
}

// resolves reports whether hosts come of names.
func (d Discovery) resolves() bool { return d == StrictDNS || d == LogicalDNS }

// Config is a compiled Cluster message. Immutable.
type Config struct {
	Name     string
	StatName string // alt_stat_name, or the name
	Type     Discovery
	// ServiceName is eds_cluster_config.service_name, by which the control plane knows the cluster; "": by its name.
	ServiceName string
	ReportLoad  bool // lrs_server: {self: {}}: to where the cluster comes from

	ConnectTimeout time.Duration // default 5 s
	BufferLimit    int           // per_connection_buffer_limit_bytes, default 1 MiB
	Metadata       map[string]map[string]any

	HTTP     HTTP
	Balance  balance.Options
	Locality bool    // locality_weighted_lb_config
	Panic    float64 // healthy_panic_threshold in percent, default 50
	NoPanic  bool    // fail_traffic_on_panic: answer with an error instead
	Breakers [2]Thresholds
	PerHost  uint32 // connections to one host (per_host_thresholds); 0: unlimited
	Health   *health.Config
	DNS      DNS
	Bind     Bind
	assigned *assignment // load_assignment
	settings settings    // of the runtime

	WaitForWarm        bool // wait_for_warm_on_init, default true
	IgnoreNewHosts     bool // ignore_new_hosts_until_first_hc
	CloseOnSetChange   bool // close_connections_on_host_set_change
	CloseOnFailure     bool // close_connections_on_host_health_failure
	IgnoreHealthOnDrop bool // ignore_health_on_host_removal
}

// HTTP is how a cluster's HTTP connections are used.
type HTTP struct {
	Version     protocol.Version // HTTP11, or HTTP2 with prior knowledge; VersionUnknown: the TLS handshake decides (auto_config)
	Follow      bool             // use_downstream_protocol_config: the request's version decides instead
	Client      HTTP1Options
	HTTP2       *http2.Options // nil where HTTP/2 is not spoken
	IdleTimeout time.Duration  // of a connection, default 1 h; 0: none
	MaxDuration time.Duration  // of a connection; 0: unlimited
	MaxRequests int64          // a connection; 0: unlimited
	MaxStream   time.Duration  // max_stream_duration; 0: unlimited

	AutoSNI   bool   // auto_sni: connections ask for the name that the request is for
	AutoSAN   bool   // auto_san_validation: and their certificate has to have it
	SNIHeader string // override_auto_sni_header: has that name, where the request has it; "" for none
}

// Auto reports whether the TLS handshake decides on the version.
func (h *HTTP) Auto() bool { return h.Version == protocol.VersionUnknown }

// Named reports whether connections depend on the name that a request is for.
func (h *HTTP) Named() bool { return h.AutoSNI || h.AutoSAN }

// http2Options returns the options of an HTTP/2 codec; the defaults where the cluster has none.
func (h *HTTP) http2Options() http2.Options {
	if h.HTTP2 == nil {
		return http2.Options{}
	}
	return *h.HTTP2
}

// HTTP1Options are what an HTTP/1.1 client codec has to know of a cluster. Comparable.
type HTTP1Options struct {
	MaxHeaders         int // of a response, default 100
	MaxHeaderBytes     int // of a response, default 60 KiB
	ProperCase         bool
	EnableTrailers     bool
	AllowChunkedLength bool
	FullURL            bool // send_fully_qualified_url
}

// Thresholds are the limits of the circuit breakers of one priority. Defaults are Envoy's: 1024, and 3 retries.
type Thresholds struct {
	Connections, Pending, Requests, Retries uint32
	Budget                                  *Budget // instead of Retries
	TrackRemaining                          bool
}

// A Budget limits retries to a part of the requests under way.
type Budget struct {
	Percent float64 // default 20
	Minimum uint32  // min_retry_concurrency, default 3
}

// limit returns how many retries may be under way when this many requests are.
func (b *Budget) limit(active int64) int64 {
	return max(int64(b.Minimum), int64(math.Floor(float64(active)*b.Percent/100)))
}

// DNS is how names are resolved.
type DNS struct {
	Family                  discovery.Family
	Every, Jitter           time.Duration // default 5 s, 0
	RespectTTL              bool
	FailureBase, FailureMax time.Duration      // 0: Every
	Resolver                *discovery.Options // nil: the process's resolver
}

// Bind is what sockets are given before they connect.
type Bind struct {
	Local   string // source address, host:port
	Control func(network, address string, c syscall.RawConn) error
}
