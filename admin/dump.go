package admin

import (
	"regexp"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A Dump is the configuration in force, for /config_dump. The messages are not changed, and need not be redacted.
type Dump struct {
	Bootstrap *bootstrapv3.Bootstrap // whole, with its static resources; nil: not shown
	Updated   time.Time              // of the bootstrap

	ListenersVersion, ClustersVersion string // of the last LDS and CDS update; "" where all are static

	Listeners    []DumpEntry // envoy.config.listener.v3.Listener
	Clusters     []DumpEntry // envoy.config.cluster.v3.Cluster
	Routes       []DumpEntry // envoy.config.route.v3.RouteConfiguration
	ScopedRoutes []DumpEntry // envoy.config.route.v3.ScopedRouteConfiguration, each with the Set it belongs to
	Secrets      []DumpEntry // envoy.extensions.transport_sockets.tls.v3.Secret
	Extensions   []DumpEntry // envoy.config.core.v3.TypedExtensionConfig, all dynamic
	Assignments  []DumpEntry // envoy.config.endpoint.v3.ClusterLoadAssignment, those that came by EDS; shown with include_eds
	VirtualHosts []DumpEntry // envoy.config.route.v3.VirtualHost by VHDS, with their Set; only the client status shows them
	Runtimes     []DumpEntry // envoy.service.runtime.v3.Runtime by RTDS; only the client status shows them

	// Endpoints is asked only with include_eds: a ClusterLoadAssignment for each cluster that has its endpoints otherwise. nil: none.
	Endpoints func() []DumpEntry
}

// A DumpEntry is one resource and where it stands.
type DumpEntry struct {
	Name    string
	Set     string        // what it is part of, for scoped routes and virtual hosts
	Message proto.Message // nil: none has come that was accepted
	Updated time.Time     // when it came; without a message since when it is asked for
	Dynamic bool          // came from a control plane; what is below is only looked at then
	Version string
	Phase   Phase
	Pending bool          // nothing has come that was accepted: the message, if there is one, only tells the name
	Absent  bool          // the control plane says that it does not exist
	Failed  *FailedUpdate // the last update, if it was rejected; nil: it was not
}

// status is how far the client has come with a resource, UNKNOWN for static ones.
func (e *DumpEntry) status() adminv3.ClientResourceStatus {
	switch {
	case !e.Dynamic:
		return adminv3.ClientResourceStatus_UNKNOWN
	case e.Failed != nil:
		return adminv3.ClientResourceStatus_NACKED
	case e.Absent:
		return adminv3.ClientResourceStatus_DOES_NOT_EXIST
	case e.Message == nil || e.Pending:
		return adminv3.ClientResourceStatus_REQUESTED
	default:
		return adminv3.ClientResourceStatus_ACKED
	}
}

// Phase is how far a dynamic resource has come.
type Phase uint8

// The phases. A listener may have an entry in each.
const (
	Active Phase = iota
	Warming
	Draining // listeners
)

// A FailedUpdate is an update that was rejected.
type FailedUpdate struct {
	Message proto.Message // may be nil
	At      time.Time
	Details string
	Version string
}

// A dumper turns entries into Envoy's dump messages, redacted.
type dumper struct {
	redactor *redactor
	name     *regexp.Regexp // nil: any
	err      error          // the first
}

func (d *dumper) wants(e *DumpEntry) bool { return d.name == nil || d.name.MatchString(e.Name) }

// pack is a redacted copy of m in an Any, nil for nil.
func (d *dumper) pack(m proto.Message) *anypb.Any {
	if m == nil {
		return nil
	}
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, d.redactor.copyOf(m), proto.MarshalOptions{Deterministic: true}); err != nil && d.err == nil {
		d.err = err
	}
	return a
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func (d *dumper) failed(f *FailedUpdate) *adminv3.UpdateFailureState {
	if f == nil {
		return nil
	}
	return &adminv3.UpdateFailureState{
		FailedConfiguration: d.pack(f.Message), LastUpdateAttempt: stamp(f.At), Details: f.Details, VersionInfo: f.Version,
	}
}

func (d *dumper) bootstrap(dump *Dump) proto.Message {
	out := &adminv3.BootstrapConfigDump{LastUpdated: stamp(dump.Updated)}
	out.Bootstrap, _ = d.redactor.copyOf(dump.Bootstrap).(*bootstrapv3.Bootstrap)
	return out
}

func (d *dumper) clusters(dump *Dump) proto.Message {
	out := &adminv3.ClustersConfigDump{VersionInfo: dump.ClustersVersion}
	for i := range dump.Clusters {
		e := &dump.Clusters[i]
		switch {
		case !d.wants(e):
		case !e.Dynamic:
			out.StaticClusters = append(out.StaticClusters,
				&adminv3.ClustersConfigDump_StaticCluster{Cluster: d.pack(e.Message), LastUpdated: stamp(e.Updated)})
		default:
			c := &adminv3.ClustersConfigDump_DynamicCluster{
				VersionInfo: e.Version, Cluster: d.pack(e.Message), LastUpdated: stamp(e.Updated), ErrorState: d.failed(e.Failed),
				ClientStatus: e.status(),
			}
			if e.Phase == Warming {
				out.DynamicWarmingClusters = append(out.DynamicWarmingClusters, c)
			} else {
				out.DynamicActiveClusters = append(out.DynamicActiveClusters, c)
			}
		}
	}
	return out
}

func (d *dumper) listeners(dump *Dump) proto.Message {
	out := &adminv3.ListenersConfigDump{VersionInfo: dump.ListenersVersion}
	dynamic := map[string]*adminv3.ListenersConfigDump_DynamicListener{}
	for i := range dump.Listeners {
		e := &dump.Listeners[i]
		if !d.wants(e) {
			continue
		}
		if !e.Dynamic {
			out.StaticListeners = append(out.StaticListeners,
				&adminv3.ListenersConfigDump_StaticListener{Listener: d.pack(e.Message), LastUpdated: stamp(e.Updated)})
			continue
		}
		l := dynamic[e.Name]
		if l == nil {
			l = &adminv3.ListenersConfigDump_DynamicListener{Name: e.Name}
			dynamic[e.Name] = l
			out.DynamicListeners = append(out.DynamicListeners, l)
		}
		if e.Failed != nil {
			l.ErrorState = d.failed(e.Failed)
		}
		l.ClientStatus = max(l.ClientStatus, e.status()) // the worst of its states
		if e.Message == nil {
			continue
		}
		state := &adminv3.ListenersConfigDump_DynamicListenerState{
			VersionInfo: e.Version, Listener: d.pack(e.Message), LastUpdated: stamp(e.Updated),
		}
		switch e.Phase {
		case Active:
			l.ActiveState = state
		case Warming:
			l.WarmingState = state
		case Draining:
			l.DrainingState = state
		}
	}
	return out
}

func (d *dumper) routes(dump *Dump) proto.Message {
	out := &adminv3.RoutesConfigDump{}
	for i := range dump.Routes {
		e := &dump.Routes[i]
		switch {
		case !d.wants(e):
		case !e.Dynamic:
			out.StaticRouteConfigs = append(out.StaticRouteConfigs,
				&adminv3.RoutesConfigDump_StaticRouteConfig{RouteConfig: d.pack(e.Message), LastUpdated: stamp(e.Updated)})
		default:
			out.DynamicRouteConfigs = append(out.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{
				VersionInfo: e.Version, RouteConfig: d.pack(e.Message), LastUpdated: stamp(e.Updated), ErrorState: d.failed(e.Failed),
				ClientStatus: e.status(),
			})
		}
	}
	return out
}

func (d *dumper) scopedRoutes(dump *Dump) proto.Message {
	out := &adminv3.ScopedRoutesConfigDump{}
	inline := map[string]*adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{}
	dynamic := map[string]*adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{}
	for i := range dump.ScopedRoutes {
		e := &dump.ScopedRoutes[i]
		switch {
		case d.name != nil && !d.name.MatchString(e.Set):
		case !e.Dynamic:
			set := inline[e.Set]
			if set == nil {
				set = &adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{Name: e.Set, LastUpdated: stamp(e.Updated)}
				inline[e.Set] = set
				out.InlineScopedRouteConfigs = append(out.InlineScopedRouteConfigs, set)
			}
			set.ScopedRouteConfigs = append(set.ScopedRouteConfigs, d.pack(e.Message))
		default:
			set := dynamic[e.Set]
			if set == nil {
				set = &adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{Name: e.Set}
				dynamic[e.Set] = set
				out.DynamicScopedRouteConfigs = append(out.DynamicScopedRouteConfigs, set)
			}
			d.scope(set, e)
		}
	}
	return out
}

// scope adds a scope to its set, which shows the version and the time of the latest, and one of those that were rejected.
func (d *dumper) scope(set *adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs, e *DumpEntry) {
	if e.Failed != nil {
		set.ErrorState = d.failed(e.Failed)
	}
	set.ClientStatus = max(set.ClientStatus, e.status())
	if e.Message == nil {
		return
	}
	set.ScopedRouteConfigs = append(set.ScopedRouteConfigs, d.pack(e.Message))
	if set.GetLastUpdated() == nil || e.Updated.After(set.GetLastUpdated().AsTime()) {
		set.LastUpdated, set.VersionInfo = stamp(e.Updated), e.Version
	}
}

func (d *dumper) secrets(dump *Dump) proto.Message {
	out := &adminv3.SecretsConfigDump{}
	for i := range dump.Secrets {
		e := &dump.Secrets[i]
		switch {
		case !d.wants(e):
		case !e.Dynamic:
			out.StaticSecrets = append(out.StaticSecrets,
				&adminv3.SecretsConfigDump_StaticSecret{Name: e.Name, Secret: d.pack(e.Message), LastUpdated: stamp(e.Updated)})
		default:
			secret := &adminv3.SecretsConfigDump_DynamicSecret{
				Name: e.Name, VersionInfo: e.Version, Secret: d.pack(e.Message), LastUpdated: stamp(e.Updated), ErrorState: d.failed(e.Failed),
				ClientStatus: e.status(),
			}
			if e.Phase == Warming {
				out.DynamicWarmingSecrets = append(out.DynamicWarmingSecrets, secret)
			} else {
				out.DynamicActiveSecrets = append(out.DynamicActiveSecrets, secret)
			}
		}
	}
	return out
}

func (d *dumper) endpoints(dump *Dump) proto.Message {
	out := &adminv3.EndpointsConfigDump{}
	entries := dump.Assignments
	if dump.Endpoints != nil {
		entries = append(dump.Endpoints(), entries...)
	}
	for i := range entries {
		e := &entries[i]
		switch {
		case !d.wants(e):
		case !e.Dynamic:
			out.StaticEndpointConfigs = append(out.StaticEndpointConfigs,
				&adminv3.EndpointsConfigDump_StaticEndpointConfig{EndpointConfig: d.pack(e.Message), LastUpdated: stamp(e.Updated)})
		default:
			out.DynamicEndpointConfigs = append(out.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{
				VersionInfo: e.Version, EndpointConfig: d.pack(e.Message), LastUpdated: stamp(e.Updated), ErrorState: d.failed(e.Failed),
				ClientStatus: e.status(),
			})
		}
	}
	return out
}

func (d *dumper) extensions(dump *Dump) proto.Message {
	out := &adminv3.EcdsConfigDump{}
	for i := range dump.Extensions {
		if e := &dump.Extensions[i]; d.wants(e) {
			out.EcdsFilters = append(out.EcdsFilters, &adminv3.EcdsConfigDump_EcdsFilterConfig{
				VersionInfo: e.Version, EcdsFilter: d.pack(e.Message), LastUpdated: stamp(e.Updated), ErrorState: d.failed(e.Failed),
				ClientStatus: e.status(),
			})
		}
	}
	return out
}
