package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severity says what a Problem means for the resource it is in.
type Severity uint8

// The severities. A resource with an Error is rejected.
const (
	Error Severity = iota
	Warning
	Note // the field is accepted and has no effect
)

// String is the severity in lower case.
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	default:
		return "note"
	}
}

// Kind says what sort of thing is wrong.
type Kind uint8

// The kinds of Problem.
const (
	Invalid              Kind = iota // a value that breaks a rule, or a reference to something that is not there
	Syntax                           // the input could not be read
	UnknownField                     // no such field in Envoy's API
	UnsupportedField                 // a field or message of Envoy's API that Weft does not implement
	UnsupportedValue                 // a value of an enum that Weft does not implement
	UnsupportedExtension             // an extension that Weft does not have
	Ineffective                      // accepted, without effect
)

// String is the kind in words.
func (k Kind) String() string {
	return [...]string{"invalid", "syntax", "unknown field", "unsupported field", "unsupported value", "unsupported extension", "no effect"}[k]
}

// A Problem is one thing wrong with a resource. It is an error whose text is String.
type Problem struct {
	Resource string // what the problem is in, such as `listener "ingress"`; may be empty
	Path     Path   // the field; may be empty
	Severity Severity
	Kind     Kind
	Message  string
	Hint     string // what to do about it; may be empty

	File         string // the file the resource came from; may be empty
	Line, Column int    // from 1; 0 when unknown
}

// Error makes a Problem an error.
func (p Problem) Error() string { return p.String() }

// String is the problem on one line:
//
//	bootstrap.yaml:12:5: error: cluster "a": static_resources.clusters[0].lb_policy: not supported (hint: ...)
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			b.WriteString(":" + strconv.Itoa(p.Line))
			if p.Column > 0 {
				b.WriteString(":" + strconv.Itoa(p.Column))
			}
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Severity.String())
	b.WriteString(": ")
	if p.Resource != "" {
		b.WriteString(p.Resource + ": ")
	}
	if p.Path != "" {
		b.WriteString(string(p.Path) + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (hint: " + p.Hint + ")")
	}
	return b.String()
}

// maxProblems bounds what one collection keeps: a broken generator must not fill the memory or the terminal.
const maxProblems = 10000

// Problems collects. Its zero value is empty and ready. It is not safe for concurrent use.
type Problems struct {
	resource string // default for Problem.Resource
	list     []Problem
	errors   int
	dropped  int
}

// NewProblems returns a collection whose problems are about the given resource unless they say otherwise.
func NewProblems(resource string) *Problems { return &Problems{resource: resource} }

// Add adds a problem. After 10,000 the rest is only counted.
func (p *Problems) Add(problem Problem) {
	if problem.Severity == Error {
		p.errors++
	}
	if len(p.list) >= maxProblems {
		p.dropped++
		return
	}
	if problem.Resource == "" {
		problem.Resource = p.resource
	}
	p.list = append(p.list, problem)
}

// Errorf adds an Error of kind Invalid at a field. The hint may be empty.
func (p *Problems) Errorf(at Path, hint, format string, args ...any) {
	p.Add(Problem{Path: at, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

// Warnf adds a Warning of kind Invalid at a field. The hint may be empty.
func (p *Problems) Warnf(at Path, hint, format string, args ...any) {
	p.Add(Problem{Path: at, Severity: Warning, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

// Unsupported adds an Error of kind UnsupportedField: "not supported", with the reason or the alternative as hint.
func (p *Problems) Unsupported(at Path, hint string) {
	p.Add(Problem{Path: at, Kind: UnsupportedField, Hint: hint, Message: "not supported"})
}

// Append adds all problems of q.
func (p *Problems) Append(q *Problems) {
	for _, problem := range q.list {
		p.Add(problem)
	}
	p.dropped += q.dropped
}

// HasErrors says whether a problem of severity Error was added.
func (p *Problems) HasErrors() bool { return p.errors > 0 }

// Len is the number of problems kept.
func (p *Problems) Len() int { return len(p.list) }

// Dropped is the number of problems that were counted but not kept.
func (p *Problems) Dropped() int { return p.dropped }

// All returns the problems in the order they were added. The slice belongs to p.
func (p *Problems) All() []Problem { return p.list }

// Edit replaces every problem by f's result: to add positions, or to turn errors into warnings.
func (p *Problems) Edit(f func(Problem) Problem) {
	for i, before := range p.list {
		after := f(before)
		if before.Severity == Error && after.Severity != Error {
			p.errors--
		}
		if before.Severity != Error && after.Severity == Error {
			p.errors++
		}
		p.list[i] = after
	}
}

// Sort orders the problems by file, line and column, keeping the order of what is at the same place.
func (p *Problems) Sort() {
	slices.SortStableFunc(p.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
