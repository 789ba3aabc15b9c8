package upstream

import (
	"fmt"
	"runtime"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport/memory"
)

// ten is an assignment of ten endpoints in two zones, as one that has come over the network: nothing in it is shared.
func ten(t testing.TB, name string, first int, weight uint32) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	m := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for z := range 2 {
		group := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: "eu", Zone: fmt.Sprintf("eu-%d", z)}}
		for i := range 5 {
			n := first + 5*z + i
			socket := &corev3.SocketAddress{
				Address: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 8080},
			}
			group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: socket}},
				}},
				LoadBalancingWeight: wrapperspb.UInt32(weight),
			})
		}
		m.Endpoints = append(m.Endpoints, group)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func resourceOf(t testing.TB, name string, m proto.Message) *resource.Resource {
	t.Helper()
	r, err := resource.New(resource.Key{Type: resource.Endpoint, Name: name}, m, "xds", "")
	if err != nil {
		t.Fatal(err)
	}
	r.Version = "1"
	return r
}

func edsMessage(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
	}
}

// startEDS starts clusters with ten endpoints each, as CDS and EDS bring them.
func startEDS(t testing.TB, n int) (*subscription.Hub, []*Cluster) {
	t.Helper()
	hub := subscription.New(subscription.Options{})
	env := CompileEnv{Stats: stats.NewStore(stats.Options{}), Network: memory.New(), Hub: hub}
	all := make([]*Cluster, n)
	for i := range all {
		name := fmt.Sprintf("outbound|8080||service-%d.default.svc.cluster.local", i)
		p := resource.NewProblems("")
		all[i] = Compile(env, edsMessage(name), "", p)
		if p.HasErrors() {
			t.Fatal(p.All())
		}
		all[i].Start(t.Context())
		if problems, _ := hub.Deliver(subscription.NewSource(ads()), resourceOf(t, name, ten(t, name, 10*i, 1))); len(problems) > 0 {
			t.Fatal(problems)
		}
		if all[i].Hosts().Len() != 10 {
			t.Fatalf("%d hosts", all[i].Hosts().Len())
		}
	}
	hub.Changes()
	return hub, all
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestEDSClustersAreSmall bounds what a cluster with ten endpoints costs, the resources themselves included.
func TestEDSClustersAreSmall(t *testing.T) {
	const n, most = 1000, 20 << 10
	before := heap()
	hub, all := startEDS(t, n)
	each := (heap() - before) / n
	t.Logf("%d bytes a cluster", each)
	if each > most {
		t.Errorf("a cluster of ten endpoints costs %d bytes, at most %d are good", each, most)
	}
	for _, c := range all {
		c.Close()
	}
	if left := len(hub.All("")); left != 0 {
		t.Errorf("%d assignments are still wanted", left)
	}
}

// BenchmarkEDSUpdate changes one of ten endpoints.
func BenchmarkEDSUpdate(b *testing.B) {
	hub, all := startEDS(b, 1)
	defer all[0].Close()
	name := all[0].Name
	versions := [2]*resource.Resource{}
	for i := range versions {
		m := ten(b, name, 0, 1)
		m.Endpoints[0].LbEndpoints[0].GetEndpoint().GetAddress().GetSocketAddress().Address = fmt.Sprintf("10.9.9.%d", i)
		versions[i] = resourceOf(b, name, m)
	}
	source := subscription.NewSource(ads())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		hub.Deliver(source, versions[i&1])
	}
}

// BenchmarkEDSClusters starts 10,000 clusters with 100,000 endpoints.
func BenchmarkEDSClusters(b *testing.B) {
	const n = 10_000
	for b.Loop() {
		before := heap()
		hub, all := startEDS(b, n)
		b.ReportMetric(float64(heap()-before)/n, "B/cluster")
		runtime.KeepAlive(hub)
		for _, c := range all {
			c.Close()
		}
	}
}

func FuzzAssignment(f *testing.F) {
	for _, yaml := range []string{
		"", "endpoints:\n" + spot("", "10.0.0.1", "10.0.0.2 load_balancing_weight: 3"), "endpoints:\n" + spot("priority: 3", "10.0.0.1 health_status: DEGRADED"),
		"endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /a}}}}]}]",
		"policy: {overprovisioning_factor: 1, endpoint_stale_after: 1s, drop_overloads: [{category: a, drop_percentage: {numerator: 7, denominator: MILLION}}]}",
		"endpoints:\n" + spot("locality: {zone: a}", "10.0.0.1 metadata: {filter_metadata: {envoy.lb: {canary: true}}}", "nonsense"),
	} {
		b, err := proto.Marshal(assignmentOf(f, yaml))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &endpointv3.ClusterLoadAssignment{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		w := newPlane(t)
		c := w.start(edsOf("common_lb_config: {locality_weighted_lb_config: {}}"))
		w.set("", spot("", "10.0.0.1"))
		before := hosts(c)
		r, err := resource.New(resource.Key{Type: resource.Endpoint, Name: "web"}, m, "fuzz", "")
		if err != nil {
			return
		}
		p, _ := w.hub.Deliver(subscription.NewSource(ads()), r)
		for _, problem := range p {
			if problem.Severity == resource.Error && hosts(c) != before {
				t.Fatalf("a rejected assignment has changed the hosts to %q", hosts(c))
			}
		}
		seen := map[string]bool{}
		for _, h := range c.Hosts().All() {
			if seen[h.Address()] {
				t.Fatalf("%s is there twice", h.Address())
			}
			seen[h.Address()] = true
		}
		if h, err := c.Pick(nil); err == nil && !seen[h.Address()] {
			t.Fatalf("picked %s, which is not there", h.Address())
		}
	})
}
