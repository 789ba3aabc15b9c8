package resource

import "strconv"

// A Path is the place of a field in a resource, in proto field names:
// `static_resources.listeners[0].filter_chains[0].filters[1].typed_config.http_filters[2]`. Map entries are `field["key"]`.
// The empty Path is the resource itself. The contents of an Any follow its field directly, as if it were that message.
type Path string

// Field is the place of a field of the message at p.
func (p Path) Field(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "." + Path(name)
}

// Index is the place of the i-th element (from 0) of the repeated field at p.
func (p Path) Index(i int) Path {
	return p + "[" + Path(strconv.Itoa(i)) + "]"
}

// Key is the place of an entry of the map field at p.
func (p Path) Key(k string) Path {
	return p + "[" + Path(strconv.Quote(k)) + "]"
}

// A Step is one element of a Path: a field name, an index or a map key.
type Step struct {
	Kind  StepKind
	Name  string // the field's name or the map key
	Index int    // for StepIndex
}

// A StepKind says what a Step selects.
type StepKind uint8

// The kinds of Step.
const (
	StepField StepKind = iota
	StepIndex
	StepKey
)

// PathOf is the Path that consists of steps: the reverse of Path.Steps.
func PathOf(steps []Step) Path {
	var b []byte
	for i, step := range steps {
		switch step.Kind {
		case StepIndex:
			b = append(strconv.AppendInt(append(b, '['), int64(step.Index), 10), ']')
		case StepKey:
			b = append(strconv.AppendQuote(append(b, '['), step.Name), ']')
		default:
			if i > 0 {
				b = append(b, '.')
			}
			b = append(b, step.Name...)
		}
	}
	return Path(b)
}

// Steps splits p. What cannot be parsed is left out together with all that follows it.
func (p Path) Steps() []Step {
	var steps []Step
	s := string(p)
	for len(s) > 0 {
		switch s[0] {
		case '.':
			s = s[1:]
		case '[':
			step, rest, ok := bracket(s[1:])
			if !ok {
				return steps
			}
			steps, s = append(steps, step), rest
		default:
			n := 0
			for n < len(s) && s[n] != '.' && s[n] != '[' {
				n++
			}
			steps = append(steps, Step{Kind: StepField, Name: s[:n]})
			s = s[n:]
		}
	}
	return steps
}

// bracket reads what follows a `[` up to and including the `]`.
func bracket(s string) (Step, string, bool) {
	if quoted, err := strconv.QuotedPrefix(s); err == nil {
		key, err := strconv.Unquote(quoted)
		rest := s[len(quoted):]
		if err != nil || rest == "" || rest[0] != ']' {
			return Step{}, "", false
		}
		return Step{Kind: StepKey, Name: key}, rest[1:], true
	}
	n := 0
	for n < len(s) && s[n] != ']' {
		n++
	}
	if n == len(s) {
		return Step{}, "", false
	}
	i, err := strconv.Atoi(s[:n])
	if err != nil || i < 0 {
		return Step{}, "", false
	}
	return Step{Kind: StepIndex, Index: i}, s[n+1:], true
}
