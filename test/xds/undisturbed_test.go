package xds

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/server"
	"github.com/weftproxy/weft/test/kit"
)

const closedByUpdate = "listener_manager.config_update_closed_connections_total"

// What is open on routes that do not change does not notice what does.
func TestChangesDisturbNothingThatIsOpen(t *testing.T) {
	both(t, func(t *testing.T, delta bool) { changeAround(t, delta, 200, 0) })
}

// A flux is a process of which everything changes but the routes of what is open.
type flux struct {
	*mesh
	random *rand.Rand
	demo   string // hosts
	chat   string
	spare  []string // hosts that come and go
	count  int
	names  []string // of clusters that come and go
	ports  []int    // of listeners that come and go; 0: it is not there
}

// changeAround makes random changes while WebSockets, gRPC streams and downloads are open. seed 0 is a new one each time.
func changeAround(t *testing.T, delta bool, steps int, seed uint64) {
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	f := &flux{
		random: rand.New(rand.NewPCG(seed, 1)), demo: fmt.Sprintf("127.0.0.1:%d", originPort(t)), chat: chatService(t), spare: originsOf(t, 4),
		ports: make([]int, 3),
	}
	f.mesh = startMesh(t, delta, func(m *mesh, e *kit.Edit) { f.mesh = m; f.first(e) })
	f.warm()
	l := startLoad(t, "GET /echo", f.url+"/echo")
	open := f.open(steps)
	for i := range steps {
		f.step()
		for _, o := range open {
			if err := o.use(i); err != nil {
				t.Fatalf("step %d: %s: %v", i, o, err)
			}
		}
	}
	for _, o := range open {
		if err := o.end(); err != nil {
			t.Errorf("%s: %v", o, err)
		}
	}
	l.check(t)
	if n := f.metric(closedByUpdate); n != 0 {
		t.Errorf("%d connections were closed by changes", n)
	}
}

// first is the configuration at the start.
func (f *flux) first(e *kit.Edit) {
	f.steady(e, 5*time.Second)
	e.Set("demo", kit.Assignment("demo", f.demo))
	e.Set("chat", kit.Assignment("chat", f.chat))
	e.Set("other", kit.EDSCluster("other"))
	e.Set("other", kit.Assignment("other", f.spare[0]))
	f.routes(e)
	f.listener(e)
}

// steady offers the clusters of what is open.
func (f *flux) steady(e *kit.Edit, timeout time.Duration) {
	demo, chat := kit.EDSCluster("demo"), kit.WithHTTP2(kit.EDSCluster("chat"))
	demo.ConnectTimeout, chat.ConnectTimeout = durationpb.New(timeout), durationpb.New(timeout)
	e.Set("demo", demo)
	e.Set("chat", chat)
}

// routes offers the table, of which only what no open stream uses changes.
func (f *flux) routes(e *kit.Edit) {
	e.Set("r", kit.Routes("r", "/pkg.Service/", "chat", "/ws", "demo", "/bytes/", "demo", "/echo", "demo",
		fmt.Sprint("/x", f.count), "other", "/", fmt.Sprint("=", f.count)))
}

// listener offers the listener. It has a filter chain of which no connection is, and which changes.
func (f *flux) listener(e *kit.Edit) {
	l := kit.HTTPListener("front", fmt.Sprintf("127.0.0.1:%d", f.port), "r")
	other := kit.HTTPListener("other", "127.0.0.1:0", "r").GetFilterChains()[0]
	other.Name = fmt.Sprint("chain ", f.count)
	other.FilterChainMatch = &listenerv3.FilterChainMatch{SourcePrefixRanges: []*corev3.CidrRange{
		{AddressPrefix: fmt.Sprintf("10.%d.0.0", f.count%200), PrefixLen: wrapperspb.UInt32(16)},
	}}
	l.FilterChains = append(l.FilterChains, other)
	e.Set("front", l)
}

// step changes something and waits until it is in force, or is not.
func (f *flux) step() {
	f.t.Helper()
	f.count++
	url := ""
	switch f.random.IntN(8) {
	case 0:
		url = kit.RouteURL
		f.plane.Update(f.routes)
	case 1:
		url = kit.ListenerURL
		f.plane.Update(f.listener)
	case 2:
		url = kit.ClusterURL
		f.plane.Update(func(e *kit.Edit) { f.steady(e, 5*time.Second+time.Duration(f.count)*time.Millisecond) })
	case 3:
		url = kit.EndpointURL
		f.plane.Update(func(e *kit.Edit) {
			hosts := append([]string{f.chat}, fmt.Sprintf("127.0.0.1:%d", 1+f.count%1000)) // nothing listens there
			low := kit.Assignment("chat", hosts...)
			low.Endpoints[0].LbEndpoints[0].LoadBalancingWeight = wrapperspb.UInt32(uint32(1 + f.count%100))
			low.Endpoints[0].LbEndpoints[1].HealthStatus = corev3.HealthStatus_UNHEALTHY
			e.Set("chat", low)
		})
	case 4:
		url = kit.EndpointURL
		f.plane.Update(func(e *kit.Edit) { e.Set("other", kit.Assignment("other", f.spare[f.random.IntN(len(f.spare))])) })
	case 5:
		url = kit.ClusterURL
		f.plane.Update(f.otherCluster)
	case 6:
		url = kit.ListenerURL
		f.plane.Update(f.otherListener)
	case 7:
		f.mistake()
		return
	}
	f.accepted(url)
}

// otherCluster adds a cluster, changes it, or removes it.
func (f *flux) otherCluster(e *kit.Edit) {
	if len(f.names) > 5 {
		e.Remove(kit.ClusterURL, f.names[0])
		f.names = f.names[1:]
		return
	}
	name := fmt.Sprint("d", f.count)
	if len(f.names) > 0 && f.random.IntN(2) == 0 {
		name = f.names[0]
	} else {
		f.names = append(f.names, name)
	}
	e.Set(name, kit.StaticCluster(name, f.spare[f.random.IntN(len(f.spare))]))
}

// otherListener adds a listener, changes it where it is, moves it, or removes it.
func (f *flux) otherListener(e *kit.Edit) {
	i := f.random.IntN(len(f.ports))
	name := fmt.Sprint("listener ", i)
	change := f.random.IntN(3)
	if f.ports[i] != 0 && change == 0 {
		f.ports[i] = 0
		e.Remove(kit.ListenerURL, name)
		return
	}
	if f.ports[i] == 0 || change == 1 {
		f.ports[i] = freePort(f.t)
	}
	l := kit.HTTPListener(name, fmt.Sprintf("127.0.0.1:%d", f.ports[i]), "r")
	manager := kit.Manager(name, "r")
	manager.ServerName = fmt.Sprint(f.count)
	l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: kit.Any(manager)}
	e.Set(name, l)
}

// mistake sends something bad, and takes it back.
func (f *flux) mistake() {
	f.t.Helper()
	bad := kit.StaticCluster("chat", f.spare[0])
	bad.ConnectTimeout = durationpb.New(-time.Second)
	f.plane.Update(func(e *kit.Edit) { e.Set("chat", bad) })
	f.refused(kit.ClusterURL, `"chat"`)
	f.plane.Update(func(e *kit.Edit) { f.steady(e, 5*time.Second) })
	f.accepted(kit.ClusterURL)
}

// An opened is something that stays open.
type opened interface {
	fmt.Stringer
	use(step int) error // a part of it
	end() error         // the rest
}

// open opens all of them.
func (f *flux) open(steps int) []opened {
	var all []opened
	for i := range 3 {
		all = append(all, openWebSocket(f.t, f.url, i), openChat(f.t, f.url, i), openDownload(f.t, f.url, steps))
	}
	return all
}

// A connection that a change closes while it is in use is counted: that of a listener that goes, and that of a filter chain that changes.
func TestConnectionsThatChangesCloseAreCounted(t *testing.T) {
	up := fmt.Sprintf("127.0.0.1:%d", originPort(t))
	for name, change := range map[string]func(m *mesh, e *kit.Edit){
		"the listener goes":  func(_ *mesh, e *kit.Edit) { e.Remove(kit.ListenerURL, "front") },
		"the listener moves": func(m *mesh, e *kit.Edit) { m.port = freePort(m.t); m.front(e, "r") },
		"its filter chain changes": func(m *mesh, e *kit.Edit) {
			l := kit.HTTPListener("front", fmt.Sprintf("127.0.0.1:%d", m.port), "r")
			l.FilterChains[0].TransportSocketConnectTimeout = durationpb.New(time.Minute)
			e.Set("front", l)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMeshWith(t, server.Options{DrainTime: 100 * time.Millisecond}, true, func(m *mesh, e *kit.Edit) {
				e.Set("c", kit.StaticCluster("c", up))
				e.Set("r", kit.Routes("r", "/", "c"))
				m.front(e, "r")
			})
			idle := &http.Transport{} // keeps its connection, of which nobody misses anything
			defer idle.CloseIdleConnections()
			if got, _, err := fetch(&http.Client{Transport: idle}, m.url+"/echo"); err != nil {
				t.Fatal(got, err)
			}
			busy := openWebSocket(t, m.url, 0)
			if err := busy.use(0); err != nil {
				t.Fatal(err)
			}
			m.plane.Update(func(e *kit.Edit) { change(m, e) })
			m.accepted(kit.ListenerURL)
			m.eventually("the WebSocket is counted", func() bool { return m.metric(closedByUpdate) > 0 })
			if n := m.metric(closedByUpdate); n != 1 {
				t.Errorf("%d were counted", n)
			}
			if err := busy.use(3); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the WebSocket lives: %v", err)
			}
		})
	}
}

// An idle connection of a filter chain that has changed has one more exchange, by the routes and clusters that are in force then.
func TestAnIdleConnectionOutlivesItsFilterChain(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		hosts := originsOf(t, 2)
		m := startMesh(t, delta, func(m *mesh, e *kit.Edit) {
			e.Set("blue", kit.StaticCluster("blue", hosts[0]))
			e.Set("r", kit.Routes("r", "/", "blue"))
			m.front(e, "r")
		})
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: patience}
		if got, _, err := fetch(client, m.url+"/"); err != nil || got.body != "0" {
			t.Fatal(got, err)
		}
		m.plane.Update(func(e *kit.Edit) {
			manager := kit.Manager("front", "r")
			manager.ServerName = "another"
			l := kit.HTTPListener("front", fmt.Sprintf("127.0.0.1:%d", m.port), "r")
			l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: kit.Any(manager)}
			l.FilterChains[0].TransportSocketConnectTimeout = durationpb.New(time.Minute)
			e.Set("front", l)
		})
		m.accepted(kit.ListenerURL)
		m.plane.Update(func(e *kit.Edit) { e.Set("green", kit.StaticCluster("green", hosts[1])) })
		m.accepted(kit.ClusterURL)
		m.plane.Update(func(e *kit.Edit) { e.Set("r", kit.Routes("r", "/", "green")) })
		m.accepted(kit.RouteURL)
		m.plane.Update(func(e *kit.Edit) { e.Remove(kit.ClusterURL, "blue") })
		m.accepted(kit.ClusterURL)
		if got, _, err := fetch(client, m.url+"/"); err != nil || got.body != "1" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
