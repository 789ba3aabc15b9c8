package starttls

import (
	"strings"
	"testing"

	starttlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/starttls/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
)

func TestItIsRefusedAndSaysWhy(t *testing.T) {
	if _, err := socket.NewRegistry(Upstream(), Downstream()); err != nil {
		t.Fatal(err)
	}
	if _, err := Upstream().NewClient(nil, nil); err == nil || !strings.Contains(err.Error(), "use tls, or raw_buffer") {
		t.Error(err)
	}
	if _, err := Downstream().NewServer(nil, nil); err == nil || !strings.Contains(err.Error(), "use tls, or raw_buffer") {
		t.Error(err)
	}
	s, err := support().Merge(resource.Core(), resource.Values())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []proto.Message{
		&starttlsv3.UpstreamStartTlsConfig{TlsSocketConfig: &tlsv3.UpstreamTlsContext{}},
		&starttlsv3.StartTlsConfig{TlsSocketConfig: &tlsv3.DownstreamTlsContext{}},
	} {
		p := resource.NewProblems("")
		resource.Check(m, "at", s, protoregistry.GlobalTypes, p)
		if all := p.All(); len(all) != 1 || !strings.Contains(all[0].String(), "at.tls_socket_config") || !strings.Contains(all[0].String(), why) {
			t.Error(all)
		}
	}
}

func TestSupportNamesEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(support()) {
		t.Error(wrong)
	}
}
