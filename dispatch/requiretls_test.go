package dispatch

import (
	"net/netip"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
)

// TestPlainRequestsAreSentToHTTPS goes from the connection to the route: a client cannot claim TLS that it does not use.
func TestPlainRequestsAreSentToHTTPS(t *testing.T) {
	edge := Config{UseRemoteAddress: true, internal: private}
	const outside, inside = "203.0.113.7:1", "10.0.0.9:1"
	for _, c := range []struct {
		name, require, remote string
		tls                   *conn.TLS
		claims                string // x-forwarded-proto
		location              string // "" when the request is served
	}{
		{"nothing asked for", "NONE", outside, nil, "", ""},
		{"ALL, plain", "ALL", outside, nil, "", "https://a.example:8080/x?y=z"},
		{"ALL, plain from inside", "ALL", inside, nil, "", "https://a.example:8080/x?y=z"},
		{"ALL, plain with a lie", "ALL", outside, nil, "https", "https://a.example:8080/x?y=z"},
		{"ALL, TLS", "ALL", outside, &conn.TLS{}, "", ""},
		{"ALL, TLS with a lie", "ALL", outside, &conn.TLS{}, "http", ""},
		{"EXTERNAL_ONLY, plain", "EXTERNAL_ONLY", outside, nil, "", "https://a.example:8080/x?y=z"},
		{"EXTERNAL_ONLY, TLS", "EXTERNAL_ONLY", outside, &conn.TLS{}, "", ""},
		{"EXTERNAL_ONLY, plain from inside", "EXTERNAL_ONLY", inside, nil, "", ""},
	} {
		var cfg routev3.RouteConfiguration
		if err := protojson.Unmarshal([]byte(`{"virtualHosts": [{"name": "h", "domains": ["*"], "requireTls": "`+c.require+`",
			"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]}`), &cfg); err != nil {
			t.Fatal(err)
		}
		routes := newRouting(route.Compile(route.Env{}, &cfg, "", resource.NewProblems("")), "")
		e := &Explainer{cfg: &edge, b: &binding{d: &Dispatcher{}, now: &state{routes: routes}}}
		r := &message.Request{Method: "GET", Path: "/x?y=z", Authority: "a.example:8080", Scheme: "http", Body: message.NoBody}
		if c.claims != "" {
			r.Header.Add("x-forwarded-proto", c.claims)
		}
		x := e.Explain(r, &conn.Info{Network: "tcp", Remote: netip.MustParseAddrPort(c.remote), TLS: c.tls}, 0)
		got := ""
		if x.Route.Redirect != nil {
			got = string(x.Route.AppendLocation(nil, r))
		}
		if got != c.location || got == "" && x.Cluster != "c" {
			t.Errorf("%s: %q, want %q (%s)", c.name, got, c.location, x.Reason)
		}
	}
}
