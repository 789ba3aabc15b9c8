//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseH2load(t *testing.T) {
	text := `finished in 2.00s, 704296.00 req/s, 82.62MB/s
requests: 1408600 total, 1408720 started, 1408600 done, 1408592 succeeded, 8 failed, 5 errored, 2 timeout
status codes: 1408592 2xx, 0 3xx, 0 4xx, 3 5xx
traffic: 165.23MB (173257552) total, 6.72MB (7043352) headers (space savings 95.73%), 134.33MB (140859200) data
                     min         max         mean         sd        +/- sd
time for request:       21us      3.57ms        93us        50us    97.10%
`
	got, err := parseH2load(text)
	want := loadResult{requests: 1408592, bytes: 173257552, elapsed: 2 * time.Second, mean: 93 * time.Microsecond, failed: 8}
	if err != nil || got != want {
		t.Fatalf("parseH2load = %+v, %v; want %+v", got, err, want)
	}
	for _, part := range []string{"finished", "requests:", "traffic:", "time for request"} {
		if _, err := parseH2load(strings.Replace(text, part, "", 1)); err == nil {
			t.Errorf("a summary without %q is accepted", part)
		}
	}
}

func TestParseH2loadLog(t *testing.T) {
	times, err := parseH2loadLog(strings.NewReader("17\t200\t30\n18\t200\t10\n19\t-1\t20\n"))
	if err != nil || len(times) != 3 || times[0] != 10*time.Microsecond || times[2] != 30*time.Microsecond {
		t.Errorf("parseH2loadLog = %v, %v", times, err)
	}
	for _, bad := range []string{"", "17\t200\n"} {
		if _, err := parseH2loadLog(strings.NewReader(bad)); err == nil {
			t.Errorf("log %q is accepted", bad)
		}
	}
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		of   []time.Duration
		p    int
		want time.Duration
	}{
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred[:1], 99, 1}, {hundred[:3], 50, 2}, {nil, 50, 0},
	} {
		if got := percentile(c.of, c.p); got != c.want {
			t.Errorf("percentile(%d values, %d) = %d, want %d", len(c.of), c.p, got, c.want)
		}
	}
}

func TestParseGhz(t *testing.T) {
	text := `{"count": 12, "total": 2000000000, "average": 500, "statusCodeDistribution": {"OK": 10, "Unavailable": 2},
"latencyDistribution": [{"percentage": 50, "latency": 400}, {"percentage": 95, "latency": 800}, {"percentage": 99, "latency": 900}]}`
	got, err := parseGhz([]byte(text), 100)
	want := loadResult{requests: 1000, elapsed: 2 * time.Second, mean: 500, p50: 400, p99: 900, failed: 2}
	if err != nil || got != want {
		t.Errorf("parseGhz = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "{}", "[]"} {
		if _, err := parseGhz([]byte(bad), 1); err == nil {
			t.Errorf("report %q is accepted", bad)
		}
	}
}
