package format

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftproxy/weft/observe"
)

// A node is one value of a JSON format. Immutable.
type node struct {
	kind    nodeKind
	text    string   // constant: the JSON text
	parts   []part   // string: the format
	empty   string   // string: what an unknown part of a longer text prints as
	typed   bool     // string: one operator, which prints as its own type
	omit    bool     // leave out members that are null
	keys    []string // object: `"key":` ready to print, sorted
	members []node   // of an object or a list
}

type nodeKind uint8

const (
	nodeConstant nodeKind = iota
	nodeString
	nodeObject
	nodeList
)

// CompileJSON compiles a JSON format: an object, nested as one likes, whose strings are formats. A string that is one operator and
// nothing else prints as the operator's own type, null when there is no value. Members are sorted by name.
func CompileJSON(s *structpb.Struct, o Options) (*Format, error) {
	n, err := compileObject(s, o)
	if err != nil {
		return nil, err
	}
	return &Format{json: &n}, nil
}

func compileObject(s *structpb.Struct, o Options) (node, error) {
	n := node{kind: nodeObject, omit: o.OmitEmpty}
	for _, key := range slices.Sorted(maps.Keys(s.GetFields())) {
		m, err := compileValue(s.GetFields()[key], o)
		if err != nil {
			return node{}, fmt.Errorf("%s: %w", key, err)
		}
		n.keys = append(n.keys, string(append(appendQuoted(nil, key), ':')))
		n.members = append(n.members, m)
	}
	return n, nil
}

func compileValue(v *structpb.Value, o Options) (node, error) {
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		parts, err := parse(v.StringValue, o)
		n := node{kind: nodeString, parts: parts, empty: "-", typed: len(parts) == 1 && parts[0].op != nil && !o.Strings}
		if o.OmitEmpty {
			n.empty = ""
		}
		return n, err
	case *structpb.Value_StructValue:
		return compileObject(v.StructValue, o)
	case *structpb.Value_ListValue:
		n := node{kind: nodeList, omit: o.OmitEmpty}
		for i, item := range v.ListValue.GetValues() {
			m, err := compileValue(item, o)
			if err != nil {
				return node{}, fmt.Errorf("[%d]: %w", i, err)
			}
			n.members = append(n.members, m)
		}
		return n, nil
	case *structpb.Value_NumberValue:
		return node{text: string(appendValue(nil, v.NumberValue))}, nil
	case *structpb.Value_BoolValue:
		return node{text: strconv.FormatBool(v.BoolValue)}, nil
	}
	return node{}, errors.New("only strings, numbers, booleans, lists and objects are supported in a JSON format")
}

// append appends the value; false says that it is null, or an object with nothing in it where such are left out.
func (n *node) append(dst []byte, e *observe.Entry) ([]byte, bool) {
	switch n.kind {
	case nodeString:
		return n.appendString(dst, e)
	case nodeObject, nodeList:
		return n.appendMembers(dst, e)
	}
	return append(dst, n.text...), true
}

func (n *node) appendString(dst []byte, e *observe.Entry) ([]byte, bool) {
	if n.typed {
		return n.parts[0].op.appendTyped(dst, e)
	}
	dst = append(dst, '"')
	start := len(dst)
	for i := range n.parts {
		p := &n.parts[i]
		if p.op == nil {
			dst = append(dst, p.text...)
			continue
		}
		at := len(dst)
		out, ok := p.op.append(dst, e)
		if !ok {
			out = append(dst[:at], n.empty...)
		}
		dst = out
	}
	return append(escapeJSON(dst, start), '"'), true
}

// appendMembers appends an object or a list. The root is printed even when everything in it is left out.
func (n *node) appendMembers(dst []byte, e *observe.Entry) ([]byte, bool) {
	opening, closing := byte('['), byte(']')
	if n.kind == nodeObject {
		opening, closing = '{', '}'
	}
	dst = append(dst, opening)
	start := len(dst)
	for i := range n.members {
		at := len(dst)
		if at > start {
			dst = append(dst, ',')
		}
		if n.kind == nodeObject {
			dst = append(dst, n.keys[i]...)
		}
		out, ok := n.members[i].append(dst, e)
		if !ok && n.omit {
			dst = dst[:at]
			continue
		}
		dst = out
	}
	kept := len(dst) > start || n.kind == nodeList
	return append(dst, closing), kept
}

// appendTyped appends the operator's value as JSON, null and false when there is none.
func (o *operator) appendTyped(dst []byte, e *observe.Entry) ([]byte, bool) {
	start := len(dst)
	switch o.kind {
	case kindNumber:
		out, ok := o.append(dst, e)
		if !ok {
			return append(dst[:start], "null"...), false
		}
		return out, true
	case kindValue:
		if v, ok := o.value(e); ok {
			return appendValue(dst, v), true
		}
		return append(dst, "null"...), false
	}
	out, ok := o.append(append(dst, '"'), e)
	if !ok {
		return append(dst[:start], "null"...), false
	}
	return append(escapeJSON(out, start+1), '"'), true
}

// appendValue appends a value of metadata as JSON, the members of objects sorted by name.
func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return appendQuoted(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return appendFloat(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case map[string]any:
		return appendObject(dst, v)
	case map[string]string:
		return appendObject(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, item)
		}
		return append(dst, ']')
	}
	return appendQuoted(dst, fmt.Sprint(v))
}

func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendObject[V any](dst []byte, m map[string]V) []byte {
	dst = append(dst, '{')
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, key), ':')
		dst = appendValue(dst, m[key])
	}
	return append(dst, '}')
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := len(dst)
	return append(escapeJSON(append(dst, s...), start), '"')
}

// escapeJSON makes dst[start:] the inside of a JSON string. A byte that is not UTF-8 becomes the code point of its number, so that the
// line is always valid.
func escapeJSON(dst []byte, start int) []byte {
	first := start
	for first < len(dst) && dst[first] >= 0x20 && dst[first] < 0x7f && dst[first] != '"' && dst[first] != '\\' {
		first++
	}
	end := len(dst)
	if first == end {
		return dst
	}
	for i := first; i < end; {
		c := dst[i]
		if c < utf8.RuneSelf {
			dst = appendEscaped(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(dst[i:end])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, dst[i:i+n]...)
		}
		i += n
	}
	n := copy(dst[first:], dst[end:])
	return dst[:first+n]
}

func appendEscaped(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case c == '\b':
		return append(dst, '\\', 'b')
	case c == '\f':
		return append(dst, '\\', 'f')
	case c < 0x20 || c == 0x7f:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, c)
}
