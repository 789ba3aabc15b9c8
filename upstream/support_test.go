package upstream

import (
	"testing"

	"github.com/weftproxy/weft/resource"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
)

func TestSupportNamesEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}
