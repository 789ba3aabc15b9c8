// Package extension is what an extension is: a name, the configuration message it takes, and constructors. A Registry is the
// value that lists those compiled in.
package extension

import (
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/accesslog/als"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/upstream"
)

// Env is what a factory may use. Values are shared by all factories; a factory keeps what it needs.
type Env struct {
	Stats    *stats.Store
	Log      *slog.Logger
	Network  transport.Network
	Registry *Registry
	Secrets  *secret.View      // of the configuration that is being compiled
	Sockets  *socket.Registry  // those of Registry
	Hub      *subscription.Hub // who delivers what the configuration only names; nil: nobody
	Logs     *accesslog.Files  // open access log files, shared by path
	Streams  *als.Streams      // to access log services, shared by configuration; nil: there is no way to one
	Format   format.Options    // host name, environment and files, for format strings
	Options  Options
	Listener Listener           // of the listener that is being compiled
	HTTP     *stats.Scope       // http.<stat_prefix>. of the connection manager whose filters are being compiled; nil elsewhere
	Path     resource.Path      // of the configuration message that is being compiled
	Problems *resource.Problems // where factories report; an error return is reported with Path as well
}

// Options are the process's, from the command line and the bootstrap.
type Options struct {
	Concurrency                   int
	Node, Cluster, Zone, Locality string // --service-node, --service-cluster, --service-zone
	Version                       string
	Live                          *exchange.Live // the table of exchanges under way
	Failures                      *exchange.Failures
	Runtime                       *Runtime
	Drain                         *Drain        // the process's; nil: never
	DrainTime                     time.Duration // --drain-time-s: how long connections of removed filter chains may go on; 0: 600 s
	Connections                   *Connections  // of all listeners; nil: each listener counts for itself
	// ClosedByUpdate counts the connections that were closed because the configuration has changed, while they were in use: the drain time was
	// over. nil: nobody counts.
	ClosedByUpdate *stats.Counter
}

// A Listener is what factories may know of the listener they are compiled for.
type Listener struct {
	Name        string
	BufferLimit int // per_connection_buffer_limit_bytes
	Scope       *stats.Scope
	Traffic     string // direction: "", "INBOUND", "OUTBOUND"
}

// An HTTPFilter builds exchange filters.
type HTTPFilter struct {
	Name     string // envoy.filters.http.router
	Config   proto.Message
	Override proto.Message // of typed_per_filter_config; nil: none
	Terminal bool          // must be the last one
	New      func(env *Env, cfg proto.Message) (exchange.Filter, error)
	// ForRoute compiles a per-route override; the result takes the filter's place on that route. nil: overrides are refused.
	ForRoute func(env *Env, f exchange.Filter, override proto.Message) (exchange.Filter, error)
	Support  func() resource.Support
}

// A NetworkFilter builds the handler of a filter chain, or a filter before it.
type NetworkFilter struct {
	Name     string
	Config   proto.Message
	Terminal bool
	// New compiles a terminal filter. prev is what the same place of the previous snapshot had, nil when nothing: a factory
	// that can serve the new configuration with the old handler returns it, and changes it only in Publish.
	New func(env *Env, cfg proto.Message, prev conn.Handler) (Built, error)
	// Wrap compiles a filter that is not terminal: a handler that hands on to next.
	Wrap    func(env *Env, cfg proto.Message, next conn.Handler) (conn.Handler, error)
	Support func() resource.Support
}

// Built is a compiled terminal network filter.
type Built struct {
	Handler conn.Handler
	// Publish puts the configuration into effect with the clusters of the snapshot. It is called when the snapshot is published,
	// and again when only the clusters have changed. nil: nothing to do.
	Publish func(clusters *upstream.Table)
	// Clusters are the names of clusters that must exist (validate_clusters, tcp_proxy), with the path that names each.
	Clusters map[resource.Path]string
	// Watches are the resources that the configuration only names (RDS, ECDS and the like). They are held for as long as it is in force or
	// warms, and it is warm when all of them are ready.
	Watches []*subscription.Watch
	// Explain gives the route table, for explain and config dumps; nil where there is none.
	Explain any
}

// A ListenerFilter looks at, and may consume, the first bytes of a connection.
type ListenerFilter struct {
	Name    string
	Config  proto.Message
	New     func(env *Env, cfg proto.Message) (Inspector, error)
	Support func() resource.Support
}

// An AccessLog builds access loggers.
type AccessLog struct {
	Name    string
	Config  proto.Message
	New     func(env *Env, cfg proto.Message) (accesslog.Writer, error)
	Support func() resource.Support
}

// An Opaque is an extension whose configuration another package compiles (protocol options, request id, retry predicates): it is listed so
// that its message is known and its fields are in the table.
type Opaque struct {
	Name    string
	Config  proto.Message
	Support func() resource.Support
}

// Extensions is what builtin lists.
type Extensions struct {
	HTTP      []HTTPFilter
	Network   []NetworkFilter
	Listener  []ListenerFilter
	Transport []socket.Factory
	AccessLog []AccessLog
	Opaque    []Opaque
	Support   []func() resource.Support // of packages that compile configuration and are not extensions
}

// A Registry finds extensions by the type of their configuration, as Envoy does; names are only labels. Read-only once built.
type Registry struct {
	http    map[protoreflect.FullName]HTTPFilter
	network map[protoreflect.FullName]NetworkFilter
	listen  map[protoreflect.FullName]ListenerFilter
	logs    map[protoreflect.FullName]AccessLog
	sockets *socket.Registry
	support resource.Support
}

// NewRegistry checks that nothing is listed twice.
func NewRegistry(x Extensions) (*Registry, error) {
	r := &Registry{
		http: map[protoreflect.FullName]HTTPFilter{}, network: map[protoreflect.FullName]NetworkFilter{},
		listen: map[protoreflect.FullName]ListenerFilter{}, logs: map[protoreflect.FullName]AccessLog{},
	}
	var err error
	if r.sockets, err = socket.NewRegistry(x.Transport...); err != nil {
		return nil, err
	}
	support := x.Support
	for _, f := range x.HTTP {
		if err := put(r.http, f.Name, f.Config, f); err != nil {
			return nil, err
		}
		support = withSupport(support, f.Support)
	}
	for _, f := range x.Network {
		if err := put(r.network, f.Name, f.Config, f); err != nil {
			return nil, err
		}
		support = withSupport(support, f.Support)
	}
	for _, f := range x.Listener {
		if err := put(r.listen, f.Name, f.Config, f); err != nil {
			return nil, err
		}
		support = withSupport(support, f.Support)
	}
	for _, f := range x.Transport {
		support = withSupport(support, f.Support)
	}
	for _, f := range x.AccessLog {
		if err := put(r.logs, f.Name, f.Config, f); err != nil {
			return nil, err
		}
		support = withSupport(support, f.Support)
	}
	for _, f := range x.Opaque {
		support = withSupport(support, f.Support)
	}
	r.support = resource.Support{}
	for _, s := range support {
		merged, err := r.support.Merge(s())
		if err != nil {
			return nil, err
		}
		r.support = merged
	}
	return r, nil
}

// withSupport adds a table of an extension that does not share one with others.
func withSupport(all []func() resource.Support, one func() resource.Support) []func() resource.Support {
	if one == nil {
		return all
	}
	return append(all, one)
}

func put[T any](m map[protoreflect.FullName]T, name string, cfg proto.Message, f T) error {
	key := cfg.ProtoReflect().Descriptor().FullName()
	if _, twice := m[key]; twice {
		return fmt.Errorf("extension %q: configuration type %s is registered twice", name, key)
	}
	m[key] = f
	return nil
}

// Support returns what is supported, field by field.
func (r *Registry) Support() resource.Support { return r.support }

// Sockets returns the transport sockets.
func (r *Registry) Sockets() *socket.Registry { return r.sockets }

// HTTP finds an HTTP filter by the type of its configuration.
func (r *Registry) HTTP(cfg proto.Message) (HTTPFilter, bool) {
	f, ok := r.http[cfg.ProtoReflect().Descriptor().FullName()]
	return f, ok
}

// HasHTTP reports whether there is an HTTP filter whose configuration is a message of this name.
func (r *Registry) HasHTTP(message protoreflect.FullName) bool {
	_, ok := r.http[message]
	return ok
}

// Network finds a network filter by the type of its configuration.
func (r *Registry) Network(cfg proto.Message) (NetworkFilter, bool) {
	f, ok := r.network[cfg.ProtoReflect().Descriptor().FullName()]
	return f, ok
}

// Listener finds a listener filter by the type of its configuration.
func (r *Registry) Listener(cfg proto.Message) (ListenerFilter, bool) {
	f, ok := r.listen[cfg.ProtoReflect().Descriptor().FullName()]
	return f, ok
}

// AccessLog finds an access logger by the type of its configuration.
func (r *Registry) AccessLog(cfg proto.Message) (AccessLog, bool) {
	f, ok := r.logs[cfg.ProtoReflect().Descriptor().FullName()]
	return f, ok
}
