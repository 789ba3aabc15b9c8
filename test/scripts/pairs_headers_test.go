package scripts

import (
	"strings"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// TestHeadersAreRewritten changes heads and paths on both sides.
func TestHeadersAreRewritten(t *testing.T) {
	h := kit.HTTP{Routes: `- match: {prefix: /old/}
  route: {cluster: a, prefix_rewrite: /new/, host_rewrite_literal: inside.example}
  request_headers_to_add: [{header: {key: x-added, value: "%PROTOCOL%"}}, {header: {key: X-Twice, value: "2"}, append_action: APPEND_IF_EXISTS_OR_ADD}]
  request_headers_to_remove: [x-secret]
  response_headers_to_add: [{header: {key: X-Reply, value: "%RESPONSE_CODE%"}}]
  response_headers_to_remove: [x-internal]
- {match: {prefix: /}, route: {cluster: a}}`}
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, h)
		r.a.Manual()
		s := r.open(kit.Head{Path: "/old/path?q=1", Fields: kit.F("x-secret", "s", "x-secret", "t", "x-twice", "1")}, true)
		up, got := r.accept(r.a)
		if got.Path != "/new/path?q=1" || got.Authority != "inside.example" || got.Value("x-secret") != "" ||
			got.Value("x-added") != p.Down.Protocol() || strings.ReplaceAll(got.Value("x-twice"), " ", "") != "1,2" {
			t.Errorf("the upstream got %s %v", got.Wire, got.Fields)
		}
		r.must(kit.Respond(up, 200, "ok", kit.F("x-internal", "i", "x-kept", "k")...))
		w := r.read(s)
		r.wants(w, 200, "ok")
		if w.Value("x-internal") != "" || w.Value("x-reply") != "200" || w.Value("x-kept") != "k" || w.Value("server") != "weft" {
			t.Errorf("the client got %v", w.Fields)
		}
	})
}

// TestAuthority shows that host and :authority are one thing.
func TestAuthority(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{VirtualHosts: `- {name: one, domains: [one.example], routes: [{match: {prefix: /}, route: {cluster: a}}]}
- {name: port, domains: ["two.example:81"], routes: [{match: {prefix: /}, route: {cluster: a}}]}`})
		r.a.Manual()
		client := r.client()
		for _, authority := range []string{"one.example", "two.example:81"} {
			s, err := client.Open(kit.Head{Authority: authority}, true)
			r.must(err)
			up, got := r.accept(r.a)
			if host, _ := got.Get("host"); got.Authority != authority || host != "" {
				t.Errorf("the upstream got %s, host %q", got.Wire, host)
			}
			r.must(kit.Respond(up, 204, ""))
			r.wants(r.read(s), 204, "")
		}
		r.wants(r.get(client, kit.Head{Authority: "two.example"}), 404, "")
	})
}

// TestCookies arrive as one field at HTTP/1, and as the same cookies anywhere.
func TestCookies(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: `- {match: {prefix: /, headers: [{name: cookie, string_match: {exact: "a=1; b=2; c=3"}}]}, route: {cluster: a}}`})
		r.a.Manual()
		fields := kit.F("cookie", "a=1; b=2; c=3")
		if p.Down == kit.HTTP2 {
			fields = kit.F("cookie", "a=1", "x-between", "1", "cookie", "b=2", "cookie", "c=3")
		}
		s := r.open(kit.Head{Fields: fields}, true)
		up, got := r.accept(r.a)
		var cookies []string
		for _, f := range got.Fields {
			if f.Name == "cookie" {
				cookies = append(cookies, f.Value)
			}
		}
		if strings.Join(cookies, "; ") != "a=1; b=2; c=3" || p.Up == kit.HTTP1 && len(cookies) != 1 {
			t.Errorf("the upstream got cookies %q", cookies)
		}
		r.must(kit.Respond(up, 200, "ok", kit.F("set-cookie", "d=4", "set-cookie", "e=5")...))
		w := r.read(s)
		r.wants(w, 200, "ok")
		set := 0
		for _, f := range w.Fields {
			if f.Name == "set-cookie" {
				set++
			}
		}
		if set != 2 {
			t.Errorf("%d set-cookie fields, want 2", set)
		}
	})
}

// TestFieldsOfOneConnectionAreDropped in both directions. HTTP/2 has none: there they are malformed.
func TestFieldsOfOneConnectionAreDropped(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		fields := kit.F("te", "trailers", "x-kept", "1")
		if p.Down == kit.HTTP1 {
			fields = kit.F("connection", "x-hop, te", "keep-alive", "timeout=5", "proxy-connection", "keep-alive", "x-hop", "1", "te", "trailers, deflate",
				"x-kept", "1")
		}
		s := r.open(kit.Head{Fields: fields}, true)
		up, got := r.accept(r.a)
		for _, name := range []string{"x-hop", "keep-alive", "proxy-connection", "connection"} {
			if v, ok := got.Get(name); ok {
				t.Errorf("the upstream got %s: %q", name, v)
			}
		}
		if te := got.Value("te"); te != "" && te != "trailers" || got.Value("x-kept") != "1" {
			t.Errorf("the upstream got te %q, %v", te, got.Fields)
		}
		fields = nil
		if p.Up == kit.HTTP1 {
			fields = kit.F("keep-alive", "timeout=5", "proxy-connection", "close")
		}
		r.must(kit.Respond(up, 200, "ok", fields...))
		w := r.read(s)
		r.wants(w, 200, "ok")
		for _, name := range []string{"keep-alive", "proxy-connection"} {
			if v, ok := w.Get(name); ok && p.Down == kit.HTTP2 {
				t.Errorf("the client got %s: %q", name, v)
			}
		}
	})
}

// TestLocalReplies answers without an upstream, in every protocol.
func TestLocalReplies(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		lab := kit.New(t)
		lab.Origin("a", p.Up)
		r := rigIn(t, lab, p, kit.HTTP{
			Routes: `- {match: {path: /direct}, direct_response: {status: 418, body: {inline_string: teapot}}}
- {match: {path: /moved}, redirect: {path_redirect: /here}}
- {match: {path: /gone}, route: {cluster: empty}}
- {match: {path: /here}, route: {cluster: a}}`,
			Clusters: (&rig{pair: p}).cluster("a", "") + "\n- {name: empty, connect_timeout: 5s}",
		})
		client := r.client()
		for _, c := range []struct {
			path   string
			status int
			body   string
			log    string
		}{
			{"/none", 404, "", "404 NR route_not_found 0 0"},
			{"/gone", 503, "no healthy upstream", "503 UH no_healthy_upstream 0 19"},
			{"/direct", 418, "teapot", "418 - direct_response 0 6"},
			{"/moved", 301, "", "301 - direct_response 0 0"},
			{"/here", 200, "a", "200 - via_upstream 0 1"},
		} {
			w := r.get(client, kit.Head{Path: c.path})
			r.wants(w, c.status, c.body)
			up := "-"
			if c.status == 200 {
				up = "$u"
			}
			r.logs("$d GET " + c.path + " " + c.log + " - " + up)
			if location := w.Value("location"); c.status == 301 && location != "http://weft.example/here" {
				t.Errorf("location %q", location)
			}
		}
	})
}

// TestRequestBodyOfALocalReply shows that a request which is answered before its body has come does no harm: HTTP/1 ends the
// connection, HTTP/2 only the stream.
func TestRequestBodyOfALocalReply(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: `- {match: {path: /direct}, direct_response: {status: 403, body: {inline_string: no}}}
- {match: {prefix: /}, route: {cluster: a}}`})
		client := r.client()
		s, err := client.Open(posting("/direct"), false)
		r.must(err)
		_ = s.Send(make([]byte, 20000), false) // the answer, and the end of the stream, may come first
		r.wants(r.read(s), 403, "no")
		r.gone(s)
		if p.Down == kit.HTTP2 {
			r.wants(r.get(client, kit.Head{}), 200, "a")
		}
	})
}
