//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// A generator is a program that makes load.
type generator string

const (
	generatorWrk    generator = "wrk"    // HTTP/1.1
	generatorH2load generator = "h2load" // HTTP/2, with prior knowledge where it is without TLS
	generatorGhz    generator = "ghz"    // gRPC
	generatorTLS    generator = "tls"    // HTTP/1.1, a new TLS connection for every request; part of this program
)

// A load is what a generator does for one scenario.
type load struct {
	generator   generator
	path        string
	connections int
	tls         bool   // wrk, h2load: over TLS
	resume      bool   // tls: every connection resumes a session
	body        int    // wrk: bytes of a POST body; 0 for GET
	close       bool   // wrk: a new connection for every request
	streams     int    // h2load: requests at once on each connection; ghz: calls at once in all
	latencies   bool   // h2load: time every request, for p50 and p99
	method      string // ghz: the last part of the method's name
	messages    int    // ghz: each way in a call; more than 1 is a stream
}

// A loadResult is what the generator saw. Requests are messages where calls have several.
type loadResult struct {
	requests int64
	bytes    int64
	elapsed  time.Duration
	mean     time.Duration
	p50, p99 time.Duration // zero when not measured
	failed   int64         // connect, read, write errors, timeouts, answers that are not 2xx or 3xx
}

// generate runs l for d against addr. An error is the end of ctx or a generator that
// did not run to its end.
func (b *bench) generate(ctx context.Context, addr string, l load, d time.Duration) (loadResult, error) {
	limit := d + 30*time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: still running after %v", l.generator, limit))
	defer cancel()
	switch l.generator {
	case generatorH2load:
		return b.h2load(ctx, addr, l, d)
	case generatorGhz:
		return b.ghz(ctx, addr, l, d)
	case generatorTLS:
		return b.handshakes(ctx, addr, l, d)
	}
	return b.wrk(ctx, addr, l, d)
}

// url is what l asks for at addr.
func (l *load) url(addr string) string {
	if l.tls {
		return "https://" + addr + l.path
	}
	return "http://" + addr + l.path
}
