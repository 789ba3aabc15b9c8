package exchange

import (
	"testing"
	"time"

	"github.com/weftproxy/weft/message"
)

const s = time.Second

func grpcHeader(timeout string) *message.Header {
	h := &message.Header{}
	h.AddKnown(message.ContentType, "application/grpc")
	if timeout != "" {
		h.AddKnown(message.GRPCTimeout, timeout)
	}
	return h
}

func TestDurationOfAnExchange(t *testing.T) {
	old := &GRPCTimeouts{Max: 5 * s, HeaderMax: -1, Offset: -1, OldOffset: -1}
	plain := &GRPCTimeouts{Duration: true, HeaderMax: -1, Offset: -1, Max: -1}
	capped := &GRPCTimeouts{Duration: true, HeaderMax: 8 * s, Offset: 2 * s, Max: 5 * s}
	free := &GRPCTimeouts{Duration: true, HeaderMax: 0, Offset: -1, Max: -1}
	for _, tc := range []struct {
		name     string
		g        *GRPCTimeouts
		max      time.Duration
		fallback time.Duration
		timeout  string
		want     time.Duration // -1: no limit
		header   string
	}{
		{"nothing is configured", nil, -1, 0, "1S", -1, "1S"},
		{"the connection manager's", nil, -1, 7 * s, "1S", 7 * s, "1S"},
		{"the route's switches it off", nil, 0, 7 * s, "", -1, ""},
		{"max_grpc_timeout does not count", old, -1, 7 * s, "1S", 7 * s, "1S"},
		{"the route's is told to the upstream", plain, 4 * s, 7 * s, "9S", 4 * s, "4000m"},
		{"without a duration the connection manager's is", plain, -1, 7 * s, "", 7 * s, "7000m"},
		{"no limit at all", plain, 0, 7 * s, "9S", -1, "9S"},
		{"the header's", free, 4 * s, 7 * s, "9S", 9 * s, "9000m"},
		{"a header that is none", free, 4 * s, 7 * s, "9x", 4 * s, "4000m"},
		{"a header of nothing", free, 4 * s, 7 * s, "0S", 0, "0m"},
		{"the longest, less the offset", capped, -1, 0, "9S", 6 * s, "6000m"},
		{"the header's, less the offset", capped, -1, 0, "3S", s, "1000m"},
		{"the offset eats it up", capped, -1, 0, "2S", 0, "0m"},
		{"no header", capped, -1, 0, "", -1, ""},
	} {
		r, h := &Route{MaxStream: tc.max, GRPC: tc.g}, grpcHeader(tc.timeout)
		got, ok := r.Duration(h, tc.fallback)
		if !ok {
			got = -1
		}
		if got != tc.want || h.Known(message.GRPCTimeout) != tc.header {
			t.Errorf("%s: %v, %q; want %v, %q", tc.name, got, h.Known(message.GRPCTimeout), tc.want, tc.header)
		}
	}
	h := &message.Header{}
	h.AddKnown(message.GRPCTimeout, "9S")
	if d, ok := (&Route{MaxStream: -1, GRPC: capped}).Duration(h, 0); d != 6*s || !ok || h.Known(message.GRPCTimeout) != "9S" {
		t.Errorf("of a request that is not gRPC: %v, %q", d, h.Known(message.GRPCTimeout))
	}
}

func TestOldGRPCTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		g       *GRPCTimeouts
		timeout string
		want    time.Duration // -1: the route's
	}{
		{"nothing", nil, "3S", -1}, {"not configured", &GRPCTimeouts{Max: -1}, "3S", -1},
		{"max_stream_duration goes first", &GRPCTimeouts{Duration: true, Max: 5 * s}, "3S", -1},
		{"within", &GRPCTimeouts{Max: 5 * s, OldOffset: -1}, "3S", 3 * s}, {"capped", &GRPCTimeouts{Max: 5 * s, OldOffset: -1}, "9S", 5 * s},
		{"no header", &GRPCTimeouts{Max: 5 * s, OldOffset: s}, "", 5 * s}, {"no header, no limit", &GRPCTimeouts{OldOffset: s}, "", 0},
		{"any", &GRPCTimeouts{}, "9S", 9 * s}, {"offset", &GRPCTimeouts{Max: 5 * s, OldOffset: s}, "3S", 2 * s},
		{"offset first, cap then", &GRPCTimeouts{Max: 5 * s, OldOffset: s}, "7S", 5 * s},
		{"an offset that leaves nothing", &GRPCTimeouts{Max: 5 * s, OldOffset: 3 * s}, "3S", 3 * s},
	} {
		h := grpcHeader(tc.timeout)
		got, ok := tc.g.Response(h)
		if !ok {
			got = -1
		}
		if got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		tc.g.SetTimeout(h, 1500*time.Millisecond)
		if set := h.Known(message.GRPCTimeout) == "1500m"; set != ok {
			t.Errorf("%s: the upstream is told: %v", tc.name, set)
		}
	}
}
