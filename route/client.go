package route

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
)

// A wanted is a condition on something that is or is not.
type wanted uint8

const (
	either wanted = iota
	yes
	no
)

func wantedFrom(v *wrapperspb.BoolValue) wanted {
	switch {
	case v == nil:
		return either
	case v.GetValue():
		return yes
	}
	return no
}

func (w wanted) accepts(is bool) bool { return w == either || is == (w == yes) }

// A client is what a route asks of the client's certificate (RouteMatch.tls_context). The zero client asks for nothing.
type client struct{ presented, validated wanted }

func clientFrom(cfg *routev3.RouteMatch_TlsContextMatchOptions) client {
	return client{wantedFrom(cfg.GetPresented()), wantedFrom(cfg.GetValidated())}
}

// failed describes what does not hold of a connection; "" when all does. Without TLS a certificate is neither presented nor validated.
func (c client) failed(t *conn.TLS) string {
	presented := t != nil && t.Peer != nil
	validated := presented && t.Verified
	switch {
	case !c.presented.accepts(presented) && presented:
		return "tls_context: the client has presented a certificate"
	case !c.presented.accepts(presented):
		return "tls_context: the client has presented no certificate"
	case !c.validated.accepts(validated) && validated:
		return "tls_context: the client's certificate is validated"
	case !c.validated.accepts(validated):
		return "tls_context: the client's certificate is not validated"
	}
	return ""
}
