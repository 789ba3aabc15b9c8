package server

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
)

// status is the state of the process with its statistics under server., cluster_manager. and listener_manager. Safe for
// concurrent use.
type status struct {
	start time.Time
	drain *extension.Drain
	now   atomic.Int32 // adminv3.ServerInfo_State

	server   serverStats
	cluster  clusterManagerStats
	listener listenerManagerStats
	initTime *stats.Histogram
}

// serverStats are the statistics under server.
type serverStats struct {
	reloadSuccess, reloadFailure                     *stats.Counter
	concurrency, live, state, uptime, version, epoch *stats.Gauge
	allocated, heap, physical, connections           *stats.Gauge
	firstExpiry                                      *stats.Gauge
}

// clusterManagerStats are the statistics under cluster_manager.
type clusterManagerStats struct {
	added, modified, removed *stats.Counter
	active, warming          *stats.Gauge
}

// listenerManagerStats are the statistics under listener_manager.
type listenerManagerStats struct {
	added, modified, inPlace, removed, stopped, createSuccess, createFailure *stats.Counter
	closedByUpdate                                                           *stats.Counter
	active, warming, draining, chainsDraining, started                       *stats.Gauge
}

func newStatus(store *stats.Store, o Options, drain *extension.Drain) *status {
	s := &status{start: o.began, drain: drain}
	server := store.Scope("server.")
	for _, name := range []string{"debug_assertion_failures", "dropped_stat_flushes", "dynamic_unknown_fields", "envoy_bug_failures", "wip_protos"} {
		server.Counter(name)
	}
	for _, name := range []string{"fips_mode", "hot_restart_generation", "parent_connections", "seconds_until_first_ocsp_response_expiring",
		"stats_recent_lookups"} {
		server.Gauge(name)
	}
	s.server = serverStats{
		reloadSuccess: server.Counter("reload_success"), reloadFailure: server.Counter("reload_failure"),
		concurrency: server.Gauge("concurrency"), live: server.Gauge("live"), state: server.Gauge("state"), uptime: server.Gauge("uptime"),
		version: server.Gauge("version"), epoch: server.Gauge("hot_restart_epoch"), allocated: server.Gauge("memory_allocated"),
		firstExpiry: server.Gauge("days_until_first_cert_expiring"),
		heap:        server.Gauge("memory_heap_size"), physical: server.Gauge("memory_physical_size"), connections: server.Gauge("total_connections"),
	}
	s.initTime = server.Histogram("initialization_time_ms")
	clusters := store.Scope("cluster_manager.")
	for _, name := range []string{"cluster_updated", "cluster_updated_via_merge", "update_merge_cancelled", "update_out_of_merge_window"} {
		clusters.Counter(name)
	}
	s.cluster = clusterManagerStats{
		added: clusters.Counter("cluster_added"), modified: clusters.Counter("cluster_modified"), removed: clusters.Counter("cluster_removed"),
		active: clusters.Gauge("active_clusters"), warming: clusters.Gauge("warming_clusters"),
	}
	listeners := store.Scope("listener_manager.")
	s.listener = listenerManagerStats{
		added: listeners.Counter("listener_added"), modified: listeners.Counter("listener_modified"), inPlace: listeners.Counter("listener_in_place_updated"),
		removed: listeners.Counter("listener_removed"), stopped: listeners.Counter("listener_stopped"),
		createSuccess: listeners.Counter("listener_create_success"), createFailure: listeners.Counter("listener_create_failure"),
		closedByUpdate: listeners.Counter("config_update_closed_connections_total"),
		active:         listeners.Gauge("total_listeners_active"), warming: listeners.Gauge("total_listeners_warming"),
		draining: listeners.Gauge("total_listeners_draining"), chainsDraining: listeners.Gauge("total_filter_chains_draining"),
		started: listeners.Gauge("workers_started"),
	}
	s.server.concurrency.Set(int64(runtime.GOMAXPROCS(0)))
	s.server.epoch.Set(int64(o.RestartEpoch))
	s.server.version.Set(revision())
	s.server.firstExpiry.Set(math.MaxUint32) // what Envoy says when there is no certificate
	s.set(adminv3.ServerInfo_PRE_INITIALIZING)
	return s
}

// set changes the state.
func (s *status) set(to adminv3.ServerInfo_State) {
	s.now.Store(int32(to))
	s.show()
}

// fail makes health checks fail, or pass again.
func (s *status) fail(failed bool) {
	s.drain.Fail(failed)
	s.show()
}

// state is the present state. A process whose health check was failed by hand counts as draining.
func (s *status) state() adminv3.ServerInfo_State {
	now := adminv3.ServerInfo_State(s.now.Load())
	if now == adminv3.ServerInfo_LIVE && s.drain.Failed() {
		return adminv3.ServerInfo_DRAINING
	}
	return now
}

// show updates the gauges of the state.
func (s *status) show() {
	now := s.state()
	s.server.state.Set(int64(now))
	live := int64(0)
	if now == adminv3.ServerInfo_LIVE {
		live = 1
	}
	s.server.live.Set(live)
}

// refresh reads the gauges that nobody pushes.
func (s *status) refresh(connections int64) {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	s.server.allocated.Set(int64(samples[0].Value.Uint64()))
	s.server.heap.Set(int64(samples[1].Value.Uint64() - samples[2].Value.Uint64()))
	if n, ok := residentBytes(); ok {
		s.server.physical.Set(n)
	}
	s.server.uptime.Set(int64(time.Since(s.start) / time.Second))
	s.server.connections.Set(connections)
}

// residentBytes is the process's resident set, where /proc says it.
func residentBytes() (int64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}

// revision is the first 24 bits of the commit the program was built from, as a number, which is what Envoy makes of it; 0 if
// unknown.
func revision() int64 {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return 0
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 6 {
			n, err := strconv.ParseInt(s.Value[:6], 16, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
