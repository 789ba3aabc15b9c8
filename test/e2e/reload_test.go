package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weftproxy/weft/test/kit"
)

// config is a configuration with one listener that sends everything to one upstream; generation is what a direct response at
// /generation says, so that each differs.
func config(listen, admin, upstream string, generation int) string {
	address := func(a string) string {
		i := strings.LastIndexByte(a, ':')
		return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", a[:i], a[i+1:])
	}
	yaml := kit.HTTP{
		Manager: "access_log: []\nupgrade_configs: [{upgrade_type: websocket}]",
		Routes: fmt.Sprintf(`- {match: {path: /generation}, direct_response: {status: 200, body: {inline_string: "%d"}}}
- {match: {prefix: /}, route: {cluster: a, timeout: 0s, retry_policy: {retry_on: connect-failure}}}`, generation),
		Clusters: fmt.Sprintf("- {name: a, load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}}", address(upstream)),
	}.YAML()
	yaml = strings.ReplaceAll(yaml, "{{admin}}", "admin: {address: "+address(admin)+"}")
	return strings.ReplaceAll(yaml, `{{listen "main"}}`, address(listen))
}

// fetch gets a URL and returns the body.
func fetch(c *http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

// TestReloadsLoseNothing changes the configuration a hundred times while keep-alive clients send requests, a WebSocket is open and
// a download runs.
func TestReloadsLoseNothing(t *testing.T) {
	const reloads, clients = 100, 16
	listen, admin, to := freeAddr(t), freeAddr(t), startDemo(t)
	path := filepath.Join(t.TempDir(), "weft.yaml")
	write := func(generation int) {
		if err := os.WriteFile(path+".new", []byte(config(listen, admin, to, generation)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	p := start(t, "-c", path)
	p.ready(listen)

	stop := make(chan struct{})
	var running sync.WaitGroup
	var requests, failed atomic.Int64
	for range clients {
		running.Go(func() { // ends with stop
			c := &http.Client{Timeout: patience, Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := fetch(c, "http://"+listen+"/echo"); err != nil {
					failed.Add(1)
					t.Errorf("request %d: %v", requests.Load(), err)
				}
				requests.Add(1)
			}
		})
	}
	ws := openWebSocket(t, listen, "/ws")
	download, err := http.Get("http://" + listen + "/bytes/1000000000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = download.Body.Close() }() // its end is not read
	chunk, pattern := make([]byte, 64<<10), bytes.Repeat([]byte("0123456789abcdef"), 4<<10)

	c := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	for generation := 1; generation <= reloads; generation++ {
		write(generation)
		p.signal(syscall.SIGHUP)
		p.eventually(func() error {
			got, err := fetch(c, "http://"+listen+"/generation")
			if err != nil || got != fmt.Sprint(generation) {
				return fmt.Errorf("generation %q, want %d: %w", got, generation, err)
			}
			return nil
		})
		if err := ws.echo(fmt.Sprint("generation ", generation)); err != nil {
			t.Fatalf("the WebSocket after %d reloads: %v", generation, err)
		}
		if _, err := io.ReadFull(download.Body, chunk); err != nil || !bytes.Equal(chunk, pattern) {
			t.Fatalf("the download after %d reloads: %v", generation, err)
		}
	}
	close(stop)
	running.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, requests.Load())
	}
	t.Logf("%d requests during %d reloads, %d failed", requests.Load(), reloads, failed.Load())
}

func TestReloadOfABrokenFileChangesNothing(t *testing.T) {
	listen, admin, to := freeAddr(t), freeAddr(t), startDemo(t)
	path := filepath.Join(t.TempDir(), "weft.yaml")
	good := config(listen, admin, to, 1)
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "-c", path)
	p.ready(listen)
	if err := os.WriteFile(path, []byte(strings.Replace(good, "{path: /generation}", "{path: /generation, nonsense: 1}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.eventually(func() error {
		if !strings.Contains(p.out.String(), "nonsense") {
			return fmt.Errorf("the log does not name the field")
		}
		return nil
	})
	if got := curl(t, "http://"+listen+"/generation"); got != "1" {
		t.Errorf("generation %q", got)
	}
	if out := p.out.String(); !strings.Contains(out, path) {
		t.Errorf("the log does not name the file %s", path)
	}
}

// TestDrainLosesNothing ends the process while requests are under way: each that was accepted is answered.
func TestDrainLosesNothing(t *testing.T) {
	const under = 50
	arrived, answer := make(chan struct{}, under), make(chan struct{})
	to := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-answer:
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
		}
	}))
	p, from := proxy(t, "http://"+to)
	results := make(chan error, under)
	for range under {
		go func() { // ends with its request
			c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
			got, err := fetch(c, "http://"+from+"/")
			if err == nil && got != "done" {
				err = fmt.Errorf("got %q", got)
			}
			results <- err
		}()
	}
	for range under {
		select {
		case <-arrived:
		case <-time.After(patience):
			t.Fatal("not all requests have arrived")
		}
	}
	p.signal(syscall.SIGTERM)
	p.eventually(func() error { // nothing new is accepted
		resp, err := (&http.Client{Timeout: time.Second}).Get("http://" + from + "/new")
		if err == nil {
			_ = resp.Body.Close() // it should not be there
			return fmt.Errorf("a new connection is still answered: %s", resp.Status)
		}
		return nil
	})
	close(answer)
	for range under {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := p.wait(); err != nil {
		t.Errorf("weft ended with %v", err)
	}
}
