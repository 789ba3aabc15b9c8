package upstream

import (
	"fmt"
	"strings"
	"testing"
)

// told is a load in words.
func told(l Load) string {
	s := fmt.Sprintf("%s/%s dropped %d, %s %d", l.Cluster, l.Service, l.Dropped, l.Category, l.Shed)
	for _, z := range l.Localities {
		s += fmt.Sprintf("; %s/%s p%d %v", z.Region, z.Zone, z.Priority, z.Requests)
		for _, h := range z.Hosts {
			s += fmt.Sprintf(" %s %v", strings.TrimSuffix(h.Host.Address(), ":80"), h.Requests)
		}
	}
	return s
}

func TestTakeLoad(t *testing.T) {
	w := newPlane(t)
	c := w.start("name: other\ntype: EDS\neds_cluster_config: {eds_config: {ads: {}}, service_name: web}")
	zones := []string{spot("locality: {region: eu, zone: a}", "10.0.0.1", "10.0.0.2"), spot("locality: {region: eu, zone: b}\n    priority: 1", "10.0.0.3")}
	w.set("policy: {drop_overloads: [{category: x, drop_percentage: {numerator: 100}}]}", zones...)
	serve := func(i int, issued, good, bad uint64, active int64) {
		s := c.Hosts().All()[i].Stats()
		s.RqTotal.Add(issued)
		s.RqSuccess.Add(good)
		s.RqError.Add(bad)
		s.RqActive.Add(active)
	}
	expect := func(want string) {
		t.Helper()
		if got := told(c.TakeLoad()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	first := c.TakeLoad()
	if !first.Idle() {
		t.Error(told(first))
	}
	expect("other/web dropped 0, x 0")
	serve(0, 5, 3, 1, 1)
	serve(1, 2, 2, 0, 0)
	serve(2, 1, 0, 1, 0)
	c.Stats(0).RqPendingOverflow.Add(2)
	c.Stats(1).RqPendingOverflow.Add(1)
	c.Drops(nil)
	expect("other/web dropped 3, x 1; eu/a p0 {7 5 1 1} 10.0.0.1 {5 3 1 1} 10.0.0.2 {2 2 0 0}; eu/b p1 {1 0 1 0} 10.0.0.3 {1 0 1 0}")
	expect("other/web dropped 0, x 0; eu/a p0 {0 0 0 1} 10.0.0.1 {0 0 0 1}") // it is still under way
	serve(0, 0, 1, 0, -1)
	c.Stats(0).RqPendingOverflow.Inc()
	expect("other/web dropped 1, x 0; eu/a p0 {0 1 0 0} 10.0.0.1 {0 1 0 0}")
	w.set("", spot("locality: {region: eu, zone: b}", "10.0.0.3"))
	serve(0, 1, 1, 0, 0)
	expect("other/web dropped 0,  0; eu/b p0 {1 1 0 0} 10.0.0.3 {1 1 0 0}")
	if n := len(c.marks.hosts); n != 1 {
		t.Errorf("%d hosts are remembered, want 1", n)
	}
}
