package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCertificatesRotateUnderLoad replaces all certificates again and again, while clients are at work, of whom none notices.
func TestCertificatesRotateUnderLoad(t *testing.T) {
	const swaps = 30
	rotate(t, swaps, 20*time.Millisecond)
}

// rotate replaces certificates under load and returns how long it took at most until a new handshake had them, towards clients and upstreams.
func rotate(t *testing.T, swaps int, pause time.Duration) (down, up time.Duration) {
	r := startRotation(t)
	l := r.load(pause)
	before := r.uses()
	for i := range swaps {
		if t.Failed() {
			break
		}
		if i == swaps/4 { // everything has happened by now that happens once
			before = r.uses()
		}
		s := r.sides[i%len(r.sides)]
		r.replace(s)
		d, u := r.changed(s)
		down, up = max(down, d), max(up, u)
		r.settle(s)
	}
	after := r.uses()
	l.end()
	r.intact()
	t.Logf("%d swaps, %d requests, %d failed; new after %v at most towards clients, %v towards upstreams", swaps, l.requests.Load(), l.failed.Load(), down, up)
	t.Logf("before: %+v; after: %+v", before, after)
	before.compare(t, after)
	return down, up
}

// changed waits until new handshakes of a side have its new certificates, and says how long that took.
func (r *rotation) changed(s *side) (down, up time.Duration) {
	r.Helper()
	began := time.Now()
	r.p.eventually(func() error {
		d, u, err := r.new(s)
		took := time.Since(began)
		switch {
		case err != nil:
			return err
		case !d && down > 0:
			r.Errorf("%s: the old certificate came back", s.name)
		case d && down == 0:
			down = took
		}
		if u && up == 0 {
			up = took
		}
		if down == 0 || up == 0 {
			return fmt.Errorf("%s: the new certificate towards clients after %v, towards upstreams after %v (0 is not yet)", s.name, down, up)
		}
		return nil
	})
	return down, up
}

// intact checks that no connection was closed that had no reason to be.
func (r *rotation) intact() {
	r.Helper()
	for _, s := range r.sides {
		for _, name := range []string{"steady", "stream"} {
			name = "cluster." + s.name + "-" + name
			if n := r.stat(name + ".upstream_cx_destroy"); n != 0 {
				r.Errorf("%s: %d connections were closed", name, n)
			}
			if n := r.stat(name + ".upstream_rq_total"); n == 0 {
				r.Errorf("%s was not used", name)
			}
		}
		if n := s.service.broken.Load(); n != 0 {
			r.Errorf("%s: %d streams broke", s.name, n)
		}
		if n := s.service.streams.Load(); n != 1 {
			r.Errorf("%s: %d streams, want 1", s.name, n)
		}
	}
}

// stat is the value of a counter or gauge.
func (r *rotation) stat(name string) int {
	r.Helper()
	text, err := fetch(http.DefaultClient, "http://"+r.admin+"/stats?filter=^"+name+"$")
	if err != nil {
		r.Fatal(err)
	}
	_, value, _ := strings.Cut(strings.TrimSpace(text), ": ")
	n, err := strconv.Atoi(value)
	if err != nil {
		r.Fatalf("%s: %q", name, text)
	}
	return n
}

// uses is what a process uses.
type uses struct {
	goroutines, files, watches int
	resident                   int64
}

// uses is what Weft uses at the moment.
func (r *rotation) uses() uses {
	r.Helper()
	u := uses{resident: r.p.resident()}
	text, err := fetch(http.DefaultClient, "http://"+r.admin+"/debug/pprof/goroutine?debug=1")
	if err != nil {
		r.Fatal(err)
	}
	if _, err := fmt.Sscanf(text, "goroutine profile: total %d", &u.goroutines); err != nil {
		r.Fatal(err)
	}
	dir := fmt.Sprintf("/proc/%d/fdinfo", r.p.cmd.Process.Pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		r.Fatal(err)
	}
	u.files = len(list)
	for _, e := range list {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // it was closed just now
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "inotify ") {
				u.watches++
			}
		}
		_ = f.Close() // only read
	}
	return u
}

// compare fails the test where after is much more than u. Clients come and go, so neither is exact.
func (u uses) compare(t *testing.T, after uses) {
	t.Helper()
	const some, most = 20, 32 << 20
	if after.goroutines > u.goroutines+some || after.files > u.files+some || after.resident > u.resident+most {
		t.Errorf("Weft uses %+v, and used %+v before", after, u)
	}
	if after.watches > u.watches+4 { // two directories may be gone or come
		t.Errorf("%d directories watched, %d before", after.watches, u.watches)
	}
}

// TestHalfOfAPairIsNotShown has the certificate of another key for two seconds.
func TestHalfOfAPairIsNotShown(t *testing.T) {
	r := startRotation(t)
	s := r.sides[0]
	old, next := s.server.Leaf.SerialNumber.String(), r.pair(r.root, appName)
	files := r.files("server", next)
	if err := s.put(s.dir, 0, files[:1]); err != nil {
		t.Fatal(err)
	}
	const warning = "server.key, Cause: KEY_VALUES_MISMATCH"
	r.p.eventually(func() error {
		if !strings.Contains(r.p.out.String(), warning) {
			return fmt.Errorf("nothing is said about the pair")
		}
		return nil
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 100 { // two seconds
		<-tick.C
		v, err := r.come(s, "http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		if err := v.get("/fresh"); err != nil || v.serial() != old {
			t.Fatalf("certificate %s, want %s; %v", v.serial(), old, err)
		}
		_ = v.Close() // it was asked all it is to be asked
	}
	if n := strings.Count(r.p.out.String(), warning); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
	if n := r.stat("secret.reload_failure"); n != 1 {
		t.Errorf("secret.reload_failure is %d, want 1", n)
	}
	if err := s.put(s.dir, 0, files[1:]); err != nil {
		t.Fatal(err)
	}
	s.server = next
	r.changed(s)
}
