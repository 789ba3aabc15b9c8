//go:build soak

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/test/kit"
)

// chatConfig has the route of a gRPC stream, which changes with own, and others, which change with generation.
func chatConfig(listen, admin, upstream string, own, generation int) string {
	address := func(a string) string {
		i := strings.LastIndexByte(a, ':')
		return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", a[:i], a[i+1:])
	}
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	yaml := kit.HTTP{
		Manager: "access_log: []",
		Routes: fmt.Sprintf(`- match: {prefix: /pkg.Service/, grpc: {}}
  route: {cluster: a, timeout: 0s}
  response_headers_to_add: [{header: {key: x-own, value: "%d"}}]
- {match: {path: /generation}, direct_response: {status: 200, body: {inline_string: "%d"}}}`, own, generation),
		Clusters: fmt.Sprintf(`- name: a
  load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}
  typed_extension_protocol_options: {%s: {"@type": type.googleapis.com/%s, explicit_http_config: {http2_protocol_options: {}}}}`,
			address(upstream), options, options),
	}.YAML()
	yaml = strings.ReplaceAll(yaml, "{{admin}}", "admin: {address: "+address(admin)+"}")
	return strings.ReplaceAll(yaml, `{{listen "main"}}`, address(listen))
}

// talk has a message a second on the call until stop is closed, then tells how many.
func (c *call) talk(stop <-chan struct{}) (messages int, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := c.exchange(fmt.Sprint("message ", messages), time.Second); err != nil {
			return messages, fmt.Errorf("message %d: %w", messages, err)
		}
		messages++
		select {
		case <-tick.C:
		case <-stop:
			return messages, nil
		}
	}
}

// TestSoakGRPCStreamSurvivesReloads keeps a bidirectional gRPC stream open, with a message a second, while the program reloads a hundred
// times for other routes, and once, in the middle, for the stream's own. It takes half a minute.
func TestSoakGRPCStreamSurvivesReloads(t *testing.T) {
	const reloads, own, every = 101, 51, 300 * time.Millisecond
	service := &echoer{}
	listen, admin, to := freeAddr(t), freeAddr(t), serveH2C(t, service)
	path := filepath.Join(t.TempDir(), "weft.yaml")
	write := func(generation int) {
		text := chatConfig(listen, admin, to, min(generation/own, 1), generation)
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	p := start(t, "-c", path)
	p.ready(listen)

	var dials atomic.Int64
	dial := func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	transport := &http2.Transport{AllowHTTP: true, DialTLSContext: dial}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	first := open(t, client, "http://"+listen)
	stop, over := make(chan struct{}), make(chan error, 1)
	messages := 0
	go func() { // ends with stop, or with the stream
		var err error
		messages, err = first.talk(stop)
		over <- err
	}()
	other := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer other.CloseIdleConnections()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for generation := 1; generation <= reloads; generation++ {
		select {
		case <-tick.C:
		case err := <-over:
			t.Fatalf("the stream broke off after %d reloads: %v", generation-1, err)
		}
		write(generation)
		p.signal(syscall.SIGHUP)
		p.eventually(func() error {
			got, err := fetch(other, "http://"+listen+"/generation")
			if err != nil || got != fmt.Sprint(generation) {
				return fmt.Errorf("generation %q, want %d: %w", got, generation, err)
			}
			return nil
		})
	}
	close(stop)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	second := open(t, client, "http://"+listen)
	for _, err := range []error{second.exchange("one more", time.Second), first.exchange("the last", time.Second), second.end(), first.end()} {
		if err != nil {
			t.Error(err)
		}
	}
	if a, b := first.resp.Header.Get("x-own"), second.resp.Header.Get("x-own"); a != "0" || b != "1" {
		t.Errorf("the streams have their route's generations %q and %q, want 0 and 1", a, b)
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("the client needed %d connections, want 1", n)
	}
	if s, m, b := service.streams.Load(), service.messages.Load(), service.broken.Load(); s != 2 || m != int64(messages+2) || b != 0 {
		t.Errorf("the service got %d streams and %d messages, %d broken; want 2, %d, 0", s, m, b, messages+2)
	}
	if least := int(reloads*every/time.Second) * 9 / 10; messages < least {
		t.Errorf("%d messages, want at least %d", messages, least)
	}
	t.Logf("%d messages during %d reloads", messages, reloads)
}

// serveH2C runs an upstream that speaks HTTP/2 without TLS until the test ends, and returns its address.
func serveH2C(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: &http.Protocols{}, ReadHeaderTimeout: patience}
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }() // ends with Close
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Log(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}
