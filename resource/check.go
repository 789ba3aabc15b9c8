package resource

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
)

// Bounds on what Check follows. Every Any is decoded on its own, so a message nested in many of them costs its size many times.
const (
	maxDepth    = 256
	maxAnyDepth = 24
)

// Check reports what is wrong with root, whose own place is at, to p: populated fields that s does not list or calls
// unsupported, fields without effect (as Notes), extensions that s or types does not know, and values that break the protos'
// validation rules. It descends into each Any and TypedStruct. It does not modify root.
//
// A scalar set to its default is invisible in a proto and passes.
func Check(root proto.Message, at Path, s Support, types protoregistry.MessageTypeResolver, p *Problems) {
	NewChecker(s, types).Check(root, at, p)
}

// A Checker checks many messages by the same table, which it looks at once a message type. Not safe for concurrent use.
type Checker struct {
	support Support
	types   protoregistry.MessageTypeResolver
	plans   map[protoreflect.FullName]*plan
}

// NewChecker returns a Checker; its arguments are those of Check.
func NewChecker(s Support, types protoregistry.MessageTypeResolver) *Checker {
	return &Checker{support: s, types: types, plans: map[protoreflect.FullName]*plan{}}
}

// Check is the function Check.
func (k *Checker) Check(root proto.Message, at Path, p *Problems) {
	c := checker{support: k.support, types: k.types, problems: p, root: at, plans: k.plans}
	c.message(root.ProtoReflect())
	c.rules(root)
}

// A checker is one run of Check.
type checker struct {
	support  Support
	types    protoregistry.MessageTypeResolver
	problems *Problems
	plans    map[protoreflect.FullName]*plan

	root  Path
	trail []Step // from root to where the walk is; a Path is put together only for a problem
	anys  int    // how many Anys are around
}

func (c *checker) push(s Step) { c.trail = append(c.trail, s) }
func (c *checker) pop()        { c.trail = c.trail[:len(c.trail)-1] }

// path is where the walk is.
func (c *checker) path() Path {
	switch steps := PathOf(c.trail); {
	case c.root == "":
		return steps
	case steps == "":
		return c.root
	default:
		return c.root + "." + steps
	}
}

// A plan is what to do with the fields of one message type.
type plan struct{ fields []fieldPlan }

type fieldPlan struct {
	field   protoreflect.FieldDescriptor
	name    string
	status  Status
	listed  bool
	message protoreflect.MessageDescriptor // of the field, its elements or its values; nil for scalars and pure values
	values  map[protoreflect.EnumNumber]Status
}

func (c *checker) planOf(d protoreflect.MessageDescriptor) *plan {
	name := d.FullName()
	if p, ok := c.plans[name]; ok {
		return p
	}
	fields, listed := c.support[name]
	if !listed {
		c.plans[name] = nil
		return nil
	}
	p := &plan{}
	c.plans[name] = p
	for i := range d.Fields().Len() {
		p.fields = append(p.fields, planField(d.Fields().Get(i), fields))
	}
	return p
}

func planField(fd protoreflect.FieldDescriptor, fields Fields) fieldPlan {
	fp := fieldPlan{field: fd, name: string(fd.Name())}
	fp.status, fp.listed = fields[fp.name]
	inner := fd
	if fd.IsMap() {
		inner = fd.MapValue()
	}
	if m := inner.Message(); m != nil && (!isLeaf(m) || m.FullName() == anyName) {
		fp.message = m
	}
	if e := inner.Enum(); e != nil {
		for i := range e.Values().Len() {
			v := e.Values().Get(i)
			if status, ok := fields[fp.name+"="+string(v.Name())]; ok {
				if fp.values == nil {
					fp.values = map[protoreflect.EnumNumber]Status{}
				}
				fp.values[v.Number()] = status
			}
		}
	}
	return fp
}

const anyName = protoreflect.FullName("google.protobuf.Any")

// isLeaf says whether messages of this type are values without fields of their own to speak of.
func isLeaf(d protoreflect.MessageDescriptor) bool {
	name := d.FullName()
	return strings.HasPrefix(string(name), "google.protobuf.") || name == "google.rpc.Status"
}

// message checks the populated fields of m, whose type must be in the support table.
func (c *checker) message(m protoreflect.Message) {
	p := c.planOf(m.Descriptor())
	if p == nil {
		c.problems.Add(Problem{Path: c.path(), Kind: UnsupportedField, Message: fmt.Sprintf("%s is not supported", m.Descriptor().FullName())})
		return
	}
	if len(m.GetUnknown()) > 0 {
		c.problems.Add(Problem{Path: c.path(), Kind: UnknownField, Message: fmt.Sprintf("has fields that %s does not", m.Descriptor().FullName()),
			Hint: "they were written for another version of Envoy's API"})
	}
	if len(c.trail) > maxDepth {
		c.problems.Errorf(c.path(), "", "nested more than %d fields deep", maxDepth)
		return
	}
	for i := range p.fields {
		if fp := &p.fields[i]; m.Has(fp.field) {
			c.push(Step{Name: fp.name})
			c.field(m, fp)
			c.pop()
		}
	}
}

// field checks one populated field of m.
func (c *checker) field(m protoreflect.Message, fp *fieldPlan) {
	switch {
	case fp.status.Level == Unsupported:
		c.problems.Unsupported(c.path(), fp.status.Note)
		return
	case fp.status.Level == Ignored:
		c.ineffective("", fp.status)
		return
	case fp.message == nil && fp.values == nil:
		return
	}
	value := m.Get(fp.field)
	switch {
	case fp.field.IsList():
		for i := range value.List().Len() {
			c.push(Step{Kind: StepIndex, Index: i})
			c.value(m, fp, value.List().Get(i))
			c.pop()
		}
	case fp.field.IsMap():
		entries := value.Map()
		for _, k := range sortedKeys(entries) {
			c.push(Step{Kind: StepKey, Name: k.String()})
			c.value(m, fp, entries.Get(k))
			c.pop()
		}
	default:
		c.value(m, fp, value)
	}
}

// sortedKeys are the keys of a map field, in the order of their text.
func sortedKeys(entries protoreflect.Map) []protoreflect.MapKey {
	keys := make([]protoreflect.MapKey, 0, entries.Len())
	entries.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// value checks one value of a field of the message owner.
func (c *checker) value(owner protoreflect.Message, fp *fieldPlan, v protoreflect.Value) {
	switch {
	case fp.message == nil:
		c.enum(fp, v.Enum())
	case fp.message.FullName() == anyName:
		if a, ok := v.Message().Interface().(*anypb.Any); ok {
			c.any(owner, a)
		}
	case c.planOf(fp.message) == nil:
		c.problems.Unsupported(c.path(), fp.status.Note)
	default:
		c.message(v.Message())
	}
}

func (c *checker) enum(fp *fieldPlan, n protoreflect.EnumNumber) {
	status, ok := fp.values[n]
	if !ok {
		return
	}
	inner := fp.field
	if inner.IsMap() {
		inner = inner.MapValue()
	}
	name := string(inner.Enum().Values().ByNumber(n).Name())
	switch status.Level {
	case Unsupported:
		c.problems.Add(Problem{Path: c.path(), Kind: UnsupportedValue, Message: name + " is not supported", Hint: status.Note})
	case Ignored:
		c.ineffective(name+" ", status)
	}
}

func (c *checker) ineffective(what string, s Status) {
	c.problems.Add(Problem{Path: c.path(), Severity: Note, Kind: Ineffective, Message: what + "has no effect", Hint: s.Note})
}

// any checks what an Any of the message owner holds.
func (c *checker) any(owner protoreflect.Message, a *anypb.Any) {
	name := TypeOf(a)
	if name == "" {
		if len(a.GetValue()) > 0 {
			c.problems.Errorf(c.path(), `"@type": type.googleapis.com/...`, "has no type")
		}
		return
	}
	if c.anys >= maxAnyDepth {
		c.problems.Errorf(c.path(), "", "nested more than %d google.protobuf.Any deep", maxAnyDepth)
		return
	}
	m := c.newMessage(name)
	if m == nil {
		c.extension(owner, name)
		return
	}
	if err := unpackInto(a, m); err != nil {
		c.problems.Errorf(c.path(), "", "not a valid %s: %v", name, err)
		return
	}
	if isLeaf(m.ProtoReflect().Descriptor()) {
		return
	}
	c.anys++
	c.message(m.ProtoReflect())
	c.rules(m)
	c.anys--
}

// newMessage returns an empty message of the given type, or nil if it is not supported.
func (c *checker) newMessage(name protoreflect.FullName) proto.Message {
	t, err := c.types.FindMessageByName(name)
	if err != nil {
		return nil
	}
	if _, ok := c.support[name]; !ok && !isLeaf(t.Descriptor()) {
		return nil
	}
	return t.New().Interface()
}

// extension reports an Any of a type that is not supported, with the name its surroundings give it.
func (c *checker) extension(owner protoreflect.Message, name protoreflect.FullName) {
	problem := Problem{Path: c.path(), Kind: UnsupportedExtension, Hint: extensionHint(name)}
	problem.Message = fmt.Sprintf("extension of type %s is not supported", name)
	if label := c.extensionName(owner); label != "" {
		problem.Message = fmt.Sprintf("extension %q (type %s) is not supported", label, name)
	}
	if optional := owner.Descriptor().Fields().ByName("is_optional"); optional != nil && optional.Kind() == protoreflect.BoolKind && owner.Get(optional).Bool() {
		problem.Severity = Warning
		problem.Message += "; it is optional and left out"
	}
	c.problems.Add(problem)
}

// extensionName is the key of the map entry an Any is in, or the `name` beside it.
func (c *checker) extensionName(owner protoreflect.Message) string {
	if n := len(c.trail); n > 0 && c.trail[n-1].Kind == StepKey {
		return c.trail[n-1].Name
	}
	fd := owner.Descriptor().Fields().ByName("name")
	if fd == nil || fd.Kind() != protoreflect.StringKind || fd.IsList() {
		return ""
	}
	return owner.Get(fd).String()
}

// extensionHint says what to do about types that no version of the v3 API has.
func extensionHint(name protoreflect.FullName) string {
	if IsV2(name) {
		return "this is a type of Envoy's v2 API, which ended with Envoy 1.18; use the v3 type"
	}
	return ""
}

// IsV2 says whether a type belongs to Envoy's removed v2 API: envoy.api.v2 and the v2 and v2alpha packages beside it.
func IsV2(name protoreflect.FullName) bool {
	if !strings.HasPrefix(string(name), "envoy.") {
		return false
	}
	v2 := false
	for part := range strings.SplitSeq(string(name), ".") {
		switch {
		case part == "v3" || strings.HasPrefix(part, "v3alpha"):
			return false
		case part == "v2" || strings.HasPrefix(part, "v2alpha") || part == "v1" || strings.HasPrefix(part, "v1alpha"):
			v2 = true
		}
	}
	return v2
}
