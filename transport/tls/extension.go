package tls

import (
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/transport/socket"
)

// name is the transport socket's, on both sides.
const name = "envoy.transport_sockets.tls"

// Downstream is the transport socket of filter chains.
func Downstream() socket.Factory {
	return socket.Factory{
		Name: name, Config: &tlsv3.DownstreamTlsContext{}, Support: Support,
		NewServer: func(env *socket.Env, cfg proto.Message) (socket.Server, error) {
			s, err := NewServer(env, cfg.(*tlsv3.DownstreamTlsContext))
			if s == nil {
				return nil, err
			}
			return s, nil
		},
	}
}
