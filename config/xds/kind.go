package xds

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

const urlPrefix = "type.googleapis.com/"

// A kind is a type of resource as the protocols see it.
type kind struct {
	name    string // resource.Listener, ...
	short   string // "lds", for statistics and people
	url     string // the type URL
	service string // the gRPC service of its own
	stream  string // that service's method for the state of the world; "": there is none
	delta   string // and for deltas
	path    string // of the REST service; "": there is none
	whole   bool   // a state of the world is all there is: what is left out is no more
	message func() proto.Message
}

// kinds are all of them, in the order in which Envoy asks for them: who refers to something comes before it, make before break.
var kinds = [...]kind{
	{name: resource.Cluster, short: "cds", url: urlPrefix + "envoy.config.cluster.v3.Cluster",
		service: "/envoy.service.cluster.v3.ClusterDiscoveryService/", stream: "StreamClusters", delta: "DeltaClusters",
		path: "/v3/discovery:clusters", whole: true, message: func() proto.Message { return new(clusterv3.Cluster) }},
	{name: resource.Endpoint, short: "eds", url: urlPrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment",
		service: "/envoy.service.endpoint.v3.EndpointDiscoveryService/", stream: "StreamEndpoints", delta: "DeltaEndpoints",
		path: "/v3/discovery:endpoints", message: func() proto.Message { return new(endpointv3.ClusterLoadAssignment) }},
	{name: resource.Listener, short: "lds", url: urlPrefix + "envoy.config.listener.v3.Listener",
		service: "/envoy.service.listener.v3.ListenerDiscoveryService/", stream: "StreamListeners", delta: "DeltaListeners",
		path: "/v3/discovery:listeners", whole: true, message: func() proto.Message { return new(listenerv3.Listener) }},
	{name: resource.Scope, short: "srds", url: urlPrefix + "envoy.config.route.v3.ScopedRouteConfiguration",
		service: "/envoy.service.route.v3.ScopedRoutesDiscoveryService/", stream: "StreamScopedRoutes", delta: "DeltaScopedRoutes",
		path: "/v3/discovery:scoped-routes", whole: true, message: func() proto.Message { return new(routev3.ScopedRouteConfiguration) }},
	{name: resource.Route, short: "rds", url: urlPrefix + "envoy.config.route.v3.RouteConfiguration",
		service: "/envoy.service.route.v3.RouteDiscoveryService/", stream: "StreamRoutes", delta: "DeltaRoutes",
		path: "/v3/discovery:routes", message: func() proto.Message { return new(routev3.RouteConfiguration) }},
	{name: resource.VHost, short: "vhds", url: urlPrefix + "envoy.config.route.v3.VirtualHost",
		service: "/envoy.service.route.v3.VirtualHostDiscoveryService/", delta: "DeltaVirtualHosts",
		message: func() proto.Message { return new(routev3.VirtualHost) }},
	{name: resource.Secret, short: "sds", url: urlPrefix + "envoy.extensions.transport_sockets.tls.v3.Secret",
		service: "/envoy.service.secret.v3.SecretDiscoveryService/", stream: "StreamSecrets", delta: "DeltaSecrets",
		path: "/v3/discovery:secrets", message: func() proto.Message { return new(tlsv3.Secret) }},
	{name: resource.Filter, short: "ecds", url: urlPrefix + "envoy.config.core.v3.TypedExtensionConfig",
		service: "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/",
		stream:  "StreamExtensionConfigs", delta: "DeltaExtensionConfigs",
		path: "/v3/discovery:extension_configs", message: func() proto.Message { return new(corev3.TypedExtensionConfig) }},
	{name: resource.Runtime, short: "rtds", url: urlPrefix + "envoy.service.runtime.v3.Runtime",
		service: "/envoy.service.runtime.v3.RuntimeDiscoveryService/", stream: "StreamRuntime", delta: "DeltaRuntime",
		path: "/v3/discovery:runtime", message: func() proto.Message { return new(runtimev3.Runtime) }},
}

// kindOf returns the kind of a resource type, nil if it cannot be discovered.
func kindOf(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

// kindOfURL returns the kind of a type URL, nil if there is none.
func kindOfURL(url string) *kind {
	for i := range kinds {
		if kinds[i].url == url {
			return &kinds[i]
		}
	}
	return nil
}

// unnamed reports whether a source cannot be asked for what a key's name stands for by a name: the virtual hosts "<route configuration>/*"
// are picked from all there are, as in Envoy.
func (k *kind) unnamed(name string) bool {
	return k.name == resource.VHost && subscription.IsCollection(resource.Key{Name: name}) && !strings.HasPrefix(name, "xdstp:")
}

// anyUnnamed reports whether one of the names is such.
func (k *kind) anyUnnamed(names map[string]bool) bool {
	if k.name != resource.VHost {
		return false
	}
	for name := range names {
		if k.unnamed(name) {
			return true
		}
	}
	return false
}

// wire is the name by which a source is asked for what a key's name stands for.
func (k *kind) wire(name string) string {
	if k.unnamed(name) {
		return subscription.All
	}
	return name
}

// nameIn finds the name in a serialized resource, which is field 1 of all kinds, without decoding the rest; "" if there is none. It works
// for a message that is broken further on, too.
func nameIn(b []byte) string {
	name := ""
	for len(b) > 0 {
		field, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return name
		}
		b = b[n:]
		if field == 1 && wire == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return name
			}
			return string(v) // messages of several parts name themselves once
		}
		if n = protowire.ConsumeFieldValue(field, wire, b); n < 0 {
			return name
		}
		b = b[n:]
	}
	return name
}
