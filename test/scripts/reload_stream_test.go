package scripts

import (
	"fmt"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// streamRoutes has the route of the stream, which changes with own, and others, which change with other.
func streamRoutes(own, other int) kit.HTTP {
	return kit.HTTP{
		Upstreams: []string{"a", "stream"},
		Routes: fmt.Sprintf(`- match: {prefix: /pkg.Service/}
  route: {cluster: stream, timeout: 0s}
  response_headers_to_add: [{header: {key: x-own, value: "%d"}}]
- {match: {path: /generation}, direct_response: {status: 200, body: {inline_string: "%d"}}}
- {match: {prefix: /}, route: {cluster: a}, response_headers_to_add: [{header: {key: x-other, value: "%d"}}]}`, own, other, other),
	}
}

// TestStreamSurvivesReloads keeps a bidirectional gRPC stream open while a hundred reloads change other routes, and one changes its own.
// Messages go both ways after each.
func TestStreamSurvivesReloads(t *testing.T) {
	const reloads = 100
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, streamRoutes(0, 0))
		origin := r.lab.Origin("stream", p.Up)
		origin.Manual()
		s := r.open(grpcHead("/pkg.Service/Chat"), false)
		up, _ := r.accept(origin)
		r.must(up.SendHead(grpcAnswer(), false))
		if _, err := s.Head(); err != nil {
			t.Fatal(err)
		}
		fresh := r.client()
		for i := 1; i <= reloads+1; i++ {
			own := i / (reloads + 1)
			r.must(r.weft.Reload(r.config(streamRoutes(own, i))))
			r.wants(r.get(fresh, kit.Head{Path: "/generation"}), 200, fmt.Sprint(i))
			r.carry(s, up, grpcMessage(fmt.Sprint("question ", i)))
			r.carry(up, s, grpcMessage(fmt.Sprint("answer ", i)))
		}
		r.must(s.Send(nil, true))
		if b, err := kit.Body(up); err != nil || len(b) > 0 {
			t.Fatalf("the request ends with %q, %v", b, err)
		}
		r.must(up.SendTrailer(kit.F("grpc-status", "0")...))
		if b, err := kit.Body(s); err != nil || len(b) > 0 {
			t.Fatalf("the response ends with %q, %v", b, err)
		}
		if got := s.Trailer(); len(got) != 1 || got[0].Value != "0" {
			t.Errorf("trailers %v", got)
		}
		r.stat("server.reload_success", reloads+1)
		r.stat("http.main.downstream_cx_total", 2)
	})
}
