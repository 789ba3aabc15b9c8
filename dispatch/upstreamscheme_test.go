package dispatch

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

func TestMatchUpstreamIsLeftToTheRouter(t *testing.T) {
	for _, match := range []bool{true, false} {
		env := &extension.Env{Problems: resource.NewProblems("")}
		cfg := compileConfig(env, &hcmv3.HttpConnectionManager{
			SchemeHeaderTransformation: &corev3.SchemeHeaderTransformation{MatchUpstream: match}}, "hcm")
		if env.Problems.HasErrors() {
			t.Fatal(env.Problems.All())
		}
		x := &exchange.Exchange{}
		x.Begin(&message.Request{Method: "GET", Path: "/", Authority: "a.example", Body: message.NoBody}, &conn.Info{Network: "tcp"}, nil)
		(&Dispatcher{cfg: cfg}).sanitize(x, nil)
		if x.UpstreamScheme != match || x.Request.Scheme != "http" {
			t.Errorf("match_upstream %v: %v, scheme %s", match, x.UpstreamScheme, x.Request.Scheme)
		}
		if x.Reset(); x.UpstreamScheme {
			t.Error("it outlives the exchange")
		}
	}
}
