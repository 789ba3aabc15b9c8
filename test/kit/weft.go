package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/server"
)

// A Weft is a whole Weft in this process.
type Weft struct {
	lab     *Lab
	path    string
	signals chan os.Signal
	addrs   server.Addresses
	out     output
	done    chan struct{} // closed when Run has returned
	err     error         // what Run returned; read after done
	cancel  context.CancelFunc
	client  *http.Client
}

// output is what the process writes. Safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Start starts a Weft with this configuration, whose placeholders Expand replaces, and waits until it serves. It is ended with the
// test.
func (l *Lab) Start(config string) *Weft {
	l.t.Helper()
	w, err := l.TryStart(config)
	if err != nil {
		l.t.Fatalf("weft does not start: %v\n%s", err, w.Output())
	}
	return w
}

// TryStart is Start for a configuration that may be refused; the error is what Run returned.
func (l *Lab) TryStart(config string) (*Weft, error) {
	l.t.Helper()
	text, err := l.Expand(config)
	if err != nil {
		l.t.Fatal(err)
	}
	const signals = 4
	ctx, cancel := context.WithCancel(context.Background())
	w := &Weft{
		lab: l, path: l.File("weft.yaml", text), signals: make(chan os.Signal, signals), done: make(chan struct{}), cancel: cancel,
		client: &http.Client{Timeout: l.limit, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return l.dial(ctx, addr) },
		}},
	}
	l.weft = w
	started := make(chan server.Addresses, 1)
	go func() { // ends with Run
		defer close(w.done)
		w.err = server.Run(ctx, w.options(started))
	}()
	timer := time.NewTimer(l.limit)
	defer timer.Stop()
	select {
	case w.addrs = <-started:
		return w, nil
	case <-w.done:
		l.weft = nil
		cancel()
		return w, w.err
	case <-timer.C:
		return w, fmt.Errorf("did not serve within %v", l.limit)
	}
}

func (w *Weft) options(started chan<- server.Addresses) server.Options {
	const flush = 5 * time.Millisecond
	return server.Options{
		ConfigPath: w.path, Concurrency: 2, FileFlushInterval: flush, DrainTime: w.lab.limit, DrainStrategy: server.DrainImmediate,
		LogLevel: "debug", ServiceNode: "kit-node", ServiceCluster: "kit-cluster", Extensions: builtin.Extensions(),
		Network: w.lab.network, Stdout: &w.out, Stderr: &w.out, Signals: w.signals,
		Started: func(a server.Addresses) { started <- a },
	}
}

// Output is what the process has written to standard output and error.
func (w *Weft) Output() string { return w.out.String() }

// Addr is the first address of a listener.
func (w *Weft) Addr(listener string) (string, error) {
	if a := w.addrs.Listeners[listener]; len(a) > 0 {
		return a[0], nil
	}
	return w.addrNow(listener)
}

// addrNow asks the admin page for the address of a listener that came after the start.
func (w *Weft) addrNow(listener string) (string, error) {
	_, body, err := w.Admin(http.MethodGet, "/listeners")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(body) {
		if addr, ok := strings.CutPrefix(strings.TrimSpace(line), listener+"::"); ok {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no listener %q in %q", listener, body)
}

// Admin asks the admin page.
func (w *Weft) Admin(method, path string) (status int, body string, err error) {
	r, err := http.NewRequest(method, "http://"+w.addrs.Admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := w.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Stats are all counters and gauges by name.
func (w *Weft) Stats() (map[string]int64, error) {
	_, body, err := w.Admin(http.MethodGet, "/stats")
	if err != nil {
		return nil, err
	}
	values := map[string]int64{}
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		if ok && err == nil {
			values[name] = n
		}
	}
	return values, nil
}

// WaitStat waits until a counter or gauge has this value; one that does not exist is 0.
func (w *Weft) WaitStat(name string, want int64) error {
	return w.lab.eventually(func() error {
		values, err := w.Stats()
		if err != nil {
			return err
		}
		if got := values[name]; got != want {
			return fmt.Errorf("%s is %d, want %d", name, got, want)
		}
		return nil
	})
}

// Failures is what /failures says, as JSON objects, the newest first.
func (w *Weft) Failures() ([]map[string]any, error) {
	_, body, err := w.Admin(http.MethodGet, "/failures?format=json")
	if err != nil {
		return nil, err
	}
	var out struct{ Failures []map[string]any }
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		return nil, fmt.Errorf("%w in %q", err, body)
	}
	return out.Failures, nil
}

// Reload replaces the configuration and applies it. The error is what Weft says against it.
func (w *Weft) Reload(config string) error {
	text, err := w.lab.Expand(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
		return err
	}
	status, body, err := w.Admin(http.MethodPost, "/reload")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d %s", status, body)
	}
	return err
}

// Signal sends what the process would get as a signal.
func (w *Weft) Signal(s os.Signal) { w.signals <- s }

// Wait waits until Run has returned, and returns what it did.
func (w *Weft) Wait() error {
	timer := time.NewTimer(w.lab.limit)
	defer timer.Stop()
	select {
	case <-w.done:
		return w.err
	case <-timer.C:
		return fmt.Errorf("weft has not ended within %v", w.lab.limit)
	}
}

// finish ends the process when the test is over, and checks that it counts nothing as active and that it can end.
func (w *Weft) finish() {
	t := w.lab.t
	defer w.cancel()
	defer func() {
		if t.Failed() && testing.Verbose() {
			t.Logf("weft's log:\n%s", w.Output())
		}
	}()
	select {
	case <-w.done:
	default:
		if err := w.lab.eventually(w.quiet); err != nil {
			t.Errorf("at the end of the test: %v", err)
		}
		w.Signal(syscall.SIGTERM)
	}
	if err := w.Wait(); err != nil {
		t.Errorf("weft: %v", err)
	}
	for line := range strings.Lines(w.Output()) {
		if strings.Contains(line, "panic") {
			t.Errorf("weft's log tells of a panic: %s", line)
			break
		}
	}
}

// quiet is nil when nothing is counted as under way.
func (w *Weft) quiet() error {
	values, err := w.Stats()
	if err != nil {
		return err
	}
	for name, n := range values {
		if n != 0 && strings.HasSuffix(name, "_active") && !strings.Contains(name, "admin") && !strings.HasSuffix(name, "upstream_cx_active") &&
			!strings.HasSuffix(name, "upstream_cx_http1_active") &&
			!strings.HasSuffix(name, "upstream_cx_http2_active") && !strings.HasPrefix(name, "listener_manager.") {
			return fmt.Errorf("%s is still %d", name, n)
		}
	}
	return nil
}
