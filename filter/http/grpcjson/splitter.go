package grpcjson

// maxDepth is how deep JSON may be nested: Envoy's parser's limit.
const maxDepth = 100

// A splitter cuts a stream of JSON that comes in chunks into its values: the elements of one array, or values one after another with or
// without space between them (newline-delimited JSON). It follows brackets and strings only; whether a value is well-formed is its
// reader's business. The zero splitter with a limit is ready to use.
type splitter struct {
	limit  int  // bytes of one value
	single bool // the stream is one value; an array is not taken apart

	place  place
	kind   valueKind // of the value under way; noValue: between values
	depth  int       // brackets open in it
	quoted bool      // inside a string of it
	escape bool      // behind a backslash
	held   []byte    // what earlier chunks had of it
	spent  bool      // held was handed out
}

// A place is where in the stream the splitter is, between values.
type place uint8

const (
	atBegin     place = iota
	inSequence        // behind a value of a sequence
	inEmpty           // behind the array's '['
	behindComma       // in the array
	behindValue       // in the array
	atEnd             // only space may follow
)

type valueKind uint8

const (
	noValue valueKind = iota
	bracketed
	text
	word // a number, true, false or null
)

// next returns the next value that ends in chunk, which lives until the next call, and what is left of the chunk. The value is nil when
// more chunks are needed.
func (s *splitter) next(chunk []byte) (value, rest []byte, err error) {
	if s.spent {
		s.held, s.spent = s.held[:0], false
	}
	start := 0
	for i := 0; i < len(chunk); i++ {
		c := chunk[i]
		if s.kind == noValue {
			begins, err := s.between(c)
			if err != nil {
				return nil, nil, err
			}
			if !begins {
				continue
			}
			start = i
			s.begin(c)
			continue
		}
		switch end, err := s.inside(c); {
		case err != nil:
			return nil, nil, err
		case end == endsBefore:
			value, err = s.complete(chunk[start:i])
			return value, chunk[i:], err
		case end == endsWith:
			value, err = s.complete(chunk[start : i+1])
			return value, chunk[i+1:], err
		}
	}
	if s.kind != noValue {
		if s.held = append(s.held, chunk[start:]...); len(s.held) > s.limit {
			return nil, nil, errRequestTooLarge
		}
	}
	return nil, nil, nil
}

// finish returns the value that the end of the stream ends, nil when there is none.
func (s *splitter) finish() ([]byte, error) {
	if s.spent {
		s.held, s.spent = s.held[:0], false
	}
	switch {
	case s.kind == word && s.place != inEmpty && s.place != behindComma:
		return s.complete(nil)
	case s.kind != noValue:
		return nil, errUnfinished
	case s.place == atBegin:
		return nil, errNoValue
	case s.place == inSequence, s.place == atEnd:
		return nil, nil
	}
	return nil, errUnfinished
}

// waiting is how many bytes of an unfinished value are kept.
func (s *splitter) waiting() int {
	if s.spent {
		return 0
	}
	return len(s.held)
}

// complete ends a value with its last bytes.
func (s *splitter) complete(last []byte) ([]byte, error) {
	s.kind = noValue
	switch {
	case s.single:
		s.place = atEnd
	case s.place == inEmpty, s.place == behindComma:
		s.place = behindValue
	default:
		s.place = inSequence
	}
	if len(s.held)+len(last) > s.limit {
		return nil, errRequestTooLarge
	}
	if len(s.held) == 0 {
		return last, nil
	}
	s.held, s.spent = append(s.held, last...), true
	return s.held, nil
}

// between looks at a character between values and reports whether it begins one.
func (s *splitter) between(c byte) (begins bool, err error) {
	if isSpace(c) {
		return false, nil
	}
	switch s.place {
	case atEnd:
		return false, errSyntax
	case behindValue:
		switch c {
		case ',':
			s.place = behindComma
		case ']':
			s.place = atEnd
		default:
			return false, errSyntax
		}
		return false, nil
	case atBegin:
		if c == '[' && !s.single {
			s.place = inEmpty
			return false, nil
		}
	case inEmpty:
		if c == ']' {
			s.place = atEnd
			return false, nil
		}
	}
	if c != '{' && c != '[' && c != '"' && !isWord(c) {
		return false, errSyntax
	}
	return true, nil
}

// begin starts a value with its first character.
func (s *splitter) begin(c byte) {
	s.depth, s.quoted, s.escape = 0, false, false
	switch c {
	case '{', '[':
		s.kind, s.depth = bracketed, 1
	case '"':
		s.kind, s.quoted = text, true
	default:
		s.kind = word
	}
}

type ending uint8

const (
	goesOn ending = iota
	endsWith
	endsBefore
)

// inside looks at a character of a value, or behind it.
func (s *splitter) inside(c byte) (ending, error) {
	switch {
	case s.escape:
		s.escape = false
	case s.quoted:
		switch c {
		case '\\':
			s.escape = true
		case '"':
			s.quoted = false
			if s.kind == text {
				return endsWith, nil
			}
		}
	case s.kind == word:
		if !isWord(c) {
			return endsBefore, nil
		}
	case c == '"':
		s.quoted = true
	case c == '{', c == '[':
		if s.depth++; s.depth > maxDepth {
			return goesOn, errTooDeep
		}
	case c == '}', c == ']':
		if s.depth--; s.depth == 0 {
			return endsWith, nil
		}
	}
	return goesOn, nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// isWord reports whether c may be part of a number, true, false or null.
func isWord(c byte) bool {
	return c-'0' < 10 || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '+' || c == '.'
}
