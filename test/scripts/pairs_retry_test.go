package scripts

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/test/kit"
)

// TestRetries tries again after each kind of failure, with a body that has to be sent again whole.
func TestRetries(t *testing.T) {
	fails := map[string]func(s kit.Stream) error{
		"503":   func(s kit.Stream) error { return kit.Respond(s, 503, "later") },
		"reset": func(s kit.Stream) error { return s.Reset() },
	}
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: `- {match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: "5xx,reset", num_retries: 3}}}`})
		client := r.client()
		for name, fail := range fails {
			r.a.Manual()
			s, err := client.Open(posting("/"+name), false)
			r.must(err)
			r.must(s.Send([]byte("the "), false))
			r.must(s.SendTrailer())
			for range 2 {
				up, _ := r.accept(r.a)
				if b, err := kit.Body(up); err != nil || string(b) != "the " {
					t.Fatalf("%s: the upstream got %q, %v", name, b, err)
				}
				_ = fail(up) // Weft may have seen enough of the answer before its end
			}
			up, _ := r.accept(r.a)
			if b, err := kit.Body(up); err != nil || string(b) != "the " {
				t.Fatalf("%s: the last try got %q, %v", name, b, err)
			}
			r.must(kit.Respond(up, 200, "third"))
			r.wants(r.read(s), 200, "third")
			r.logs("$d POST /" + name + " 200 - via_upstream 4 5 - $u")
		}
		r.stat("cluster.a.upstream_rq_retry", 4)
		r.stat("cluster.a.upstream_rq_retry_success", 2)
	})
}

// TestRetryAfterConnectFailure goes to the host that takes connections.
func TestRetryAfterConnectFailure(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		lab := kit.New(t)
		lab.Origin("dead", p.Up)
		a := lab.Origin("a", p.Up)
		r := &rig{t: t, pair: p, lab: lab, a: a}
		options := ""
		if p.Up == kit.HTTP2 {
			options = `{{codec "a" ""}}`
		}
		lab.Origin("dead", p.Up).Refuses()
		r.weft = lab.Start(r.config(kit.HTTP{
			Routes:   `- {match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: connect-failure, num_retries: 3}}}`,
			Clusters: `- {name: c, connect_timeout: 5s, {{hosts "c" "dead" "a"}}, ` + options + `}`,
		}))
		client := r.client()
		for range 6 {
			r.wants(r.get(client, kit.Head{}), 200, "a")
		}
		a.Refuses()
		r.wants(r.get(client, kit.Head{Path: "/none"}), 503, "upstream connect error or disconnect/reset before headers. *reset reason: *connection failure*")
		for range 6 {
			r.logs("$d GET / 200 - via_upstream 0 1 - $u")
		}
		r.logs("$d GET /none 503 U* upstream_reset_before_response_started{*connection_failure*} 0 * - *")
	})
}

// fake runs a test in all pairs, in memory on a fake clock.
func fake(t *testing.T, h kit.HTTP, f func(r *rig)) {
	kit.Run(t, func(t *testing.T, p kit.Pair) { fakePair(t, p, h, f) })
}

// fakePair is fake in one pair.
func fakePair(t *testing.T, p kit.Pair, h kit.HTTP, f func(r *rig)) {
	synctest.Test(t, func(t *testing.T) { f(rigIn(t, kit.NewInMemory(t), p, h)) })
}

// wait lets fake time pass.
func wait(d time.Duration) { <-time.After(d) }

// TestRouteTimeout cuts off an upstream that does not answer, and tells it so.
func TestRouteTimeout(t *testing.T) {
	fake(t, kit.HTTP{}, func(r *rig) {
		r.a.Manual()
		s := r.open(kit.Head{}, true)
		up, _ := r.accept(r.a)
		begin := time.Now()
		r.wants(r.read(s), 504, "upstream request timeout")
		if took := time.Since(begin); took < 14*time.Second || took > 16*time.Second {
			r.t.Errorf("after %v, want the default of 15s", took)
		}
		r.gone(up)
		r.logs("$d GET / 504 UT response_timeout 0 24 - $u")
		r.stat("cluster.a.upstream_rq_timeout", 1)
	})
}

// TestRouteTimeoutInTheBody breaks a response off that takes longer than the route allows.
func TestRouteTimeoutInTheBody(t *testing.T) {
	fake(t, kit.HTTP{Routes: "- {match: {prefix: /}, route: {cluster: a, timeout: 2s}}"}, func(r *rig) {
		r.a.Manual()
		s := r.open(kit.Head{}, true)
		up, _ := r.accept(r.a)
		r.must(up.SendHead(kit.Head{Status: 200}, false))
		r.must(up.Send([]byte("some"), false))
		if _, err := s.Head(); err != nil {
			r.t.Fatal(err)
		}
		r.fails(s)
		r.gone(up)
		r.logs("$d GET / 200 UT response_timeout 0 4 - $u")
	})
}

// TestPerTryTimeout gives the next try its own time.
func TestPerTryTimeout(t *testing.T) {
	h := kit.HTTP{Routes: `- {match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 2s}}}`}
	fake(t, h, func(r *rig) {
		r.a.Manual()
		s := r.open(kit.Head{}, true)
		first, _ := r.accept(r.a)
		second, _ := r.accept(r.a)
		r.gone(first)
		r.must(kit.Respond(second, 200, "second"))
		r.wants(r.read(s), 200, "second")
		r.stat("cluster.a.upstream_rq_per_try_timeout", 1)
	})
}

// TestStreamIdleTimeout ends streams on which nothing moves, before and in the response.
func TestStreamIdleTimeout(t *testing.T) {
	h := kit.HTTP{Manager: "stream_idle_timeout: 10s", Routes: "- {match: {prefix: /}, route: {cluster: a, timeout: 0s}}"}
	fake(t, h, func(r *rig) {
		r.a.Manual()
		s := r.open(kit.Head{}, true)
		up, _ := r.accept(r.a)
		r.wants(r.read(s), 504, "stream timeout")
		r.gone(up)
		r.logs("$d GET / 504 SI stream_idle_timeout 0 14 - $u")

		s = r.open(kit.Head{}, true)
		up, _ = r.accept(r.a)
		r.must(up.SendHead(kit.Head{Status: 200}, false))
		if _, err := s.Head(); err != nil {
			r.t.Fatal(err)
		}
		for range 3 {
			wait(9 * time.Second)
			r.carry(up, s, "something")
		}
		r.fails(s)
		r.gone(up)
		r.logs("$d GET / 200 SI stream_idle_timeout 0 27 - $u")
	})
}

// TestRequestTimeout refuses a request that does not come to its end.
func TestRequestTimeout(t *testing.T) {
	fake(t, kit.HTTP{Manager: "request_timeout: 10s"}, func(r *rig) {
		r.a.Manual()
		s := r.open(kit.Head{Method: "POST", Fields: kit.F("content-length", "10")}, false)
		wait(5 * time.Second)
		r.must(s.Send([]byte("x"), false))
		r.wants(r.read(s), 408, "request timeout")
		r.stat("http.main.downstream_rq_timeout", 1)
	})
}

// TestMaxStreamDuration ends a stream that moves and moves.
func TestMaxStreamDuration(t *testing.T) {
	h := kit.HTTP{Routes: "- {match: {prefix: /}, route: {cluster: a, timeout: 0s, max_stream_duration: {max_stream_duration: 10s}}}"}
	fake(t, h, func(r *rig) {
		r.a.Manual()
		s := r.open(kit.Head{}, true)
		up, _ := r.accept(r.a)
		r.must(up.SendHead(kit.Head{Status: 200}, false))
		if _, err := s.Head(); err != nil {
			r.t.Fatal(err)
		}
		for range 4 {
			wait(2 * time.Second)
			r.carry(up, s, "something")
		}
		r.fails(s)
		r.gone(up)
		r.logs("$d GET / 200 DT max_duration_timeout 0 36 - $u")
	})
}

// TestIdleConnections are closed in order after their time, and not before.
func TestIdleConnections(t *testing.T) {
	fake(t, kit.HTTP{Manager: "common_http_protocol_options: {idle_timeout: 60s}"}, func(r *rig) {
		client := r.client()
		for range 3 {
			r.wants(r.get(client, kit.Head{}), 200, "a")
			wait(50 * time.Second)
		}
		wait(15 * time.Second)
		r.stat("http.main.downstream_cx_idle_timeout", 1)
		r.stat("http.main.downstream_cx_active", 0)
		if h2, ok := client.(*kit.H2); ok {
			r.must(h2.Wait("GOAWAY and the end", func(s *kit.Seen) bool { return len(s.GoAways) > 0 && s.End != nil }))
		}
	})
}
