package grpc

import (
	"testing"
	"time"
)

func TestAppendTimeout(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0m"}, {-time.Second, "0m"}, {time.Millisecond + time.Microsecond, "1m"}, {10 * time.Second, "10000m"},
		{99_999_999 * time.Millisecond, "99999999m"}, {100_000_999 * time.Millisecond, "100000S"}, {99_999_999 * time.Second, "99999999S"},
		{100_000_000 * time.Second, "1666666M"}, {1<<63 - 1, "2562047H"},
	} {
		got := string(AppendTimeout([]byte("x"), tc.d))
		if got != "x"+tc.want {
			t.Errorf("%v: %q, want %q", tc.d, got, tc.want)
		}
		if d, ok := ParseTimeout(tc.want); !ok || d > max(tc.d, 0) {
			t.Errorf("%q is read as %v, %v", tc.want, d, ok)
		}
	}
}
