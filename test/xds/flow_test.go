package xds

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/test/kit"
)

func TestAControlPlaneGivesEverything(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		up := fmt.Sprintf("127.0.0.1:%d", originPort(t))
		m := startMesh(t, delta, func(m *mesh, e *kit.Edit) {
			e.Set("c", kit.EDSCluster("c"))
			e.Set("c", kit.Assignment("c", up))
			e.Set("r", kit.Routes("r", "/echo", "c", "/", "=one"))
			m.front(e, "r")
		})
		for _, url := range []string{kit.ClusterURL, kit.EndpointURL, kit.ListenerURL, kit.RouteURL} {
			m.accepted(url)
		}
		m.expect("GET", m.url+"/", 200, "one")
		m.expect("GET", m.url+"/echo", 200, "GET /echo HTTP/1.1")

		m.plane.Update(func(e *kit.Edit) { e.Set("r", kit.Routes("r", "/echo", "c", "/", "=two")) })
		m.accepted(kit.RouteURL)
		m.expect("GET", m.url+"/", 200, "two")

		// One that is bad among good ones.
		bad := kit.EDSCluster("bad")
		bad.ConnectTimeout = durationpb.New(-time.Second)
		m.plane.Update(func(e *kit.Edit) {
			e.Set("bad", bad)
			e.Set("d", kit.StaticCluster("d", up))
			e.Set("r", kit.Routes("r", "/echo", "d", "/", "=three"))
		})
		m.refused(kit.ClusterURL, `"bad"`, "connect_timeout")
		m.answers("/echo", "200 GET /echo")

		// Removed and added again.
		m.plane.Update(func(e *kit.Edit) { e.Remove(kit.ClusterURL, "d"); e.Remove(kit.ClusterURL, "bad") })
		m.accepted(kit.ClusterURL)
		m.answers("/echo", "503")
		m.plane.Update(func(e *kit.Edit) { e.Set("d", kit.StaticCluster("d", up)) })
		m.answers("/echo", "200 GET /echo")

		m.plane.Update(func(e *kit.Edit) { e.Remove(kit.ListenerURL, "front") })
		m.accepted(kit.ListenerURL)
		m.eventually("the listener closes", func() bool { status, _ := m.ask("GET", m.url+"/"); return status == 0 })
		m.plane.Update(func(e *kit.Edit) { m.front(e, "r") })
		m.answers("/", "three")
	})
}

func TestAChangedClusterServesWhenItsEndpointsHaveCome(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		up, other := fmt.Sprintf("127.0.0.1:%d", originPort(t)), fmt.Sprintf("127.0.0.1:%d", originPort(t))
		m := startMesh(t, delta, func(m *mesh, e *kit.Edit) {
			e.Set("c", kit.EDSCluster("c"))
			e.Set("c", kit.Assignment("c", up))
			e.Set("r", kit.Routes("r", "/", "c"))
			m.front(e, "r")
		})
		m.expect("GET", m.url+"/echo", 200, "GET /echo")
		changed := kit.EDSCluster("c")
		changed.EdsClusterConfig.ServiceName = "later"
		m.plane.Update(func(e *kit.Edit) { e.Set("c", changed) })
		m.accepted(kit.ClusterURL)
		m.gauge("warming_clusters", 1)
		m.expect("GET", m.url+"/echo", 200, "GET /echo") // by the version before
		m.plane.Update(func(e *kit.Edit) { e.Set("later", kit.Assignment("later", other)) })
		m.eventually("the new version serves", func() bool {
			_, body := m.ask("GET", "http://"+m.at.Admin+"/clusters")
			return strings.Contains(body, "c::"+other+"::")
		})
		m.expect("GET", m.url+"/echo", 200, "GET /echo")
		m.gauge("warming_clusters", 0)
	})
}

func TestAListenerWaitsForItsRoutes(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		m := startMesh(t, delta, func(m *mesh, e *kit.Edit) {
			e.Set("r", kit.Routes("r", "/", "=one"))
			m.front(e, "r")
		})
		m.expect("GET", m.url+"/", 200, "one")
		m.plane.Update(func(e *kit.Edit) { m.front(e, "later") })
		m.accepted(kit.ListenerURL)
		m.gauge("total_listeners_warming", 1)
		m.expect("GET", m.url+"/", 200, "one")
		m.plane.Update(func(e *kit.Edit) { m.front(e, "other"); e.Set("other", kit.Routes("other", "/", "=three")) }) // supersedes it
		m.answers("/", "three")
		m.plane.Update(func(e *kit.Edit) { e.Set("later", kit.Routes("later", "/", "=two")) })
		m.plane.Update(func(e *kit.Edit) { m.front(e, "later") })
		m.answers("/", "two")
		m.gauge("total_listeners_warming", 0)
	})
}
