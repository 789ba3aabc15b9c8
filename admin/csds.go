package admin

import (
	"context"
	"errors"
	"io"
	"net/http"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// clientStatusPath is where the client status discovery service answers without gRPC.
const clientStatusPath = "/v3/discovery:client_status"

// clientStatusService is envoy.service.status.v3.ClientStatusDiscoveryService: the state of each resource as the control plane's client has it.
type clientStatusService struct{ server *Server }

// newGRPC returns the gRPC services of the interface. They run within HTTP handlers and have no goroutines of their own.
func newGRPC(s *Server) *grpc.Server {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxBody), grpc.MaxHeaderListSize(maxHeader))
	statusv3.RegisterClientStatusDiscoveryServiceServer(g, clientStatusService{s})
	return g
}

// FetchClientStatus answers once.
func (x clientStatusService) FetchClientStatus(_ context.Context, q *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	return x.server.clientStatusOf(q)
}

// StreamClientStatus answers each request until the client ends the stream, or the interface does.
func (x clientStatusService) StreamClientStatus(stream statusv3.ClientStatusDiscoveryService_StreamClientStatusServer) error {
	for {
		q, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := x.server.clientStatusOf(q)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// clientStatus answers with JSON.
func (s *Server) clientStatus(c *call) {
	if c.r.Method != http.MethodPost && c.r.Method != http.MethodGet {
		c.w.Header().Set("Allow", "GET, POST")
		c.text(http.StatusMethodNotAllowed, "want GET or POST\n")
		return
	}
	q := &statusv3.ClientStatusRequest{}
	if len(c.body) > 0 {
		if err := protojson.Unmarshal(c.body, q); err != nil {
			c.text(http.StatusBadRequest, "not a ClientStatusRequest: "+clean(err.Error())+"\n")
			return
		}
	}
	answer, err := s.clientStatusOf(q)
	if err != nil {
		code := http.StatusInternalServerError
		if rpc.Code(err) == codes.InvalidArgument {
			code = http.StatusBadRequest
		}
		c.text(code, clean(rpc.Convert(err).Message())+"\n")
		return
	}
	c.proto(answer, false)
}

// clientStatusOf is the state of all resources. Errors are of gRPC.
func (s *Server) clientStatusOf(q *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	if len(q.GetNodeMatchers()) > 0 {
		return nil, rpc.Error(codes.InvalidArgument, "node_matchers are not supported: there is one node")
	}
	var dump Dump
	if s.state.Dump != nil {
		dump = s.state.Dump()
	}
	l := &statusList{dumper: dumper{redactor: newRedactor()}, bare: q.GetExcludeResourceContents(), known: map[[2]string]*genericConfig{}}
	l.add(&clusterv3.Cluster{}, dump.Clusters)
	l.add(&endpointv3.ClusterLoadAssignment{}, dump.Assignments)
	l.add(&listenerv3.Listener{}, dump.Listeners)
	l.add(&routev3.ScopedRouteConfiguration{}, dump.ScopedRoutes)
	l.add(&routev3.RouteConfiguration{}, dump.Routes)
	l.add(&routev3.VirtualHost{}, dump.VirtualHosts)
	l.add(&tlsv3.Secret{}, dump.Secrets)
	l.add(&corev3.TypedExtensionConfig{}, dump.Extensions)
	l.add(&runtimev3.Runtime{}, dump.Runtimes)
	if l.err != nil {
		return nil, rpc.Error(codes.Internal, "cannot be shown: "+l.err.Error())
	}
	return &statusv3.ClientStatusResponse{Config: []*statusv3.ClientConfig{{Node: s.state.Info.Node, GenericXdsConfigs: l.all}}}, nil
}

type genericConfig = statusv3.ClientConfig_GenericXdsConfig

// A statusList collects the state of resources, one for each type and name.
type statusList struct {
	dumper
	bare  bool // without contents
	all   []*genericConfig
	known map[[2]string]*genericConfig
}

// add adds resources of one type. Of a resource with several entries the first that has a message is shown, with the worst state of them.
func (l *statusList) add(kind proto.Message, entries []DumpEntry) {
	url := "type.googleapis.com/" + string(kind.ProtoReflect().Descriptor().FullName())
	for i := range entries {
		e := &entries[i]
		key := [2]string{url, e.Name}
		g := l.known[key]
		if g == nil {
			g = &genericConfig{TypeUrl: url, Name: e.Name, IsStaticResource: !e.Dynamic, LastUpdated: stamp(e.Updated)}
			l.known[key] = g
			l.all = append(l.all, g)
		}
		g.ClientStatus = max(g.ClientStatus, e.status())
		if e.Failed != nil {
			g.ErrorState = l.failed(e.Failed)
			if l.bare {
				g.ErrorState.FailedConfiguration = nil
			}
		}
		if e.Message != nil && !e.Pending && g.GetXdsConfig() == nil && g.GetVersionInfo() == "" {
			g.VersionInfo, g.LastUpdated = e.Version, stamp(e.Updated)
			if !l.bare {
				g.XdsConfig = l.pack(e.Message)
			}
		}
	}
}
