package file

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"gopkg.in/yaml.v3"
)

// scalar converts a node to the value of a field that is neither message, list nor map.
func (d *decoder) scalar(n *yaml.Node, fd protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	node, ok := d.open(n)
	if !ok {
		return protoreflect.Value{}, false
	}
	defer d.close(n)
	if node.Kind != yaml.ScalarNode {
		d.errorf(node, "", "want %s, found %s", kindName(fd), describe(node))
		return protoreflect.Value{}, false
	}
	if node.Style&yaml.TaggedStyle != 0 && !strings.HasPrefix(node.Tag, "!!") {
		d.errorf(node, "", "the YAML tag %s has no meaning here", node.Tag)
		return protoreflect.Value{}, false
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		return d.text(node)
	case protoreflect.BytesKind:
		return d.bytes(node)
	case protoreflect.BoolKind:
		return d.boolean(node)
	case protoreflect.EnumKind:
		return d.enum(node, fd.Enum())
	default:
		return d.number(node, fd)
	}
}

// text converts to a string. Integers and booleans need quotes, as in Envoy; other plain text is itself.
func (d *decoder) text(n *yaml.Node) (protoreflect.Value, bool) {
	switch n.Tag {
	case "!!int", "!!bool", "!!null", "!!binary":
		d.errorf(n, "write it in quotes: "+strconv.Quote(n.Value), "want a string, found %s", n.Value)
		return protoreflect.Value{}, false
	}
	if !utf8.ValidString(n.Value) {
		d.errorf(n, "", "not UTF-8")
		return protoreflect.Value{}, false
	}
	return protoreflect.ValueOfString(n.Value), true
}

// bytes converts base64, of either alphabet, with or without padding.
func (d *decoder) bytes(n *yaml.Node) (protoreflect.Value, bool) {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(n.Value, "-_") {
		encoding = base64.RawURLEncoding
	}
	b, err := encoding.DecodeString(strings.TrimRight(n.Value, "="))
	if err != nil {
		d.errorf(n, "", "want bytes in base64: %v", err)
	}
	return protoreflect.ValueOfBytes(b), err == nil
}

// boolean converts true and false and the other words YAML 1.1 has for them, unless they are quoted.
func (d *decoder) boolean(n *yaml.Node) (protoreflect.Value, bool) {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on", "y":
			return protoreflect.ValueOfBool(true), true
		case "false", "no", "off", "n":
			return protoreflect.ValueOfBool(false), true
		}
	}
	hint := ""
	if n.Value == "true" || n.Value == "false" {
		hint = "leave out the quotes"
	}
	d.errorf(n, hint, "want true or false, found %s", describe(n))
	return protoreflect.Value{}, false
}

// enum converts the name of a value, in any case and with - for _, or its number.
func (d *decoder) enum(n *yaml.Node, e protoreflect.EnumDescriptor) (protoreflect.Value, bool) {
	if e.FullName() == "google.protobuf.NullValue" && n.Tag == "!!null" {
		return protoreflect.ValueOfEnum(0), true
	}
	if v := e.Values().ByName(protoreflect.Name(n.Value)); v != nil {
		return protoreflect.ValueOfEnum(v.Number()), true
	}
	if n.Tag == "!!int" {
		i, err := strconv.ParseInt(n.Value, 0, 32)
		if err == nil && e.Values().ByNumber(protoreflect.EnumNumber(i)) != nil {
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(i)), true
		}
		d.errorf(n, "", "%s has no value with the number %s", e.FullName(), n.Value)
		return protoreflect.Value{}, false
	}
	upper := strings.ReplaceAll(strings.ToUpper(n.Value), "-", "_")
	for i := range e.Values().Len() {
		if v := e.Values().Get(i); strings.ToUpper(string(v.Name())) == upper {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	d.errorf(n, enumHint(upper, e), "%s is not a value of %s", describe(n), e.FullName())
	return protoreflect.Value{}, false
}

// number converts to the integer or floating-point kind of fd.
func (d *decoder) number(n *yaml.Node, fd protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	v, problem := parseNumber(n, fd.Kind())
	if problem != "" {
		d.errorf(n, "", "want %s, found %s%s", kindName(fd), describe(n), problem)
	}
	return v, problem == ""
}

// parseNumber returns a problem, to be added to the message, when the text is not a number of the kind.
func parseNumber(n *yaml.Node, kind protoreflect.Kind) (v protoreflect.Value, problem string) {
	text := n.Value
	if n.Tag == "!!bool" || n.Tag == "!!null" || text == "" {
		return v, notNumber
	}
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, problem := integer(text, 32)
		return protoreflect.ValueOfInt32(int32(i)), problem
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		i, problem := integer(text, 64)
		return protoreflect.ValueOfInt64(i), problem
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		u, problem := unsigned(text, 32)
		return protoreflect.ValueOfUint32(uint32(u)), problem
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		u, problem := unsigned(text, 64)
		return protoreflect.ValueOfUint64(u), problem
	case protoreflect.FloatKind:
		f, problem := float(text, 32)
		return protoreflect.ValueOfFloat32(float32(f)), problem
	default:
		f, problem := float(text, 64)
		return protoreflect.ValueOfFloat64(f), problem
	}
}

const (
	notNumber  = ", not a number"
	outOfRange = ", out of range"
	notWhole   = ", not a whole number"
)

// integer reads decimal, 0x, 0o, 0b and 0-octal, and floating-point text whose value is whole.
func integer(text string, bits int) (int64, string) {
	i, err := strconv.ParseInt(text, 0, bits)
	if err == nil {
		return i, ""
	}
	f, problem := whole(text, err)
	if problem != "" {
		return 0, problem
	}
	limit := math.Ldexp(1, bits-1)
	if f < -limit || f >= limit {
		return 0, outOfRange
	}
	return int64(f), ""
}

// unsigned is integer for unsigned kinds.
func unsigned(text string, bits int) (uint64, string) {
	u, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 0, bits)
	if err == nil {
		return u, ""
	}
	f, problem := whole(text, err)
	if problem != "" {
		return 0, problem
	}
	if f < 0 || f >= math.Ldexp(1, bits) {
		return 0, outOfRange
	}
	return uint64(f), ""
}

// whole reads floating-point text as an integer, after reading it as one has failed with err.
func whole(text string, err error) (float64, string) {
	if strings.Contains(err.Error(), "out of range") {
		return 0, outOfRange
	}
	f, problem := float(text, 64)
	if problem == "" && (f != math.Trunc(f) || math.IsInf(f, 0)) {
		problem = notWhole
	}
	return f, problem
}

// float reads a number; protobuf JSON and YAML have names for what is not finite.
func float(text string, bits int) (float64, string) {
	switch text {
	case "NaN", ".nan", ".NaN", ".NAN":
		return math.NaN(), ""
	case "Infinity", ".inf", ".Inf", ".INF", "+.inf":
		return math.Inf(1), ""
	case "-Infinity", "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1), ""
	}
	f, err := strconv.ParseFloat(text, bits)
	switch {
	case err != nil && strings.Contains(err.Error(), "out of range"):
		return 0, outOfRange
	case err != nil || math.IsNaN(f) || math.IsInf(f, 0): // "nan", "inf": not how either spells them
		return 0, notNumber
	}
	return f, ""
}

// kindName is a field's kind in words.
func kindName(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BytesKind:
		return "bytes in base64"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return "a value of " + string(fd.Enum().FullName())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return "a whole number from 0"
	default:
		return "a whole number"
	}
}
