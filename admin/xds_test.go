package admin

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func someStreams() []Stream {
	at := time.Now()
	return []Stream{
		{
			Source: "cluster rds", Transport: "grpc", API: "DELTA_GRPC", LastError: "connection refused\n", LastErrorAt: at.Add(-time.Second),
			BackOff: 1500 * time.Millisecond, Since: at.Add(-time.Second),
			Types: []StreamType{{URL: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", Names: 2}},
		},
		{
			Source: "ads", Transport: "grpc", API: "AGGREGATED_GRPC", Method: "/envoy.service.discovery.v3.AggregatedDiscoveryService/Stream",
			Connected: true, Since: at.Add(-time.Minute), Streams: 3, ControlPlane: "istiod-1",
			Types: []StreamType{
				{
					URL: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Wildcard: true, Names: 1, Version: "v7", Nonce: "n7",
					LastRequest: at.Add(-time.Second), LastResponse: at.Add(-2 * time.Second), Lag: 12 * time.Millisecond,
				},
				{
					URL: "type.googleapis.com/envoy.config.listener.v3.Listener", Wildcard: true, Names: 3, Version: "v6", Nonce: "n8", Pending: true,
					LastRequest: at.Add(-time.Minute), LastResponse: at.Add(-250 * time.Millisecond), LastNACK: "listener \"a\": no such field",
				},
			},
		},
		{Source: "/etc/weft/lds.yaml", Transport: "file", API: "path"},
	}
}

func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := State{Streams: someStreams}
		_, text := get(t, s, "/xds")
		golden(t, "xds", text)
		_, detail := get(t, s, "/xds?format=json")
		golden(t, "xds_json", detail)
	})
}

func TestNoStreams(t *testing.T) {
	if code, body := get(t, State{Streams: func() []Stream { return nil }}, "/xds"); code != http.StatusOK || body != "there are no streams\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := get(t, State{}, "/xds"); code != http.StatusNotImplemented {
		t.Errorf("without a control plane: %d", code)
	}
}
