//go:build linux

package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed load.lua
var loadScript string

// wrk runs one load for d against addr.
func (b *bench) wrk(ctx context.Context, addr string, l load, d time.Duration) (loadResult, error) {
	script := filepath.Join(b.dir, "load.lua")
	if err := os.WriteFile(script, []byte(loadScript), 0o644); err != nil {
		return loadResult{}, err
	}
	seconds := max(1, int((d+time.Second-1)/time.Second)) // wrk knows whole seconds only
	argv := []string{b.tools.wrk, "-t1", "-c" + strconv.Itoa(l.connections),
		"-d" + strconv.Itoa(seconds) + "s", "--timeout", "10s", "-s", script}
	if l.close {
		argv = append(argv, "-H", "Connection: close")
	}
	argv = append(argv, l.url(addr), "--", strconv.Itoa(l.body))
	p, err := spawn(command{name: "wrk", argv: argv, cpus: b.loadCPUs})
	if err != nil {
		return loadResult{}, err
	}
	if err := p.wait(ctx); err != nil {
		return loadResult{}, err
	}
	return parseLoad(p.log.String())
}

// parseLoad reads the line that load.lua prints at the end.
func parseLoad(out string) (r loadResult, err error) {
	_, line, ok := strings.Cut(out, "bench: ")
	if !ok {
		return r, fmt.Errorf("wrk: no result in %q", out)
	}
	line, _, _ = strings.Cut(line, "\n")
	seen := map[string]int64{}
	for pair := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(pair, "=")
		if seen[key], err = strconv.ParseInt(value, 10, 64); err != nil {
			return r, fmt.Errorf("wrk: %s: %w", key, err)
		}
	}
	for _, key := range []string{"requests", "bytes", "us", "p50", "p99", "connect", "read", "write", "timeout", "status"} {
		if _, ok := seen[key]; !ok {
			return r, fmt.Errorf("wrk: no %s in %q", key, line)
		}
	}
	r = loadResult{
		requests: seen["requests"],
		bytes:    seen["bytes"],
		elapsed:  time.Duration(seen["us"]) * time.Microsecond,
		p50:      time.Duration(seen["p50"]) * time.Microsecond,
		p99:      time.Duration(seen["p99"]) * time.Microsecond,
		failed:   seen["connect"] + seen["read"] + seen["write"] + seen["timeout"] + seen["status"],
	}
	return r, nil
}
