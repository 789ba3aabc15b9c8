package dispatch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

// A world is a model of what a connection manager should answer, with the connection manager.
type world struct {
	*shop
	random *rand.Rand
	now    extension.Built

	tables map[string]string // cluster by route configuration; ending in "!" when the filter x has an override
	x      string            // the filter's text; "" while it goes without a configuration
	order  []string          // the filters: "x" is delivered, others are inline
	uses   string            // which route configuration
	number int               // of the cluster table

	mu     sync.Mutex
	states []string     // what was to be answered after each step; guarded by mu
	begun  atomic.Int64 // steps
	done   atomic.Int64
}

// answer is what a request gets.
func (w *world) answer() string {
	cluster, override := strings.CutSuffix(w.tables[w.uses], "!")
	var tags []string
	for _, name := range w.order {
		switch {
		case name == "x" && w.x == "":
			name = "d"
		case name == "x":
			name = w.x
		default:
			tags = append(tags, name)
			continue
		}
		if override {
			name += "/o"
		}
		tags = append(tags, name)
	}
	return fmt.Sprintf("%s %s %d", strings.Join(tags, "+"), cluster, w.number)
}

// step changes one thing at random: the model first, so that an answer may show the change as soon as it begins.
func (w *world) step(n int) {
	var act func()
	name := []string{"r", "r2"}[w.random.IntN(2)]
	switch w.random.IntN(7) {
	case 0, 1:
		cluster := fmt.Sprintf("c%d", n)
		more := ""
		if w.random.IntN(2) == 0 {
			more = overrideOf("x", "o")
			w.tables[name] = cluster + "!"
		} else {
			w.tables[name] = cluster
		}
		act = func() { w.good(w.routes(name, virtualHost(cluster, "*", more))) }
	case 2:
		act = func() {
			if p := w.routes(name, virtualHost("bad", "*", overrideOf("x", fmt.Sprintf("%dbad", n)))); len(p) == 0 {
				w.t.Error("a bad table was accepted")
			}
		}
	case 3:
		w.x = fmt.Sprintf("x%d", n)
		text := w.x
		act = func() { w.good(w.filter("x", wrapperspb.String(text))) }
	case 4:
		w.x = ""
		act = func() { w.hub.Remove(w.source, resource.Key{Type: resource.Filter, Name: "x"}) }
	case 5:
		w.number = n
		act = func() { w.now.Publish(w.table(n)) }
	case 6:
		act = w.replace(n, name)
	}
	w.mu.Lock()
	w.states = append(w.states, w.answer())
	w.mu.Unlock()
	w.begun.Add(1)
	act()
	w.done.Add(1)
}

// replace puts another connection manager into the place of the one in force.
func (w *world) replace(n int, name string) func() {
	w.order = [][]string{{"x"}, {"x", "a"}, {"a", "x"}, {"a", "b", "x"}, {"a"}}[w.random.IntN(5)]
	w.uses, w.number = name, n
	var filters []string
	for _, f := range w.order {
		if f == "x" {
			filters = append(filters, discovered("x", byDefault))
		} else {
			filters = append(filters, strings.ReplaceAll(tagA, `"a"`, `"`+f+`"`))
		}
	}
	return func() {
		before := w.now
		w.now = w.manager(strings.ReplaceAll(rds, `"r"`, `"`+name+`"`), strings.Join(filters, ","), before.Handler)
		hold(w.now)
		if !ready(w.now) || w.now.Handler != before.Handler {
			w.t.Error("not ready, or with another handler")
		}
		w.now.Publish(w.table(n))
		release(before)
	}
}

func (w *world) good(problems []resource.Problem) {
	if len(problems) > 0 {
		w.t.Errorf("problems: %v", problems)
	}
}

// ask makes requests until stop, and checks that each answer is of a state that was in force meanwhile.
func (w *world) ask(d *Dispatcher, stop <-chan struct{}) {
	b, c := &bench{Dispatcher: d}, connection(w.t)
	for {
		select {
		case <-stop:
			return
		default:
		}
		from := w.done.Load()
		got := b.get(c)
		to := w.begun.Load()
		w.mu.Lock()
		possible := slices.Clone(w.states[from : to+1])
		w.mu.Unlock()
		if !slices.Contains(possible, got) {
			w.t.Errorf("answer %q, in force were %q", got, possible)
			return
		}
	}
}

// TestEveryAnswerIsOfAVersionInForce changes routes, filters, clusters and the connection manager itself at random while requests run.
func TestEveryAnswerIsOfAVersionInForce(t *testing.T) {
	const seed, steps, clients = 5, 1500, 2
	w := &world{shop: newShop(t), random: rand.New(rand.NewPCG(seed, seed)), tables: map[string]string{"r": "c", "r2": "c"}}
	for _, name := range []string{"r", "r2"} { // somebody uses all of it all the time
		b := w.manager(strings.ReplaceAll(rds, `"r"`, `"`+name+`"`), discovered("x", byDefault), nil)
		w.start(b, 0)
		w.good(w.cluster(name, "c"))
	}
	w.order, w.uses, w.x = []string{"x"}, "r", "x0"
	w.good(w.filter("x", wrapperspb.String("x0")))
	w.now = w.manager(rds, discovered("x", byDefault), nil)
	w.start(w.now, 0)
	w.states = []string{w.answer()}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	d := w.now.Handler.(*Dispatcher)
	for range clients {
		asking.Go(func() { w.ask(d, stop) })
	}
	own := connection(t)
	for n := 1; n <= steps && !t.Failed(); n++ {
		w.step(n)
		want := w.answer()
		if got := (&bench{Dispatcher: d}).get(own); got != want {
			t.Errorf("after step %d: answer %q, want %q", n, got, want)
		}
	}
	close(stop)
	asking.Wait()
}
