package admin

import (
	"github.com/cncf/xds/go/udpa/annotations"
	udpatype "github.com/cncf/xds/go/udpa/type/v1"
	xdstype "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	redacted = "[redacted]"
	// maxAny bounds how many Anys in one another are looked into; what is deeper is not shown.
	maxAny = 32
)

// A redactor takes out of messages what the protos mark as sensitive (udpa.annotations.sensitive): private keys, passwords,
// session ticket keys, secrets. It follows Anys and TypedStructs. What it cannot look into, because this process does not know
// the type, it replaces, for the same reason and because JSON could not show it.
type redactor struct {
	sensitive map[protoreflect.FullName]bool // by field; a cache
	anys      int                            // how many Anys are around
}

func newRedactor() *redactor { return &redactor{sensitive: map[protoreflect.FullName]bool{}} }

// copyOf is a redacted copy of m.
func (r *redactor) copyOf(m proto.Message) proto.Message {
	m = proto.Clone(m)
	r.message(m.ProtoReflect(), false)
	return m
}

func (r *redactor) isSensitive(fd protoreflect.FieldDescriptor) bool {
	known, ok := r.sensitive[fd.FullName()]
	if !ok {
		if options, is := fd.Options().(*descriptorpb.FieldOptions); is && options != nil {
			known, _ = proto.GetExtension(options, annotations.E_Sensitive).(bool)
		}
		r.sensitive[fd.FullName()] = known
	}
	return known
}

// message redacts m in place and reports whether that changed it. all: m is part of something sensitive.
func (r *redactor) message(m protoreflect.Message, all bool) bool {
	switch known := m.Interface().(type) {
	case *anypb.Any:
		return r.any(known, all)
	case *xdstype.TypedStruct:
		return r.typedStruct(known.GetTypeUrl(), &known.Value, all)
	case *udpatype.TypedStruct:
		return r.typedStruct(known.GetTypeUrl(), &known.Value, all)
	case *structpb.Struct, *structpb.Value, *structpb.ListValue:
		return all && r.structure(known)
	}
	type populated struct {
		field protoreflect.FieldDescriptor
		value protoreflect.Value
	}
	var fields []populated // m changes below, which its Range does not allow
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		fields = append(fields, populated{fd, v})
		return true
	})
	changed := false
	for _, f := range fields {
		if r.field(m, f.field, f.value, all || r.isSensitive(f.field)) {
			changed = true
		}
	}
	return changed
}

// structure redacts a Struct, Value or ListValue, every leaf of which becomes text: cleared, it would not be valid.
func (r *redactor) structure(m proto.Message) bool {
	switch m := m.(type) {
	case *structpb.Struct:
		for _, v := range m.GetFields() {
			r.structure(v)
		}
	case *structpb.ListValue:
		for _, v := range m.GetValues() {
			r.structure(v)
		}
	case *structpb.Value:
		switch kind := m.GetKind().(type) {
		case *structpb.Value_StructValue:
			r.structure(kind.StructValue)
		case *structpb.Value_ListValue:
			r.structure(kind.ListValue)
		default:
			m.Kind = &structpb.Value_StringValue{StringValue: redacted}
		}
	}
	return true
}

func (r *redactor) field(m protoreflect.Message, fd protoreflect.FieldDescriptor, v protoreflect.Value, all bool) bool {
	switch {
	case fd.IsMap():
		return r.entries(v.Map(), fd.MapValue(), all)
	case fd.IsList():
		return r.elements(m, fd, v.List(), all)
	case fd.Message() != nil:
		return r.message(v.Message(), all)
	case !all:
		return false
	}
	if hidden, ok := placeholder(fd.Kind()); ok {
		m.Set(fd, hidden)
	} else {
		m.Clear(fd)
	}
	return true
}

func (r *redactor) elements(m protoreflect.Message, fd protoreflect.FieldDescriptor, list protoreflect.List, all bool) bool {
	if fd.Message() != nil {
		changed := false
		for i := range list.Len() {
			if r.message(list.Get(i).Message(), all) {
				changed = true
			}
		}
		return changed
	}
	if !all {
		return false
	}
	hidden, ok := placeholder(fd.Kind())
	if !ok {
		m.Clear(fd)
		return true
	}
	for i := range list.Len() {
		list.Set(i, hidden)
	}
	return true
}

// entries redacts the values of a map; keys are names.
func (r *redactor) entries(entries protoreflect.Map, value protoreflect.FieldDescriptor, all bool) bool {
	changed := false
	var keys []protoreflect.MapKey
	entries.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if value.Message() != nil {
			if r.message(v.Message(), all) {
				changed = true
			}
		} else {
			keys = append(keys, k)
		}
		return true
	})
	if !all {
		return changed
	}
	for _, k := range keys {
		if hidden, ok := placeholder(value.Kind()); ok {
			entries.Set(k, hidden)
		} else {
			entries.Set(k, value.Default())
		}
		changed = true
	}
	return changed
}

// placeholder is what stands for a sensitive value; numbers have none and are cleared.
func placeholder(kind protoreflect.Kind) (protoreflect.Value, bool) {
	switch kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(redacted), true
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(redacted)), true
	default:
		return protoreflect.Value{}, false
	}
}

func (r *redactor) any(a *anypb.Any, all bool) bool {
	if a.GetTypeUrl() == "" && len(a.GetValue()) == 0 {
		return false
	}
	inner, err := a.UnmarshalNew()
	if err != nil || r.anys >= maxAny {
		hide(a)
		return true
	}
	r.anys++
	changed := r.message(inner.ProtoReflect(), all)
	r.anys--
	if !changed {
		return false
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(inner)
	if err != nil {
		hide(a)
		return true
	}
	a.Value = b
	return true
}

// hide replaces what a holds by a note of its type.
func hide(a *anypb.Any) {
	note := &structpb.Struct{Fields: map[string]*structpb.Value{"not_shown": structpb.NewStringValue(a.GetTypeUrl())}}
	if b, err := proto.Marshal(note); err == nil {
		a.TypeUrl, a.Value = "type.googleapis.com/google.protobuf.Struct", b
	} else { // the type URL is not UTF-8
		a.TypeUrl, a.Value = "", nil
	}
}

// typedStruct redacts a message that is written as a Struct.
func (r *redactor) typedStruct(url string, value **structpb.Struct, all bool) bool {
	if *value == nil {
		return false
	}
	if all {
		return r.structure(*value)
	}
	unknown := func() bool {
		*value = &structpb.Struct{Fields: map[string]*structpb.Value{"not_shown": structpb.NewStringValue(redacted)}}
		return true
	}
	t, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	if err != nil {
		return unknown()
	}
	b, err := protojson.Marshal(*value)
	if err != nil {
		return unknown()
	}
	m := t.New()
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m.Interface()); err != nil {
		return unknown()
	}
	if !r.message(m, false) {
		return false
	}
	b, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Interface())
	shown := &structpb.Struct{}
	if err != nil || protojson.Unmarshal(b, shown) != nil {
		return unknown()
	}
	*value = shown
	return true
}
