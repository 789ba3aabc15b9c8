package xds

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/internal/demo"
	"github.com/weftproxy/weft/server"
	"github.com/weftproxy/weft/test/kit"
	"github.com/weftproxy/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait.
const patience = 20 * time.Second

// A mesh is a process whose configuration comes from a control plane.
type mesh struct {
	t      *testing.T
	at     server.Addresses
	cancel context.CancelFunc
	ended  chan error
	log    *lockedBuffer
	plane  *kit.ControlPlane

	planeAt string
	url     string // of the listener "front"
	port    int

	network transport.Network // nil: the host's
}

// both runs a test with the state of the world and with deltas.
func both(t *testing.T, f func(t *testing.T, delta bool)) {
	for name, delta := range map[string]bool{"sotw": false, "delta": true} {
		t.Run(name, func(t *testing.T) { f(t, delta) })
	}
}

// startMesh runs a process that has all its configuration from a control plane, which has what first gives it.
func startMesh(t *testing.T, delta bool, first func(m *mesh, e *kit.Edit)) *mesh {
	t.Helper()
	return startMeshWith(t, server.Options{}, delta, first)
}

// startMeshWith is startMesh with options of the process.
func startMeshWith(t *testing.T, o server.Options, delta bool, first func(m *mesh, e *kit.Edit)) *mesh {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	m := &mesh{t: t, plane: kit.NewControlPlane(), port: port, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	m.plane.Update(func(e *kit.Edit) {
		e.Touch(kit.ClusterURL) // an empty answer is one, too
		e.Touch(kit.ListenerURL)
		first(m, e)
	})
	m.plane.Serve(ln)
	t.Cleanup(m.plane.Stop)
	m.planeAt = ln.Addr().String()
	if o.Bootstrap == nil {
		o.Bootstrap = kit.ADSBootstrap(m.planeAt, delta)
	}
	for _, s := range o.Bootstrap.GetDynamicResources().GetAdsConfig().GetGrpcServices() { // who has to come back comes soon
		s.RetryPolicy = &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
			BaseInterval: durationpb.New(10 * time.Millisecond), MaxInterval: durationpb.New(50 * time.Millisecond),
		}}
	}
	m.launch(o)
	return m
}

// front is the usual listener.
func (m *mesh) front(e *kit.Edit, routes string) {
	e.Set("front", kit.HTTPListener("front", fmt.Sprintf("127.0.0.1:%d", m.port), routes))
}

// accepted waits until the present version of a type is acknowledged.
func (m *mesh) accepted(url string) { m.t.Helper(); m.settledAs(url, "") }

// refused waits until it is rejected, for a reason that has all of want.
func (m *mesh) refused(url string, want ...string) { m.t.Helper(); m.settledAs(url, want...) }

func (m *mesh) settledAs(url string, want ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	why, err := m.plane.AwaitVersion(ctx, url)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", url, err, m.log)
	}
	if len(want) == 1 && want[0] == "" && why != "" {
		m.t.Fatalf("%s was rejected: %s", url, why)
	}
	for _, w := range want {
		if !strings.Contains(why, w) {
			m.t.Errorf("rejected with %q, want %q", why, w)
		}
	}
}

// gauge waits until a number of the statistics is this one: those of what warms follow what has come into force.
func (m *mesh) gauge(name string, want int) {
	m.t.Helper()
	text := fmt.Sprintf("%s: %d", name, want)
	m.eventually(text, func() bool {
		_, body := m.ask("GET", "http://"+m.at.Admin+"/stats?filter="+name)
		return strings.Contains(body, text)
	})
}

// answers waits until a path is answered with a text.
func (m *mesh) answers(path, want string) {
	m.t.Helper()
	last := ""
	m.eventually(path+" is answered with "+want, func() bool {
		status, body := m.ask("GET", m.url+path)
		last = fmt.Sprint(status, " ", body)
		return strings.Contains(last, want)
	})
}

// launch runs the process until the test ends.
func (m *mesh) launch(o server.Options) {
	t := m.t
	t.Helper()
	m.ended, m.log = make(chan error, 1), &lockedBuffer{}
	started := make(chan server.Addresses, 1)
	o.Extensions, o.Stdout, o.Stderr = builtin.Extensions(), m.log, m.log
	if o.DrainTime == 0 {
		o.DrainTime = patience
	}
	o.Network = m.network
	o.Started = func(a server.Addresses) { started <- a }
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() { m.ended <- server.Run(ctx, o) }() // ends with cancel; stop waits for it
	t.Cleanup(func() {
		m.stop()
		if t.Failed() {
			t.Logf("log:\n%s", m.log)
		}
	})
	select {
	case m.at = <-started:
	case err := <-m.ended:
		m.ended <- err
		t.Fatalf("the process ended: %v\n%s", err, m.log)
	case <-time.After(patience):
		t.Fatalf("the process does not start\n%s", m.log)
	}
}

// stop ends the process and waits.
func (m *mesh) stop() {
	m.t.Helper()
	m.cancel()
	select {
	case err := <-m.ended:
		m.ended <- err
		if err != nil {
			m.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		m.t.Errorf("the process does not end\n%s", m.log)
	}
}

// transport connects by the mesh's network, anew for each request.
func (m *mesh) transport() *http.Transport {
	out := &http.Transport{DisableKeepAlives: true}
	if m.network != nil {
		out.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return m.network.Dial(ctx, transport.DialOptions{Network: network, Address: addr})
		}
	}
	return out
}

// ask sends a request and returns the status and the body; 0 when there is no answer.
func (m *mesh) ask(method, url string) (int, string) {
	m.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: m.transport()}
	resp, err := client.Do(req)
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

func (m *mesh) expect(method, url string, status int, want string) {
	m.t.Helper()
	if got, body := m.ask(method, url); got != status || !strings.Contains(body, want) {
		m.t.Errorf("%s %s: %d %.3000s\nwant %d %q", method, url, got, body, status, want)
	}
}

// eventually waits until f holds.
func (m *mesh) eventually(what string, f func() bool) {
	m.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("%s: does not happen\n%s", what, m.log)
		}
	}
}

// originPort starts a demo upstream and returns its port.
func originPort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := demo.Start(ln, nil)
	t.Cleanup(func() { _ = s.Close() })
	return ln.Addr().(*net.TCPAddr).Port
}

// freePort is a port on which nothing listens. It is none of those that the kernel gives to who asks for any, now or later.
func freePort(t *testing.T) int {
	t.Helper()
	const first, last = 12000, 32000
	for range 1000 {
		port := first + rand.IntN(last-first)
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = ln.Close() // nobody has connected
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
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
