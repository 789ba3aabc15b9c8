package upstream

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const checked = `
name: web
type: STATIC
health_checks:
- timeout: 1s
  interval: 5s
  no_traffic_interval: 5s
  unhealthy_threshold: 3
  healthy_threshold: 2
  http_health_check: {path: /healthz}
load_assignment:
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}
    - endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 80}}}
    - endpoint: {address: {socket_address: {address: 10.0.0.3, port_value: 80}}}
`

const (
	ok          = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
	unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
)

// round is one interval, and what it sets off.
func round(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestHTTPHealthCheckTransitions(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		one := w.serve("10.0.0.1:80", ok)
		w.serve("10.0.0.2:80", ok)
		w.serve("10.0.0.3:80", ok)
		c := w.compile(checked)
		t.Cleanup(c.Close)
		if h := c.Hosts(); h.Healthy() != 0 || h.All()[0].Health().String() != "/failed_active_hc" {
			t.Errorf("before the first check: %d healthy, %s", h.Healthy(), h.All()[0].Health())
		}
		c.Start(t.Context())
		<-c.Ready()
		w.expect(c, "membership_healthy", 3)
		w.expect(c, "health_check.healthy", 3)
		request, conns := one.last()
		if !strings.HasPrefix(request, "GET /healthz HTTP/1.1\r\n") || !strings.Contains(strings.ToLower(request), "host: web\r\n") ||
			!strings.Contains(request, "Envoy/HC") || conns != 1 {
			t.Errorf("request %q on connection %d", request, conns)
		}

		one.say(unavailable) // an answer counts at once
		round(5 * time.Second)
		host := c.Hosts().All()[0]
		if host.Health() != FailedActiveHC || c.Hosts().Healthy() != 2 {
			t.Errorf("after a 503: %s, %d healthy", host.Health(), c.Hosts().Healthy())
		}
		for range 100 {
			if h, err := c.Pick(nil); err != nil || h == host {
				t.Fatalf("picked %v, %v", h, err)
			}
		}
		one.say(ok)
		round(5 * time.Second)
		if host.Health() != FailedActiveHC {
			t.Error("healthy after one success of two")
		}
		round(5 * time.Second)
		if host.Health() != 0 {
			t.Errorf("after two successes: %s", host.Health())
		}
		if _, conns := one.last(); conns != 1 {
			t.Errorf("%d connections for one host", conns)
		}

		one.say("") // silence: the third in a row counts
		for i := range 3 {
			if host.Health() != 0 {
				t.Fatalf("unhealthy after %d timeouts", i)
			}
			round(6 * time.Second)
		}
		if host.Health() != FailedActiveHC|ActiveHCTimeout {
			t.Errorf("after three timeouts: %s", host.Health())
		}
		w.expect(c, "health_check.healthy", 2)
		if s := c.checker.Stats; s.NetworkFailure.Value() != 3 || s.Failure.Value() != 4 {
			t.Errorf("%d network failures of %d", s.NetworkFailure.Value(), s.Failure.Value())
		}
	})
}

func TestPanicModeUsesAllHosts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("10.0.0.1:80", ok)
		c := w.start(checked)
		<-c.Ready()
		got := map[string]int{}
		for range 300 {
			h, err := c.Pick(nil)
			if err != nil {
				t.Fatal(err)
			}
			got[h.Address()]++
		}
		if len(got) != 3 {
			t.Errorf("one of three healthy: picked %v", got)
		}
		if n := c.Stats(0).LBHealthyPanic.Value(); n != 300 {
			t.Errorf("lb_healthy_panic is %d", n)
		}
	})
}

func TestPanicModeCanBeOff(t *testing.T) {
	for _, common := range []string{
		"common_lb_config: {healthy_panic_threshold: {value: 0}}\n",
		"common_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}\n",
	} {
		bubble(t, func(t *testing.T, w *world) {
			c := w.start(checked + common)
			<-c.Ready()
			var e *PickError
			if h, err := c.Pick(nil); !errors.As(err, &e) || e.Hosts != 3 {
				t.Errorf("%s: got %v, %v", common, h, err)
			}
			if c.Stats(0).CxNoneHealthy.Value() != 1 {
				t.Error("upstream_cx_none_healthy is not counted")
			}
		})
	}
}

func TestTCPHealthCheck(t *testing.T) {
	const tcp = `
name: web
type: STATIC
health_checks:
- timeout: 1s
  interval: 5s
  no_traffic_interval: 5s
  unhealthy_threshold: 1
  healthy_threshold: 1
  tcp_health_check: {send: {text: "50494e47"}, receive: [{text: "504f"}, {text: "4e47"}]}
load_assignment:
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}, health_check_config: {port_value: 81}}
`
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("10.0.0.1:81", "xxPOyyNG")
		c := w.start(tcp)
		<-c.Ready()
		h := c.Hosts().All()[0]
		if h.Health() != 0 {
			t.Fatalf("health %s", h.Health())
		}
		if request, _ := s.last(); request != "PING" {
			t.Errorf("sent %q", request)
		}
		s.say("NGPO")
		round(6 * time.Second)
		if h.Health() != FailedActiveHC|ActiveHCTimeout {
			t.Errorf("the wrong answer: %s", h.Health())
		}
		s.say("PONG")
		round(5 * time.Second)
		if h.Health() != 0 {
			t.Errorf("the right answer: %s", h.Health())
		}
	})
}

func TestTrafficShortensTheInterval(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("10.0.0.1:80", ok)
		c := w.start(strings.Replace(checked, "no_traffic_interval: 5s", "no_traffic_interval: 60s", 1))
		<-c.Ready()
		before := c.checker.Stats.Attempt.Value()
		round(59 * time.Second)
		if got := c.checker.Stats.Attempt.Value(); got != before {
			t.Errorf("%d checks without traffic", got-before)
		}
		c.Hosts().All()[0].Pool()
		round(2 * time.Second)
		before = c.checker.Stats.Attempt.Value()
		round(6 * time.Second)
		if got := c.checker.Stats.Attempt.Value(); got == before {
			t.Error("no checks with traffic")
		}
	})
}

func TestAHealthyHostOutlivesItsName(t *testing.T) {
	check := `
health_checks:
- {timeout: 1s, interval: 5s, no_traffic_interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}
`
	bubble(t, func(t *testing.T, w *world) {
		ln := w.serve("10.0.0.1:80", "")
		_ = ln
		w.names.set("web.test", "10.0.0.1")
		c := w.start(strict + check)
		<-c.Ready()
		w.names.set("web.test", "10.0.0.2")
		round(10 * time.Second)
		if got := addresses(c); got != "10.0.0.1:80 10.0.0.2:80" {
			t.Fatalf("hosts %s: the one that is well must stay", got)
		}
		for _, h := range c.Hosts().All() {
			if h.Address() == "10.0.0.1:80" && h.Health() != PendingDynamicRemoval {
				t.Errorf("health %s", h.Health())
			}
		}
		w.net.Hang("10.0.0.1:80")
		round(6 * time.Second)
		if got := addresses(c); got != "10.0.0.2:80" {
			t.Errorf("hosts %s: the one that failed must go", got)
		}
	})
	bubble(t, func(t *testing.T, w *world) {
		w.serve("10.0.0.1:80", "")
		w.names.set("web.test", "10.0.0.1")
		c := w.start(strict + check + "ignore_health_on_host_removal: true\n")
		<-c.Ready()
		w.names.set("web.test", "10.0.0.2")
		round(10 * time.Second)
		if got := addresses(c); got != "10.0.0.2:80" {
			t.Errorf("hosts %s", got)
		}
	})
}

func TestCloseConnectionsOnHealthFailure(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("10.0.0.1:80", ok)
		c := w.start(checked + "close_connections_on_host_health_failure: true\n")
		<-c.Ready()
		l, err := c.Hosts().All()[0].Pool().Acquire(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.say(unavailable)
		round(5 * time.Second)
		if _, err := l.Session.Conn().Read(make([]byte, 1)); err != errUnhealthy {
			t.Errorf("the connection in use reads %v", err)
		}
		l.Release()
	})
}

func TestNewHostsCanBeIgnoredUntilTheyAreChecked(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("10.0.0.1:80", ok)
		w.net.Hang("10.0.0.2:80")
		w.net.Hang("10.0.0.3:80")
		c := w.start(checked + "common_lb_config: {ignore_new_hosts_until_first_hc: true}\n")
		round(time.Millisecond)
		if h := c.Hosts(); h.Excluded() != 2 || h.Healthy() != 1 {
			t.Errorf("%d excluded, %d healthy", h.Excluded(), h.Healthy())
		}
		for range 10 {
			if h, err := c.Pick(nil); err != nil || h.Address() != "10.0.0.1:80" {
				t.Fatalf("picked %v, %v: one of one that counts is no panic", h, err)
			}
		}
		round(5 * time.Second)
		if h := c.Hosts(); h.Excluded() != 0 || h.Healthy() != 1 {
			t.Errorf("after the checks: %d excluded, %d healthy", h.Excluded(), h.Healthy())
		}
	})
}

func TestCloseConnectionsOnHostSetChange(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("10.0.0.1:80", "")
		w.names.set("web.test", "10.0.0.1")
		c := w.start(strict + "common_lb_config: {close_connections_on_host_set_change: true}\n")
		<-c.Ready()
		p := c.Hosts().All()[0].Pool()
		l, err := p.Acquire(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
		round(10 * time.Second)
		if p.Idle() != 1 {
			t.Error("closed although nothing has changed")
		}
		w.names.set("web.test", "10.0.0.1", "10.0.0.2")
		round(10 * time.Second)
		if p.Idle() != 0 {
			t.Error("open although there is a new host")
		}
	})
}
