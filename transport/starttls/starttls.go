package starttls

import (
	"errors"

	starttlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/starttls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
)

const (
	name = "envoy.transport_sockets.starttls"
	why  = "no network filter here asks for the switch to TLS: use tls, or raw_buffer"
)

// errNever is why the socket is refused.
var errNever = errors.New("starttls is not supported: " + why)

// Upstream refuses the transport socket of clusters.
func Upstream() socket.Factory {
	return socket.Factory{
		Name: name, Config: &starttlsv3.UpstreamStartTlsConfig{}, Support: support,
		NewClient: func(*socket.Env, proto.Message) (socket.Client, error) { return nil, errNever },
	}
}

// Downstream refuses the transport socket of filter chains.
func Downstream() socket.Factory {
	return socket.Factory{
		Name: name, Config: &starttlsv3.StartTlsConfig{}, Support: support,
		NewServer: func(*socket.Env, proto.Message) (socket.Server, error) { return nil, errNever },
	}
}

func support() resource.Support {
	const pkg = "envoy.extensions.transport_sockets.starttls.v3."
	return resource.Support{
		pkg + "UpstreamStartTlsConfig": resource.Fields{}.No("cleartext_socket_config tls_socket_config", why),
		pkg + "StartTlsConfig":         resource.Fields{}.No("cleartext_socket_config tls_socket_config", why),
	}
}
