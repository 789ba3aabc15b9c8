//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseLoad(t *testing.T) {
	line := "bench: requests=12000 bytes=3000000 us=2001000 p50=640 p99=1250 connect=1 read=2 write=3 timeout=4 status=5"
	got, err := parseLoad("Running 2s test\nRequests/sec: 6000.00\n" + line + "\n")
	want := loadResult{
		requests: 12000, bytes: 3000000, elapsed: 2001 * time.Millisecond,
		p50: 640 * time.Microsecond, p99: 1250 * time.Microsecond, failed: 15,
	}
	if err != nil || got != want {
		t.Fatalf("parseLoad = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{
		"", "unable to connect to 127.0.0.1:1 Connection refused",
		strings.Replace(line, "p99=1250 ", "", 1),
		strings.Replace(line, "requests=12000", "requests=many", 1),
	} {
		if got, err := parseLoad(bad); err == nil {
			t.Errorf("parseLoad(%q) = %+v, want an error", bad, got)
		}
	}
}
