package upstream

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const strict = `
name: web
type: STRICT_DNS
dns_refresh_rate: 10s
dns_failure_refresh_rate: {base_interval: 1s, max_interval: 4s}
load_assignment:
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: web.test, port_value: 80}}}
`

func TestStrictDNSMakesEveryAddressAHost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.names.set("web.test", "10.0.0.1", "10.0.0.2", "10.0.0.1")
		c := w.start(strict)
		<-c.Ready()
		if got := addresses(c); got != "10.0.0.1:80 10.0.0.2:80" {
			t.Errorf("hosts %s", got)
		}
		first := c.Hosts().All()[0]
		if first.Hostname() != "web.test" {
			t.Errorf("hostname %q", first.Hostname())
		}
		w.names.set("web.test", "10.0.0.3", "10.0.0.1")
		time.Sleep(9 * time.Second)
		synctest.Wait()
		w.expect(c, "update_attempt", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		w.expect(c, "update_attempt", 2)
		if got := addresses(c); got != "10.0.0.1:80 10.0.0.3:80" {
			t.Errorf("hosts %s", got)
		}
		if c.Hosts().All()[1] != first {
			t.Error("a host that stays was made anew")
		}
		w.expect(c, "membership_change", 2)
		w.expect(c, "membership_total", 2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.expect(c, "update_no_rebuild", 1)
		w.names.set("web.test")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.expect(c, "update_empty", 1)
		if got := addresses(c); got != "" {
			t.Errorf("hosts %s after an empty answer", got)
		}
		var e *PickError
		if _, err := c.Pick(nil); !errors.As(err, &e) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDNSFailureKeepsHosts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.names.set("web.test", "10.0.0.1")
		c := w.start(strict)
		<-c.Ready()
		w.names.break_(errDNS)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.expect(c, "update_failure", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		if w.stat(c, "update_failure") < 2 {
			t.Error("no back-off of its own for failures")
		}
		if got := addresses(c); got != "10.0.0.1:80" {
			t.Errorf("hosts %s", got)
		}
	})
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func TestANameThatCannotBeResolvedIsLoggedOnce(t *testing.T) {
	for _, tc := range []struct {
		name, why string
		fail      error
	}{
		{"no answer", errDNS.Error(), errDNS},
		{"no address", "the name has no address", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				log := &lines{}
				w.env.Log = slog.New(slog.NewTextHandler(log, nil))
				w.names.break_(tc.fail)
				c := w.start(strict)
				<-c.Ready()
				time.Sleep(time.Minute)
				synctest.Wait()
				if log.count("level=WARN") != 1 || log.count("name=web.test") != 1 || log.count(tc.why) != 1 {
					t.Errorf("logged %s", log.text.String())
				}
				w.names.break_(nil)
				w.names.set("web.test", "10.0.0.1")
				time.Sleep(time.Minute)
				synctest.Wait()
				if log.count("resolved again") != 1 {
					t.Errorf("logged %s", log.text.String())
				}
			})
		})
	}
}

func TestAFailedFirstLookupMakesTheClusterReadyWithoutHosts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.names.break_(errDNS)
		c := w.start(strict)
		<-c.Ready()
		if c.Hosts().Len() != 0 {
			t.Error("hosts from nowhere")
		}
	})
}

func TestRespectTTL(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.names.set("web.test", "10.0.0.1")
		c := w.start(strict + "respect_dns_ttl: true\n")
		<-c.Ready()
		time.Sleep(29 * time.Second)
		synctest.Wait()
		w.expect(c, "update_attempt", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		w.expect(c, "update_attempt", 2)
	})
}

func TestLogicalDNSMovesItsHost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.names.set("web.test", "10.0.0.1", "10.0.0.2")
		c := w.start(`
name: web
type: LOGICAL_DNS
load_assignment:
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: web.test, port_value: 80}}}
`)
		<-c.Ready()
		if got := addresses(c); got != "10.0.0.1:80" {
			t.Errorf("hosts %s", got)
		}
		h := c.Hosts().All()[0]
		w.names.set("web.test", "10.0.0.9")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if c.Hosts().All()[0] != h || h.Address() != "10.0.0.9:80" || h.AddrPort().String() != "10.0.0.9:80" {
			t.Errorf("the host is at %s", h.Address())
		}
		w.names.set("web.test")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if h.Address() != "10.0.0.9:80" || c.Hosts().Len() != 1 {
			t.Error("an empty answer moved the host")
		}
	})
}

func TestNoWaitForWarm(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.compile(strict + "wait_for_warm_on_init: false\n")
		if !isReady(c) {
			t.Error("not ready")
		}
		c.Close()
		d := w.compile(strict)
		if isReady(d) {
			t.Error("ready before it was resolved")
		}
		d.Close()
	})
}

func TestARemovedHostKeepsItsRequests(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("10.0.0.1:80", "")
		w.names.set("web.test", "10.0.0.1")
		c := w.start(strict)
		<-c.Ready()
		h := c.Hosts().All()[0]
		idle, err := h.Pool().Acquire(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		busy, err := h.Pool().Acquire(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		idle.Release()
		w.names.set("web.test", "10.0.0.2")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := c.Stats(0).CxActive.Value(); got != 1 {
			t.Errorf("%d connections, want the one in use", got)
		}
		busy.Release()
		if got := c.Stats(0).CxActive.Value(); got != 0 {
			t.Errorf("%d connections after the request", got)
		}
	})
}

func TestDrainWaitsForRequests(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("10.0.0.1:80", "")
		w.names.set("web.test", "10.0.0.1")
		c := w.start(strict)
		<-c.Ready()
		l, err := c.Hosts().All()[0].Pool().Acquire(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			c.Drain(t.Context())
			close(done)
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("drained with a request under way")
		default:
		}
		l.Release()
		<-done
		c.Close()
		asked := w.names.asked
		time.Sleep(time.Minute)
		if w.names.asked != asked {
			t.Error("discovery goes on after Close")
		}
	})
}
