package upstream

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http1"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/tcp"
)

// get sends a request through a cluster and returns the answer.
func get(t *testing.T, c *Cluster) (status int, body string, reused bool) {
	t.Helper()
	h, err := c.Pick(nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.Pool().Acquire(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := l.Session.RoundTrip(t.Context(), &message.Request{Method: "GET", Scheme: "http", Authority: "web", Path: "/", Body: message.NoBody})
	if err != nil {
		t.Fatal(err)
	}
	b, err := message.ReadAll(resp.Body, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	status = resp.Status
	resp.Body.Close(nil)
	resp.Release()
	return status, string(b), l.Reused
}

func TestRequestsOverSockets(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") }))
	defer s.Close()
	env := CompileEnv{Stats: stats.NewStore(stats.Options{}), Network: tcp.New(), HTTP1: func(HTTP1Options) protocol.Client {
		return http1.NewClient(http1.ClientOptions{})
	}}
	host, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c := Compile(env, parse(t, fmt.Sprintf(`
name: web
upstream_connection_options: {tcp_keepalive: {keepalive_time: 10}}
upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}}
load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
`, host, port)), "", resource.NewProblems(""))
	c.Start(t.Context())
	defer c.Close()
	for i := range 5 {
		if status, body, reused := get(t, c); status != 200 || body != "hello" || reused != (i > 0) {
			t.Errorf("request %d: %d %q, reused %v", i, status, body, reused)
		}
	}
	p := c.Hosts().All()[0].Pool()
	l, err := p.Acquire(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if local := l.Session.Conn().Info().Local.Addr().String(); local != "127.0.0.3" {
		t.Errorf("from %s", local)
	}
	l.Release()

	s.CloseClientConnections()
	wait := time.NewTicker(10 * time.Millisecond) // fresh sessions are trusted for a while
	defer wait.Stop()
	for range 500 {
		<-wait.C
		if c.Stats(0).CxDestroyRemote.Value() > 0 {
			break
		}
		if status, _, _ := get(t, c); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	if got := c.Stats(0).CxDestroyRemote.Value(); got != 1 {
		t.Errorf("upstream_cx_destroy_remote is %d", got)
	}
	if n := c.Stats(0); n.CxTotal.Value() != 2 || n.CxRxBytesTotal.Value() == 0 || n.CxTxBytesTotal.Value() == 0 {
		t.Errorf("%d connections, %d bytes in, %d out", n.CxTotal.Value(), n.CxRxBytesTotal.Value(), n.CxTxBytesTotal.Value())
	}
}
