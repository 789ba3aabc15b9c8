package admin

import (
	"cmp"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// uninitialized is what Envoy shows as the version of a secret that has not come.
const uninitialized = "uninitialized"

// AddWatched adds what is known of single resources that sources are asked for (subscription.Hub.All): routes, endpoints, secrets, extension
// configurations and runtime layers, in the order of their names. Collections and other types are passed over: see AddMembers.
func (d *Dump) AddWatched(all []subscription.Status) {
	for _, st := range byName(all) {
		e := EntryOf(st)
		if subscription.IsCollection(st.Key) {
			continue
		}
		switch st.Key.Type {
		case resource.Route:
			d.Routes = append(d.Routes, e)
		case resource.Endpoint:
			d.Assignments = append(d.Assignments, e)
		case resource.Secret:
			if e.Pending {
				e.Phase, e.Version = Warming, uninitialized
			}
			d.Secrets = append(d.Secrets, e)
		case resource.Filter:
			d.Extensions = append(d.Extensions, e)
		case resource.Runtime:
			d.Runtimes = append(d.Runtimes, e)
		}
	}
}

// AddMembers adds the members of a collection (subscription.Hub.Members): scoped routes, of which set is the name of the ScopedRoutes that
// uses them, or virtual hosts, of which it is the name of the route configuration. Other types are passed over.
func (d *Dump) AddMembers(set string, members []subscription.Status) {
	for _, st := range byName(members) {
		e := EntryOf(st)
		switch st.Key.Type {
		case resource.Scope:
			e.Set = set
			d.ScopedRoutes = append(d.ScopedRoutes, e)
		case resource.VHost:
			e.Set = set
			d.VirtualHosts = append(d.VirtualHosts, e)
		}
	}
}

// EntryOf is the entry of a resource that a source is asked for.
func EntryOf(st subscription.Status) DumpEntry {
	e := DumpEntry{Name: st.Key.Name, Dynamic: true, Updated: st.Updated, Absent: st.Absent, Failed: FailedOf(st.Rejected)}
	if st.Current != nil {
		e.Message, e.Version = st.Current.Message, st.Current.Version
	} else {
		e.Message, e.Pending = named(st.Key), true
	}
	return e
}

// named is a message that only has a name, nil for types that have none to show.
func named(k resource.Key) proto.Message {
	switch k.Type {
	case resource.Cluster:
		return &clusterv3.Cluster{Name: k.Name}
	case resource.Route:
		return &routev3.RouteConfiguration{Name: k.Name}
	case resource.Endpoint:
		return &endpointv3.ClusterLoadAssignment{ClusterName: k.Name}
	case resource.Secret:
		return &tlsv3.Secret{Name: k.Name}
	case resource.Filter:
		return &corev3.TypedExtensionConfig{Name: k.Name}
	default:
		return nil
	}
}

// FailedOf is a version that was not accepted, nil for nil.
func FailedOf(r *subscription.Rejected) *FailedUpdate {
	if r == nil {
		return nil
	}
	f := &FailedUpdate{At: r.At, Details: Details(r.Problems)}
	if r.Resource != nil {
		f.Message, f.Version = r.Resource.Message, r.Resource.Version
	}
	return f
}

// Details is why something was not accepted: the errors among the problems, or all if none is one, separated by "; ".
func Details(problems []resource.Problem) string {
	const most = 20
	var lines []string
	for _, p := range problems {
		if p.Severity == resource.Error {
			lines = append(lines, p.String())
		}
	}
	if len(lines) == 0 {
		for _, p := range problems {
			lines = append(lines, p.String())
		}
	}
	if len(lines) > most {
		lines = append(lines[:most:most], "...")
	}
	return strings.Join(lines, "; ")
}

// byName sorts by type, name and source: All and Members have no order.
func byName(all []subscription.Status) []subscription.Status {
	out := slices.Clone(all)
	slices.SortFunc(out, func(a, b subscription.Status) int {
		return cmp.Or(cmp.Compare(a.Key.Type, b.Key.Type), cmp.Compare(a.Key.Name, b.Key.Name), cmp.Compare(a.Source.ID, b.Source.ID))
	})
	return out
}
