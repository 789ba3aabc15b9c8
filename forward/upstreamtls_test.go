package forward

import (
	"log/slog"
	"testing"
	"testing/synctest"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/upstream"
)

// said is a transport socket whose handshakes establish what they are told to.
type said struct{ tls *conn.TLS }

func (s said) Handshake(c *conn.Conn, _ socket.Options) error {
	c.Info().TLS = s.tls
	return nil
}

func (said) Features() socket.Features { return socket.Features{} }

func TestTheRecordKnowsTheUpstreamsHandshake(t *testing.T) {
	want := &conn.TLS{Version: "TLSv1.3"}
	sockets, err := socket.NewRegistry(socket.Factory{Name: "said", Config: &wrapperspb.BoolValue{},
		NewClient: func(*socket.Env, proto.Message) (socket.Client, error) { return said{want}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(`{"name": "c", "type": "STATIC", "loadAssignment": {"clusterName": "c", "endpoints": [{"lbEndpoints": [
		{"endpoint": {"address": {"socketAddress": {"address": "10.0.0.1", "portValue": 80}}}}]}]},
		"transportSocket": {"name": "said", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.BoolValue", "value": true}}}`), cfg); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, ok)
		problems := resource.NewProblems("c")
		c := upstream.Compile(upstream.CompileEnv{Stats: f.store, Network: f.net, Log: slog.New(slog.DiscardHandler), Sockets: sockets,
			HTTP1: func(upstream.HTTP1Options) protocol.Client { return f.net }}, cfg, "", problems)
		if problems.HasErrors() {
			t.Fatal(problems.All())
		}
		t.Cleanup(c.Close)
		f.add(c)
		call := f.call(nil)
		if r := call.run(); r.Status != 200 || call.x.Record.UpstreamTLS != want {
			t.Errorf("status %d, TLS %v", r.Status, call.x.Record.UpstreamTLS)
		}
	})
}
