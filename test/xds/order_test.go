package xds

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/test/kit"
	"github.com/weftproxy/weft/transport/memory"
)

// warming is how many clusters and listeners warm.
func (b *bubble) warming() string {
	b.t.Helper()
	page := b.adminPage("/stats?filter=warming")
	number := func(name string) string {
		_, after, _ := strings.Cut(page, name+": ")
		n, _, _ := strings.Cut(after, "\n")
		return n
	}
	return number("cluster_manager.warming_clusters") + " " + number("listener_manager.total_listeners_warming")
}

// expectGet checks what a path of the front is answered with.
func (b *bubble) expectGet(when, path, want string, headers ...string) {
	b.t.Helper()
	if got := b.get(b.url+path, headers...); got != want {
		b.t.Errorf("%s: %s is answered with %q, want %q", when, path, got, want)
	}
}

// What does not come is waited for as long as initial_fetch_timeout says, by default 15 s; then its users go on without.
func TestUsersWaitForTheirResources(t *testing.T) {
	for _, c := range columns() {
		want, ok := map[string][2]string{ // warming clusters and listeners before; what is in force after
			"RDS": {"0 3", "- - -"}, "SDS": {"0 3", "- - -"}, "EDS": {"3 0", "- - -"}, "SRDS": {"0 1", "- - -"}, "VHDS": {"0 1", "- - -"},
			"ECDS": {"0 3", "0 0 0"},
		}[c.name]
		if !ok {
			continue // the process itself waits: TestTheProcessWaitsForItsResources
		}
		for _, comes := range []time.Duration{10 * time.Second, 20 * time.Second} {
			t.Run(fmt.Sprint(c.name, " after ", comes), func(t *testing.T) {
				t.Parallel()
				both(t, func(t *testing.T, delta bool) {
					if c.deltaOnly && !delta {
						return
					}
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { waitFor(&table{newBubble(t, delta), c}, comes, want[0], want[1]) })
				})
			})
		}
	}
}

func waitFor(x *table, comes time.Duration, warming, without string) {
	x.origins()
	x.run(x.boot)
	x.send(func(e *kit.Edit) { x.setup(x.bubble, e) })
	began := time.Now()
	if comes > 15*time.Second {
		x.pass(13 * time.Second)
		if got := x.warming(); got != warming {
			x.t.Errorf("after %v: %s warm, want %s", time.Since(began), got, warming)
		}
		x.shows("before the timeout", "- - -")
		x.pass(15*time.Second - time.Since(began))
		if got := x.warming(); got != "0 0" {
			x.t.Errorf("after %v: %s warm, want none", time.Since(began), got)
		}
		x.shows("after the timeout", without)
		if page := x.adminPage("/stats?filter=init_fetch_timeout"); !strings.Contains(page, "init_fetch_timeout: 1") {
			x.t.Errorf("not counted: %s", page)
		}
	}
	x.pass(comes - time.Since(began))
	x.send(func(e *kit.Edit) {
		for _, name := range members {
			x.set(e, name, 1)
		}
	})
	x.accepted()
	if got := x.warming(); got != "0 0" {
		x.t.Errorf("%s warm when all is there", got)
	}
	x.shows("all is there", "1 1 1")
}

// The process waits for its runtime layers, clusters and listeners before it says that it has started, each in turn, and no longer than it may.
func TestTheProcessWaitsForItsResources(t *testing.T) {
	for _, missing := range []string{kit.RuntimeURL, kit.ClusterURL, kit.ListenerURL, ""} {
		t.Run("without "+missing[strings.LastIndexByte(missing, '.')+1:], func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, delta bool) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, layers := newBubble(t, delta), runtimeColumn()
					b.origins()
					b.plane.Update(func(e *kit.Edit) {
						e.Set("c", kit.StaticCluster("c", originOf(1)))
						e.Set("front", withInline("front", frontAddress, "/", "c"))
						for _, name := range members {
							e.Set(name, layers.make(b, name, 1))
						}
						if missing != "" {
							e.Withhold(missing)
						}
					})
					began, want := time.Now(), 3*time.Second
					if missing == "" {
						want = 0
					}
					b.run(func(boot *bootstrapv3.Bootstrap) {
						layers.boot(boot)
						for _, l := range boot.GetLayeredRuntime().GetLayers() {
							l.GetRtdsLayer().RtdsConfig = within(3 * time.Second)
						}
						boot.DynamicResources.CdsConfig, boot.DynamicResources.LdsConfig = within(3*time.Second), within(3*time.Second)
					})
					if took := time.Since(began); took < want || took > want+time.Second {
						t.Errorf("started after %v, want %v", took, want)
					}
					b.send(func(e *kit.Edit) {
						if missing != "" {
							e.Deliver(missing)
						}
					})
					b.expectGet("all is there", "/", "200 1")
				})
			})
		})
	}
}

// within is the aggregated source with an initial_fetch_timeout.
func within(d time.Duration) *corev3.ConfigSource {
	s := kit.ADS()
	s.InitialFetchTimeout = durationpb.New(d)
	return s
}

// A listener that has changed waits for its routes and its secret; the version before serves meanwhile.
func TestAListenerWaitsForRoutesAndSecret(t *testing.T) {
	bubbles(t, func(b *bubble) {
		b.plane.Update(func(e *kit.Edit) { b.front(e, "r1"); e.Set("r1", kit.Routes("r1", "/", "=1")) })
		b.run(nil)
		b.expectGet("at the beginning", "/", "200 1")
		next := func(routes, secret string) {
			b.send(func(e *kit.Edit) {
				e.Set("front", withSecret(kit.HTTPListener("front", addressOf("a"), routes), secret))
			})
		}
		serves := func(when, old, certificate string) {
			b.t.Helper()
			b.expectGet(when, "/", old)
			if got := b.certificate("a"); got != certificate {
				b.t.Errorf("%s: the certificate is %q, want %q", when, got, certificate)
			}
		}
		next("r2", "s2")
		serves("nothing is there", "200 1", "")
		b.pass(3 * time.Second)
		b.send(func(e *kit.Edit) { e.Set("s2", b.secret("s2", "two")) })
		serves("the secret is there", "200 1", "")
		b.pass(3 * time.Second)
		b.send(func(e *kit.Edit) { e.Set("r2", kit.Routes("r2", "/", "=2")) })
		serves("both are there", "", "two")

		// The other way round, each in another half of the time that both have.
		next("r3", "s3")
		b.pass(7 * time.Second)
		b.send(func(e *kit.Edit) { e.Set("r3", kit.Routes("r3", "/", "=3")) })
		serves("the routes are there", "", "two")
		b.pass(7 * time.Second)
		b.send(func(e *kit.Edit) { e.Set("s3", b.secret("s3", "three")) })
		serves("both are there again", "", "three")

		// One of both never comes.
		next("never", "s3")
		b.pass(14 * time.Second)
		if got := b.warming(); got != "0 1" {
			b.t.Errorf("%s warm", got)
		}
		b.pass(time.Second)
		if got := b.warming(); got != "0 0" {
			b.t.Errorf("after the timeout %s warm", got)
		}
	})
}

// initial_fetch_timeout 0 waits for as long as it takes.
func TestAListenerThatWaitsForever(t *testing.T) {
	bubbles(t, func(b *bubble) {
		b.plane.Update(func(e *kit.Edit) { b.front(e, "r"); e.Set("r", kit.Routes("r", "/", "=1")) })
		b.run(nil)
		b.send(func(e *kit.Edit) {
			e.Set("front", managed("front", frontAddress, func(m *hcmv3.HttpConnectionManager) {
				m.GetRds().ConfigSource, m.GetRds().RouteConfigName = within(0), "later"
			}))
		})
		b.pass(time.Hour)
		b.expectGet("an hour later", "/", "200 1")
		b.send(func(e *kit.Edit) { e.Set("later", kit.Routes("later", "/", "=2")) })
		b.expectGet("at last", "/", "200 2")
		if n := b.plane.Streams(); n != 1 {
			b.t.Errorf("%d streams: a control plane that is quiet was left", n)
		}
	})
}

// A cluster that has changed waits for its endpoints; the version before serves meanwhile, and no longer than it may.
func TestAClusterWaitsForItsEndpoints(t *testing.T) {
	bubbles(t, func(b *bubble) {
		b.origins()
		b.plane.Update(func(e *kit.Edit) {
			frontToClusters(b, e)
			e.Set("a", kit.EDSCluster("a"))
			e.Set("a", kit.Assignment("a", originOf(1)))
		})
		b.run(nil)
		stop := b.traffic("/a")
		next := func(service string) {
			b.send(func(e *kit.Edit) {
				c := kit.EDSCluster("a")
				c.EdsClusterConfig.ServiceName = service
				e.Set("a", c)
			})
		}
		next("two")
		b.pass(10 * time.Second)
		b.expectGet("no endpoints yet", "/a", "200 1")
		b.send(func(e *kit.Edit) { e.Set("two", kit.Assignment("two", originOf(2))) })
		b.expectGet("endpoints", "/a", "200 2")
		next("three")
		b.pass(5 * time.Second)
		next("four") // instead
		b.send(func(e *kit.Edit) { e.Set("three", kit.Assignment("three", originOf(3))) })
		b.expectGet("endpoints of one that was superseded", "/a", "200 2")
		b.send(func(e *kit.Edit) { e.Set("four", kit.Assignment("four", originOf(4))) })
		b.expectGet("endpoints of the one instead", "/a", "200 4")
		stop()
		next("never")
		b.pass(14 * time.Second)
		b.expectGet("before the timeout", "/a", "200 4")
		b.pass(time.Second)
		if got := b.get(b.url + "/a"); !strings.HasPrefix(got, "503") {
			b.t.Errorf("after the timeout: %s", got)
		}
	})
}

// Each cluster serves as soon as it is ready itself, whatever others of its response and of later ones wait for.
func TestClustersDoNotWaitForOneAnother(t *testing.T) {
	bubbles(t, func(b *bubble) {
		const many = 40
		b.origins()
		b.run(nil)
		pairs := []string{}
		b.send(func(e *kit.Edit) {
			for i := range many {
				name := "c" + strconv.Itoa(i)
				pairs = append(pairs, "/"+name+"/", name)
				e.Set(name, kit.EDSCluster(name))
				if i != 7 {
					e.Set(name, kit.Assignment(name, originOf(1)))
				}
			}
			e.Set("front", withInline("front", frontAddress, pairs...))
		})
		if got := b.warming(); got != "1 0" {
			b.t.Errorf("%s warm, want 1 0", got)
		}
		for i := range many {
			if want := "200 1"; i != 7 {
				b.expectGet("all but one have endpoints", fmt.Sprintf("/c%d/", i), want)
			}
		}
		if got := b.get(b.url + "/c7/"); !strings.HasPrefix(got, "503") {
			b.t.Errorf("the one that waits: %s", got)
		}
		began := time.Now()
		b.send(func(e *kit.Edit) {
			e.Set("new", kit.StaticCluster("new", originOf(2)))
			e.Set("c3", kit.StaticCluster("c3", originOf(3)))
			e.Set("front", withInline("front", frontAddress, append(pairs, "/new/", "new")...))
		})
		b.expectGet("a new one", "/new/", "200 2")
		b.expectGet("a changed one", "/c3/", "200 3")
		if d := time.Since(began); d > time.Second || b.warming() != "1 0" {
			b.t.Errorf("after %v, %s warm", d, b.warming())
		}
		b.send(func(e *kit.Edit) { e.Set("c7", kit.Assignment("c7", originOf(4))) })
		b.expectGet("the last", "/c7/", "200 4")
	})
}

// Virtual hosts can be asked for by deltas only, as in Envoy; the routes around them are refused otherwise.
func TestVirtualHostsNeedDeltas(t *testing.T) {
	bubbles(t, func(b *bubble) {
		api := kit.ADSBootstrap(planeAddress, false).GetDynamicResources().GetAdsConfig()
		b.plane.Update(func(e *kit.Edit) {
			b.front(e, "routes")
			e.Set("routes", &routev3.RouteConfiguration{Name: "routes", Vhds: &routev3.Vhds{ConfigSource: &corev3.ConfigSource{
				ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: api},
			}}})
		})
		b.run(nil)
		if why := b.answer(kit.RouteURL); !strings.Contains(why, "vhds: only 'DELTA_GRPC' is supported") {
			b.t.Errorf("the answer is %q", why)
		}
		b.expectGet("without routes", "/", "404 ")
	})
}

// A cluster that has changed waits for the secret that it connects with.
func TestAClusterWaitsForItsSecret(t *testing.T) {
	bubbles(t, func(b *bubble) {
		b.origins()
		b.plane.Update(func(e *kit.Edit) {
			frontToClusters(b, e)
			e.Set("a", kit.StaticCluster("a", originOf(1)))
		})
		b.run(nil)
		b.expectGet("at the beginning", "/a", "200 1")
		c := kit.StaticCluster("a", originOf(2))
		c.TransportSocket = &corev3.TransportSocket{
			Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: kit.Any(&tlsv3.UpstreamTlsContext{
				CommonTlsContext: &tlsv3.CommonTlsContext{
					TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "s", SdsConfig: kit.ADS()}},
				},
			})},
		}
		b.send(func(e *kit.Edit) { e.Set("a", c) })
		b.pass(10 * time.Second)
		if got := b.warming(); got != "1 0" {
			b.t.Errorf("%s warm", got)
		}
		b.expectGet("without the secret", "/a", "200 1")
		b.send(func(e *kit.Edit) { e.Set("s", b.secret("s", "client")) })
		if got := b.warming(); got != "0 0" {
			b.t.Errorf("with the secret %s warm", got)
		}
		if got := b.get(b.url + "/a"); !strings.HasPrefix(got, "503") { // the upstream speaks no TLS
			b.t.Errorf("with the secret: %s", got)
		}
	})
}

// A cluster that has changed waits until its hosts have been checked once.
func TestAClusterWaitsForItsFirstHealthChecks(t *testing.T) {
	bubbles(t, func(b *bubble) {
		b.origins()
		b.plane.Update(func(e *kit.Edit) {
			frontToClusters(b, e)
			e.Set("a", kit.StaticCluster("a", originOf(1)))
		})
		b.run(nil)
		stop := b.traffic("/a")
		b.network.(*memory.Network).Hang(originOf(2))
		c := kit.StaticCluster("a", originOf(2))
		c.HealthChecks = []*corev3.HealthCheck{{
			Timeout: durationpb.New(20 * time.Second), Interval: durationpb.New(time.Minute),
			UnhealthyThreshold: wrapperspb.UInt32(1), HealthyThreshold: wrapperspb.UInt32(1),
			HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{Path: "/"}},
		}}
		b.send(func(e *kit.Edit) { e.Set("a", c) })
		b.pass(4 * time.Second)
		if got := b.warming(); got != "1 0" {
			b.t.Errorf("%s warm", got)
		}
		b.expectGet("not checked yet", "/a", "200 1")
		b.network.(*memory.Network).Answer(originOf(2))
		b.settle()
		b.expectGet("checked", "/a", "200 2")
		stop()
	})
}
