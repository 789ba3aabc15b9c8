package file

import (
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/regex_engines/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/resource"
)

// common is the support that needs no other package.
func common(t testing.TB) resource.Support {
	t.Helper()
	s, err := Support().Merge(resource.Values(), resource.Core(), resource.Matchers())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everything supports each field of each message that is linked into the test, to see what only decoding and the rules say.
func everything() resource.Support {
	s := resource.Support{}
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		fields := resource.Fields{}
		for i := range mt.Descriptor().Fields().Len() {
			fields[string(mt.Descriptor().Fields().Get(i).Name())] = resource.Yes()
		}
		s[mt.Descriptor().FullName()] = fields
		return true
	})
	return s
}

func TestSupportListsEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}
