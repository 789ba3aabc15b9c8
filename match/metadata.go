package match

import (
	"errors"
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// A Metadata is a compiled MetadataMatcher (envoy.type.matcher.v3).
type Metadata struct {
	namespace string
	path      []string
	value     Value
	invert    bool
}

// NewMetadata compiles a MetadataMatcher.
func NewMetadata(cfg *matcherv3.MetadataMatcher) (*Metadata, error) {
	m := &Metadata{namespace: cfg.GetFilter(), invert: cfg.GetInvert()}
	for i, seg := range cfg.GetPath() {
		if seg.GetKey() == "" {
			return nil, fmt.Errorf("path[%d].key: must not be empty", i)
		}
		m.path = append(m.path, seg.GetKey())
	}
	if m.namespace == "" || len(m.path) == 0 {
		return nil, errors.New("filter and path must not be empty")
	}
	var err error
	if m.value, err = NewValue(cfg.GetValue()); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return m, nil
}

// Match reports whether metadata (namespace, key, value as structpb's AsMap gives it) matches. What is missing has no value.
func (m *Metadata) Match(metadata map[string]map[string]any) bool {
	value, there := m.find(metadata[m.namespace])
	return m.value.Match(value, there) != m.invert
}

func (m *Metadata) find(object map[string]any) (any, bool) {
	for i, key := range m.path {
		v, ok := object[key]
		if !ok {
			return nil, false
		}
		if i == len(m.path)-1 {
			return v, true
		}
		if object, ok = v.(map[string]any); !ok {
			return nil, false
		}
	}
	return nil, false
}

// A Value is a compiled ValueMatcher (envoy.type.matcher.v3).
type Value struct {
	kind     valueKind
	want     bool    // bool_match, present_match
	from, to float64 // double_match: from <= n < to
	exact    bool    // double_match: n == from
	text     String
	any      []Value // list_match one_of (one), or_match
}

type valueKind uint8

const (
	valueNull valueKind = iota
	valueDouble
	valueString
	valueBool
	valuePresent
	valueList
	valueOr
)

// NewValue compiles a ValueMatcher.
func NewValue(cfg *matcherv3.ValueMatcher) (Value, error) {
	switch m := cfg.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return Value{kind: valueNull}, nil
	case *matcherv3.ValueMatcher_DoubleMatch:
		if r := m.DoubleMatch.GetRange(); r != nil {
			return Value{kind: valueDouble, from: r.GetStart(), to: r.GetEnd()}, nil
		}
		return Value{kind: valueDouble, from: m.DoubleMatch.GetExact(), exact: true}, nil
	case *matcherv3.ValueMatcher_StringMatch:
		s, err := NewString(m.StringMatch)
		return Value{kind: valueString, text: s}, err
	case *matcherv3.ValueMatcher_BoolMatch:
		return Value{kind: valueBool, want: m.BoolMatch}, nil
	case *matcherv3.ValueMatcher_PresentMatch:
		return Value{kind: valuePresent, want: m.PresentMatch}, nil
	case *matcherv3.ValueMatcher_ListMatch:
		one, err := NewValue(m.ListMatch.GetOneOf())
		return Value{kind: valueList, any: []Value{one}}, err
	case *matcherv3.ValueMatcher_OrMatch:
		or := Value{kind: valueOr}
		for i, alternative := range m.OrMatch.GetValueMatchers() {
			v, err := NewValue(alternative)
			if err != nil {
				return or, fmt.Errorf("or_match.value_matchers[%d]: %w", i, err)
			}
			or.any = append(or.any, v)
		}
		return or, nil
	}
	return Value{}, errors.New("value matcher has no pattern")
}

// Match reports whether a value (nil, bool, float64, string, []any or map[string]any) matches; there is false for none at all.
func (m *Value) Match(v any, there bool) bool {
	switch m.kind {
	case valueNull:
		return there && v == nil
	case valueDouble:
		n, ok := v.(float64)
		return ok && (m.exact && n == m.from || !m.exact && n >= m.from && n < m.to)
	case valueString:
		s, ok := v.(string)
		return ok && m.text.Match(s)
	case valueBool:
		b, ok := v.(bool)
		return ok && b == m.want
	case valuePresent:
		return (there && v != nil) == m.want
	case valueList:
		list, _ := v.([]any)
		for _, e := range list {
			if m.any[0].Match(e, true) {
				return true
			}
		}
		return false
	default:
		for i := range m.any {
			if m.any[i].Match(v, there) {
				return true
			}
		}
		return false
	}
}
