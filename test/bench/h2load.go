//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// h2load runs one load for d against addr.
func (b *bench) h2load(ctx context.Context, addr string, l load, d time.Duration) (loadResult, error) {
	argv := []string{b.tools.h2load, "-t1", "-c" + strconv.Itoa(l.connections), "-m" + strconv.Itoa(l.streams),
		"-D" + strconv.FormatInt(d.Milliseconds(), 10) + "ms"}
	log := filepath.Join(b.dir, "h2load.log")
	if l.latencies {
		_ = os.Remove(log) // h2load appends
		argv = append(argv, "--log-file="+log)
	}
	p, err := spawn(command{name: "h2load", argv: append(argv, l.url(addr)), cpus: b.loadCPUs})
	if err != nil {
		return loadResult{}, err
	}
	if err := p.wait(ctx); err != nil {
		return loadResult{}, err
	}
	r, err := parseH2load(p.log.String())
	if err != nil || !l.latencies {
		return r, err
	}
	f, err := os.Open(log)
	if err != nil {
		return r, err
	}
	defer f.Close()
	times, err := parseH2loadLog(f)
	r.p50, r.p99 = percentile(times, 50), percentile(times, 99)
	return r, err
}

// parseH2load reads the summary that h2load prints at the end.
func parseH2load(out string) (r loadResult, err error) {
	finished := regexp.MustCompile(`finished in ([0-9.]+m?s)`).FindStringSubmatch(out)
	requests := regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, ` +
		`(\d+) failed, (\d+) errored, \d+ timeout`).FindStringSubmatch(out)
	traffic := regexp.MustCompile(`traffic: \S+ \((\d+)\) total`).FindStringSubmatch(out)
	times := regexp.MustCompile(`time for request: +\S+ +\S+ +([0-9.]+[mu]?s)`).FindStringSubmatch(out)
	if finished == nil || requests == nil || traffic == nil || times == nil {
		return r, fmt.Errorf("h2load: no result in %q", out)
	}
	var n [5]int64
	for i, text := range append(requests[1:], traffic[1]) {
		if n[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return r, fmt.Errorf("h2load: %w", err)
		}
	}
	r.requests, r.bytes, r.failed = n[1], n[4], n[2] // errored and timed out ones are among the failed
	if r.elapsed, err = time.ParseDuration(finished[1]); err != nil {
		return r, fmt.Errorf("h2load: %w", err)
	}
	r.mean, err = time.ParseDuration(times[1])
	return r, err
}

// parseH2loadLog returns how long each request took, shortest first. A line is the start, the
// status and the time in µs.
func parseH2loadLog(in io.Reader) (times []time.Duration, err error) {
	var start, status, took int64
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "%d\t%d\t%d", &start, &status, &took); err != nil {
			return nil, fmt.Errorf("h2load: log line %q: %w", lines.Text(), err)
		}
		times = append(times, time.Duration(took)*time.Microsecond)
	}
	if len(times) == 0 {
		return nil, errors.Join(errors.New("h2load: empty log"), lines.Err())
	}
	slices.Sort(times)
	return times, lines.Err()
}

// percentile returns the smallest of sorted that p percent do not exceed; 0 for none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}
