//go:build linux

package main

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed bench.proto
var benchProto string

// ghz runs one load for d against addr: messages of 100 bytes.
func (b *bench) ghz(ctx context.Context, addr string, l load, d time.Duration) (loadResult, error) {
	proto, out := filepath.Join(b.dir, "bench.proto"), filepath.Join(b.dir, "ghz.json")
	if err := os.WriteFile(proto, []byte(benchProto), 0o644); err != nil {
		return loadResult{}, err
	}
	argv := []string{b.tools.ghz, "--proto", proto, "--call", "bench.Bench/" + l.method, "--insecure",
		"-c", strconv.Itoa(l.streams), "--connections", strconv.Itoa(l.connections),
		"-z", d.String(), "--duration-stop", "wait", "-O", "json", "-o", out,
		"-d", fmt.Sprintf("{\"data\": %q}", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 98))))}
	if l.messages > 1 {
		argv = append(argv, "--stream-call-count", strconv.Itoa(l.messages))
	}
	p, err := spawn(command{name: "ghz", argv: append(argv, addr), cpus: b.loadCPUs})
	if err != nil {
		return loadResult{}, err
	}
	if err := p.wait(ctx); err != nil {
		return loadResult{}, err
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return loadResult{}, err
	}
	return parseGhz(text, l.messages)
}

// parseGhz reads the report of ghz. Calls that did not end well count as failed, whatever
// the number of their messages.
func parseGhz(text []byte, messages int) (r loadResult, err error) {
	var report struct {
		Count   int64            `json:"count"`
		Total   time.Duration    `json:"total"`
		Average time.Duration    `json:"average"`
		Codes   map[string]int64 `json:"statusCodeDistribution"`
		Times   []struct {
			Percentage int           `json:"percentage"`
			Latency    time.Duration `json:"latency"`
		} `json:"latencyDistribution"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return r, fmt.Errorf("ghz: %w", err)
	}
	if report.Total <= 0 {
		return r, errors.New("ghz: report without a duration")
	}
	r = loadResult{
		requests: report.Codes["OK"] * int64(max(1, messages)), elapsed: report.Total, mean: report.Average,
		failed: report.Count - report.Codes["OK"],
	}
	for _, t := range report.Times {
		switch t.Percentage {
		case 50:
			r.p50 = t.Latency
		case 99:
			r.p99 = t.Latency
		}
	}
	return r, nil
}
