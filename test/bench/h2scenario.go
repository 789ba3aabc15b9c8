//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// h2Scenarios are those with HTTP/2 on one side or both.
func h2Scenarios(o *options) []scenario {
	h2 := load{generator: generatorH2load, path: "/100", connections: 8, streams: 16}
	one := load{generator: generatorH2load, path: "/100", connections: 1, streams: 1, latencies: true}
	h1 := load{generator: generatorWrk, path: "/100", connections: 64}
	unary := load{generator: generatorGhz, method: "Unary", connections: 8, streams: 64, messages: 1}
	echo := load{generator: generatorGhz, method: "Echo", connections: 8, streams: 64, messages: 100}
	return []scenario{
		loadScenario(scenario{
			name: "h2-h2", title: "HTTP/2 to HTTP/2, 100-byte response, 8 connections with 16 streams each",
			kind: kindH2, service: serviceHTTP2, load: &h2, columns: h2LoadColumns(),
			targets: []target{atMost(1, "haproxy"), atMost(0.75, "haproxy")},
		}),
		loadScenario(scenario{
			name: "h2-h2-1", title: "HTTP/2 to HTTP/2, 100-byte response, one stream at a time",
			kind: kindH2, service: serviceHTTP2, load: &one, columns: latencyColumns(), targets: []target{{p50(), "haproxy", 1.1}},
		}),
		loadScenario(scenario{
			name: "h1-h2", title: "HTTP/1.1 to HTTP/2, 100-byte response, 64 keep-alive connections",
			kind: kindH1H2, service: serviceHTTP2, load: &h1, columns: loadColumns(),
		}),
		loadScenario(scenario{
			name: "h2-h1", title: "HTTP/2 to HTTP/1.1, 100-byte response, 8 connections with 16 streams each",
			kind: kindH2H1, load: &h2, columns: h2LoadColumns(),
		}),
		loadScenario(scenario{
			name: "grpc-unary", title: "gRPC, unary calls, 100-byte messages, 64 at once over 8 connections",
			kind: kindH2, service: serviceUnary, load: &unary, columns: loadColumns(),
		}),
		loadScenario(scenario{
			name: "grpc-stream", title: "gRPC, bidirectional streams of 100 messages of 100 bytes each way (a request is a pair of messages), " +
				"64 at once over 8 connections",
			kind: kindH2, service: serviceEcho, load: &echo, columns: streamColumns(),
		}),
		{
			name: "h2-1g", title: fmt.Sprintf("HTTP/2 to HTTP/2, one stream, %g GiB to the client", o.download),
			kind: kindH2, service: serviceDownload, sample: sampleDownload,
			columns: []column{perGB(), megabytes(), busy(), peak(), failed()},
		},
		{
			name: "h2-idle", title: fmt.Sprintf("%d idle HTTP/2 connections, after %v of rest", o.idleH2, o.settle),
			kind: kindH2, service: serviceHTTP2, clients: o.idleH2, sample: sampleIdleH2, columns: idleColumns(),
		},
	}
}

func mean() column {
	return column{"mean ms", func(s sample) float64 { return micros(s.Mean) / 1000 }, 3}
}

func p50() column { return column{"p50 µs", func(s sample) float64 { return micros(s.P50) }, 0} }

// h2LoadColumns are the columns of a load whose requests are not timed one by one.
func h2LoadColumns() []column {
	c := loadColumns()
	return []column{c[0], c[1], c[2], busy(), mean(), peak(), failed()}
}

// streamColumns are those of calls with many messages: how long a call takes tells nothing.
func streamColumns() []column {
	c := loadColumns()
	return []column{c[0], c[1], c[2], busy(), peak(), failed()}
}

func latencyColumns() []column {
	return []column{
		p50(),
		{"p99 µs", func(s sample) float64 { return micros(s.P99) }, 0},
		cpuPerRequest(), busy(), peak(), failed(),
	}
}

// downloadWindow is what the client of a download grants: the size of a large browser's.
const downloadWindow = 8 << 20

// sampleDownload moves the bytes through r once, on one stream of one connection, after a
// sixteenth of them to warm up.
func sampleDownload(ctx context.Context, b *bench, r *running) (sample, error) {
	total := int64(b.options.download * (1 << 30))
	limit := time.Minute + time.Duration(total/(50<<20))*time.Second
	c, err := dialH2(r.setup.Listen, limit, downloadWindow, 256<<10)
	if err != nil {
		return sample{}, err
	}
	defer c.close()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	download := func(n int64) error {
		got, err := c.ask("/"+strconv.FormatInt(n, 10), limit, downloadWindow)
		if err == nil && got != n {
			err = fmt.Errorf("download of %d bytes ended after %d", n, got)
		}
		return err
	}
	if err := download(total / 16); err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := download(total); err != nil {
		return sample{}, err
	}
	elapsed := time.Since(began)
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	return sample{
		CPU: after.cpu - before.cpu, User: after.user - before.user,
		Elapsed: elapsed, Bytes: total, Peak: after.peak,
	}, nil
}

// h2Visitor opens a connection that asks "/100" once, and then again.
func h2Visitor(addr string) (visitor, error) {
	c, err := dialH2(addr, askLimit, h2FirstWindow, 0)
	if err != nil {
		return nil, err
	}
	return h2Guest{c}, nil
}

// An h2Guest is a visitor that speaks HTTP/2.
type h2Guest struct{ client *h2Client }

func (g h2Guest) ask() error {
	_, err := g.client.ask("/100", askLimit, h2FirstWindow)
	return err
}

func (g h2Guest) Close() error { return g.client.conn.Close() }

func sampleIdleH2(ctx context.Context, b *bench, r *running) (sample, error) {
	return idleVisitors(ctx, b, r, b.options.idleH2, h2Visitor)
}
