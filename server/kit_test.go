package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait.
const patience = 20 * time.Second

// A running process under test.
type running struct {
	t       *testing.T
	path    string // of the configuration
	at      Addresses
	signals chan os.Signal
	cancel  context.CancelFunc
	ended   chan error
	log     *lockedBuffer
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a configuration in this process until the test ends.
func start(t *testing.T, config string, edit ...func(*Options)) *running {
	t.Helper()
	r := &running{
		t: t, path: filepath.Join(t.TempDir(), "weft.yaml"), signals: make(chan os.Signal), ended: make(chan error, 1), log: &lockedBuffer{},
	}
	r.configure(config)
	started := make(chan Addresses, 1)
	o := Options{
		ConfigPath: r.path, Extensions: builtin.Extensions(), Stdout: r.log, Stderr: r.log, Signals: r.signals,
		DrainTime: patience, Started: func(a Addresses) { started <- a },
	}
	for _, f := range edit {
		f(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- Run(ctx, o) }() // ends with cancel; stop waits for it
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	select {
	case r.at = <-started:
	case err := <-r.ended:
		r.ended <- err
		t.Fatalf("the process ended: %v\n%s", err, r.log)
	case <-time.After(patience):
		t.Fatalf("the process does not start\n%s", r.log)
	}
	return r
}

// configure writes the configuration file.
func (r *running) configure(config string) {
	r.t.Helper()
	if err := os.WriteFile(r.path, []byte(config), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the process and waits.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	r.wait()
}

func (r *running) wait() {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		r.t.Errorf("the process does not end\n%s", r.log)
	}
}

// send delivers a signal.
func (r *running) send(sig os.Signal) {
	r.t.Helper()
	select {
	case r.signals <- sig:
	case <-time.After(patience):
		r.t.Fatalf("nobody takes signal %v", sig)
	}
}

// client makes a connection for each request.
func client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

// ask sends a request and returns the status and the body; 0 when there is no answer.
func (r *running) ask(method, url string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := client().Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// get asks a listener for a path and expects a status.
func (r *running) get(listener, path string, status int, want string) {
	r.t.Helper()
	at := r.at.Listeners[listener]
	if len(at) == 0 {
		r.t.Fatalf("no listener %q in %v", listener, r.at)
	}
	r.expect("GET", "http://"+at[0]+path, status, want)
}

// admin asks the admin page and expects a status.
func (r *running) admin(method, path string, status int, want string) {
	r.t.Helper()
	r.expect(method, "http://"+r.at.Admin+path, status, want)
}

func (r *running) expect(method, url string, status int, want string) {
	r.t.Helper()
	if got, body := r.ask(method, url); got != status || !strings.Contains(body, want) {
		r.t.Errorf("%s %s: %d %.3000s\nwant %d %q", method, url, got, body, status, want)
	}
}

// eventually waits until f holds.
func (r *running) eventually(what string, f func() bool) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("%s: does not happen\n%s", what, r.log)
		}
	}
}

// origin starts a demo upstream and returns its port.
func origin(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := demo.Start(ln, nil)
	t.Cleanup(func() { _ = s.Close() })
	return ln.Addr().(*net.TCPAddr).Port
}

// busyPort is a port on which something listens until the test ends; the function frees it.
func busyPort(t *testing.T) (port int, free func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().(*net.TCPAddr).Port, func() { _ = ln.Close() }
}

// config is a bootstrap with an admin page, and the given listeners and clusters.
func config(parts ...string) string {
	var listeners, clusters string
	for _, p := range parts {
		if strings.HasPrefix(p, "  - # cluster") {
			clusters += p
		} else {
			listeners += p
		}
	}
	out := "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\nstatic_resources:\n"
	if listeners != "" {
		out += "  listeners:\n" + listeners
	}
	if clusters != "" {
		out += "  clusters:\n" + clusters
	}
	return out
}

func cluster(name string, port int) string {
	return fmt.Sprintf(`  - # cluster
    name: %[1]s
    connect_timeout: 5s
    load_assignment: {cluster_name: %[1]s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}}}]}]}
`, name, port)
}

// front is an HTTP listener; each route is "PATH STATUS BODY", which answers directly, or "PREFIX CLUSTER".
func front(name string, port int, routes ...string) string {
	out := fmt.Sprintf(`  - name: %[1]s
    address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %[1]s
          upgrade_configs: [{upgrade_type: websocket}]
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config:
            name: %[1]s-routes
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
`, name, port)
	for _, r := range routes {
		f := strings.Fields(r)
		if len(f) == 3 {
			out += fmt.Sprintf("              - {match: {path: %s}, direct_response: {status: %s, body: {inline_string: %s}}}\n", f[0], f[1], f[2])
		} else {
			out += fmt.Sprintf("              - {match: {prefix: %s}, route: {cluster: %s, timeout: 0s}}\n", f[0], f[1])
		}
	}
	return out
}
