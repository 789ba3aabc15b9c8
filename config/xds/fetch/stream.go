package fetch

import (
	"context"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// A message is what the server sends, in either variant.
type message struct {
	url, version, nonce, control string
	resources                    []Resource
	removed                      []string
}

// A stream is one of the two variants of ADS.
type stream interface {
	send(node *corev3.Node, a *asked, names []string) error
	receive() (*message, error)
}

func open(ctx context.Context, cc *grpc.ClientConn, delta bool) (stream, error) {
	client := discoveryv3.NewAggregatedDiscoveryServiceClient(cc)
	if delta {
		st, err := client.DeltaAggregatedResources(ctx)
		return deltaStream{st}, err
	}
	st, err := client.StreamAggregatedResources(ctx)
	return sotwStream{st}, err
}

// A sotwStream is state of the world: each request has all names, each response all resources.
type sotwStream struct {
	grpc.BidiStreamingClient[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
}

func (s sotwStream) send(node *corev3.Node, a *asked, _ []string) error {
	names := slices.Clone(a.names)
	if a.all && len(names) > 0 {
		names = append([]string{"*"}, names...)
	}
	return s.Send(&discoveryv3.DiscoveryRequest{
		VersionInfo: a.version, Node: node, ResourceNames: names, TypeUrl: a.kind.url, ResponseNonce: a.nonce,
	})
}

func (s sotwStream) receive() (*message, error) {
	r, err := s.Recv()
	if err != nil {
		return nil, err
	}
	m := &message{url: r.GetTypeUrl(), version: r.GetVersionInfo(), nonce: r.GetNonce(), control: r.GetControlPlane().GetIdentifier()}
	for _, a := range r.GetResources() {
		var wrapper discoveryv3.Resource
		if a.MessageIs(&wrapper) && a.UnmarshalTo(&wrapper) == nil {
			if wrapper.GetResource() != nil {
				m.resources = append(m.resources, Resource{Name: wrapper.GetName(), Version: wrapper.GetVersion(), Message: wrapper.GetResource()})
			}
			continue
		}
		m.resources = append(m.resources, Resource{Name: nameOf(a), Message: a})
	}
	return m, nil
}

// A deltaStream has in each message what is new in it.
type deltaStream struct {
	grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
}

func (s deltaStream) send(node *corev3.Node, a *asked, names []string) error {
	subscribe := slices.Clone(names)
	for i, name := range subscribe {
		if name == "" {
			subscribe[i] = "*"
		}
	}
	if !a.began && a.all && len(subscribe) == 0 {
		subscribe = []string{"*"}
	}
	return s.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: node, TypeUrl: a.kind.url, ResourceNamesSubscribe: subscribe, ResponseNonce: a.nonce,
	})
}

func (s deltaStream) receive() (*message, error) {
	r, err := s.Recv()
	if err != nil {
		return nil, err
	}
	m := &message{
		url: r.GetTypeUrl(), version: r.GetSystemVersionInfo(), nonce: r.GetNonce(), control: r.GetControlPlane().GetIdentifier(),
		removed: r.GetRemovedResources(),
	}
	for _, one := range r.GetResources() {
		if one.GetResource() != nil {
			m.resources = append(m.resources, Resource{Name: one.GetName(), Version: one.GetVersion(), Message: one.GetResource()})
		}
	}
	return m, nil
}

// nameOf is the name that a resource has in itself; empty when it cannot be read.
func nameOf(a *anypb.Any) string {
	m, err := a.UnmarshalNew()
	if err != nil {
		return ""
	}
	fields := m.ProtoReflect().Descriptor().Fields()
	for _, name := range []protoreflect.Name{"cluster_name", "name"} {
		if fd := fields.ByName(name); fd != nil && fd.Kind() == protoreflect.StringKind && !fd.IsList() && (name == "name" || isAssignment(m)) {
			return m.ProtoReflect().Get(fd).String()
		}
	}
	return ""
}

// isAssignment reports whether a message is named by its cluster_name.
func isAssignment(m proto.Message) bool {
	return m.ProtoReflect().Descriptor().FullName() == "envoy.config.endpoint.v3.ClusterLoadAssignment"
}
