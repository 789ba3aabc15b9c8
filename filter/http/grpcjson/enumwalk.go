package grpcjson

import (
	"encoding/json"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// An enumWalk goes once through the JSON of a message and puts numbers in the place of the names of enum values. Its methods report false
// where the text is not well-formed, and when err was set; then the walk is over.
type enumWalk struct {
	enums  enums
	in     []byte
	at     int
	out    []byte // what was rewritten, up to in[:copied]
	copied int
	fold   bool
	err    error
}

// object walks an object: the fields of a message, or the entries of a map whose values every describes.
func (w *enumWalk) object(md protoreflect.MessageDescriptor, every protoreflect.FieldDescriptor) bool {
	return w.sequence('{', '}', func() bool {
		key, ok := w.text()
		if !ok || w.peek() != ':' {
			return false
		}
		w.at++
		if every != nil {
			return w.value(every)
		}
		fd := md.Fields().ByJSONName(key)
		if fd == nil {
			fd = md.Fields().ByName(protoreflect.Name(key))
		}
		return w.field(fd)
	})
}

// field walks the value of a field: a map, a list or one value. fd is nil for a field that nobody knows.
func (w *enumWalk) field(fd protoreflect.FieldDescriptor) bool {
	if fd == nil || !w.concerns(valueOf(fd)) {
		return w.skip()
	}
	c := w.peek()
	switch {
	case fd.IsMap() && c == '{':
		return w.object(nil, fd.MapValue())
	case fd.IsList() && c == '[':
		return w.sequence('[', ']', func() bool { return w.value(fd) })
	case fd.IsMap(), fd.IsList():
		return w.skip()
	}
	return w.value(fd)
}

// concerns reports whether there may be names of enum values in a field.
func (w *enumWalk) concerns(fd protoreflect.FieldDescriptor) bool {
	if fd.Enum() != nil {
		return fd.Enum().FullName() != nullValue
	}
	return fd.Message() != nil && w.enums[fd.Message().FullName()]
}

// value walks one value of a field that concerns.
func (w *enumWalk) value(fd protoreflect.FieldDescriptor) bool {
	switch c := w.peek(); {
	case fd.Message() != nil && c == '{':
		return w.object(fd.Message(), nil)
	case fd.Enum() == nil || c != '"':
		return w.skip()
	}
	start := w.at
	name, ok := w.text()
	if !ok {
		return false
	}
	n, ok := parseEnum(fd.Enum(), name, w.fold)
	if !ok {
		w.err = errEnum
		return false
	}
	w.out = strconv.AppendInt(append(w.out, w.in[w.copied:start]...), int64(n), 10)
	w.copied = w.at
	return true
}

// sequence walks what stands between two brackets, with commas between.
func (w *enumWalk) sequence(opens, closes byte, element func() bool) bool {
	if w.peek() != opens {
		return false
	}
	w.at++
	if w.peek() == closes {
		w.at++
		return true
	}
	for element() {
		c := w.peek()
		w.at++
		if c == closes {
			return true
		}
		if c != ',' {
			return false
		}
		w.peek()
	}
	return false
}

// peek passes over space and returns the next character, 0 at the end.
func (w *enumWalk) peek() byte {
	for w.at < len(w.in) && isSpace(w.in[w.at]) {
		w.at++
	}
	if w.at == len(w.in) {
		return 0
	}
	return w.in[w.at]
}

// text reads a string.
func (w *enumWalk) text() (string, bool) {
	if w.peek() != '"' {
		return "", false
	}
	escaped := false
	for i := w.at + 1; i < len(w.in); i++ {
		switch w.in[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			raw := w.in[w.at : i+1]
			w.at = i + 1
			if !escaped {
				return string(raw[1 : len(raw)-1]), true
			}
			var s string
			err := json.Unmarshal(raw, &s)
			return s, err == nil
		}
	}
	return "", false
}

// skip passes over a value.
func (w *enumWalk) skip() bool {
	w.peek()
	s := splitter{single: true, limit: len(w.in)}
	for start := w.at; w.at < len(w.in); w.at++ {
		c := w.in[w.at]
		if w.at == start {
			s.begin(c)
			if s.kind == word && !isWord(c) {
				return false
			}
			continue
		}
		switch end, err := s.inside(c); {
		case err != nil:
			return false
		case end == endsWith:
			w.at++
			return true
		case end == endsBefore:
			return true
		}
	}
	return false
}
