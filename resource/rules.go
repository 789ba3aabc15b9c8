package resource

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The methods of the errors that the protos' generated ValidateAll returns.
type (
	allErrors interface{ AllErrors() []error }
	ruleError interface {
		Field() string // Go names: "FilterChains[0]"
		Reason() string
		Cause() error
	}
)

// rules reports the values in m, without the contents of its Anys, that break the protos' validation rules.
func (c *checker) rules(m proto.Message) {
	v, ok := m.(interface{ ValidateAll() error })
	if !ok {
		return
	}
	if err := v.ValidateAll(); err != nil {
		c.broken(err, m.ProtoReflect().Descriptor(), c.path())
	}
}

// broken translates a rule error about a message of type d at the given place. d is nil where the type is not known.
func (c *checker) broken(err error, d protoreflect.MessageDescriptor, at Path) {
	if all, ok := err.(allErrors); ok {
		for _, one := range all.AllErrors() {
			c.broken(one, d, at)
		}
		return
	}
	rule, ok := err.(ruleError)
	if !ok {
		c.problems.Errorf(at, "", "%s", err)
		return
	}
	place, inner := protoPlace(rule.Field(), d, at)
	if rule.Cause() != nil {
		switch rule.Cause().(type) {
		case allErrors, ruleError:
			c.broken(rule.Cause(), inner, place)
			return
		}
		c.problems.Errorf(place, "", "%s: %s", rule.Reason(), rule.Cause())
		return
	}
	c.problems.Errorf(place, "", "%s", rule.Reason())
}

// protoPlace turns a field as generated code names it ("FilterChains[0]", "Metadata[key]") into its place, and returns the
// type of the message there, nil if it is none.
func protoPlace(goField string, d protoreflect.MessageDescriptor, at Path) (Path, protoreflect.MessageDescriptor) {
	name, bracket, indexed := strings.Cut(goField, "[")
	fd, protoName := protoField(name, d)
	place := at.Field(protoName)
	if indexed {
		element := strings.TrimSuffix(bracket, "]")
		i, err := strconv.Atoi(element)
		if err == nil && (fd == nil || !fd.IsMap()) {
			place = place.Index(i)
		} else {
			place = place.Key(element)
		}
	}
	if fd == nil {
		return place, nil
	}
	if fd.IsMap() {
		return place, fd.MapValue().Message()
	}
	return place, fd.Message()
}

// protoField finds the field or oneof that generated code calls name.
func protoField(name string, d protoreflect.MessageDescriptor) (protoreflect.FieldDescriptor, string) {
	if d == nil {
		return nil, name
	}
	for i := range d.Fields().Len() {
		if fd := d.Fields().Get(i); goName(string(fd.Name())) == name {
			return fd, string(fd.Name())
		}
	}
	for i := range d.Oneofs().Len() {
		if od := d.Oneofs().Get(i); goName(string(od.Name())) == name {
			return nil, string(od.Name())
		}
	}
	return nil, name
}

// goName is the name the Go generator makes of a proto name: words joined, their first letters in upper case, an underscore
// kept where no lower-case letter follows it.
func goName(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '_' && i+1 < len(s) && isLower(s[i+1]):
			b = append(b, s[i+1]-'a'+'A')
			i++
		case i == 0 && isLower(c):
			b = append(b, c-'a'+'A')
		case i > 0 && isDigit(s[i-1]) && isLower(c):
			b = append(b, c-'a'+'A')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
