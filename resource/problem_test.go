package resource

import (
	"errors"
	"testing"
)

func TestProblemIsOneLine(t *testing.T) {
	for want, p := range map[string]Problem{
		`b.yaml:12:5: error: cluster "a": x.y: not supported (hint: use z)`: {Resource: `cluster "a"`, Path: "x.y", Message: "not supported", Hint: "use z", File: "b.yaml", Line: 12, Column: 5},
		`b.yaml:12: warning: odd`: {Severity: Warning, Message: "odd", File: "b.yaml", Line: 12},
		`note: x: has no effect`:  {Severity: Note, Path: "x", Message: "has no effect", Line: 3},
	} {
		if p.String() != want {
			t.Errorf("%s, want %s", p, want)
		}
		var target Problem
		if !errors.As(error(p), &target) || p.Error() != want {
			t.Errorf("%s is no error of its own type", want)
		}
	}
}

func TestProblemsCollect(t *testing.T) {
	p := NewProblems(`listener "in"`)
	p.Warnf("a", "", "odd %d", 1)
	if p.HasErrors() {
		t.Error("a warning is no error")
	}
	p.Errorf("b", "do c", "bad")
	var all Problems
	all.Append(p)
	if !all.HasErrors() || all.Len() != 2 || all.All()[1].Resource != `listener "in"` || all.All()[1].Hint != "do c" {
		t.Errorf("%v", all.All())
	}
	all.Edit(func(q Problem) Problem {
		q.Severity, q.Line = Warning, 10-len(q.Message)
		return q
	})
	if all.HasErrors() {
		t.Error("edited to warnings, still has errors")
	}
	all.Sort()
	if all.All()[0].Message != "odd 1" {
		t.Errorf("not sorted by line: %v", all.All())
	}
	for range 2 * maxProblems {
		all.Unsupported("x", "")
	}
	if all.Len() != maxProblems || all.Dropped() != maxProblems+2 || !all.HasErrors() {
		t.Errorf("%d kept, %d dropped", all.Len(), all.Dropped())
	}
}
