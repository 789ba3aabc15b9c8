package xds

import (
	"fmt"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// manyHosts is a route configuration with n virtual hosts.
func manyHosts(n int) *routev3.RouteConfiguration {
	m := &routev3.RouteConfiguration{Name: "r"}
	for i := range n {
		m.VirtualHosts = append(m.VirtualHosts, &routev3.VirtualHost{
			Name: fmt.Sprint("h", i), Domains: []string{fmt.Sprintf("h%d.example", i)},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
					PathRewriteSpecifier: &routev3.RedirectAction_PathRedirect{PathRedirect: "/x"},
				}},
			}},
		})
	}
	return m
}

// What has not changed of a large route configuration is the message that is in force; what has is checked, and named by its place.
func TestOnlyAChangedVirtualHostIsDecoded(t *testing.T) {
	for _, n := range []int{fewParts - 1, fewParts, 40} {
		r := newRig(t, Options{})
		var got *routev3.RouteConfiguration
		var hash uint64
		w := r.hub.Watch(adsSource(), resource.Key{Type: resource.Route, Name: "r"}, "", resource.NewProblems(""), subscription.User{
			Prepare: func(v *resource.Resource, _ *resource.Problems) func() {
				return func() { got, hash = v.Message.(*routev3.RouteConfiguration), v.Hash }
			},
		})
		w.Hold()
		defer w.Release()
		r.client.sort()
		send := func(m *routev3.RouteConfiguration) []resource.Rejection {
			return r.client.take(r.source, &response{
				typeURL: kindOf(resource.Route).url, delta: true, version: "1", items: []item{{name: "r", version: "1", body: anyOf(m)}},
			})
		}
		m := manyHosts(n)
		if bad := send(m); len(bad) > 0 || !proto.Equal(got, m) {
			t.Fatalf("%d: %v\n%v", n, bad, got)
		}
		before, was := got, hash

		m.VirtualHosts[3].Domains = []string{"other.example"}
		if bad := send(m); len(bad) > 0 || !proto.Equal(got, m) || hash == was {
			t.Fatalf("%d: %v\n%v", n, bad, got)
		}
		for i := range got.VirtualHosts {
			if shared := got.VirtualHosts[i] == before.VirtualHosts[i]; shared != (n >= fewParts && i != 3) {
				t.Errorf("%d: host %d is the same message: %v", n, i, shared)
			}
		}

		m.VirtualHosts[5].Domains = nil // at least one is a rule of the API
		bad := send(m)
		if len(bad) != 1 || !strings.Contains(fmt.Sprint(bad[0].Problems), "virtual_hosts[5].domains") {
			t.Errorf("%d: %v", n, bad)
		}
		m.VirtualHosts[5].Domains = []string{"h5.example"}
		m.VirtualHosts[3].Domains = []string{"h3.example"}
		if bad := send(m); len(bad) > 0 || hash != was || !proto.Equal(got, m) {
			t.Errorf("%d: the first version again: %v, hash %x, want %x", n, bad, hash, was)
		}
	}
}

func TestABrokenRouteConfigurationIsNotSplit(t *testing.T) {
	whole, err := proto.Marshal(manyHosts(40))
	if err != nil {
		t.Fatal(err)
	}
	if rest, hosts := splitHosts(whole); len(hosts) != 40 || nameIn(rest) != "r" {
		t.Errorf("%d hosts, rest %q", len(hosts), rest)
	}
	if rest, hosts := splitHosts(whole[:len(whole)-1]); rest != nil || hosts != nil {
		t.Errorf("%d hosts, rest %q", len(hosts), rest)
	}
}
