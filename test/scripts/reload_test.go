package scripts

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// reloadConfig is a configuration that differs from the one before in what a route answers, in a cluster and in a listener.
func reloadConfig(generation int) string {
	extra, listener := "", ""
	if generation%2 == 1 {
		extra = fmt.Sprintf("- {name: extra%d, {{hosts \"x\" \"a\"}}}\n", generation)
	}
	if generation%3 == 1 {
		listener = `
  - name: extra
    address: {{listen "extra"}}
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: extra, cluster: a}}]}]`
	}
	h := kit.HTTP{
		Manager: "upgrade_configs: [{upgrade_type: websocket}]",
		Routes: fmt.Sprintf(`- {match: {path: /generation}, direct_response: {status: 200, body: {inline_string: "%d"}}}
- {match: {prefix: /stream}, route: {cluster: stream, timeout: 0s}}
- {match: {prefix: /}, route: {cluster: a}}`, generation),
		Clusters: "- {name: a, {{hosts \"a\" \"a\"}}}\n- {name: stream, {{hosts \"stream\" \"stream\"}}}\n" + extra,
	}
	yaml := h.YAML()
	return string(bytes.Replace([]byte(yaml), []byte("\n  clusters:\n"), []byte(listener+"\n  clusters:\n"), 1))
}

// TestReloadsUnderLoad applies a hundred configurations while clients send requests on kept and on new connections, and a tunnel and
// a download go on.
func TestReloadsUnderLoad(t *testing.T) {
	const reloads, clients = 100, 8
	lab := kit.New(t)
	weft := lab.Start(reloadConfig(0))
	stream := lab.Upstream("stream")
	stream.Manual()

	tunnel, tunnelEnd := openStream(t, lab, "GET /stream/ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	download, downloadEnd := openStream(t, lab, "GET /stream/file HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")

	stop := make(chan struct{})
	var running sync.WaitGroup
	var requests atomic.Int64
	peers := make([]*kit.Peer, clients)
	for i := range peers {
		peers[i] = lab.Dial("main")
		running.Go(func() { // ends with stop
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := oneRequest(peers[i]); err != nil {
					t.Errorf("client %d after %d requests: %v", i, requests.Load(), err)
					return
				}
				requests.Add(1)
			}
		})
	}
	for generation := 1; generation <= reloads; generation++ {
		if err := weft.Reload(reloadConfig(generation)); err != nil {
			t.Fatalf("reload %d: %v", generation, err)
		}
		fresh := lab.Dial("main")
		if got, err := ask(fresh, "/generation"); err != nil || got != fmt.Sprint(generation) {
			t.Fatalf("reload %d: generation %q, %v", generation, got, err)
		}
		_ = fresh.Close() // done
		carry(t, tunnel, tunnelEnd, fmt.Sprint("up ", generation))
		carry(t, tunnelEnd, tunnel, fmt.Sprint("down ", generation))
		carry(t, downloadEnd, download, fmt.Sprint("chunk ", generation))
	}
	close(stop)
	running.Wait()
	if requests.Load() < reloads {
		t.Errorf("only %d requests were made", requests.Load())
	}
	t.Logf("%d requests during %d reloads", requests.Load(), reloads)
}

// openStream sends a request to the upstream "stream" and its answer's head back, and returns both ends.
func openStream(t *testing.T, lab *kit.Lab, request, answer string) (client, upstream *kit.Peer) {
	t.Helper()
	client = lab.Dial("main")
	if err := client.Send([]byte(request)); err != nil {
		t.Fatal(err)
	}
	upstream, err := lab.Upstream("stream").Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := upstream.Request(); err != nil {
		t.Fatal(err)
	}
	if err := upstream.Send([]byte(answer)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Head(); err != nil {
		t.Fatal(err)
	}
	return client, upstream
}

// carry sends bytes from one end to the other.
func carry(t *testing.T, from, to *kit.Peer, text string) {
	t.Helper()
	if err := from.Send([]byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got, err := to.Bytes(len(text)); err != nil || string(got) != text {
		t.Fatalf("%q came as %q, %v", text, got, err)
	}
}

func ask(p *kit.Peer, path string) (string, error) {
	if err := p.Send([]byte("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n")); err != nil {
		return "", err
	}
	m, err := p.Response()
	if err != nil {
		return "", err
	}
	if m.Status() != 200 || m.Err != nil {
		return "", fmt.Errorf("%s", m.Text(nil))
	}
	return string(m.Body), nil
}

func oneRequest(p *kit.Peer) error {
	got, err := ask(p, "/")
	if err == nil && got != "a" {
		err = fmt.Errorf("got %q", got)
	}
	return err
}
