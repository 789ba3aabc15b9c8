package health

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftproxy/weft/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStateFollowsThresholds(t *testing.T) {
	no := errors.New("no")
	good := outcome{}
	answer, retriable, network := outcome{err: no}, outcome{err: no, retriable: true}, outcome{err: no, network: true}
	for _, c := range []struct {
		name   string
		checks []outcome
		want   string // H healthy, U unhealthy; in lower case while on the way to the other
	}{
		{"the first success is enough", []outcome{good, good}, "HH"},
		{"then it takes two", []outcome{network, good, good}, "UuH"},
		{"a failure starts anew", []outcome{network, good, network, good, good}, "UuUuH"},
		{"an answer counts at once", []outcome{good, answer}, "HU"},
		{"a retriable answer does not", []outcome{good, retriable, retriable, retriable}, "HhhU"},
		{"nor does the network", []outcome{good, network, network, network}, "HhhU"},
		{"a success starts anew", []outcome{good, network, network, good, network, network, network}, "HhhHhhU"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := state{c: &Config{UnhealthyThreshold: 3, HealthyThreshold: 2}}
			got := ""
			for _, o := range c.checks {
				pending := s.apply(o)
				letter := "U"
				if s.healthy {
					letter = "H"
				}
				if pending {
					letter = strings.ToLower(letter)
				}
				got += letter
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestWaitDependsOnState(t *testing.T) {
	o := &Config{Interval: 1, UnhealthyInterval: 2, UnhealthyEdgeInterval: 3, HealthyEdge: 4, NoTrafficInterval: 5, NoTrafficHealthy: 6}
	for _, d := range []*time.Duration{&o.Interval, &o.UnhealthyInterval, &o.UnhealthyEdgeInterval, &o.HealthyEdge, &o.NoTrafficInterval, &o.NoTrafficHealthy} {
		*d *= time.Second
	}
	for _, c := range []struct {
		used, healthy, pending bool
		want                   time.Duration
	}{
		{true, true, false, 1}, {true, false, false, 2}, {true, true, true, 3}, {true, false, true, 4}, {false, false, false, 5}, {false, true, false, 6}, {false, true, true, 5},
	} {
		checker := &Checker{Config: o, Used: func() bool { return c.used }}
		if got := checker.wait(c.healthy, c.pending); got != c.want*time.Second {
			t.Errorf("%+v: %v", c, got)
		}
	}
	o.Jitter, o.JitterPercent = time.Second, 50
	checker := &Checker{Config: o, Used: func() bool { return true }}
	for range 100 {
		if got := checker.wait(false, false); got < 2*time.Second || got > 4500*time.Millisecond {
			t.Fatalf("with jitter: %v", got)
		}
	}
}

func TestMatcherFindsPayloadsInOrder(t *testing.T) {
	for _, c := range []struct {
		want, stream string
		found        bool
	}{
		{"", "anything", true}, {"PONG", "PONG", true}, {"PONG", "xxPONGyy", true}, {"PONG", "PON", false}, {"A B", "A--B", true}, {"A B", "BA", false},
		{"AA A", "AA", false}, {"AAB", "AAAB", true},
	} {
		for size := 1; size <= len(c.stream); size++ {
			m := matcher{}
			for _, w := range strings.Fields(c.want) {
				m.want = append(m.want, []byte(w))
			}
			for rest := c.stream; rest != ""; {
				n := min(size, len(rest))
				m.feed([]byte(rest[:n]))
				rest = rest[n:]
			}
			if m.done() != c.found {
				t.Errorf("%q in %q by %d: %v", c.want, c.stream, size, m.done())
			}
		}
	}
}

func TestRequestAndJudgement(t *testing.T) {
	h := &HTTP{Path: "/h", Method: "HEAD", Add: []Field{{"x-a", "1", false}, {"x-a", "2", true}, {"user-agent", "me", false}, {"x-b", "3", false}}, Remove: []string{"x-b"},
		Expected: []Range{{200, 201}}, Retriable: []Range{{500, 600}}, Receive: [][]byte{[]byte("fine")}, BufferSize: 8}
	p := (&Checker{Config: &Config{HTTP: h}, Cluster: "web"}).probe(nil)
	r := p.request(Target{})
	if r.Method != "HEAD" || r.Authority != "web" || r.Header.Count("x-a") != 2 || r.Header.Get("user-agent") != "me" || r.Header.Has("x-b") {
		t.Errorf("%+v", r)
	}
	if r := p.request(Target{Hostname: "h.test"}); r.Authority != "h.test" {
		t.Errorf("authority %s", r.Authority)
	}
	for _, c := range []struct {
		status    int
		body      string
		ok, retry bool
	}{
		{200, "fine", true, false}, {200, "not so", false, false}, {200, "12345fine", false, false}, {500, "fine", false, true}, {404, "fine", false, false},
	} {
		resp := &message.Response{Status: c.status, Body: message.NewBytes([]byte(c.body))}
		if out := p.judge(resp); (out.err == nil) != c.ok || out.retriable != c.retry {
			t.Errorf("%d %q: %+v", c.status, c.body, out)
		}
	}
	resp := &message.Response{Status: 200, Body: message.NewBytes([]byte("fine"))}
	resp.Header.Add("x-envoy-degraded", "")
	resp.Header.Add("x-envoy-immediate-health-check-fail", "true")
	if out := p.judge(resp); out.err != nil || !out.degraded || !out.excluded {
		t.Errorf("%+v", out)
	}
}
