package grpcjson

import (
	"fmt"
	"strings"
)

// A template is a parsed path template of google.api.http:
//
//	Template = "/" Segments [ ":" LITERAL ]
//	Segments = Segment { "/" Segment }
//	Segment  = "*" | "**" | LITERAL | "{" FieldPath [ "=" Segments ] "}"
type template struct {
	segments []string // literals, "*" and "**"
	verb     string   // without its colon
	vars     []variable
}

// A variable binds segments of the path to a field.
type variable struct {
	names []string // of the fields that lead there
	start int      // the first segment
	count int      // how many segments; where open, how many at least
	open  bool     // it holds a "**" and takes what the rest of the template leaves
	after int      // segments of the template behind it
}

// parseTemplate reads a template. Behind a "**" only literals are allowed.
func parseTemplate(s string) (*template, error) {
	p := templateParser{s: s}
	if !p.take('/') {
		return nil, p.fail("expected '/'")
	}
	if err := p.readSegments(); err != nil {
		return nil, err
	}
	if p.take(':') {
		if p.t.verb = p.literal(); p.t.verb == "" {
			return nil, p.fail("expected a verb")
		}
	}
	if p.at < len(s) {
		return nil, p.fail("unexpected character")
	}
	deep := false
	for _, segment := range p.t.segments {
		if deep && (segment == "*" || segment == "**") {
			return nil, fmt.Errorf("path template %q: only literals may follow **", s)
		}
		deep = deep || segment == "**"
	}
	for i := range p.t.vars {
		v := &p.t.vars[i]
		v.after = len(p.t.segments) - v.start - v.count
	}
	return &p.t, nil
}

// A templateParser is at one place of a template.
type templateParser struct {
	s      string
	at     int
	t      template
	inside bool // of a variable
}

func (p *templateParser) fail(why string) error {
	return fmt.Errorf("path template %q: %s at %d", p.s, why, p.at)
}

func (p *templateParser) take(c byte) bool {
	if p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *templateParser) readSegments() error {
	for {
		if err := p.readSegment(); err != nil {
			return err
		}
		if !p.take('/') {
			return nil
		}
	}
}

func (p *templateParser) readSegment() error {
	switch {
	case p.take('*'):
		if !p.take('*') {
			p.t.segments = append(p.t.segments, "*")
			return nil
		}
		p.t.segments = append(p.t.segments, "**")
		if p.inside {
			p.t.vars[len(p.t.vars)-1].open = true
		}
		return nil
	case p.take('{'):
		return p.readVariable()
	}
	l := p.literal()
	if l == "" {
		return p.fail("expected a segment")
	}
	p.t.segments = append(p.t.segments, l)
	return nil
}

// literal reads up to the next character with a meaning.
func (p *templateParser) literal() string {
	n := strings.IndexAny(p.s[p.at:], "/:{}")
	if n < 0 {
		n = len(p.s) - p.at
	}
	l := p.s[p.at : p.at+n]
	p.at += n
	return l
}

// readVariable reads what follows a '{', up to and including the '}'.
func (p *templateParser) readVariable() error {
	if p.inside {
		return p.fail("a variable inside a variable")
	}
	n := strings.IndexAny(p.s[p.at:], "=}/{")
	if n < 0 {
		return p.fail("unfinished variable")
	}
	names := strings.Split(p.s[p.at:p.at+n], ".")
	for _, name := range names {
		if name == "" {
			return p.fail("expected the name of a field")
		}
	}
	p.at += n
	i := len(p.t.vars)
	p.t.vars = append(p.t.vars, variable{names: names, start: len(p.t.segments)})
	if p.take('=') {
		p.inside = true
		if err := p.readSegments(); err != nil {
			return err
		}
		p.inside = false
	} else {
		p.t.segments = append(p.t.segments, "*")
	}
	p.t.vars[i].count = len(p.t.segments) - p.t.vars[i].start
	if !p.take('}') {
		return p.fail("expected '}'")
	}
	return nil
}

// value returns what the variable takes of a path's segments.
func (v *variable) value(segments []string, spec unescapeSpec) string {
	end := v.start + v.count
	if v.open {
		end = len(segments) - v.after
	}
	if !v.open && v.count == 1 {
		return unescape(segments[v.start], everything, false)
	}
	var b strings.Builder
	for i := v.start; i < end; i++ {
		if i > v.start {
			b.WriteByte('/')
		}
		b.WriteString(unescape(segments[i], spec, false))
	}
	return b.String()
}
