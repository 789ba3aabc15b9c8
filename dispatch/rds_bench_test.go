package dispatch

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
)

// BenchmarkOneRouteOfMany puts one changed route among 10,000 into force, for connection managers that share the table.
func BenchmarkOneRouteOfMany(b *testing.B) {
	for _, c := range []struct {
		users int
		more  string
	}{{1, ""}, {100, ""}, {1, overrideOf("tag", "o")}} {
		b.Run(fmt.Sprintf("%d users, override %v", c.users, c.more != ""), func(b *testing.B) {
			s := newShop(b)
			for range c.users {
				s.start(s.manager(rds, tagA, nil), 1)
			}
			m := &routev3.RouteConfiguration{Name: "r"}
			for i := range 10000 {
				host := &routev3.VirtualHost{}
				if err := protojson.Unmarshal([]byte(virtualHost("c", fmt.Sprintf("host%d.example", i), c.more)), host); err != nil {
					b.Fatal(err)
				}
				m.VirtualHosts = append(m.VirtualHosts, host)
			}
			version := func(n int) *resource.Resource {
				next := proto.CloneOf(m)
				next.VirtualHosts[5000].Routes[0].Name = fmt.Sprintf("version %d", n)
				r, err := resource.New(resource.Key{Type: resource.Route, Name: "r"}, next, "test", "")
				if err != nil {
					b.Fatal(err)
				}
				return r
			}
			s.hub.Deliver(s.source, version(-1))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				r := version(i)
				b.StartTimer()
				if problems, _ := s.hub.Deliver(s.source, r); len(problems) > 0 {
					b.Fatal(problems)
				}
			}
		})
	}
}
