package grpcjson

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A fieldPath leads from a message to a field of it or of a message inside it.
type fieldPath []protoreflect.FieldDescriptor

// resolve finds the fields of the given names, as the proto or as JSON spells them. All but the last must be single messages.
func resolve(md protoreflect.MessageDescriptor, names []string) (fieldPath, bool) {
	path := make(fieldPath, 0, len(names))
	for i, name := range names {
		fd := md.Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			fd = md.Fields().ByJSONName(name)
		}
		if fd == nil {
			return nil, false
		}
		path = append(path, fd)
		if i == len(names)-1 {
			return path, true
		}
		if md = fd.Message(); md == nil || fd.IsList() || fd.IsMap() {
			return nil, false
		}
	}
	return nil, false
}

// last is the field that the path leads to.
func (p fieldPath) last() protoreflect.FieldDescriptor { return p[len(p)-1] }

// below reports whether the path leads into what outer leads to.
func (p fieldPath) below(outer fieldPath) bool {
	if len(p) < len(outer) {
		return false
	}
	for i, fd := range outer {
		if p[i] != fd {
			return false
		}
	}
	return true
}

// A binding is a value of the path or the query for a field of the request.
type binding struct {
	field fieldPath
	value string
}

// bind gives m the values. What m has already goes first, as in Envoy; where strict, a different value there is an error. Values of a
// repeated field are added.
func bind(m protoreflect.Message, bindings []binding, strict, foldEnums bool) error {
	skip := make([]bool, len(bindings))
	for i, b := range bindings {
		fd := b.field.last()
		if fd.IsList() || fd.IsMap() {
			continue
		}
		in, ok := b.field.holder(m)
		if !ok || !in.Has(fd) {
			continue
		}
		if skip[i] = true; !strict {
			continue
		}
		v, err := parseValue(in, fd, b.value, foldEnums)
		if err != nil {
			return err
		}
		if !in.Get(fd).Equal(v) {
			return errCollision
		}
	}
	for i, b := range bindings {
		if skip[i] {
			continue
		}
		if err := b.set(m, foldEnums); err != nil {
			return err
		}
	}
	return nil
}

// holder returns the message that holds the last field of the path, without making any.
func (p fieldPath) holder(m protoreflect.Message) (protoreflect.Message, bool) {
	for _, fd := range p[:len(p)-1] {
		if !m.Has(fd) {
			return nil, false
		}
		m = m.Get(fd).Message()
	}
	return m, true
}

// set puts the value into m.
func (b *binding) set(m protoreflect.Message, foldEnums bool) error {
	for _, fd := range b.field[:len(b.field)-1] {
		m = m.Mutable(fd).Message()
	}
	fd := b.field.last()
	if fd.IsMap() {
		return errBinding
	}
	v, err := parseValue(m, fd, b.value, foldEnums)
	if err != nil {
		return err
	}
	if fd.IsList() {
		m.Mutable(fd).List().Append(v)
	} else {
		m.Set(fd, v)
	}
	return nil
}

// parseValue reads a value of the field fd of m, or of one of its elements.
func parseValue(m protoreflect.Message, fd protoreflect.FieldDescriptor, s string, foldEnums bool) (v protoreflect.Value, err error) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		b, ok := parseBool(s)
		if !ok {
			return v, errBinding
		}
		return protoreflect.ValueOfBool(b), nil
	case protoreflect.StringKind:
		if !utf8.ValidString(s) {
			return v, errBinding
		}
		return protoreflect.ValueOfString(s), nil
	case protoreflect.BytesKind:
		b, ok := parseBytes(s)
		if !ok {
			return v, errBinding
		}
		return protoreflect.ValueOfBytes(b), nil
	case protoreflect.EnumKind:
		n, ok := parseEnum(fd.Enum(), s, foldEnums)
		if !ok {
			return v, errBinding
		}
		return protoreflect.ValueOfEnum(n), nil
	case protoreflect.MessageKind:
		return parseMessage(m, fd, s)
	case protoreflect.GroupKind:
		return v, errBinding
	}
	return parseNumber(fd.Kind(), s)
}

func parseNumber(k protoreflect.Kind, s string) (v protoreflect.Value, err error) {
	switch k {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := strconv.ParseInt(s, 10, 32)
		return protoreflect.ValueOfInt32(int32(n)), unless(err)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(s, 10, 64)
		return protoreflect.ValueOfInt64(n), unless(err)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(s, 10, 32)
		return protoreflect.ValueOfUint32(uint32(n)), unless(err)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(s, 10, 64)
		return protoreflect.ValueOfUint64(n), unless(err)
	case protoreflect.FloatKind:
		n, err := strconv.ParseFloat(s, 64)
		if err == nil && math.Abs(n) > math.MaxFloat32 && !math.IsInf(n, 0) {
			return v, errBinding
		}
		return protoreflect.ValueOfFloat32(float32(n)), unless(err)
	case protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(s, 64)
		return protoreflect.ValueOfFloat64(n), unless(err)
	}
	return v, errBinding
}

func unless(err error) error {
	if err != nil {
		return errBinding
	}
	return nil
}

// parseBool takes the words that Envoy's parser takes, in any case.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "t", "yes", "y", "1":
		return true, true
	case "false", "f", "no", "n", "0":
		return false, true
	}
	return false, false
}

// parseBytes decodes base64 of either alphabet, with or without padding.
func parseBytes(s string) ([]byte, bool) {
	s = strings.TrimRight(s, "=")
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(s)
	return b, err == nil
}

// parseEnum takes the name of a value or its number. With fold, the name may be in any case and have dashes for underscores.
func parseEnum(ed protoreflect.EnumDescriptor, s string, fold bool) (protoreflect.EnumNumber, bool) {
	if v := ed.Values().ByName(protoreflect.Name(s)); v != nil {
		return v.Number(), true
	}
	if fold {
		name := strings.ReplaceAll(s, "-", "_")
		for i := range ed.Values().Len() {
			if v := ed.Values().Get(i); strings.EqualFold(string(v.Name()), name) {
				return v.Number(), true
			}
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return protoreflect.EnumNumber(n), err == nil
}

// parseMessage reads the messages that JSON writes as one value: wrappers, Timestamp, Duration, FieldMask and Value.
func parseMessage(m protoreflect.Message, fd protoreflect.FieldDescriptor, s string) (v protoreflect.Value, err error) {
	var field protoreflect.Value
	if fd.IsList() {
		field = m.NewField(fd).List().NewElement()
	} else {
		field = m.NewField(fd)
	}
	inner := field.Message()
	switch fd.Message().FullName() {
	case "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue", "google.protobuf.Int32Value",
		"google.protobuf.Int64Value", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value", "google.protobuf.FloatValue",
		"google.protobuf.DoubleValue":
		value := inner.Descriptor().Fields().ByName("value")
		if value == nil {
			return v, errBinding
		}
		if v, err = parseValue(inner, value, s, false); err != nil {
			return v, err
		}
		inner.Set(value, v)
		return field, nil
	case "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask", "google.protobuf.Value":
		text, err := appendString(nil, s)
		if err != nil {
			return v, err
		}
		if err := protojson.Unmarshal(text, inner.Interface()); err != nil {
			return v, errBinding
		}
		return field, nil
	}
	return v, errBinding
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errBinding
	}
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"'), nil
}

// merge appends the wire form of m to dst. Fields that are required and missing are the upstream's to complain about.
func merge(dst []byte, m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{AllowPartial: true}.MarshalAppend(dst, m)
}
