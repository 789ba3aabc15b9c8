package subscription

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/resource"
)

func adsIn(wait time.Duration) *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{}, InitialFetchTimeout: durationpb.New(wait)}
}

func valueOf(t *testing.T, kind, name, text string) *resource.Resource {
	t.Helper()
	r, err := resource.New(resource.Key{Type: kind, Name: name}, wrapperspb.String(text), "test", "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readyNow(w *Watch) bool {
	select {
	case <-w.Ready():
		return true
	default:
		return false
	}
}

// A watch whose version has given rise to others is ready when those are, have timed out, or were given up.
func TestAWatchAwaitsThoseItHasGivenRiseTo(t *testing.T) {
	for _, end := range []string{"delivered", "late", "given up", "absent"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := New(Options{})
				p := resource.NewProblems("")
				source := NewSource(adsIn(0))
				other := h.Watch(adsIn(20*time.Second), resource.Key{Type: resource.Route, Name: "r"}, "", p, User{
					Prepare: func(*resource.Resource, *resource.Problems) func() { return nil }})
				var all *Watch
				var enough func()
				released := 0
				all = h.Watch(adsIn(10*time.Second), resource.Key{Type: resource.Scope, Name: All}, "", p, User{
					Apply: func(Delta) []resource.Rejection {
						enough = all.Await(other)
						other.Hold()
						return nil
					},
					Released: func() { released++ },
				})
				all.Hold()
				all.Hold()
				h.DeliverAll(source, all.Key(), Delta{Set: []*resource.Resource{valueOf(t, resource.Scope, "s", "1")}})
				time.Sleep(15 * time.Second) // its own time is over, and does not count
				synctest.Wait()
				if readyNow(all) || readyNow(other) {
					t.Fatal("ready too soon")
				}
				switch end {
				case "delivered":
					h.Deliver(source, valueOf(t, resource.Route, "r", "1"))
				case "late":
					time.Sleep(10 * time.Second)
				case "given up":
					enough()
					enough()
				case "absent":
					h.Remove(source, other.Key())
				}
				synctest.Wait()
				if !readyNow(all) {
					t.Error("not ready")
				}
				all.Await(other)()
				all.Release()
				if released != 0 {
					t.Error("released while it is held")
				}
				all.Release()
				if released != 1 {
					t.Errorf("released %d times", released)
				}
				other.Release()
			})
		})
	}
}

// A watch that is held anew is given everything again.
func TestAWatchHeldAnewIsGivenAllAgain(t *testing.T) {
	h := New(Options{})
	source := NewSource(adsIn(0))
	got := ""
	w := h.Watch(adsIn(0), resource.Key{Type: resource.VHost, Name: "r/*"}, "", resource.NewProblems(""), User{
		Apply:    func(d Delta) []resource.Rejection { got += fmt.Sprint("+", len(d.Set)); return nil },
		Released: func() { got += "-" },
	})
	keep := h.Watch(adsIn(0), w.Key(), "", resource.NewProblems(""), User{Apply: func(Delta) []resource.Rejection { return nil }})
	keep.Hold()
	h.DeliverAll(source, w.Key(), Delta{Set: []*resource.Resource{valueOf(t, resource.VHost, "r/a", "1"), valueOf(t, resource.VHost, "r/b", "1")}})
	w.Hold()
	w.Release()
	w.Hold()
	w.Release()
	keep.Release()
	if got != "+2-+2-" {
		t.Error(got)
	}
}
