package scripts

import (
	"fmt"
	"testing"
	"time"

	"github.com/weftproxy/weft/test/kit"
)

// streamReloads is how many reloads change other routes than the stream's; one more changes its own.
const streamReloads = 100

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

// A chat is a bidirectional gRPC stream through a rig.
type chat struct {
	*rig
	client   kit.Client
	down, up kit.Stream
}

// chat opens a stream on a client's connection, and checks which configuration its route has.
func (r *rig) chat(client kit.Client, own int) *chat {
	r.t.Helper()
	origin := r.lab.Origin("stream", r.pair.Up)
	origin.Manual()
	down, err := client.Open(grpcHead("/pkg.Service/Chat"), false)
	r.must(err)
	up, _ := r.accept(origin)
	r.must(up.SendHead(grpcAnswer(), false))
	head, err := down.Head()
	r.must(err)
	if got := head.Value("x-own"); got != fmt.Sprint(own) {
		r.t.Errorf("a stream opened after the change of its route to %d has the route's %q", own, got)
	}
	return &chat{r, client, down, up}
}

// exchange sends a message each way, and returns how long that took.
func (c *chat) exchange(i int) time.Duration {
	c.t.Helper()
	begin := time.Now()
	c.carry(c.down, c.up, grpcMessage(fmt.Sprint("question ", i)))
	c.carry(c.up, c.down, grpcMessage(fmt.Sprint("answer ", i)))
	return time.Since(begin)
}

// end ends the stream in order, both ways.
func (c *chat) end() {
	c.t.Helper()
	c.must(c.down.Send(nil, true))
	if b, err := kit.Body(c.up); err != nil || len(b) > 0 {
		c.t.Fatalf("the request ends with %q, %v", b, err)
	}
	c.must(c.up.SendTrailer(kit.F("grpc-status", "0")...))
	if b, err := kit.Body(c.down); err != nil || len(b) > 0 {
		c.t.Fatalf("the response ends with %q, %v", b, err)
	}
	if got := c.down.Trailer(); len(got) != 1 || got[0].Value != "0" {
		c.t.Errorf("trailers %v", got)
	}
}

// streamSurvives keeps a stream open while reloads change other routes, and one its own. Messages go both ways after each; before is called
// before it. It returns how long the slowest took.
func streamSurvives(r *rig, before func()) (slowest time.Duration) {
	c := r.chat(r.client(), 0)
	fresh := r.client()
	for i := 1; i <= streamReloads+1; i++ {
		before()
		r.must(r.weft.Reload(r.config(streamRoutes(i/(streamReloads+1), i))))
		r.wants(r.get(fresh, kit.Head{Path: "/generation"}), 200, fmt.Sprint(i))
		slowest = max(slowest, c.exchange(i))
	}
	connections := 2 // the stream's and that of the requests
	next := c.client
	if r.pair.Down == kit.HTTP1 { // which has one stream at a time
		next = r.client()
		connections++
	}
	after := r.chat(next, 1)
	slowest = max(slowest, after.exchange(0), c.exchange(streamReloads+2))
	if r.pair.Down == kit.HTTP2 {
		if a, b := kit.StreamID(c.down), kit.StreamID(after.down); a != 1 || b != 3 || kit.ConnOf(c.down) != kit.ConnOf(after.down) {
			r.t.Errorf("streams %d and %d, want 1 and 3 of one connection", a, b)
		}
	}
	if n, _, _ := r.lab.Origin("stream", r.pair.Up).Began(); n != 2 {
		r.t.Errorf("the upstream got %d streams, want 2", n)
	}
	after.end()
	c.end()
	r.stat("server.reload_success", streamReloads+1)
	r.stat("http.main.downstream_cx_total", int64(connections))
	return slowest
}

// TestStreamSurvivesReloads reloads as fast as it can, on real sockets.
func TestStreamSurvivesReloads(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) { streamSurvives(newRig(t, p, streamRoutes(0, 0)), func() {}) })
}

// TestStreamSurvivesReloadsForMinutes has a message a second, on a fake clock: timers of what was replaced go off, too.
func TestStreamSurvivesReloadsForMinutes(t *testing.T) {
	fakePair(t, kit.Pair{Down: kit.HTTP2, Up: kit.HTTP2}, streamRoutes(0, 0), func(r *rig) {
		if slowest := streamSurvives(r, func() { wait(time.Second) }); slowest >= time.Second {
			r.t.Errorf("a message took %v there and back", slowest)
		}
	})
}
