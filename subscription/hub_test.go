package subscription

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// ads is a source with an initial_fetch_timeout.
func ads(timeout time.Duration) *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, InitialFetchTimeout: durationpb.New(timeout),
	}
}

var from = NewSource(ads(0)) // immutable

func key(name string) resource.Key { return resource.Key{Type: resource.Route, Name: name} }

// version is a resource whose content is a text.
func version(t *testing.T, name, text string) *resource.Resource {
	t.Helper()
	r, err := resource.New(key(name), wrapperspb.String(text), "test", "")
	if err != nil {
		t.Fatal(err)
	}
	r.Version = text
	return r
}

// A reader is a user that has the text of a resource, unless it begins with what the reader cannot take.
type reader struct {
	text, refuses string
	prepared      int
}

func (r *reader) user() User {
	return User{
		Prepare: func(v *resource.Resource, p *resource.Problems) func() {
			r.prepared++
			text := v.Message.(*wrapperspb.StringValue).GetValue()
			if r.refuses != "" && strings.HasPrefix(text, r.refuses) {
				p.Errorf("value", "", "cannot take %s", text)
			}
			return func() { r.text = text }
		},
		Removed: nil,
	}
}

// watch makes a watch that has to work.
func (r *reader) watch(t *testing.T, h *Hub, name string) *Watch {
	t.Helper()
	var p resource.Problems
	w := h.Watch(ads(0), key(name), "rds", &p, r.user())
	if w == nil || p.HasErrors() {
		t.Fatal(p.All())
	}
	return w
}

// wanted is what has changed, as "+name" and "-name".
func wanted(h *Hub) string {
	var out []string
	for _, c := range h.Changes() {
		sign := "-"
		if c.On {
			sign = "+"
		}
		out = append(out, sign+c.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func isReady(w *Watch) bool {
	select {
	case <-w.Ready():
		return true
	default:
		return false
	}
}

func TestAllUsersTakeAVersionOrNone(t *testing.T) {
	h := New(Options{})
	a, b := &reader{}, &reader{refuses: "bad"}
	wa, wb := a.watch(t, h, "r"), b.watch(t, h, "r")
	if _, asked := h.Deliver(from, version(t, "r", "early")); asked {
		t.Error("somebody wants it before Hold")
	}
	wa.Hold()
	wb.Hold()
	defer wa.Release()
	defer wb.Release()
	if isReady(wa) || isReady(wb) {
		t.Error("ready without a version")
	}
	for _, step := range []struct{ send, want, problem string }{
		{"one", "one", ""},
		{"bad", "one", "cannot take bad"},
		{"two", "two", ""},
	} {
		problems, asked := h.Deliver(from, version(t, "r", step.send))
		if !asked || a.text != step.want || b.text != step.want || strings.Contains(fmt.Sprint(problems), step.problem) != true {
			t.Errorf("%s: asked %v, %q and %q, %v", step.send, asked, a.text, b.text, problems)
		}
		if (len(problems) > 0) != (step.problem != "") {
			t.Errorf("%s: %v", step.send, problems)
		}
		status := h.All(resource.Route)[0]
		if status.Current.Version != step.want || (status.Rejected != nil) != (step.problem != "") {
			t.Errorf("%s: %+v", step.send, status)
		}
	}
	if !isReady(wa) || !isReady(wb) {
		t.Error("not ready")
	}
	n := a.prepared
	if problems, _ := h.Deliver(from, version(t, "r", "two")); len(problems) > 0 || a.prepared != n {
		t.Errorf("what has not changed was compiled: %v", problems)
	}
}

func TestAReadFailureKeepsTheVersion(t *testing.T) {
	h := New(Options{})
	a := &reader{}
	w := a.watch(t, h, "r")
	w.Hold()
	defer w.Release()
	h.Deliver(from, version(t, "r", "one"))
	h.Reject(from, &resource.Resource{Key: key("r"), Version: "2"}, []resource.Problem{{Message: "garbage"}})
	s := h.All("")[0]
	if a.text != "one" || s.Rejected == nil || s.Rejected.Problems[0].Message != "garbage" || s.Current.Version != "one" {
		t.Errorf("%q %+v", a.text, s)
	}
	h.Remove(from, key("r"))
	if s = h.All("")[0]; a.text != "one" || !s.Absent {
		t.Errorf("a removed route table is gone: %+v", s)
	}
	if h.Deliver(from, version(t, "r", "one")); h.All("")[0].Absent {
		t.Error("it came back and is absent")
	}
}

func TestWhoComesLaterGetsTheVersionInForce(t *testing.T) {
	h := New(Options{})
	a, b, c := &reader{}, &reader{}, &reader{refuses: "o"}
	wa := a.watch(t, h, "r")
	wa.Hold()
	defer wa.Release()
	h.Deliver(from, version(t, "r", "one"))

	wb := b.watch(t, h, "r")
	if b.text != "" || b.prepared != 1 {
		t.Errorf("%q in force before Hold; prepared %d times", b.text, b.prepared)
	}
	wb.Hold()
	if b.text != "one" || b.prepared != 1 || !isReady(wb) {
		t.Errorf("%q, prepared %d times", b.text, b.prepared)
	}
	wb.Release()
	h.Deliver(from, version(t, "r", "two"))
	if b.text != "one" {
		t.Error("a version reaches who has let go")
	}
	wb.Hold()
	defer wb.Release()
	if b.text != "two" {
		t.Errorf("held again: %q", b.text)
	}

	var p resource.Problems
	h.Deliver(from, version(t, "r", "other"))
	if w := h.Watch(ads(0), key("r"), "rds", &p, c.user()); w == nil || !p.HasErrors() {
		t.Error("a version that does not fit is not reported when it is named")
	}
}

func TestAVersionThatDoesNotFitALaterUser(t *testing.T) {
	h := New(Options{})
	a, b := &reader{}, &reader{refuses: "t"}
	wa := a.watch(t, h, "r")
	wa.Hold()
	defer wa.Release()
	h.Deliver(from, version(t, "r", "one"))
	wb := b.watch(t, h, "r")
	h.Deliver(from, version(t, "r", "two"))
	wb.Hold()
	defer wb.Release()
	if b.text != "" || !isReady(wb) || len(wb.Problems()) == 0 || a.text != "two" {
		t.Errorf("%q %v, the other has %q", b.text, wb.Problems(), a.text)
	}
	if h.Deliver(from, version(t, "r", "four")); b.text != "four" || wb.Problems() != nil {
		t.Errorf("%q %v", b.text, wb.Problems())
	}
}

func TestChangesOfWhatIsWanted(t *testing.T) {
	h := New(Options{})
	a, b := (&reader{}).watch(t, h, "a"), (&reader{}).watch(t, h, "b")
	again := (&reader{}).watch(t, h, "a")
	a.Hold()
	b.Hold()
	again.Hold()
	a.Hold()
	if got := wanted(h); got != "+a +b" {
		t.Error(got)
	}
	a.Release()
	a.Release()
	if got := wanted(h); got != "" {
		t.Errorf("another wants it still: %s", got)
	}
	b.Release()
	b.Hold()
	if got := wanted(h); got != "+b" {
		t.Errorf("gone and back, without a version: %q", got)
	}
	short := (&reader{}).watch(t, h, "c")
	short.Hold()
	short.Release()
	if got := wanted(h); got != "" {
		t.Errorf("come and gone: %q", got)
	}
	again.Release()
	b.Release()
	if got := wanted(h); got != "-a -b" {
		t.Error(got)
	}
	if n := len(h.All("")); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

func TestNobodyWaitsForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := stats.NewStore(stats.Options{}).Scope("x.")
		h := New(Options{})
		s := NewStats(sc)
		var p resource.Problems
		u := (&reader{}).user()
		u.Stats = s
		w := h.Watch(ads(3*time.Second), key("r"), "", &p, u)
		called := 0
		w.WhenReady(func() { called++ })
		w.Hold()
		began := time.Now()
		<-w.Ready()
		if d := time.Since(began); d != 3*time.Second || s.TimedOut.Value() != 1 {
			t.Errorf("after %v, counted %d", d, s.TimedOut.Value())
		}
		synctest.Wait()
		if called != 1 {
			t.Errorf("told %d times", called)
		}
		w.WhenReady(func() { called++ })
		if called != 2 {
			t.Error("not told at once")
		}
		if h.Deliver(from, version(t, "r", "late")); s.Success.Value() != 1 {
			t.Error("a version that comes late is not taken")
		}
		w.Release()

		forever := (&reader{}).watch(t, h, "s")
		forever.Hold()
		time.Sleep(time.Hour) // virtual
		if isReady(forever) {
			t.Error("initial_fetch_timeout 0 ends")
		}
		if h.Remove(from, key("s")); !isReady(forever) {
			t.Error("waits for what does not exist")
		}
		forever.Release()
	})
}

// A shelf is a user of a collection.
type shelf struct {
	mu    sync.Mutex
	has   map[string]string
	calls int
}

func (s *shelf) apply(d Delta) (rejected []resource.Rejection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	for _, name := range d.Remove {
		delete(s.has, name)
	}
	for _, r := range d.Set {
		text := r.Message.(*wrapperspb.StringValue).GetValue()
		if strings.HasPrefix(text, "bad") {
			rejected = append(rejected, resource.Rejection{Key: r.Key, Problems: []resource.Problem{{Message: text}}})
			continue
		}
		s.has[r.Name] = text
	}
	return rejected
}

func TestACollection(t *testing.T) {
	h := New(Options{})
	s, all := &shelf{has: map[string]string{}}, key(All)
	var p resource.Problems
	w := h.Watch(ads(0), all, "", &p, User{Apply: s.apply})
	w.Hold()
	defer w.Release()
	set := func(full bool, pairs ...string) Delta {
		d := Delta{Full: full}
		for i := 0; i+1 < len(pairs); i += 2 {
			d.Set = append(d.Set, version(t, pairs[i], pairs[i+1]))
		}
		return d
	}
	broken := set(true, "a", "1", "c", "3")
	broken.Broken = []resource.Rejection{{Key: key("b"), Problems: []resource.Problem{{Message: "garbage"}}}}
	for _, step := range []struct {
		what     string
		d        Delta
		has      map[string]string
		rejected string
		calls    int
	}{
		{"first", set(true, "a", "1", "b", "2"), map[string]string{"a": "1", "b": "2"}, "", 1},
		{"the same", set(true, "a", "1", "b", "2"), map[string]string{"a": "1", "b": "2"}, "", 0},
		{"one more", set(false, "c", "3"), map[string]string{"a": "1", "b": "2", "c": "3"}, "", 1},
		{"one is bad", set(true, "a", "bad1", "b", "2", "c", "4"), map[string]string{"a": "1", "b": "2", "c": "4"}, "a", 1},
		{"it is bad again", set(true, "a", "bad1", "b", "2", "c", "4"), map[string]string{"a": "1", "b": "2", "c": "4"}, "a", 1},
		{"it is good", set(true, "a", "1", "b", "2", "c", "3"), map[string]string{"a": "1", "b": "2", "c": "3"}, "", 1},
		{"one cannot be read", broken, map[string]string{"a": "1", "b": "2", "c": "3"}, "b", 0},
		{"left out", set(true, "a", "1"), map[string]string{"a": "1"}, "", 1},
		{"named", Delta{Remove: []string{"a", "x"}}, map[string]string{}, "", 1},
		{"nothing at all", Delta{Full: true}, map[string]string{}, "", 0},
	} {
		before := s.calls
		rejected, asked := h.DeliverAll(from, all, step.d)
		var names []string
		for _, r := range rejected {
			names = append(names, r.Key.Name)
		}
		if !asked || fmt.Sprint(s.has) != fmt.Sprint(step.has) || strings.Join(names, " ") != step.rejected || s.calls-before != step.calls {
			t.Errorf("%s: %v, rejected %v, %d calls", step.what, s.has, rejected, s.calls-before)
		}
		bad := 0
		for _, m := range h.Members(from, all) {
			if m.Rejected != nil {
				bad++
			}
		}
		if want := len(names); bad != want {
			t.Errorf("%s: %d members are rejected", step.what, bad)
		}
	}
}

func TestWhoJoinsACollectionGetsAllOfIt(t *testing.T) {
	h := New(Options{})
	a, b := &shelf{has: map[string]string{}}, &shelf{has: map[string]string{}}
	var p resource.Problems
	wa := h.Watch(ads(0), key(All), "", &p, User{Apply: a.apply})
	wa.Hold()
	defer wa.Release()
	h.DeliverAll(from, key(All), Delta{Set: []*resource.Resource{version(t, "x", "1"), version(t, "y", "bad")}})
	wb := h.Watch(ads(0), key(All), "", &p, User{Apply: b.apply})
	wb.Hold()
	defer wb.Release()
	if fmt.Sprint(b.has) != "map[x:1]" || !isReady(wb) {
		t.Errorf("%v", b.has)
	}
}

func TestManyAtOnce(t *testing.T) {
	h := New(Options{})
	var all sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprint("r", i%2)
		w := h.Watch(ads(time.Hour), key(name), "", &resource.Problems{}, User{
			Prepare: func(*resource.Resource, *resource.Problems) func() { return nil },
		})
		all.Go(func() {
			for range 200 {
				w.Hold()
				w.Release()
			}
		})
		all.Go(func() {
			for n := range 200 {
				h.Deliver(from, version(t, name, fmt.Sprint(n)))
				h.Changes()
			}
		})
	}
	all.Wait()
	if n := len(h.All("")); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

func TestSourcesAreTheSameWhateverTheirTimeout(t *testing.T) {
	if NewSource(ads(time.Second)).ID != NewSource(ads(0)).ID {
		t.Error("a timeout makes another source")
	}
	file := NewSource(&corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
		PathConfigSource: &corev3.PathConfigSource{Path: "/etc/cds.yaml"},
	}})
	if file.ID == from.ID || file.String() != "/etc/cds.yaml" || from.String() != "ads" {
		t.Errorf("%v %v", file, from)
	}
}
