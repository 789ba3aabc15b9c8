package upstream

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// called is a callback for WhenReady.
func called(n *atomic.Int32) func() { return func() { n.Add(1) } }

func TestEDSReady(t *testing.T) {
	checked := `health_checks: [{timeout: 1s, interval: 5s, no_traffic_interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]`
	silent := strings.Replace(checked, "{}}]", `{send: {text: "00"}, receive: [{text: "00"}]}}]`, 1) // which the server is
	for name, c := range map[string]struct {
		more  string
		do    func(w *plane)
		ready bool
	}{
		"nothing comes":       {do: func(*plane) {}},
		"an assignment":       {do: func(w *plane) { w.set("", spot("", "10.0.0.1")) }, ready: true},
		"an empty assignment": {do: func(w *plane) { w.set("") }, ready: true},
		"a bad assignment":    {do: func(w *plane) { w.send("endpoints:\n" + spot("", "web.test")) }},
		"there is none": {do: func(w *plane) {
			w.hub.Remove(subscription.NewSource(ads()), resource.Key{Type: resource.Endpoint, Name: "web"})
		}, ready: true},
		"time is over":         {do: func(w *plane) { pause(w.t.Context(), 16*time.Second) }, ready: true},
		"nobody waits":         {more: "wait_for_warm_on_init: false", do: func(*plane) {}, ready: true},
		"hosts to be checked":  {more: silent, do: func(w *plane) { w.set("", spot("", "10.0.0.1", "10.0.0.7")) }},
		"hosts that cannot be": {more: checked, do: func(w *plane) { w.set("", spot("", "10.0.0.7")) }, ready: true},
		"hosts that were checked": {more: checked, do: func(w *plane) {
			w.set("", spot("", "10.0.0.1"))
			synctest.Wait()
			pause(w.t.Context(), 2*time.Second)
		}, ready: true},
	} {
		t.Run(name, func(t *testing.T) {
			planeBubble(t, func(t *testing.T, w *plane) {
				w.serve("10.0.0.1:80", "")
				u := w.compile(edsOf(c.more))
				defer u.Close()
				var n atomic.Int32
				if c.ready {
					defer func() {
						if u.WhenReady(called(&n)); n.Load() != 2 {
							t.Errorf("called %d times, want once more, at once", n.Load())
						}
					}()
				}
				u.WhenReady(called(&n))
				if c.more != "wait_for_warm_on_init: false" && (isReady(u) || n.Load() > 0) {
					t.Error("ready before it was started")
				}
				u.Start(t.Context())
				c.do(w)
				synctest.Wait()
				if isReady(u) != c.ready || (n.Load() == 1) != c.ready {
					t.Errorf("ready %v, called %d times; want %v", isReady(u), n.Load(), c.ready)
				}
			})
		})
	}
}

func TestReadyWaitsForSecrets(t *testing.T) {
	w := newPlane(t)
	for name, yaml := range map[string]string{"EDS": edsOf(""), "STATIC": static("", spot("", "10.0.0.1"))} {
		c := w.compile(yaml)
		key := resource.Key{Type: resource.Secret, Name: name}
		c.secrets = []*subscription.Watch{w.hub.Watch(ads(), key, "", nil, subscription.User{})}
		if c.ready == nil && c.awaited() {
			c.ready = make(chan struct{})
		}
		var n atomic.Int32
		c.WhenReady(called(&n))
		c.Start(t.Context())
		if c.eds != nil {
			w.set("", spot("", "10.0.0.1"))
		}
		if isReady(c) || n.Load() > 0 {
			t.Errorf("%s: ready without its secret", name)
		}
		w.hub.Remove(subscription.NewSource(ads()), key)
		if !isReady(c) || n.Load() != 1 {
			t.Errorf("%s: not ready", name)
		}
		c.Close()
		if all := w.hub.All(""); len(all) != 0 {
			t.Errorf("%s: still wanted: %v", name, all)
		}
	}
}
