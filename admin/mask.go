package admin

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// A mask is the paths of a google.protobuf.FieldMask as a tree of field names. A field without fields below it is kept whole,
// and so is a message masked by an empty mask.
type mask map[string]mask

// parseMask reads comma-separated paths: "cluster.name,last_updated".
func parseMask(s string) mask {
	root := mask{}
	for path := range strings.SplitSeq(s, ",") {
		at := root
		whole := false
		for name := range strings.SplitSeq(path, ".") {
			if name == "" {
				continue
			}
			next, ok := at[name]
			if whole = ok && len(next) == 0; whole {
				break // a shorter path keeps it all
			}
			if !ok {
				next = mask{}
				at[name] = next
			}
			at = next
		}
		if !whole {
			clear(at)
		}
	}
	return root
}

// fits reports whether every path is one of the message type d. Paths lead through single messages only.
func (m mask) fits(d protoreflect.MessageDescriptor) bool {
	for name, below := range m {
		fd := d.Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			return false
		}
		if len(below) == 0 {
			continue
		}
		if fd.Message() == nil || fd.IsList() || fd.IsMap() || !below.fits(fd.Message()) {
			return false
		}
	}
	return true
}

// apply clears what the mask, which fits, does not name.
func (m mask) apply(msg protoreflect.Message) {
	if len(m) == 0 {
		return
	}
	fields := msg.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !msg.Has(fd) {
			continue
		}
		below, ok := m[string(fd.Name())]
		switch {
		case !ok:
			msg.Clear(fd)
		case len(below) > 0:
			below.apply(msg.Mutable(fd).Message())
		}
	}
}

// applyResource masks an element of a dump, whose resource is in an Any: the part of a path after that field is a path of the
// message inside. msg is changed in place.
func (m mask) applyResource(msg proto.Message) error {
	outer := mask{}
	r := msg.ProtoReflect()
	for name, below := range m {
		fd := r.Descriptor().Fields().ByName(protoreflect.Name(name))
		if fd == nil || fd.IsList() || fd.Message() == nil || fd.Message().FullName() != "google.protobuf.Any" {
			outer[name] = below
			continue
		}
		outer[name] = mask{}
		if !r.Has(fd) || len(below) == 0 {
			continue
		}
		a, ok := r.Mutable(fd).Message().Interface().(*anypb.Any)
		if !ok {
			return fmt.Errorf("field %s", name)
		}
		if err := below.applyAny(a); err != nil {
			return err
		}
	}
	if !outer.fits(r.Descriptor()) {
		return fmt.Errorf("no such field")
	}
	outer.apply(r)
	return nil
}

func (m mask) applyAny(a *anypb.Any) error {
	inner, err := a.UnmarshalNew()
	if err != nil {
		return err
	}
	if !m.fits(inner.ProtoReflect().Descriptor()) {
		return fmt.Errorf("no such field of %s", a.MessageName())
	}
	m.apply(inner.ProtoReflect())
	return a.MarshalFrom(inner)
}
