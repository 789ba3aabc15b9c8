package scripts

import (
	"bytes"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// tunnelRoutes has a WebSocket without a timeout, and CONNECT that is forwarded.
const tunnelRoutes = `- {match: {connect_matcher: {}}, route: {cluster: a, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT}]}}
- {match: {prefix: /}, route: {cluster: a, timeout: 0s}}`

// tunnels are the two kinds.
func tunnels() map[string]kit.Head {
	return map[string]kit.Head{
		"websocket": {Path: "/chat", Upgrade: "websocket", Fields: kit.F("sec-websocket-version", "13")},
		"CONNECT":   {Method: "CONNECT", Authority: "target.example:443"},
	}
}

// tunnel opens a tunnel.
func (r *rig) tunnel(name string) (client, upstream kit.Stream) {
	r.t.Helper()
	head := tunnels()[name]
	s := r.open(head, false)
	up, got := r.accept(r.a)
	if got.Upgrade != head.Upgrade || head.Method != "" && (got.Method != head.Method || got.Authority != head.Authority) ||
		head.Upgrade != "" && (got.Path != head.Path || got.Method != "GET" || got.Value("sec-websocket-version") != "13") {
		r.t.Fatalf("the upstream got %s, upgrade %q, %v", got.Wire, got.Upgrade, got.Fields)
	}
	r.must(up.SendHead(kit.Head{Status: 200, Fields: kit.F("x-granted", "yes")}, false))
	h, err := s.Head()
	r.must(err)
	if h.Status != 200 || h.Upgrade != "" && h.Upgrade != head.Upgrade || h.Value("x-granted") != "yes" {
		r.t.Fatalf("the client got %+v", h)
	}
	return s, up
}

// TestTunnels carries bytes both ways in any order, and each direction's end.
func TestTunnels(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: tunnelRoutes})
		r.a.Manual()
		for name := range tunnels() {
			s, up := r.tunnel(name)
			for range 10 {
				r.carry(s, up, "ping")
				r.carry(up, s, "pong and more")
			}
			big := bytes.Repeat([]byte("0123456789"), 60000)
			sent := make(chan error, 1)
			go func() { sent <- s.Send(big, false) }()
			if got, err := kit.ReadExactly(up, len(big)); err != nil || !bytes.Equal(got, big) {
				t.Fatalf("%s: %d bytes, %v", name, len(got), err)
			}
			r.must(<-sent)

			// One side ends; the other goes on until it ends as well.
			r.must(s.Send(nil, true))
			if got, err := kit.Body(up); err != nil || len(got) > 0 {
				t.Fatalf("%s: the upstream's end: %q, %v", name, got, err)
			}
			r.carry(up, s, "last words")
			r.must(up.Send(nil, true))
			if got, err := kit.Body(s); err != nil || len(got) > 0 {
				t.Fatalf("%s: the client's end: %q, %v", name, got, err)
			}
			line := "$d CONNECT * 200"
			if name == "websocket" {
				line = "$d GET /chat *" // 101 or 200
			}
			r.logs(line + " - via_upstream 600040 140 - $u")
		}
		r.stat("http.main.downstream_cx_upgrades_total", 2)
		r.stat("http.main.downstream_cx_upgrades_active", 0)
	})
}

// TestTunnelEndsFromTheUpstream first, and resets go through in both directions.
func TestTunnelEndsFromTheUpstream(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: tunnelRoutes})
		r.a.Manual()
		for name := range tunnels() {
			s, up := r.tunnel(name)
			r.must(up.Send([]byte("bye"), true))
			if got, err := kit.Body(s); err != nil || string(got) != "bye" {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
			r.carry(s, up, "still here")
			r.must(s.Send(nil, true))
			if got, err := kit.Body(up); err != nil || len(got) > 0 {
				t.Fatalf("%s: %q, %v", name, got, err)
			}

			s, up = r.tunnel(name)
			r.must(s.Reset())
			r.gone(up)
			s, up = r.tunnel(name)
			r.must(up.Reset())
			r.gone(s)
		}
		r.stat("http.main.downstream_cx_upgrades_active", 0)
	})
}

// TestTunnelThatIsRefused is an ordinary response.
func TestTunnelThatIsRefused(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: tunnelRoutes})
		r.a.Manual()
		for name, head := range tunnels() {
			s := r.open(head, false)
			up, _ := r.accept(r.a)
			r.must(kit.Respond(up, 403, "not you"))
			w := r.read(s)
			if w.Status != 403 || string(w.Body) != "not you" || w.Err != nil {
				t.Errorf("%s: %d %q, %v", name, w.Status, w.Body, w.Err)
			}
		}
		r.stat("http.main.downstream_cx_upgrades_active", 0)
	})
}

// TestTunnelThatIsNotAllowed reaches no upstream.
func TestTunnelThatIsNotAllowed(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		for _, head := range []kit.Head{{Upgrade: "something", Path: "/chat"}, {Method: "CONNECT", Authority: "target.example:443"}} {
			w := r.read(r.open(head, false))
			if w.Status < 400 {
				t.Errorf("%+v: %d", head, w.Status)
			}
		}
		if n, _, _ := r.a.Began(); n > 0 {
			t.Errorf("%d requests reached the upstream", n)
		}
	})
}
