package exchange

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/match"
)

// A Route is what the route table says about a request, compiled and immutable. One of Target, Redirect and Direct says what to
// do; a route with none of them is how a table says that nothing matched.
type Route struct {
	ID          int // of its own within its table
	Name        string
	Place       string // where the configuration says so: a resource path
	Origin      string // begins Place for those who do not know the table: `route "name": ` of one that is a resource of its own
	VirtualHost string
	Table       string // name of the route configuration
	Metadata    map[string]map[string]any

	Target   *Target
	Redirect *Redirect
	Direct   *Direct

	RequestHeaders  []*Mutations // of route, virtual host and table, in the order of application
	ResponseHeaders []*Mutations

	PrefixRewrite  string // replaces Matched at the beginning of the path
	Matched        string // the prefix or path that matched, as it is configured
	MatchedAll     bool   // the whole path matched (regexes, CONNECT), without its query
	CaseSensitive  bool
	RegexRewrite   *Substitution
	HostRewrite    HostRewrite
	AppendXFH      bool          // append x-forwarded-host when the host is rewritten
	Timeout        time.Duration // whole response, from the end of the request; 0: none
	IdleTimeout    time.Duration // of the stream; -1: as the connection manager says; 0: none
	MaxStream      time.Duration // -1: as the connection manager says; 0: none
	GRPC           *GRPCTimeouts // nil: grpc-timeout goes through as it is
	Retry          *RetryPolicy  // nil: no retries
	Priority       int           // 0 default, 1 high
	BufferLimit    int           // request bytes kept for retries; -1: the listener's buffer limit
	Upgrades       map[string]bool
	ConnectConfig  bool // CONNECT is terminated here and its payload forwarded
	IncludeAttempt struct{ Request, Response bool }
	Overrides      map[string]Override // typed_per_filter_config of all levels by filter name; often shared between routes
	Decorator      string              // operation name for the span; nothing reads it before there is tracing
	StatPrefix     string              // "": no statistics of the route's own
	Clusters       *VirtualClusters    // of the virtual host; nil: none
}

// An Override is what one typed_per_filter_config says about a filter. The dispatcher compiles it when the route table is; nothing
// reads it after that.
type Override struct {
	Config   proto.Message // nil: the filter's own configuration holds
	Disabled bool
	Place    string // where the configuration says so: a resource path
}

// A Target names the cluster to forward to.
type Target struct {
	Cluster       string     // fixed
	Weighted      []Weighted // by weight
	Total         uint64     // sum of the weights
	RandomHeader  string     // header whose value selects instead of the random number
	ClusterHeader string     // header or pseudo-header that names the cluster
	NotFound      int        // status when there is no such cluster
	Runtime       match.Runtime
	RuntimePrefix string // weights are overridden by the runtime keys RuntimePrefix.name; "": they are not
}

// A Weighted is one of several clusters.
type Weighted struct {
	Name            string
	Header          string // cluster_header instead of Name
	Weight          uint64
	HostRewrite     string
	RequestHeaders  *Mutations // nil: none
	ResponseHeaders *Mutations
	Place           string
	runtimeKey      string
}

// A HostRewrite says what becomes of :authority. At most one is set.
type HostRewrite struct {
	Literal string
	Header  string
	Regex   *Substitution // applied to the path
	Auto    bool          // the upstream host's name
}

// A Direct answers without an upstream.
type Direct struct {
	Status int
	Body   string
}

// A Redirect answers with a location.
type Redirect struct {
	Status     int
	Scheme     string // "" keeps
	HTTPS      bool
	KeepPort   bool // require_tls: the port is not looked at
	Host       string
	Port       uint32
	Path       string // whole path, query may be part
	Prefix     string // replaces Matched; "" does not
	Regex      *Substitution
	StripQuery bool
}

// A RetryPolicy is a compiled RetryPolicy of the route.
type RetryPolicy struct {
	On             RetryOn
	Retries        int // default 1
	PerTry         time.Duration
	PerTryIdle     time.Duration
	Statuses       []uint32
	Headers        []*match.Header // retriable_headers
	RequestHeaders []*match.Header // retriable_request_headers: retry only requests that match one
	Base, Max      time.Duration   // back-off; defaults 25 ms and 10 × base
	RateLimited    []ResetHeader
	RateLimitedMax time.Duration
	AvoidPrevious  bool // retry_host_predicate previous_hosts
	HostAttempts   int  // host_selection_retry_max_attempts
}

// A ResetHeader is a header that says when to retry.
type ResetHeader struct {
	Name string
	Unix bool // a point in time instead of seconds from now
}

// RetryOn is a set of retry conditions, Envoy's x-envoy-retry-on.
type RetryOn uint32

// The retry conditions.
const (
	Retry5xx RetryOn = 1 << iota
	RetryGatewayError
	RetryReset
	RetryResetBeforeRequest
	RetryConnectFailure
	RetryEnvoyRateLimited
	RetryRetriable4xx
	RetryRefusedStream
	RetryRetriableStatusCodes
	RetryRetriableHeaders
	RetryHTTP3PostConnectFailure
	RetryGRPCCancelled
	RetryGRPCDeadlineExceeded
	RetryGRPCInternal
	RetryGRPCResourceExhausted
	RetryGRPCUnavailable
)
