package admin

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/observe/stats"
)

func csdsState() State {
	return State{Stats: stats.NewStore(stats.Options{}), Info: Info{Node: &corev3.Node{Id: "node-1"}}, Dump: func() Dump {
		d := watchedDump()
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		d.Clusters = []DumpEntry{
			{Name: "static", Message: &clusterv3.Cluster{Name: "static"}, Updated: at},
			{Name: "cds", Message: &clusterv3.Cluster{Name: "cds", AltStatName: "next"}, Updated: at, Dynamic: true, Version: "c2", Phase: Warming},
		}
		d.Listeners = []DumpEntry{
			{Name: "lds", Message: &listenerv3.Listener{Name: "lds"}, Updated: at, Dynamic: true, Version: "l1"},
			{Name: "lds", Dynamic: true, Failed: &FailedUpdate{At: at, Details: "bad", Version: "l2", Message: &listenerv3.Listener{Name: "lds", StatPrefix: "x"}}},
			{Name: "lds", Message: &listenerv3.Listener{Name: "lds", StatPrefix: "old"}, Updated: at, Dynamic: true, Version: "l0", Phase: Draining},
		}
		return d
	}}
}

func TestClientStatusAsJSON(t *testing.T) {
	_, body := post(t, csdsState(), clientStatusPath)
	golden(t, "client_status", body)
	if strings.Contains(body, "s3cret") {
		t.Error("a secret is shown")
	}
	for _, tc := range []struct {
		method, body string
		code         int
		with, not    string
	}{
		{"GET", "", 200, "node-1", ""},
		{"POST", `{"exclude_resource_contents": true}`, 200, `"client_status": "NACKED"`, "@type"},
		{"POST", `{"node_matchers": [{}]}`, 400, "node_matchers", "generic"},
		{"POST", `{"nonsense": 1}`, 400, "not a ClientStatusRequest", ""},
		{"DELETE", "", 405, "", "node-1"},
	} {
		code, body := readAll(t, do(t, csdsState(), tc.method, clientStatusPath, tc.body, "Content-Type", "application/json"))
		if code != tc.code || !strings.Contains(body, tc.with) || tc.not != "" && strings.Contains(body, tc.not) {
			t.Errorf("%s %s: %d %s", tc.method, tc.body, code, body)
		}
	}
}

// dial connects a gRPC client until the test ends.
func dial(t *testing.T, address string) statusv3.ClientStatusDiscoveryServiceClient {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return statusv3.NewClientStatusDiscoveryServiceClient(c)
}

func TestClientStatusByGRPC(t *testing.T) {
	s := csdsState()
	address, stop := start(t, s)
	defer stop()
	client := dial(t, address)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	answer, err := client.FetchClientStatus(ctx, &statusv3.ClientStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.GetConfig()) != 1 || answer.GetConfig()[0].GetNode().GetId() != "node-1" || len(answer.GetConfig()[0].GetGenericXdsConfigs()) != 14 {
		t.Errorf("answer: %v", answer)
	}
	if _, err := client.FetchClientStatus(ctx, &statusv3.ClientStatusRequest{NodeMatchers: nodeMatchers()}); rpc.Code(err) != codes.InvalidArgument {
		t.Errorf("with node_matchers: %v", err)
	}
	stream, err := client.StreamClientStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.Send(&statusv3.ClientStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		again, err := stream.Recv()
		if err != nil || !proto.Equal(again, answer) {
			t.Fatalf("%v %v", again, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err == nil || rpc.Code(err) == codes.Internal {
		t.Errorf("the stream does not end: %v", err)
	}
}

func TestAnOpenStreamDoesNotKeepTheInterface(t *testing.T) {
	address, stop := start(t, csdsState())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := dial(t, address).StreamClientStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&statusv3.ClientStatusRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	stop() // fails the test if Serve does not end
	if _, err := stream.Recv(); err == nil {
		t.Error("the stream goes on")
	}
}

func TestGRPCKeepsToTheAllowedPaths(t *testing.T) {
	s := csdsState()
	s.Allow = func(path string) bool { return path == "/ready" }
	address, stop := start(t, s)
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := dial(t, address).FetchClientStatus(ctx, &statusv3.ClientStatusRequest{}); rpc.Code(err) != codes.PermissionDenied {
		t.Errorf("error %v", err)
	}
	if code, _ := get(t, s, clientStatusPath); code != http.StatusForbidden {
		t.Errorf("status %d", code)
	}
}

func nodeMatchers() []*matcherv3.NodeMatcher { return []*matcherv3.NodeMatcher{{}} }
