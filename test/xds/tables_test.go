package xds

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/test/kit"
)

// A table is one cell of them: a type of resource, and a process that uses a, b and c of it.
type table struct {
	*bubble
	column
}

// tables runs a test for every type of resource, with the state of the world and with deltas. When it begins a, b and c are in version 1.
func tables(t *testing.T, f func(x *table)) {
	t.Helper()
	for _, c := range columns() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, delta bool) {
				if c.deltaOnly && !delta {
					return // TestVirtualHostsNeedDeltas
				}
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					x := &table{newBubble(t, delta), c}
					x.origins()
					x.plane.Update(func(e *kit.Edit) {
						c.setup(x.bubble, e)
						for _, name := range members {
							x.set(e, name, 1)
						}
					})
					x.run(c.boot)
					x.accepted()
					x.shows("at the beginning", "1 1 1")
					f(x)
				})
			})
		})
	}
}

func (x *table) set(e *kit.Edit, name string, version int) {
	e.Set(x.called(name), x.make(x.bubble, name, version))
}

// setBad gives a resource a version that is bad.
func (x *table) setBad(e *kit.Edit, name string, version int) {
	m := x.make(x.bubble, name, version)
	x.spoil(m)
	e.Set(x.called(name), m)
}

// shows checks which versions of a, b and c are in force: "1 - 2" where there is none of b.
func (x *table) shows(when, want string) {
	x.t.Helper()
	got := make([]string, len(members))
	for i, name := range members {
		if got[i] = x.show(x.bubble, name); got[i] == "" {
			got[i] = "-"
		}
	}
	if text := strings.Join(got, " "); text != want {
		x.t.Errorf("%s: versions %s are in force, want %s", when, text, want)
	}
}

// answer is why the last response of a type was rejected, "" if it was not. There has to be an answer already.
func (b *bubble) answer(url string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
	defer cancel()
	why, err := b.plane.AwaitVersion(ctx, url)
	if err != nil {
		b.t.Fatalf("nobody has answered: %v", err)
	}
	return why
}

func (x *table) accepted() {
	x.t.Helper()
	if why := x.answer(x.url); why != "" {
		x.t.Errorf("rejected: %s", why)
	}
}

// refused checks that the last response was rejected, and what for.
func (x *table) refused(want ...string) {
	x.t.Helper()
	why := x.answer(x.url)
	if why == "" {
		x.t.Error("accepted")
	}
	for _, w := range want {
		if !strings.Contains(why, w) {
			x.t.Errorf("rejected for %q, want %q", why, w)
		}
	}
}

func TestOneBadAmongGoodOnes(t *testing.T) {
	tables(t, func(x *table) {
		x.send(func(e *kit.Edit) { x.set(e, "a", 2); x.setBad(e, "b", 2); x.set(e, "c", 2) })
		x.refused(strconv.Quote(x.called("b")), x.why)
		x.shows("one is bad", "2 1 2")
		dump := x.page()
		if n := strings.Count(dump, "error_state"); n != 1 || !strings.Contains(dump, strings.ReplaceAll(x.why, `"`, `\"`)) {
			x.t.Errorf("the dump has %d rejected ones, and not why: %s", n, rejectedIn(dump))
		}
		if log := x.log.String(); !strings.Contains(log, x.why) && !strings.Contains(log, strings.ReplaceAll(x.why, `"`, `\"`)) {
			x.t.Error("the log does not say why")
		}
		x.send(func(e *kit.Edit) { x.set(e, "a", 3) })
		if x.delta {
			x.accepted() // b is not in it
		} else {
			x.refused(strconv.Quote(x.called("b")), x.why)
		}
		x.shows("it is bad still", "3 1 2")
		x.send(func(e *kit.Edit) { x.set(e, "b", 3) })
		x.accepted()
		x.shows("it is good again", "3 3 2")
		if dump := x.page(); strings.Contains(dump, "error_state") {
			x.t.Errorf("the dump has one that is rejected still: %s", rejectedIn(dump))
		}
		if page := x.adminPage("/xds"); !strings.Contains(page, x.url[strings.LastIndexByte(x.url, '.')+1:]) {
			x.t.Errorf("/xds: %s", page)
		}
	})
}

// page is the page that has the state of the resources: of all types the client status has, /config_dump has those that Envoy's has.
func (x *table) page() string {
	x.t.Helper()
	path := cmp.Or(x.dump, "/config_dump")
	if strings.HasPrefix(path, "/config_dump") {
		return x.adminPage(path)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+x.at.Admin+path, strings.NewReader("{}"))
	if err != nil {
		x.t.Fatal(err)
	}
	return x.do(req)
}

// rejectedIn are the lines of a dump around what is rejected.
func rejectedIn(dump string) string {
	var out []string
	lines := strings.Split(dump, "\n")
	for i, line := range lines {
		if strings.Contains(line, "error_state") {
			out = append(out, lines[i:min(i+8, len(lines))]...)
		}
	}
	return strings.Join(out, "\n")
}

func TestRemovedAndAddedAgain(t *testing.T) {
	tables(t, func(x *table) {
		x.send(func(e *kit.Edit) { e.Remove(x.url, x.called("b")) })
		x.accepted()
		want := x.gone
		if !x.delta {
			want = x.omitted
		}
		switch want {
		case "kept":
			want = "1"
		case "":
			want = "-"
		}
		x.shows("removed", "1 "+want+" 1")
		x.send(func(e *kit.Edit) { x.set(e, "b", 1) })
		x.accepted()
		x.shows("there again as it was", "1 1 1")
		x.send(func(e *kit.Edit) { e.Remove(x.url, x.called("b")) })
		x.send(func(e *kit.Edit) { x.set(e, "b", 2) })
		x.accepted()
		x.shows("there again as another", "1 2 1")
	})
}

func TestTheNewestVersionWins(t *testing.T) {
	tables(t, func(x *table) {
		for v := 2; v <= 4; v++ {
			x.plane.Update(func(e *kit.Edit) { x.set(e, "b", v) })
		}
		x.settle()
		x.accepted()
		x.shows("after three at once", "1 4 1")
		if x.await == nil {
			return
		}
		waits := func(version int) {
			x.send(func(e *kit.Edit) {
				m := x.make(x.bubble, "b", version)
				x.await(m)
				e.Set(x.called("b"), m)
			})
			x.accepted()
			if !x.asksFor(x.awaitsURL, "never") {
				x.t.Error("nobody asks for what is missing")
			}
		}
		waits(3)
		x.shows("one that waits", "1 4 1")
		x.send(func(e *kit.Edit) { x.set(e, "b", 2); x.set(e, "c", 2) })
		x.accepted()
		x.shows("another one instead", "1 2 2")
		if x.asksFor(x.awaitsURL, "never") {
			x.t.Error("what the one that was superseded waited for is asked for still")
		}
		x.pass(time.Minute)
		x.shows("after all timeouts", "1 2 2")
	})
}

// asksFor reports whether the process asks for a resource by name.
func (b *bubble) asksFor(url, name string) bool {
	asks := false
	for _, s := range b.plane.Said() {
		if s.TypeURL != url {
			continue
		}
		if !s.Delta {
			asks = slices.Contains(s.Names, name)
		} else if slices.Contains(s.Names, name) || slices.Contains(s.Unsubscribe, name) {
			asks = slices.Contains(s.Names, name)
		}
	}
	return asks
}

func TestResourcesThatComeTwice(t *testing.T) {
	tables(t, func(x *table) {
		x.send(func(e *kit.Edit) {
			x.set(e, "a", 2)
			x.set(e, "b", 2)
			e.Also(x.url, x.called("b"), kit.Any(x.make(x.bubble, "b", 3)))
		})
		x.refused("duplicate", x.called("b"))
		x.shows("b came twice", "2 1 1")
		x.send(func(e *kit.Edit) { x.set(e, "b", 3) })
		x.accepted()
		x.shows("b came once", "2 3 1")
	})
}

// Whatever is in the place of b, or beside the good ones without a name, they take effect, and b stays as it was.
func TestResourcesThatAreNone(t *testing.T) {
	tables(t, func(x *table) {
		whole, err := proto.Marshal(x.make(x.bubble, "b", 2))
		if err != nil {
			x.t.Fatal(err)
		}
		version := 1
		for _, c := range []struct {
			what  string
			body  *anypb.Any
			aside bool // beside b, without a name
			want  []string
		}{
			{"an unknown type", &anypb.Any{TypeUrl: "type.googleapis.com/nobody.Knows", Value: []byte("x")}, false, []string{"nobody.Knows", x.url}},
			{"another type", kit.Any(&anypb.Any{}), false, []string{"google.protobuf.Any", x.url}},
			{"no type", &anypb.Any{Value: whole}, false, []string{`""`, x.url}},
			{"not a message", &anypb.Any{TypeUrl: x.url, Value: []byte("\xff\xff\xff")}, false, nil},
			{"half a message", &anypb.Any{TypeUrl: x.url, Value: whole[:len(whole)-1]}, false, []string{x.called("b"), "not a valid"}},
			{"an empty message", &anypb.Any{TypeUrl: x.url}, true, []string{"resources[", "has no name"}},
		} {
			version++
			x.send(func(e *kit.Edit) {
				x.set(e, "a", 1+version%4)
				if c.aside {
					e.Also(x.url, "", c.body)
				} else {
					e.SetAny(x.url, x.called("b"), c.body)
				}
			})
			x.refused(c.want...)
			x.shows(c.what, fmt.Sprint(1+version%4, " 1 1"))
			x.send(func(e *kit.Edit) { x.set(e, "b", 1) })
			x.accepted()
		}
	})
}

func TestWhatNobodyAskedFor(t *testing.T) {
	tables(t, func(x *table) {
		x.send(func(e *kit.Edit) {
			x.set(e, "a", 2)
			e.Also(x.url, x.called("h"), kit.Any(x.make(x.bubble, "h", 2)))
		})
		x.accepted()
		x.shows("a stranger among them", "2 1 1")
		want := "xds.resources_ignored: 1"
		if x.whole {
			want = "xds.resources_ignored: 0" // all are wanted
		}
		if got := x.adminPage("/stats?filter=resources_ignored"); !strings.Contains(got, want) {
			x.t.Errorf("%s, want %s", got, want)
		}
	})
}

// Versions and nonces are nothing but names: whatever they are, a response is taken and answered.
func TestVersionsAndNoncesAreNames(t *testing.T) {
	tables(t, func(x *table) {
		x.send(func(e *kit.Edit) { x.set(e, "b", 3); e.As(x.url, "9", "same") })
		x.shows("the nonce is another", "1 3 1")
		x.send(func(e *kit.Edit) { x.set(e, "b", 2); e.As(x.url, "8", "same") })
		x.shows("an older version, the nonce again", "1 2 1")
		x.send(func(e *kit.Edit) { x.set(e, "b", 4); e.As(x.url, "8", "") })
		x.accepted()
		x.shows("the same version, and another content", "1 4 1")
		n, versions := 0, ""
		for _, s := range x.plane.Said() {
			if s.TypeURL == x.url && s.Nonce == "same" {
				n++
				versions += s.Version + " "
			}
		}
		if n != 2 || !x.delta && versions != "9 8 " {
			x.t.Errorf("%d answers with the nonce, for versions %s", n, versions)
		}
	})
}

func TestNobodyAsksForWhatIsNotUsed(t *testing.T) {
	tables(t, func(x *table) {
		if x.drop == nil || x.whole && !x.delta {
			return // all of it is asked for always; the state of the world has no word for "nothing"
		}
		x.send(x.drop)
		if x.lasting {
			x.restart()
			if said := x.plane.Said(); slices.ContainsFunc(said, func(s kit.Said) bool { return s.TypeURL == x.url }) {
				x.t.Errorf("the next stream asks for it: %+v", said)
			}
			return
		}
		name := x.called("b")
		if x.whole {
			name = "*"
		}
		if x.asksFor(x.url, name) {
			x.t.Errorf("%q is asked for still: %+v", name, x.plane.Said())
		}
		said := x.plane.Said()
		gone := func(s kit.Said) bool {
			return s.TypeURL == x.url && (s.Delta && slices.Contains(s.Unsubscribe, name) || !s.Delta && len(s.Names) == 2)
		}
		if !slices.ContainsFunc(said, gone) {
			x.t.Errorf("nobody has said that %q is not used any more: %+v", name, said)
		}
		if x.whole {
			return
		}
		x.send(func(e *kit.Edit) { x.set(e, "b", 2); x.set(e, "a", 2) }) // b reaches nobody
		x.accepted()
		x.send(func(e *kit.Edit) { x.setup(x.bubble, e) })
		x.accepted()
		if !x.asksFor(x.url, name) {
			x.t.Errorf("%q is not asked for again", name)
		}
		x.shows("used again", "2 2 1")
	})
}
