package resource

import (
	"fmt"
	"maps"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Support says, message type by message type ("envoy.config.route.v3.RouteAction"), what Weft does with each field. Each
// package that compiles a message exports `func Support() resource.Support`; builtin merges them. A message that is not
// listed is not supported; for the Any of an extension that means the extension is not.
type Support map[protoreflect.FullName]Fields

// Fields maps proto field names to what Weft does with them. A field that is not listed is not supported. The key
// "field=VALUE" speaks of one value of an enum field; values without an own entry are like the field.
type Fields map[string]Status

// Status is what Weft does with one field, and a note for the user: a restriction, a reason, an alternative.
type Status struct {
	Level Level
	Note  string
}

// Level is how far a field is supported.
type Level uint8

// The levels. The zero Level is Unsupported: setting such a field is an error.
const (
	Unsupported Level = iota
	Implemented
	Ignored // accepted without effect
)

// String is the level as the table of supported fields words it.
func (l Level) String() string {
	switch l {
	case Implemented:
		return "yes"
	case Ignored:
		return "no effect"
	default:
		return "no"
	}
}

// Yes is the status of a field that works as Envoy documents it.
func Yes() Status { return Status{Level: Implemented} }

// YesBut is the status of a field that works, with a difference the note names.
func YesBut(note string) Status { return Status{Level: Implemented, Note: note} }

// NoEffect is the status of a field that is accepted and does nothing, which is harmless for the reason given.
func NoEffect(why string) Status { return Status{Level: Ignored, Note: why} }

// No is the status of a field that is rejected. The note is shown as a hint: the reason or an alternative; it may be empty.
func No(note string) Status { return Status{Level: Unsupported, Note: note} }

// Names returns Fields in which all the given names, separated by spaces, are implemented.
func Names(fields string) Fields { return Fields{}.with(fields, Yes()) }

// Yes adds fields, separated by spaces, that are implemented. It returns f.
func (f Fields) Yes(fields string) Fields { return f.with(fields, Yes()) }

// YesBut adds fields, separated by spaces, that are implemented with a difference. It returns f.
func (f Fields) YesBut(fields, note string) Fields { return f.with(fields, YesBut(note)) }

// NoEffect adds fields, separated by spaces, that are accepted without effect. It returns f.
func (f Fields) NoEffect(fields, why string) Fields { return f.with(fields, NoEffect(why)) }

// No adds fields, separated by spaces, that are rejected. It returns f.
func (f Fields) No(fields, note string) Fields { return f.with(fields, No(note)) }

func (f Fields) with(fields string, s Status) Fields {
	for name := range strings.FieldsSeq(fields) {
		f[name] = s
	}
	return f
}

// Merge returns the union of s and others. Two tables that say different things about a message are an error that names it.
func (s Support) Merge(others ...Support) (Support, error) {
	merged := maps.Clone(s)
	if merged == nil {
		merged = Support{}
	}
	for _, other := range others {
		for name, fields := range other {
			if have, ok := merged[name]; ok && !maps.Equal(have, fields) {
				return nil, fmt.Errorf("supported fields of %s: two tables disagree on %s", name, disagreement(have, fields))
			}
			merged[name] = fields
		}
	}
	return merged, nil
}

// disagreement names a field that two tables treat differently.
func disagreement(a, b Fields) string {
	least := ""
	for _, pair := range [][2]Fields{{a, b}, {b, a}} {
		for name, status := range pair[0] {
			if other, ok := pair[1][name]; (!ok || other != status) && (least == "" || name < least) {
				least = name
			}
		}
	}
	return least
}
