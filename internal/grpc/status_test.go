package grpc

import (
	"strconv"
	"testing"
)

func TestStatusesReadAsTheyAreWritten(t *testing.T) {
	names := map[Status][2]string{OK: {"OK", "OK"}, Canceled: {"Canceled", "CANCELLED"},
		DeadlineExceeded: {"DeadlineExceeded", "DEADLINE_EXCEEDED"}, Unauthenticated: {"Unauthenticated", "UNAUTHENTICATED"}, 17: {"17", "17"}}
	for s, want := range names {
		if s.String() != want[0] || s.Snake() != want[1] {
			t.Errorf("%d is %q, %q", s, s.String(), s.Snake())
		}
	}
	for i := range Count {
		s := Status(i)
		if s.Number() != strconv.Itoa(i) || s.String() == "" || s.Snake() == "" {
			t.Errorf("%d: %q %q %q", i, s.Number(), s.String(), s.Snake())
		}
		if got, ok := ParseStatus(s.Number()); !ok || got != s {
			t.Errorf("%d read back as %v, %v", i, got, ok)
		}
	}
	if n := Status(200).Number(); n != "200" {
		t.Errorf("200 is %q", n)
	}
	for _, v := range []string{"", "17", "-1", "+1", " 1", "1 ", "x", "99999999999999999999", "1.0"} {
		if s, ok := ParseStatus(v); ok || s != Unknown {
			t.Errorf("%q is %v, %v", v, s, ok)
		}
	}
	if s, ok := ParseStatus("007"); !ok || s != PermissionDenied {
		t.Errorf("007 is %v, %v", s, ok)
	}
}

func TestStatusMappings(t *testing.T) {
	for http, want := range map[int]Status{400: Internal, 401: Unauthenticated, 403: PermissionDenied, 404: Unimplemented, 429: Unavailable,
		502: Unavailable, 503: Unavailable, 504: Unavailable, 200: Unknown, 408: Unknown, 500: Unknown} {
		if got := FromHTTP(http); got != want {
			t.Errorf("%d is %v, want %v", http, got, want)
		}
	}
	want := [Count]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
	for i := range Count {
		if got := ToHTTP(Status(i)); got != want[i] {
			t.Errorf("%v is %d, want %d", Status(i), got, want[i])
		}
	}
	if got := ToHTTP(99); got != 500 {
		t.Errorf("99 is %d", got)
	}
}
