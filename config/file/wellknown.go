package file

import (
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/resource"
)

// A special is a message that JSON writes in a form of its own.
type special uint8

const (
	ordinary special = iota
	specialAny
	specialDuration
	specialTimestamp
	specialStruct
	specialValue
	specialList
	specialWrapper
	specialMask
)

// specialOf says how messages of a type are written.
func specialOf(name protoreflect.FullName) special {
	short, ok := strings.CutPrefix(string(name), "google.protobuf.")
	if !ok {
		return ordinary
	}
	switch short {
	case "Any":
		return specialAny
	case "Duration":
		return specialDuration
	case "Timestamp":
		return specialTimestamp
	case "Struct":
		return specialStruct
	case "Value":
		return specialValue
	case "ListValue":
		return specialList
	case "BoolValue", "StringValue", "BytesValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "FloatValue", "DoubleValue":
		return specialWrapper
	case "FieldMask":
		return specialMask
	}
	return ordinary
}

// special reads a message of a special type. The node is no alias.
func (d *decoder) special(kind special, n *yaml.Node, m protoreflect.Message) bool {
	switch kind {
	case specialAny:
		return d.any(n, m)
	case specialDuration:
		return d.duration(n, m)
	case specialTimestamp:
		return d.timestamp(n, m)
	case specialStruct:
		return d.structure(n, m)
	case specialValue:
		return d.dynamic(n, m)
	case specialList:
		return d.dynamicList(n, m)
	case specialWrapper:
		return d.wrapper(n, m)
	default:
		return d.fieldMask(n, m)
	}
}

// wrapper reads a bare scalar into the message that makes it optional.
func (d *decoder) wrapper(n *yaml.Node, m protoreflect.Message) bool {
	fd := m.Descriptor().Fields().ByName("value")
	v, ok := d.scalar(n, fd)
	if ok {
		m.Set(fd, v)
	}
	return ok
}

// duration reads seconds with up to nine decimals and the suffix s, or the mapping {seconds: 1, nanos: 500000000} that old
// configurations have.
func (d *decoder) duration(n *yaml.Node, m protoreflect.Message) bool {
	out, ok := m.Interface().(*durationpb.Duration)
	if ok && n.Kind == yaml.MappingNode {
		d.fields(n, m, false)
		if err := out.CheckValid(); err != nil {
			d.errorf(n, "", "not a duration: %v", err)
			return false
		}
		return true
	}
	if ok && n.Kind == yaml.ScalarNode {
		if out.Seconds, out.Nanos, ok = parseDuration(n.Value); ok {
			return true
		}
	}
	d.errorf(n, durationHint(n.Value), "want a duration in seconds such as 1.5s, found %s", describe(n))
	return false
}

// maxDurationSeconds is what google.protobuf.Duration can hold: 10,000 years.
const maxDurationSeconds = 315_576_000_000

// parseDuration reads "-1.5s".
func parseDuration(text string) (seconds int64, nanos int32, ok bool) {
	text, ok = strings.CutSuffix(text, "s")
	if !ok {
		return 0, 0, false
	}
	sign := int64(1)
	if rest, negative := strings.CutPrefix(text, "-"); negative {
		sign, text = -1, rest
	}
	whole, fraction, dotted := strings.Cut(text, ".")
	if len(fraction) > 9 || whole == "" && fraction == "" || dotted && fraction == "" || !digits(whole) || !digits(fraction) {
		return 0, 0, false
	}
	if whole != "" {
		var err error
		if seconds, err = strconv.ParseInt(whole, 10, 64); err != nil || seconds > maxDurationSeconds {
			return 0, 0, false
		}
	}
	n := int64(0)
	for i := range 9 {
		n *= 10
		if i < len(fraction) {
			n += int64(fraction[i] - '0')
		}
	}
	return sign * seconds, int32(sign * n), true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// durationHint rewrites what Go or people write as a duration into the form that is wanted.
func durationHint(text string) string {
	if f, err := strconv.ParseFloat(text, 64); err == nil && f >= 0 && f <= maxDurationSeconds {
		return text + "s"
	}
	if v, err := time.ParseDuration(text); err == nil {
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s"
	}
	return ""
}

func (d *decoder) timestamp(n *yaml.Node, m protoreflect.Message) bool {
	out, ok := m.Interface().(*timestamppb.Timestamp)
	if ok && n.Kind == yaml.ScalarNode {
		if t, err := time.Parse(time.RFC3339Nano, n.Value); err == nil {
			out.Seconds, out.Nanos = t.Unix(), int32(t.Nanosecond())
			return true
		}
	}
	d.errorf(n, "", "want a time such as 2006-01-02T15:04:05Z, found %s", describe(n))
	return false
}

// fieldMask reads paths separated by commas.
func (d *decoder) fieldMask(n *yaml.Node, m protoreflect.Message) bool {
	if n.Kind != yaml.ScalarNode {
		d.errorf(n, "", "want field names separated by commas, found %s", describe(n))
		return false
	}
	paths := m.Mutable(m.Descriptor().Fields().ByName("paths")).List()
	for path := range strings.SplitSeq(n.Value, ",") {
		if path = strings.TrimSpace(path); path != "" {
			paths.Append(protoreflect.ValueOfString(snake(path)))
		}
	}
	return true
}

// snake is the proto spelling of a lowerCamelCase name.
func snake(s string) string {
	var b strings.Builder
	for _, c := range s {
		if 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

func (d *decoder) structure(n *yaml.Node, m protoreflect.Message) bool {
	out, ok := m.Interface().(*structpb.Struct)
	if !ok || n.Kind != yaml.MappingNode {
		d.errorf(n, "", "want a mapping, found %s", describe(n))
		return false
	}
	content, own := d.entries(n)
	out.Fields = make(map[string]*structpb.Value, len(content)/2)
	for i := 0; i+1 < len(content); i += 2 {
		key, value := follow(content[i]), content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.errorf(key, "", "want a key, found %s", describe(key))
			continue
		}
		d.push(resource.Step{Kind: resource.StepKey, Name: key.Value})
		if _, ok := out.Fields[key.Value]; ok {
			d.errorf(key, "", "given twice")
		} else {
			d.inherit(i >= own, func() {
				if v := d.anything(value); v != nil {
					out.Fields[key.Value] = v
				}
			})
		}
		d.pop()
	}
	return true
}

func (d *decoder) dynamicList(n *yaml.Node, m protoreflect.Message) bool {
	out, ok := m.Interface().(*structpb.ListValue)
	if !ok || n.Kind != yaml.SequenceNode {
		d.errorf(n, "", "want a list, found %s", describe(n))
		return false
	}
	for i, element := range n.Content {
		d.push(resource.Step{Kind: resource.StepIndex, Index: i})
		if v := d.anything(element); v != nil {
			out.Values = append(out.Values, v)
		}
		d.pop()
	}
	return true
}

// anything reads a google.protobuf.Value; nil after a problem.
func (d *decoder) anything(n *yaml.Node) *structpb.Value {
	node, ok := d.open(n)
	if !ok {
		return nil
	}
	defer d.close(n)
	v := &structpb.Value{}
	if !d.dynamic(node, v.ProtoReflect()) {
		return nil
	}
	return v
}

// maxExactInteger is the largest integer a double holds exactly; Envoy turns larger ones into strings.
const maxExactInteger = 1 << 53

// dynamic reads any node into a google.protobuf.Value by the type YAML gives it.
func (d *decoder) dynamic(n *yaml.Node, m protoreflect.Message) bool {
	out, ok := m.Interface().(*structpb.Value)
	if !ok {
		d.errorf(n, "", "not supported here")
		return false
	}
	switch n.Kind {
	case yaml.MappingNode:
		s := &structpb.Struct{}
		out.Kind = &structpb.Value_StructValue{StructValue: s}
		return d.structure(n, s.ProtoReflect())
	case yaml.SequenceNode:
		l := &structpb.ListValue{}
		out.Kind = &structpb.Value_ListValue{ListValue: l}
		return d.dynamicList(n, l.ProtoReflect())
	}
	switch n.Tag {
	case "!!null":
		out.Kind = &structpb.Value_NullValue{}
	case "!!bool":
		out.Kind = &structpb.Value_BoolValue{BoolValue: strings.EqualFold(n.Value, "true")}
	case "!!int", "!!float":
		f, problem := dynamicNumber(n)
		switch {
		case problem != "":
			d.errorf(n, "", "want a finite number, found %s%s", describe(n), problem)
			return false
		case n.Tag == "!!int" && math.Abs(f) > maxExactInteger:
			out.Kind = &structpb.Value_StringValue{StringValue: n.Value}
		default:
			out.Kind = &structpb.Value_NumberValue{NumberValue: f}
		}
	default:
		out.Kind = &structpb.Value_StringValue{StringValue: n.Value}
	}
	return true
}

// dynamicNumber reads a number that JSON can hold.
func dynamicNumber(n *yaml.Node) (float64, string) {
	if n.Tag == "!!int" {
		if i, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return float64(i), ""
		}
	}
	f, problem := float(strings.ReplaceAll(n.Value, "_", ""), 64)
	if problem == "" && (math.IsNaN(f) || math.IsInf(f, 0)) {
		problem = ", which JSON does not have"
	}
	return f, problem
}

// any reads a mapping with the key @type into a google.protobuf.Any. Of a type that is not supported only the name is kept:
// the check of the whole message reports it with the place and the name its surroundings give it.
func (d *decoder) any(n *yaml.Node, m protoreflect.Message) bool {
	out, ok := m.Interface().(*anypb.Any)
	if !ok || n.Kind != yaml.MappingNode {
		d.errorf(n, "", "want a mapping with the key \"@type\", found %s", describe(n))
		return false
	}
	content, _ := d.entries(n)
	url, ok := d.typeURL(n, content)
	if !ok {
		return url == "" && len(content) == 0
	}
	out.TypeUrl = url
	name := protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
	inner, err := d.types.FindMessageByName(name)
	if err != nil || !d.readable(name) {
		return true
	}
	if d.anys >= maxAnyDepth {
		d.errorf(n, "", "nested more than %d google.protobuf.Any deep", maxAnyDepth)
		return false
	}
	d.anys++
	defer func() { d.anys-- }()
	message := inner.New()
	d.payload(n, content, message)
	out.Value, err = proto.MarshalOptions{Deterministic: true}.Marshal(message.Interface())
	if err != nil {
		d.errorf(n, "", "%v", err)
	}
	return err == nil
}

// readable says whether the contents of an Any of this type will be looked at.
func (d *decoder) readable(name protoreflect.FullName) bool {
	if _, ok := d.support[name]; ok {
		return true
	}
	return strings.HasPrefix(string(name), "google.protobuf.") || strings.HasSuffix(string(name), ".TypedStruct")
}

// payload reads the fields beside @type, or, for types with a JSON form of their own, the key value.
func (d *decoder) payload(n *yaml.Node, content []*yaml.Node, m protoreflect.Message) {
	if specialOf(m.Descriptor().FullName()) == ordinary {
		d.fields(n, m, true)
		return
	}
	for i := 0; i+1 < len(content); i += 2 {
		key := follow(content[i])
		switch key.Value {
		case "@type":
		case "value":
			d.message(content[i+1], m)
		default:
			d.unknownField(key, m.Descriptor())
		}
	}
}

// typeURL finds and checks the key @type.
func (d *decoder) typeURL(n *yaml.Node, content []*yaml.Node) (string, bool) {
	for i := 0; i+1 < len(content); i += 2 {
		if follow(content[i]).Value != "@type" {
			continue
		}
		value := follow(content[i+1])
		if value.Kind == yaml.ScalarNode && strings.Contains(value.Value, "/") && !strings.HasSuffix(value.Value, "/") {
			return value.Value, true
		}
		hint := ""
		if value.Kind == yaml.ScalarNode && value.Value != "" && !strings.Contains(value.Value, "/") {
			hint = "type.googleapis.com/" + value.Value
		}
		d.errorf(value, hint, "@type must be a type URL, found %s", describe(value))
		return "", false
	}
	if len(content) > 0 {
		d.errorf(n, "\"@type\": type.googleapis.com/... says what the other fields mean", "@type is missing")
	}
	return "", false
}
