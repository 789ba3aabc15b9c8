package xds

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

func TestAVersionThatIsRefusedAgainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clusters, listeners := kindOf(resource.Cluster), kindOf(resource.Listener)
		s := &stream{refusals: map[*kind]*refusal{}}
		bad := []resource.Rejection{problem(resource.Key{Type: resource.Cluster, Name: "a"}, resource.Invalid, "is bad")}
		for i, step := range []struct {
			version  string
			rejected []resource.Rejection
			news     bool
			wait     time.Duration
		}{
			{"1", bad, true, 0},
			{"1", bad, false, refusalFirst},
			{"1", bad, false, 2 * refusalFirst},
			{"1", bad, false, refusalMost},
			{"1", bad, false, refusalMost},
			{"2", bad, true, 0},
			{"2", bad, false, refusalFirst},
			{"3", nil, false, 0},
			{"2", bad, true, 0},
		} {
			if news := s.refused(clusters, step.version, step.rejected); news != step.news {
				t.Errorf("step %d: news %v", i, news)
			}
			now := time.Now()
			if wait := s.untilCalm(now); wait != step.wait || s.calm(now)[clusters] != (wait > 0) || s.calm(now)[listeners] {
				t.Errorf("step %d: waits %v, want %v", i, wait, step.wait)
			}
			time.Sleep(step.wait) // virtual
			if s.untilCalm(time.Now()) != 0 {
				t.Errorf("step %d: still waits", i)
			}
		}
	})
}

func TestOnlyWhatIsRefusedWaits(t *testing.T) {
	l := newLedger(subscription.NewSource(adsSource()))
	for name, p := range map[string]protocol{"sotw": newSotW(l, nil, false), "delta": newDelta(l, nil, false)} {
		for _, kind := range []string{resource.Cluster, resource.Listener} {
			p.want(subscription.Want{Source: l.source, Key: resource.Key{Type: kind, Name: subscription.All}, On: true})
		}
		p.open()
		waiting := calm{kindOf(resource.Cluster): true}
		if n := p.pending(waiting); n != 1 || p.pending(nil) != 2 {
			t.Errorf("%s: %d requests", name, n)
		}
		if _, k := p.next(waiting); k != kindOf(resource.Listener) {
			t.Errorf("%s: the first request is about %v", name, k)
		}
		if m, _ := p.next(waiting); m != nil {
			t.Errorf("%s: what is to wait does not: %v", name, m)
		}
		if _, k := p.next(nil); k != kindOf(resource.Cluster) {
			t.Errorf("%s: it waits for ever", name)
		}
	}
}
