package forward

import (
	"log/slog"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// newCluster compiles a static cluster whose connections go to the fixture's network.
func newCluster(f *fixture, name string, l limits, hosts ...string) *upstream.Cluster {
	f.t.Helper()
	endpoints := ""
	for i, h := range hosts {
		at := strings.LastIndexByte(h, ':')
		if i > 0 {
			endpoints += ","
		}
		endpoints += `{"endpoint":{"address":{"socketAddress":{"address":"` + h[:at] + `","portValue":` + h[at+1:] + `}}}}`
	}
	thresholds := ""
	for _, t := range []struct {
		field string
		value int
	}{{"maxRequests", l.requests}, {"maxPendingRequests", l.pending}, {"maxConnections", l.connections}, {"maxRetries", l.retries}} {
		if t.value != 0 {
			thresholds += `,"` + t.field + `":` + strconv.Itoa(max(t.value, 0))
		}
	}
	text := `{"name":"` + name + `","type":"STATIC","loadAssignment":{"clusterName":"` + name + `","endpoints":[{"lbEndpoints":[` + endpoints + `]}]},` +
		`"circuitBreakers":{"thresholds":[{"priority":"DEFAULT"` + thresholds + `}]}}`
	cfg := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(text), cfg); err != nil {
		f.t.Fatalf("%s: %v", text, err)
	}
	problems := resource.NewProblems(name)
	env := upstream.CompileEnv{Stats: f.store, Network: f.net, Log: slog.New(slog.DiscardHandler),
		HTTP1: func(upstream.HTTP1Options) protocol.Client { return f.net }}
	c := upstream.Compile(env, cfg, "", problems)
	if problems.HasErrors() {
		f.t.Fatal(problems.All())
	}
	f.t.Cleanup(c.Close)
	return c
}
