package xds

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// localPatience bounds the waits of these tests.
const localPatience = 30 * time.Second

// localSupport is a little of what there is.
func localSupport() resource.Support {
	return resource.Support{
		"envoy.config.cluster.v3.Cluster":                resource.Names("name alt_stat_name type connect_timeout load_assignment"),
		"envoy.config.listener.v3.Listener":              resource.Names("name stat_prefix"),
		"envoy.config.endpoint.v3.ClusterLoadAssignment": resource.Names("cluster_name"),
		"envoy.config.route.v3.RouteConfiguration":       resource.Names("name internal_only_headers"),
	}
}

// A local is a Client that runs, with its hub, and what has come of it.
type local struct {
	t      *testing.T
	hub    *subscription.Hub
	client *Client
	store  *stats.Store
	stop   func() // ends Run and waits

	log localLog

	mu    sync.Mutex
	state map[string]string // what is in force: "cluster a" → its version; guarded by mu
	bump  chan struct{}     // has a value after a change
}

// A localLog is what was logged.
type localLog struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *localLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *localLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startLocal runs a client. The hub and the support are filled in.
func startLocal(t *testing.T, o Options) *local {
	t.Helper()
	h := &local{t: t, store: stats.NewStore(stats.Options{}), state: map[string]string{}, bump: make(chan struct{}, 1)}
	h.hub = subscription.New(subscription.Options{})
	o.Hub, o.Support, o.Stats = h.hub, localSupport(), h.store
	o.Log = slog.New(slog.NewTextHandler(&h.log, nil))
	client, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.client = client
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := client.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	h.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(h.stop)
	return h
}

func (h *local) note(f func(map[string]string)) {
	h.mu.Lock()
	f(h.state)
	h.mu.Unlock()
	select {
	case h.bump <- struct{}{}:
	default:
	}
}

// all wants all resources of a type.
func (h *local) all(cs *corev3.ConfigSource, kind string) *subscription.Watch {
	h.t.Helper()
	return h.hold(cs, resource.Key{Type: kind, Name: subscription.All}, subscription.User{
		Apply: func(d subscription.Delta) []resource.Rejection {
			h.note(func(m map[string]string) {
				for _, r := range d.Set {
					m[r.Key.String()] = r.Version
				}
				for _, name := range d.Remove {
					delete(m, resource.Key{Type: kind, Name: name}.String())
				}
			})
			return d.Broken
		},
		Stats: subscription.NewStats(h.store.Scope(kind)),
	})
}

// one wants one resource.
func (h *local) one(cs *corev3.ConfigSource, kind, name string) *subscription.Watch {
	h.t.Helper()
	key := resource.Key{Type: kind, Name: name}
	return h.hold(cs, key, subscription.User{
		Prepare: func(r *resource.Resource, _ *resource.Problems) func() {
			return func() { h.note(func(m map[string]string) { m[key.String()] = r.Version }) }
		},
		Stats: subscription.NewStats(h.store.Scope(kind)),
	})
}

func (h *local) hold(cs *corev3.ConfigSource, key resource.Key, u subscription.User) *subscription.Watch {
	h.t.Helper()
	p := resource.NewProblems("")
	h.client.Check(cs, "source", p)
	w := h.hub.Watch(cs, key, "", p, u)
	if p.HasErrors() {
		h.t.Fatal(p.All())
	}
	w.Hold()
	return w
}

func (h *local) now() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(h.state)) {
		out = append(out, name+" "+h.state[name])
	}
	return strings.Join(out, ", ")
}

// expect waits until what is in force is as wanted.
func (h *local) expect(want string) {
	h.t.Helper()
	h.until("in force is "+want, func() bool { return h.now() == want })
}

// until waits for something to become true.
func (h *local) until(what string, f func() bool) {
	h.t.Helper()
	end := time.After(localPatience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-h.bump:
		case <-tick.C:
		case <-end:
			h.t.Fatalf("not so: %s; in force is %s\n%s", what, h.now(), h.log.String())
		}
	}
}

// logged waits until the log has all of these.
func (h *local) logged(parts ...string) {
	h.t.Helper()
	for _, part := range parts {
		h.until("logged "+part, func() bool { return strings.Contains(h.log.String(), part) })
	}
}

// counted waits for the value of a counter of the clusters.
func (h *local) counted(name string, want uint64) {
	h.t.Helper()
	h.until(fmt.Sprint(name, " is ", want), func() bool { return h.store.Scope(resource.Cluster).Counter(name).Value() == want })
}

func fileSource(path string) *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
		PathConfigSource: &corev3.PathConfigSource{Path: path},
	}}
}

// put replaces a file by renaming another over it.
func put(t *testing.T, path, content string) {
	t.Helper()
	temp := filepath.Join(t.TempDir(), "next")
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// yamlOf is a file with clusters.
func yamlOf(version string, names ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version_info: %q\nresources:\n", version)
	if len(names) == 0 {
		b.WriteString("  []\n")
	}
	for _, name := range names {
		fmt.Fprintf(&b, "- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: %s\n", name)
	}
	return b.String()
}
