package xds

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// A control plane that goes and comes back disturbs nothing, and is asked for what is needed and no more.
func TestTheControlPlaneComesBack(t *testing.T) {
	both(t, func(t *testing.T, delta bool) { restartPlane(t, delta, 50) })
}

// meshTypes are the types that these tests use. Immutable.
var meshTypes = []string{kit.ClusterURL, kit.EndpointURL, kit.ListenerURL, kit.RouteURL}

// A comeback is a control plane that goes and comes, again and again.
type comeback struct {
	*mesh
	delta   bool
	up      string
	changes int
}

func restartPlane(t *testing.T, delta bool, times int) {
	c := &comeback{delta: delta, up: originsOf(t, 1)[0]}
	c.mesh = startMesh(t, delta, func(m *mesh, e *kit.Edit) {
		for _, name := range []string{"a", "b"} {
			e.Set(name, kit.EDSCluster(name))
			e.Set(name, kit.Assignment(name, c.up))
			e.Set("r"+name, kit.Routes("r"+name, "/", name))
		}
		e.Set("static", kit.StaticCluster("static", c.up))
		m.front(e, "ra")
		e.Set("second", kit.HTTPListener("second", "127.0.0.1:0", "rb"))
	})
	for _, url := range meshTypes {
		c.accepted(url)
	}
	l := startLoad(t, "0", c.url+"/")
	for i := range times {
		c.restart(i)
	}
	l.check(t)
	if got, want := c.plane.Streams(), times+1; got != want {
		t.Errorf("%d streams, want %d", got, want)
	}
}

// A needed is what is to be asked for, and to be sent, when the control plane is back.
type needed struct {
	version string            // of the type, as it was when the control plane went
	each    map[string]string // versions of its resources
	sent    []string          // what has changed since
	removed []string
}

// restart kills the control plane, changes something now and then, and has it back.
func (c *comeback) restart(round int) {
	c.t.Helper()
	before, need := c.plane.Streams(), map[string]*needed{}
	for _, url := range meshTypes {
		version, each := c.plane.Versions(url)
		need[url] = &needed{version: version, each: each}
	}
	c.plane.Stop()
	switch round % 3 {
	case 1:
		c.changeUnseen(need)
	case 2:
		c.eventually("the loss is noticed", func() bool { return c.metric("control_plane.connected_state") == 0 })
	}
	ln, err := net.Listen("tcp", c.planeAt)
	if err != nil {
		c.t.Fatal(err)
	}
	c.plane.Serve(ln)
	stream, now := before+1, map[string]string{}
	for _, url := range meshTypes {
		now[url], _ = c.plane.Versions(url)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	err = c.plane.Await(ctx, func(all []kit.Said) bool {
		for _, url := range meshTypes {
			nonce := fmt.Sprintf("v%s.%d", now[url], stream)
			if !slices.ContainsFunc(all, func(s kit.Said) bool { return s.TypeURL == url && s.Nonce == nonce }) {
				return false
			}
		}
		return true
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.compare(round, stream, need)
	if c.changes > 0 {
		c.expect("GET", c.url+"/unseen", http.StatusOK, fmt.Sprint("change ", c.changes, "."))
	}
}

// changeUnseen changes a resource of each type while nobody looks, and notes it.
func (c *comeback) changeUnseen(need map[string]*needed) {
	c.changes++
	c.plane.Update(func(e *kit.Edit) {
		e.Set("ra", kit.Routes("ra", "/unseen", fmt.Sprint("=change ", c.changes, "."), "/", "a"))
		e.Set("b", kit.Assignment("b", c.up, fmt.Sprintf("127.0.0.1:%d", c.changes)))
		if c.changes%2 == 1 {
			e.Remove(kit.ClusterURL, "static")
		} else {
			e.Set("static", kit.StaticCluster("static", c.up))
		}
	})
	need[kit.RouteURL].sent, need[kit.EndpointURL].sent = []string{"ra"}, []string{"b"}
	if c.changes%2 == 1 {
		need[kit.ClusterURL].removed = []string{"static"}
	} else {
		need[kit.ClusterURL].sent = []string{"static"}
	}
}

// compare looks at all that was said on a stream, and sent.
func (c *comeback) compare(round, stream int, need map[string]*needed) {
	c.t.Helper()
	first, messages := map[string]kit.Said{}, map[string]int{}
	greeted := false
	for _, s := range c.plane.Said() {
		if s.Stream != stream {
			continue
		}
		if s.Error != "" || (s.Node != nil) == greeted {
			c.t.Errorf("round %d: rejected %q, or a node that is not in the first message alone: %+v", round, s.Error, s)
		}
		greeted = true
		if messages[s.TypeURL]++; messages[s.TypeURL] == 1 {
			first[s.TypeURL] = s
		}
	}
	wanted := map[string][]string{kit.EndpointURL: {"a", "b"}, kit.RouteURL: {"ra", "rb"}}
	for _, url := range meshTypes {
		s, n := first[url], need[url]
		if s.Nonce != "" || !slices.Equal(slices.Sorted(slices.Values(s.Names)), wanted[url]) {
			c.t.Errorf("round %d: asked for %q with nonce %q, want %q: %s", round, s.Names, s.Nonce, wanted[url], url)
		}
		if c.delta && !maps.Equal(s.Initial, n.each) || !c.delta && s.Version != n.version {
			c.t.Errorf("round %d: has %v %q, want %v %q: %s", round, s.Initial, s.Version, n.each, n.version, url)
		}
		if messages[url] != 2 {
			c.t.Errorf("round %d: %d messages, want a request and an acknowledgement: %s", round, messages[url], url)
		}
	}
	for _, s := range c.plane.Sent() { // of deltas alone
		if n := need[s.TypeURL]; s.Stream == stream && (!slices.Equal(s.Names, n.sent) || !slices.Equal(s.Removed, n.removed)) {
			c.t.Errorf("round %d: %q was sent and %q removed, want %q and %q: %s", round, s.Names, s.Removed, n.sent, n.removed, s.TypeURL)
		}
	}
}
