package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Bounds of Envoy's on the variables of a Template.
const (
	maxTemplateVariables = 5
	maxTemplateName      = 16
)

// What a Template's operators stand for: the characters of a path segment (RFC 3986 section 3.3) without "*" and "=".
const (
	templateChars = `a-zA-Z0-9\-._~%!$&'()+,;:@`
	templateOne   = "[" + templateChars + "]+"
	templateSome  = "[" + templateChars + "/]*"
)

// A Template is a compiled path template (envoy.extensions.path.match.uri_template.v3): "*" is one segment, "**" any number of them,
// "{name}" and "{name=pattern}" the same with a name.
type Template struct{ re *Regex }

// NewTemplate compiles a path template.
func NewTemplate(text string) (*Template, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New("a path template must begin with a slash")
	}
	p := templateParser{rest: text[1:], names: map[string]bool{}}
	p.out.WriteByte('/')
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("path template %q: %w", text, err)
	}
	re, err := NewRegex(p.out.String())
	if err != nil {
		return nil, err
	}
	return &Template{re}, nil
}

// Match reports whether a path matches; its query and fragment are left out.
func (t *Template) Match(path string) bool { return t.re.Match(BarePath(path)) }

// A templateParser translates a template into a regular expression.
type templateParser struct {
	rest  string
	out   strings.Builder
	names map[string]bool
	open  bool // there was a "**": no other operator may follow
}

// parse reads segments until nothing is left. What follows an operator directly is a suffix and must be the end.
func (p *templateParser) parse() error {
	for p.rest != "" {
		if err := p.segment(); err != nil {
			return err
		}
		switch {
		case p.rest == "":
		case p.rest[0] == '/':
			p.rest = p.rest[1:]
			p.out.WriteByte('/')
		default:
			if err := p.literal(); err != nil {
				return err
			}
			if p.rest != "" {
				return errors.New("a suffix must be at the end")
			}
		}
	}
	return nil
}

func (p *templateParser) segment() error {
	if p.rest[0] == '{' {
		return p.variable()
	}
	return p.simple()
}

// simple reads an operator or a literal.
func (p *templateParser) simple() error {
	if !strings.HasPrefix(p.rest, "*") {
		return p.literal()
	}
	if p.open {
		return errors.New(`no "*" may follow a "**"`)
	}
	if p.open = strings.HasPrefix(p.rest, "**"); p.open {
		p.rest = p.rest[2:]
		p.out.WriteString(templateSome)
		return nil
	}
	p.rest = p.rest[1:]
	p.out.WriteString(templateOne)
	return nil
}

func (p *templateParser) literal() error {
	text, _, _ := strings.Cut(p.rest, "/")
	if text == "" {
		return errors.New("empty segment")
	}
	for i := range len(text) {
		if c := text[i]; !isAlphanumeric(c) && strings.IndexByte("-._~%!$&'()+,;:@", c) < 0 {
			return fmt.Errorf("%q must not be in a literal", c)
		}
	}
	p.rest = p.rest[len(text):]
	p.out.WriteString(regexp.QuoteMeta(text))
	return nil
}

func (p *templateParser) variable() error {
	inner, after, ok := strings.Cut(p.rest[1:], "}")
	if !ok {
		return errors.New("a variable has no closing brace")
	}
	name, pattern, explicit := strings.Cut(inner, "=")
	if err := p.name(name); err != nil {
		return err
	}
	if !explicit {
		pattern = "*"
	}
	if pattern == "" {
		return errors.New("a variable has an empty pattern")
	}
	p.rest = pattern
	for {
		if err := p.simple(); err != nil {
			return err
		}
		if p.rest == "" {
			break
		}
		if p.rest[0] != '/' || len(p.rest) == 1 {
			return errors.New("a variable has an invalid pattern")
		}
		p.rest = p.rest[1:]
		p.out.WriteByte('/')
	}
	p.rest = after
	return nil
}

func (p *templateParser) name(name string) error {
	if name == "" || len(name) > maxTemplateName {
		return fmt.Errorf("a variable's name must have 1 to %d characters", maxTemplateName)
	}
	for i := range len(name) {
		c := name[i]
		if !isAlphanumeric(c) && c != '_' || i == 0 && (c < 'A' || c == '_') {
			return fmt.Errorf("%q is not the name of a variable", name)
		}
	}
	if p.names[name] {
		return fmt.Errorf("variable %q is there twice", name)
	}
	if p.names[name] = true; len(p.names) > maxTemplateVariables {
		return fmt.Errorf("more than %d variables", maxTemplateVariables)
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
