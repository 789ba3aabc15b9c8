//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A scenario is one table of the report.
type scenario struct {
	name    string
	title   string
	kind    kind
	service service // of the origin; empty: HTTP/1
	load    *load   // nil when sample makes its own
	fleet   *fleet  // nil: the configuration is a file
	clients int     // connections at most; 0: as many as the idle scenario's
	asked   bool    // runs only when -run matches it, not by default
	sample  func(ctx context.Context, b *bench, r *running) (sample, error)
	columns []column // the first is what proxies are compared by
	targets []target
}

// A sample is what one proxy's turn in one round showed. Fields a scenario does not
// measure are zero.
type sample struct {
	CPU         time.Duration `json:"cpu_ns,omitempty"`
	User        time.Duration `json:"user_ns,omitempty"`
	Elapsed     time.Duration `json:"elapsed_ns,omitempty"`
	Requests    int64         `json:"requests,omitempty"`
	Bytes       int64         `json:"bytes,omitempty"`
	Mean        time.Duration `json:"mean_ns,omitempty"`
	P50         time.Duration `json:"p50_ns,omitempty"`
	P99         time.Duration `json:"p99_ns,omitempty"`
	Connections int64         `json:"connections,omitempty"`
	Before      int64         `json:"rss_before_bytes,omitempty"`
	After       int64         `json:"rss_after_bytes,omitempty"`
	Baseline    time.Duration `json:"p99_baseline_ns,omitempty"`
	Frames      int64         `json:"frames,omitempty"`
	Refused     int64         `json:"refused,omitempty"`
	Ready       time.Duration `json:"ready_ns,omitempty"`
	Changes     int64         `json:"changes,omitempty"`
	Services    int64         `json:"services,omitempty"`
	Beside      time.Duration `json:"p99_beside_ns,omitempty"`
	Rebuilt     int64         `json:"rebuilt,omitempty"`
	Peak        int64         `json:"peak_bytes"`
	Failed      int64         `json:"failed"`
}

// A column is a number drawn from a sample.
type column struct {
	title  string
	value  func(sample) float64
	digits int
}

// A target is a promise about Weft: column at most max, or at most max times
// another proxy's.
type target struct {
	column  column
	against string // proxy; empty: max is absolute
	max     float64
}

func cpuPerRequest() column {
	return column{"CPU µs/request", func(s sample) float64 { return per(micros(s.CPU), s.Requests) }, 2}
}

func peak() column {
	return column{"peak MiB", func(s sample) float64 { return float64(s.Peak) / (1 << 20) }, 1}
}

func failed() column {
	return column{"failed", func(s sample) float64 { return float64(s.Failed) }, 0}
}

func rss() column {
	return column{"RSS MiB", func(s sample) float64 { return float64(s.After) / (1 << 20) }, 1}
}

func busy() column {
	return column{"busy %", func(s sample) float64 { return 100 * s.CPU.Seconds() / s.Elapsed.Seconds() }, 0}
}

func loadColumns() []column {
	return []column{
		cpuPerRequest(),
		{"of it user", func(s sample) float64 { return per(micros(s.User), s.Requests) }, 2},
		{"requests/s", func(s sample) float64 { return float64(s.Requests) / s.Elapsed.Seconds() }, 0},
		busy(),
		{"p50 ms", func(s sample) float64 { return micros(s.P50) / 1000 }, 2},
		{"p99 ms", func(s sample) float64 { return micros(s.P99) / 1000 }, 2},
		peak(),
		failed(),
	}
}

func perConnection() column {
	return column{"bytes/connection", func(s sample) float64 { return per(float64(s.After-s.Before), s.Connections) }, 0}
}

func perGB() column {
	return column{"CPU ms/GB", func(s sample) float64 { return per(micros(s.CPU)*1e6, s.Bytes) }, 1}
}

func megabytes() column {
	return column{"MB/s", func(s sample) float64 { return per(float64(s.Bytes)/1e6*1e9, int64(s.Elapsed)) }, 0}
}

func idleColumns() []column {
	return []column{
		perConnection(),
		{"RSS before MiB", func(s sample) float64 { return float64(s.Before) / (1 << 20) }, 1},
		rss(), peak(), failed(),
	}
}

func readyAfter() column {
	return column{"ready ms", func(s sample) float64 { return micros(s.Ready) / 1000 }, 0}
}

func startColumns() []column {
	return []column{
		readyAfter(),
		{"CPU ms", func(s sample) float64 { return micros(s.CPU) / 1000 }, 0},
		rss(), peak(), failed(),
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func per(x float64, n int64) float64 { return x / float64(n) }

// scenarios are all of them, in the order of the report.
func scenarios(o *options) []scenario {
	http := func(name, title string, l load, targets ...target) scenario {
		l.generator = generatorWrk
		return loadScenario(scenario{name: name, title: title, kind: kindHTTP, load: &l, columns: loadColumns(), targets: targets})
	}
	return slices.Concat([]scenario{
		http("get", "GET, 100-byte response, 64 keep-alive connections", load{path: "/100", connections: 64},
			atMost(1.10, "nginx"), atMost(1, "haproxy")),
		http("get-64k", "GET, 64 KiB response, 64 keep-alive connections", load{path: "/64k", connections: 64}, atMost(1.2, "nginx")),
		http("get-1m", "GET, 1 MiB response, 64 keep-alive connections", load{path: "/1m", connections: 64}, atMost(1.2, "nginx")),
		http("post", "POST, 16 KiB request body, 64 keep-alive connections", load{path: "/100", connections: 64, body: 16 << 10}),
		http("conns", "GET, 100-byte response, 1,000 keep-alive connections", load{path: "/100", connections: 1000}),
		http("newconn", "GET, 100-byte response, a new connection for each, 64 at once", load{path: "/100", connections: 64, close: true}),
		{
			name: "idle", title: fmt.Sprintf("%d idle keep-alive connections, after %v of rest", o.idle, o.settle),
			kind: kindHTTP, sample: sampleIdle, targets: []target{{perConnection(), "", 4096}},
			columns: idleColumns(),
		},
		{
			name: "tcp", title: fmt.Sprintf("TCP, %g GiB from upstream to client over 4 connections", o.stream),
			kind: kindStream, sample: sampleStream, targets: []target{{perGB(), "haproxy", 1}},
			columns: []column{
				perGB(), megabytes(), busy(), peak(), failed(),
			},
		},
		{
			name: "start", title: fmt.Sprintf("start with %d routes and %d clusters", o.services, o.services),
			kind: kindServices, sample: sampleStart,
			targets: []target{{readyAfter(), "", 3000}, {rss(), "", 250}},
			columns: startColumns(),
		},
	}, h2Scenarios(o), tlsScenarios(o), xdsScenarios(o), attackScenarios())
}

// loadScenario completes one that is a load.
func loadScenario(s scenario) scenario {
	s.sample = func(ctx context.Context, b *bench, r *running) (sample, error) { return b.sampleLoad(ctx, r, *s.load) }
	return s
}

// atMost is a target for CPU a request.
func atMost(max float64, against string) target { return target{cpuPerRequest(), against, max} }
