package grpcjson

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// enums knows which messages have enums, in themselves or in what they hold. Immutable once built.
type enums map[protoreflect.FullName]bool

// learn looks at a message type and all that it holds. It reports whether it has enums.
func (e enums) learn(root protoreflect.MessageDescriptor) bool {
	todo := []protoreflect.MessageDescriptor{root}
	holders := map[protoreflect.FullName][]protoreflect.FullName{}
	var found []protoreflect.FullName
	for seen := map[protoreflect.FullName]bool{}; len(todo) > 0; {
		md := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		name := md.FullName()
		if seen[name] || isOpaque(name) {
			continue
		}
		seen[name] = true
		for i := range md.Fields().Len() {
			fd := valueOf(md.Fields().Get(i))
			if fd.Enum() != nil && fd.Enum().FullName() != nullValue {
				found = append(found, name)
			}
			if inner := fd.Message(); inner != nil {
				holders[inner.FullName()] = append(holders[inner.FullName()], name)
				todo = append(todo, inner)
			}
		}
	}
	for done := map[protoreflect.FullName]bool{}; len(found) > 0; { // a message that holds one that has enums has enums
		name := found[len(found)-1]
		found = found[:len(found)-1]
		if !done[name] {
			done[name], e[name] = true, true
			found = append(found, holders[name]...)
		}
	}
	return e[root.FullName()]
}

const nullValue = "google.protobuf.NullValue"

// isOpaque reports whether JSON writes messages of this type in a way of their own.
func isOpaque(name protoreflect.FullName) bool {
	return strings.HasPrefix(string(name), "google.protobuf.")
}

// valueOf is the field that describes a field's values: a map's are those of its second one.
func valueOf(fd protoreflect.FieldDescriptor) protoreflect.FieldDescriptor {
	if fd.IsMap() {
		return fd.MapValue()
	}
	return fd
}

// settle rewrites the names of enum values in a message's JSON into numbers, so that names nobody knows are found out, which a reader that
// passes over unknown fields would not, and so that their case can be folded. Anything else that is wrong is left to that reader.
func (e enums) settle(text []byte, md protoreflect.MessageDescriptor, fold bool) ([]byte, error) {
	w := enumWalk{enums: e, in: text, fold: fold}
	w.object(md, nil)
	if w.err != nil {
		return nil, w.err
	}
	if w.copied == 0 {
		return text, nil
	}
	return append(w.out, text[w.copied:]...), nil
}
