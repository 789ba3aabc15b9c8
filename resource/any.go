package resource

import (
	"fmt"
	"strings"

	udpatype "github.com/cncf/xds/go/udpa/type/v1"
	xdstype "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	xdsTypedStruct  = protoreflect.FullName("xds.type.v3.TypedStruct")
	udpaTypedStruct = protoreflect.FullName("udpa.type.v1.TypedStruct")
)

// TypeOf is the message type an Any holds. For a TypedStruct (xds.type.v3, udpa.type.v1) that is the type it stands for.
func TypeOf(a *anypb.Any) protoreflect.FullName {
	name := urlName(a.GetTypeUrl())
	if name != xdsTypedStruct && name != udpaTypedStruct {
		return name
	}
	if url, _, err := typedStruct(a); err == nil && url != "" {
		return urlName(url)
	}
	return name
}

// Unpack returns the message an Any holds, which must be of type T; a TypedStruct that stands for a T is converted. A nil or
// empty Any is an error.
func Unpack[T proto.Message](a *anypb.Any) (T, error) {
	var zero T
	m := zero.ProtoReflect().Type().New().Interface().(T)
	if err := unpackInto(a, m); err != nil {
		return zero, err
	}
	return m, nil
}

// Decode returns the message an Any holds, which may be of any type linked into the binary; a TypedStruct becomes what it stands
// for.
func Decode(a *anypb.Any) (proto.Message, error) {
	name := TypeOf(a)
	if name == "" {
		return nil, fmt.Errorf("empty, want a message")
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, fmt.Errorf("type %s is not supported", name)
	}
	m := t.New().Interface()
	return m, unpackInto(a, m)
}

// unpackInto decodes a into m, which has the type m's descriptor names.
func unpackInto(a *anypb.Any, m proto.Message) error {
	want := m.ProtoReflect().Descriptor().FullName()
	name := urlName(a.GetTypeUrl())
	switch name {
	case "":
		return fmt.Errorf("empty, want a %s", want)
	case want:
		return proto.Unmarshal(a.GetValue(), m)
	case xdsTypedStruct, udpaTypedStruct:
		url, value, err := typedStruct(a)
		if err != nil {
			return err
		}
		if urlName(url) != want {
			return fmt.Errorf("holds a %s, want a %s", urlName(url), want)
		}
		return fromStruct(value, m)
	default:
		return fmt.Errorf("holds a %s, want a %s", name, want)
	}
}

// typedStruct decodes an Any known to hold a TypedStruct.
func typedStruct(a *anypb.Any) (url string, value *structpb.Struct, err error) {
	if urlName(a.GetTypeUrl()) == xdsTypedStruct {
		var t xdstype.TypedStruct
		err = proto.Unmarshal(a.GetValue(), &t)
		return t.GetTypeUrl(), t.GetValue(), err
	}
	var t udpatype.TypedStruct
	err = proto.Unmarshal(a.GetValue(), &t)
	return t.GetTypeUrl(), t.GetValue(), err
}

// fromStruct decodes the JSON object that a Struct is into m.
func fromStruct(s *structpb.Struct, m proto.Message) error {
	if s == nil {
		return nil
	}
	b, err := protojson.Marshal(s)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(b, m)
}

// urlName is the type name at the end of a type URL.
func urlName(url string) protoreflect.FullName {
	return protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
}
