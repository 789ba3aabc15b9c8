package xds

import (
	"fmt"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/resource"
)

// clusters returns n clusters as control planes send them.
func clusters(n int) []item {
	items := make([]item, n)
	for i := range items {
		name := fmt.Sprintf("outbound|80||service-%d.default.svc.cluster.local", i)
		items[i].name, items[i].version = name, "1"
		items[i].body = anyOf(&clusterv3.Cluster{
			Name: name, ConnectTimeout: durationpb.New(10 * time.Second), LbPolicy: clusterv3.Cluster_LEAST_REQUEST,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{ServiceName: name, EdsConfig: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
				ResourceApiVersion:    corev3.ApiVersion_V3,
			}},
		})
	}
	return items
}

// A first push of 1,000 clusters, and the same push again.
func BenchmarkTake(b *testing.B) {
	items, k, support := clusters(1000), kindOf(resource.Cluster), allFields()
	for _, name := range []string{"first", "unchanged"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := newRig(b, Options{Support: support})
			r.use(resource.Cluster, "*")
			r.client.sort()
			r.client.take(r.source, &response{typeURL: k.url, version: "1", items: items})
			for b.Loop() {
				if name == "first" {
					b.StopTimer()
					r = newRig(b, Options{Support: support})
					r.use(resource.Cluster, "*")
					r.client.sort()
					b.StartTimer()
				}
				r.client.take(r.source, &response{typeURL: k.url, version: "1", items: items})
			}
		})
	}
}
