package resource

import (
	"slices"
	"testing"
)

func TestPathIsItsSteps(t *testing.T) {
	p := Path("").Field("static_resources").Field("listeners").Index(0).Field("typed").Key(`a"].b[3]`).Field("x")
	if want := Path(`static_resources.listeners[0].typed["a\"].b[3]"].x`); p != want {
		t.Errorf("%s, want %s", p, want)
	}
	steps := p.Steps()
	want := []Step{{Name: "static_resources"}, {Name: "listeners"}, {Kind: StepIndex}, {Name: "typed"}, {Kind: StepKey, Name: `a"].b[3]`}, {Name: "x"}}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	if PathOf(steps) != p {
		t.Errorf("PathOf is %s, want %s", PathOf(steps), p)
	}
}

func TestStepsStopAtWhatIsNoPath(t *testing.T) {
	for p, want := range map[Path]int{"": 0, "a[": 1, "a[x]": 1, "a[-1].b": 1, `a["x`: 1, `a["x".b`: 1, "a[1]": 2} {
		if got := len(p.Steps()); got != want {
			t.Errorf("%q has %d steps, want %d", p, got, want)
		}
	}
}

func FuzzSteps(f *testing.F) {
	f.Add(`a.b[1]["x"].c`)
	f.Add(`[[[`)
	f.Fuzz(func(t *testing.T, text string) {
		p := PathOf(Path(text).Steps())
		if again := PathOf(p.Steps()); again != p {
			t.Errorf("%q becomes %q, then %q", text, p, again)
		}
	})
}
