package message

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weftproxy/weft/internal/race"
)

// text is the header as lines.
func text(h *Header) string {
	var b strings.Builder
	for name, value := range h.All() {
		b.WriteString(name + ": " + value + "\n")
	}
	return b.String()
}

func TestEveryKnownNameIsFoundInAnyCase(t *testing.T) {
	seen := map[string]Known{}
	for k := Unknown + 1; k < knownCount; k++ {
		name := k.String()
		if name == "" || name != strings.ToLower(name) {
			t.Errorf("known name %d is %q", k, name)
		}
		if before, twice := seen[name]; twice {
			t.Errorf("%q is both %d and %d", name, before, k)
		}
		seen[name] = k
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := LookupKnown(spelling); got != k {
				t.Errorf("LookupKnown(%q) = %d, want %d", spelling, got, k)
			}
			if got := LookupKnown([]byte(spelling)); got != k {
				t.Errorf("LookupKnown of the bytes %q = %d, want %d", spelling, got, k)
			}
		}
	}
	for _, name := range []string{"", "x", "hos", "hosts", "h@st", "host\x00", "HOS\x14", "cont\x65nt-lengt(", strings.Repeat("x", 100)} {
		if k := LookupKnown(name); k != Unknown {
			t.Errorf("LookupKnown(%q) = %d", name, k)
		}
	}
}

func TestFieldsOfABlockKeepOrderAndSpelling(t *testing.T) {
	var h Header
	h.Add("before", "x")
	block := "HOST: a\r\nX-Odd: b"
	base := h.Block([]byte(block))
	if k := h.AddAt(base, 4, base+6, 1); k != Host {
		t.Errorf("known %d", k)
	}
	h.AddKnownAt(Unknown, base+9, 5, base+16, 1)
	if got := text(&h); got != "before: x\nHOST: a\nX-Odd: b\n" {
		t.Errorf("got %q", got)
	}
	if h.Get("x-ODD") != "b" || h.Known(Host) != "a" || h.Len() != 3 || h.Size() != 6+1+4+1+5+1 {
		t.Errorf("x-odd %q, host %q, len %d, size %d", h.Get("x-odd"), h.Known(Host), h.Len(), h.Size())
	}
}

func TestBorrowedStringsSurviveEdits(t *testing.T) {
	var h Header
	h.Add("a", "first")
	v, kept := h.Get("a"), h.Keep("kept")
	for i := range 1000 { // the arena moves several times
		h.Add(fmt.Sprint("x", i), strings.Repeat("y", i%50))
		h.Set("a", fmt.Sprint("value ", i))
	}
	if v != "first" || kept != "kept" || h.Get("a") != "value 999" {
		t.Errorf("%q %q %q", v, kept, h.Get("a"))
	}
	if at, _, _, _ := h.At(0); at != "a" {
		t.Errorf("the field moved: %q", at)
	}
}

func TestReleasedStringsArePoisonedInRaceBuilds(t *testing.T) {
	var h Header
	h.Add("name", "value")
	v := h.Get("name")
	h.Reset()
	if race.Enabled == (v == "value") {
		t.Errorf("after Reset the string is %q", v)
	}
	if h.Len() != 0 || h.Has("name") || h.Slots() != 0 {
		t.Error("Reset leaves fields")
	}
}

// naive is a header as a slice, to compare with.
type naive [][2]string

func (n *naive) add(k, v string) { *n = append(*n, [2]string{k, v}) }

func (n *naive) del(k string) {
	var kept naive
	for _, f := range *n {
		if !strings.EqualFold(f[0], k) {
			kept = append(kept, f)
		}
	}
	*n = kept
}

func (n *naive) set(k, v string) {
	for i, f := range *n {
		if strings.EqualFold(f[0], k) {
			name := f[0]
			rest := append(naive{}, (*n)[i+1:]...)
			rest.del(k)
			*n = append(append((*n)[:i:i], [2]string{name, v}), rest...)
			return
		}
	}
	n.add(k, v)
}

func (n naive) text() (s string) {
	for _, f := range n {
		s += f[0] + ": " + f[1] + "\n"
	}
	return s
}

func TestHeaderBehavesLikeAList(t *testing.T) {
	names := []string{"Host", "host", "X-A", "x-a", "Cookie", "COOKIE", "x-b", "Via", "x_a", "X-B"}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var h Header
		var n naive
		for range 60 {
			name, value := names[rng.IntN(len(names))], fmt.Sprint(rng.IntN(100))
			switch rng.IntN(5) {
			case 0, 1:
				h.Add(name, value)
				n.add(name, value)
			case 2:
				h.Set(name, value)
				n.set(name, value)
			case 3:
				before := len(n)
				n.del(name)
				if got := h.Del(name); got != (len(n) < before) {
					t.Fatalf("Del(%q) = %v", name, got)
				}
			case 4:
				want, count := "", 0
				var all []string
				for _, f := range n {
					if strings.EqualFold(f[0], name) {
						if count == 0 {
							want = f[1]
						}
						all = append(all, f[1])
						count++
					}
				}
				joined, ok := h.Joined(name, ",")
				if h.Get(name) != want || h.Count(name) != count || h.Has(name) != (count > 0) || ok != (count > 0) || joined != strings.Join(all, ",") {
					t.Fatalf("%q: %q %d %q, want %q %d %q", name, h.Get(name), h.Count(name), joined, want, count, all)
				}
			}
			if text(&h) != n.text() || h.Len() != len(n) {
				t.Fatalf("got  %q\nwant %q", text(&h), n.text())
			}
		}
		var c Header
		c.Add("old", "x")
		c.CopyFrom(&h)
		if text(&c) != n.text() || c.Slots() != len(n) {
			t.Fatalf("copy %q", text(&c))
		}
	}
}

func TestEqualFoldIsForLettersOnly(t *testing.T) {
	var h Header
	h.Add("x[y", "1")
	h.Add("x-y\x1a", "2")
	for _, name := range []string{"x{y", "x\x0dy:", "X-Y:"} {
		if h.Has(name) {
			t.Errorf("%q is found", name)
		}
	}
	if h.Get("X[Y") != "1" {
		t.Error("letters are not folded")
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	var h Header
	h.Add("Content-Type", "text/plain")
	h.Add("x-custom", "y")
	if n := testing.AllocsPerRun(100, func() {
		if h.Get("content-type") == "" || h.Get("X-Custom") == "" || h.Has("none") {
			t.Fatal("lookup")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
