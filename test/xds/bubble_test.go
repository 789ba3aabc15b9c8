package xds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weftproxy/weft/server"
	"github.com/weftproxy/weft/test/kit"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/memory"
)

// The addresses of a bubble, whose network is its own.
const (
	planeAddress = "127.0.0.1:18000"
	frontAddress = "127.0.0.1:10000"
)

// probe is how long an answer may take. A listener that warms is bound: who connects to it waits.
const probe = 100 * time.Millisecond

// A bubble is a mesh whose network is in memory and whose time is virtual. Nothing in it depends on how busy the machine is.
type bubble struct {
	*mesh
	delta bool
}

// bubbles runs a test in a bubble with the state of the world, and in one with deltas.
func bubbles(t *testing.T, f func(b *bubble)) {
	t.Helper()
	both(t, func(t *testing.T, delta bool) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { f(newBubble(t, delta)) })
	})
}

// newBubble returns a mesh that has nothing yet and does not run.
func newBubble(t *testing.T, delta bool) *bubble {
	b := &bubble{delta: delta, mesh: &mesh{t: t, plane: kit.NewControlPlane(), port: 10000, url: "http://" + frontAddress, network: memory.New()}}
	b.plane.Update(func(e *kit.Edit) { e.Touch(kit.ClusterURL); e.Touch(kit.ListenerURL) })
	b.plane.Serve(b.listen(planeAddress))
	t.Cleanup(b.plane.Stop)
	return b
}

// run starts the process; change may be nil.
func (b *bubble) run(change func(*bootstrapv3.Bootstrap)) {
	b.t.Helper()
	boot := kit.ADSBootstrap(planeAddress, b.delta)
	boot.Admin.Address = kit.Address("127.0.0.1:19000")
	if change != nil {
		change(boot)
	}
	b.launch(server.Options{Bootstrap: boot})
	b.settle()
}

func (b *bubble) listen(address string) net.Listener {
	b.t.Helper()
	ln, err := b.network.Listen(b.t.Context(), transport.ListenOptions{Network: "tcp", Address: address})
	if err != nil {
		b.t.Fatal(err)
	}
	return ln
}

// settle lets everything happen that needs no waiting: requests wait a few milliseconds for more to ask for.
func (b *bubble) settle() { b.pass(200 * time.Millisecond) }

// pass lets time go by.
func (b *bubble) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// send changes what the control plane has, and waits until that has had its effect.
func (b *bubble) send(f func(e *kit.Edit)) {
	b.t.Helper()
	b.plane.Update(f)
	b.settle()
}

// restart ends the control plane and starts it again. It has what it had, and has forgotten what it was told.
func (b *bubble) restart() {
	b.t.Helper()
	b.plane.Stop()
	b.settle()
	b.plane.Forget()
	b.plane.Serve(b.listen(planeAddress))
	b.pass(time.Minute) // longer than any pause before the next try
}

// origin starts an upstream that answers everything with a text.
func (b *bubble) origin(address, text string) {
	b.t.Helper()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })}
	ln := b.listen(address)
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = s.Serve(ln)
	}()
	b.t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}

// get asks with headers, "name: value", and returns "200 body"; "" when nobody listens.
func (b *bubble) get(url string, headers ...string) string {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Set(name, value); name == "host" {
			req.Host = value
		}
	}
	return b.do(req)
}

// adminPage is a page of the admin.
func (b *bubble) adminPage(path string) string {
	b.t.Helper()
	_, body := b.ask(http.MethodGet, "http://"+b.at.Admin+path)
	return body
}

// do sends a request and returns "200 body"; "" when there is no answer.
func (b *bubble) do(req *http.Request) string {
	b.t.Helper()
	client := &http.Client{Timeout: probe, Transport: b.transport()}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return strconv.Itoa(resp.StatusCode) + " " + string(text)
}

// traffic asks for a path once a second until it is stopped. Each answer has to be good.
func (b *bubble) traffic(path string) (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done, good, bad := make(chan struct{}), 0, []string{}
	go func() { // ends with ctx
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if got := b.get(b.url + path); !strings.HasPrefix(got, "200 ") {
				bad = append(bad, fmt.Sprintf("%v: %q", time.Now(), got))
			} else {
				good++
			}
		}
	}()
	return func() {
		b.t.Helper()
		cancel()
		<-done
		if good == 0 || len(bad) > 0 {
			b.t.Errorf("%d good answers, %d others: %.500q", good, len(bad), bad)
		}
	}
}
