package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/server"
)

// An echoPlane is a control plane that has a route configuration of the name of whoever asks, in the cluster and zone that it says.
type echoPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
}

func (echoPlane) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	r, err := s.Recv()
	if err != nil {
		return err
	}
	n := r.GetNode()
	name := n.GetId() + "/" + n.GetCluster() + "/" + n.GetLocality().GetZone() + "/" + n.GetMetadata().GetFields()["k"].GetStringValue()
	body, err := anypb.New(&routev3.RouteConfiguration{Name: name})
	if err != nil {
		return err
	}
	if err := s.Send(&discoveryv3.DiscoveryResponse{TypeUrl: r.GetTypeUrl(), VersionInfo: "9", Resources: []*anypb.Any{body}}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func TestFetchCommand(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, echoPlane{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln) // until Stop
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	at := ln.Addr().String()
	bootstrap := filepath.Join(t.TempDir(), "weft.yaml")
	const config = `node: {id: from-file, cluster: c}
dynamic_resources: {ads_config: {api_type: GRPC, grpc_services: [{google_grpc: {target_uri: "AT", stat_prefix: x}}]}}`
	if err := os.WriteFile(bootstrap, []byte(strings.Replace(config, "AT", at, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args      []string
		out, fail string
	}{
		"yaml":        {args: []string{"--server", at, "--type", "routes"}, out: "name: weft///\n"},
		"node":        {args: []string{"--server", at, "--type", "rds", "--node-id", "i", "--node-cluster", "c", "--node-zone", "z", "--node-metadata", "k=v"}, out: "name: i/c/z/v\n"},
		"json":        {args: []string{"--server", at, "--type", "routes", "--output", "json"}, out: `"name": "weft///"`},
		"bootstrap":   {args: []string{"-c", bootstrap, "--type", "routes"}, out: "name: from-file/c//\n"},
		"other node":  {args: []string{"-c", bootstrap, "--type", "routes", "--node-id", "me"}, out: "name: me/c//\n"},
		"missing":     {args: []string{"--server", at, "--type", "routes", "--names", "other"}, out: "version: \"9\"\n", fail: "has not sent everything: routes: not sent: other"},
		"no server":   {fail: "which control plane? Name it with --server, or a bootstrap with -c"},
		"no format":   {args: []string{"--server", at, "--output", "xml"}, fail: `--output "xml": want yaml or json`},
		"no delta":    {args: []string{"--server", at, "--delta"}, fail: "speaks gRPC, but not delta ADS"},
		"half a pair": {args: []string{"--server", at, "--cert", "x"}, fail: "--cert and --key belong together"},
		"no CA":       {args: []string{"--server", at, "--ca", "/none"}, fail: "--ca: open /none"},
		"no metadata": {args: []string{"--server", at, "--node-metadata", "x"}, fail: `--node-metadata "x": want NAME=VALUE`},
		"no file":     {args: []string{"-c", "/none"}, fail: "cannot open the file"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			root := newRoot(server.Options{Stdout: &out, Stderr: &out})
			root.SetArgs(append([]string{"xds", "fetch"}, test.args...))
			err := root.ExecuteContext(t.Context())
			switch {
			case test.fail == "" && err != nil:
				t.Error(err)
			case test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail)):
				t.Errorf("%v, want %q", err, test.fail)
			}
			if !strings.Contains(out.String(), test.out) {
				t.Errorf("printed\n%s\nwithout %q", out.String(), test.out)
			}
		})
	}
}
