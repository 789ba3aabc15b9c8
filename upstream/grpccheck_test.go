package upstream

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport"
)

const checkedByCall = `
name: rpc
type: STATIC
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
health_checks:
- timeout: 1s
  interval: 5s
  no_traffic_interval: 5s
  unhealthy_threshold: 2
  healthy_threshold: 1
  grpc_health_check: {service_name: pkg.S}
load_assignment:
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}
`

// A healthServer answers gRPC health checks with what it was told last.
type healthServer struct {
	answer  atomic.Pointer[string] // the message; "-": trailers only, unimplemented; "silence", "goaway"
	conns   atomic.Int32
	request atomic.Pointer[string]
}

// ServeStream implements protocol.StreamHandler.
func (h *healthServer) ServeStream(ctx context.Context, s protocol.Stream) {
	r := s.Request()
	body, _ := message.ReadAll(r.Body, 100)
	seen := r.Path + " " + r.Authority + " " + string(body)
	h.request.Store(&seen)
	resp := &message.Response{Status: 200, Length: -1, Body: message.NoBody}
	resp.Header.AddKnown(message.ContentType, "application/grpc")
	switch answer := *h.answer.Load(); answer {
	case "silence":
		<-ctx.Done()
		return
	case "-":
		resp.Length = 0
		resp.Header.AddKnown(message.GRPCStatus, "12")
	case "goaway":
		s.CloseAfter()
		answer = "\x08\x01"
		fallthrough
	default:
		b := &withTrailer{Body: message.NewBytes([]byte("\x00\x00\x00\x00\x02" + answer))}
		b.trailer.AddKnown(message.GRPCStatus, "0")
		resp.Body = b
	}
	_ = s.Respond(resp) // what the checker does not get it calls unhealthy
}

// RefuseStream implements protocol.StreamHandler.
func (h *healthServer) RefuseStream(context.Context, protocol.Stream, *protocol.Error) {}

// Expired implements protocol.StreamHandler.
func (h *healthServer) Expired(protocol.Stream, scope.Due) error { return nil }

func (h *healthServer) say(answer string) { h.answer.Store(&answer) }

type withTrailer struct {
	message.Body
	trailer message.Header
}

func (b *withTrailer) Trailer() *message.Header { return &b.trailer }

// serveHTTP2 serves an address until the test ends.
func (w *world) serveHTTP2(address string, h *healthServer) {
	w.t.Helper()
	ln, err := w.net.Listen(w.t.Context(), transport.ListenOptions{Network: "tcp", Address: address})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := http2.NewServer(http2.ServerOptions{})
	var running sync.WaitGroup
	serve := func(nc net.Conn) {
		h.conns.Add(1)
		c := conn.New(nc)
		stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
		_ = server.Serve(ctx, c, h) // how it ends is the checker's doing
		stop()
		_ = c.Close()
	}
	running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(nc) })
		}
	})
	w.t.Cleanup(func() {
		_ = ln.Close()
		cancel()
		running.Wait()
	})
}

func TestGRPCHealthCheckTransitions(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env.HTTP2 = func(o http2.ClientOptions) protocol.Client { return http2.NewClient(o) }
		h := &healthServer{}
		h.say("\x08\x01")
		w.serveHTTP2("10.0.0.1:80", h)
		c := w.start(checkedByCall)
		<-c.Ready()
		host := c.Hosts().All()[0]
		if host.Health() != 0 || *h.request.Load() != "/grpc.health.v1.Health/Check rpc \x00\x00\x00\x00\x07\x0a\x05pkg.S" {
			t.Errorf("%s after the request %q", host.Health(), *h.request.Load())
		}
		for i, step := range []struct {
			answer string
			want   Health
			conns  int32
		}{
			{"\x08\x01", 0, 1}, {"\x08\x02", FailedActiveHC, 1}, {"\x08\x01", 0, 1}, {"-", FailedActiveHC, 1}, {"\x08\x01", 0, 1},
			{"goaway", 0, 1}, {"\x08\x01", 0, 2}, {"silence", 0, 2}, {"silence", FailedActiveHC | ActiveHCTimeout, 3}, {"\x08\x01", 0, 4},
		} {
			h.say(step.answer)
			round(6 * time.Second)
			if host.Health() != step.want || h.conns.Load() != step.conns {
				t.Errorf("step %d, %q: %s on connection %d", i, step.answer, host.Health(), h.conns.Load())
			}
		}
	})
}

func TestGRPCHealthChecksNeedHTTP2(t *testing.T) {
	w := newWorld(t)
	w.env.HTTP2 = func(o http2.ClientOptions) protocol.Client { return http2.NewClient(o) }
	i, j := strings.Index(checkedByCall, "typed_extension"), strings.Index(checkedByCall, "health_checks")
	p := resource.NewProblems("")
	Compile(w.env, parse(t, checkedByCall[:i]+checkedByCall[j:]), "cluster", p)
	all := p.All()
	if len(all) != 1 || !strings.Contains(all[0].Error(), "rpc cluster must support HTTP/2 for gRPC healthchecking") {
		t.Errorf("%v", all)
	}
}

func TestHTTPHealthChecksByHTTP2(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env.HTTP2 = func(o http2.ClientOptions) protocol.Client { return http2.NewClient(o) }
		h := &healthServer{}
		h.say("\x08\x01")
		w.serveHTTP2("10.0.0.1:80", h)
		check := strings.Replace(checked, "{path: /healthz}", "{path: /healthz, codec_client_type: HTTP2}", 1)
		c := w.start(check)
		<-c.Ready()
		if host := c.Hosts().All()[0]; host.Health() != 0 || !strings.HasPrefix(*h.request.Load(), "/healthz web ") {
			t.Errorf("%s after the request %q", host.Health(), *h.request.Load())
		}
	})
}
