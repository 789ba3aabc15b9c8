package file

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/resource"
)

// Bounds on what a document may make of few bytes.
const (
	maxDepth    = 200      // nesting of mappings and lists
	maxAnyDepth = 24       // nesting of google.protobuf.Any, each of which is serialized on its own
	aliasBudget = 16 << 20 // bytes that aliases and merge keys may expand to, nodes counted as 32
)

// A decoder fills messages from the nodes of one layer and reports what does not fit.
type decoder struct {
	file     string
	types    protoregistry.MessageTypeResolver
	support  resource.Support
	problems *resource.Problems

	trail []resource.Step      // where the decoder is
	base  protoreflect.Message // what this layer will be merged over; may be nil

	depth   int  // of mappings and lists
	anys    int  // of Anys
	aliased int  // how many aliases lead here
	budget  int  // what is left of aliasBudget
	stopped bool // a bound was passed: nothing more is read
}

// push goes down into a field, element or entry; pop comes back. A Path is put together only for a problem.
func (d *decoder) push(step resource.Step) { d.trail = append(d.trail, step) }

func (d *decoder) pop() { d.trail = d.trail[:len(d.trail)-1] }

// errorf reports a problem where the decoder is.
func (d *decoder) errorf(n *yaml.Node, hint, format string, args ...any) {
	if template := templateHint(follow(n).Value); template != "" {
		hint = template
	} else if strings.HasPrefix(follow(n).Value, "$") {
		hint = "environment variables are not expanded"
	}
	d.problems.Add(resource.Problem{Path: resource.PathOf(d.trail), Message: fmt.Sprintf(format, args...), Hint: hint, File: d.file, Line: n.Line, Column: n.Column})
}

// open follows an alias, charges what it expands to, and counts depth. When it returns false the node must not be read; only
// an opened node is closed.
func (d *decoder) open(n *yaml.Node) (*yaml.Node, bool) {
	node := n
	if n.Kind == yaml.AliasNode {
		node = n.Alias
	}
	if (n.Kind == yaml.AliasNode || d.aliased > 0) && !d.charge(32+len(node.Value), n) || d.stopped {
		return nil, false
	}
	if d.depth >= maxDepth {
		d.errorf(n, "", "nested more than %d levels deep", maxDepth)
		d.stopped = true
		return nil, false
	}
	d.depth++
	if n.Kind == yaml.AliasNode {
		d.aliased++
	}
	return node, true
}

// close ends what open of the same node began.
func (d *decoder) close(n *yaml.Node) {
	d.depth--
	if n.Kind == yaml.AliasNode {
		d.aliased--
	}
}

// charge takes n bytes from the alias budget.
func (d *decoder) charge(n int, node *yaml.Node) bool {
	if d.budget -= n; d.budget < 0 && !d.stopped {
		d.errorf(node, "", "YAML aliases expand to more than %d MiB", aliasBudget>>20)
		d.stopped = true
	}
	return !d.stopped
}

// message fills m from a node. It says whether the node could be read at all.
func (d *decoder) message(n *yaml.Node, m protoreflect.Message) bool {
	node, ok := d.open(n)
	if !ok {
		return false
	}
	defer d.close(n)
	if kind := specialOf(m.Descriptor().FullName()); kind != ordinary {
		return d.special(kind, node, m)
	}
	if node.Kind != yaml.MappingNode {
		d.errorf(node, "", "want a mapping with the fields of %s, found %s", m.Descriptor().FullName(), describe(node))
		return false
	}
	d.fields(node, m, false)
	return true
}

// fields fills m from the entries of a mapping. In an Any the key @type has been read already.
func (d *decoder) fields(node *yaml.Node, m protoreflect.Message, inAny bool) {
	content, own := d.entries(node)
	var few [24]protoreflect.FieldNumber
	seen := few[:0]
	descriptor := m.Descriptor()
	for i := 0; i+1 < len(content); i += 2 {
		key, value := follow(content[i]), content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.errorf(key, "", "want a field name, found %s", describe(key))
			continue
		}
		if inAny && key.Value == "@type" {
			continue
		}
		fd := fieldNamed(descriptor, key.Value)
		if fd == nil {
			d.unknownField(key, descriptor)
			continue
		}
		d.push(resource.Step{Name: string(fd.Name())})
		if slices.Contains(seen, fd.Number()) {
			d.errorf(key, "", "given twice")
		} else {
			seen = append(seen, fd.Number())
			d.inherit(i >= own, func() { d.entry(key, value, m, fd) })
		}
		d.pop()
	}
}

// inherit calls read; for what a merge key brought, at the expense of the alias budget.
func (d *decoder) inherit(merged bool, read func()) {
	if merged {
		d.aliased++
	}
	read()
	if merged {
		d.aliased--
	}
}

// entry sets the field of m that a key names, unless its value is null.
func (d *decoder) entry(key, n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	if isNull(n) && !takesNull(fd) {
		return
	}
	if other := alternative(m, fd); other != nil {
		d.errorf(key, "", "cannot be combined with %s: only one of them may be set", other.Name())
		return
	}
	switch {
	case fd.IsList():
		d.list(n, m, fd)
	case fd.IsMap():
		d.mapField(n, m, fd)
	case fd.Message() != nil:
		value := m.NewField(fd)
		if d.message(n, value.Message()) {
			m.Set(fd, value)
		}
	default:
		if v, ok := d.scalar(n, fd); ok {
			m.Set(fd, v)
		}
	}
}

// entries are the keys and values of a mapping in turn; those from `own` on were merged into it by `<<`.
func (d *decoder) entries(n *yaml.Node) (content []*yaml.Node, own int) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if isMerge(n.Content[i]) {
			return d.merge(n)
		}
	}
	return n.Content, len(n.Content)
}

// merge is entries for a mapping with merge keys: its own entries, then those of the mappings it merges that it does not have.
func (d *decoder) merge(n *yaml.Node) (content []*yaml.Node, own int) {
	have := map[string]bool{}
	var sources []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !isMerge(key) {
			content = append(content, key, value)
			have[follow(key).Value] = true
			continue
		}
		if from := follow(value); from.Kind == yaml.SequenceNode {
			sources = append(sources, from.Content...)
		} else {
			sources = append(sources, from)
		}
	}
	own = len(content)
	for _, source := range sources {
		from, ok := d.open(source)
		if !ok {
			break
		}
		d.aliased++
		if from.Kind != yaml.MappingNode {
			d.errorf(source, "", "a merge key (<<) needs a mapping, found %s", describe(from))
		} else if inherited, _ := d.entries(from); d.charge(32*len(inherited), source) {
			for i := 0; i+1 < len(inherited); i += 2 {
				if key := follow(inherited[i]).Value; !have[key] {
					have[key] = true
					content = append(content, inherited[i], inherited[i+1])
				}
			}
		}
		d.aliased--
		d.close(source)
	}
	return content, own
}

// list appends the elements of a repeated field.
func (d *decoder) list(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	node, ok := d.open(n)
	if !ok {
		return
	}
	defer d.close(n)
	elements := node.Content
	if node.Kind != yaml.SequenceNode {
		elements = []*yaml.Node{n} // Envoy takes a lone element for a list of one
	}
	list := m.Mutable(fd).List()
	first := d.present(fd)
	for i, element := range elements {
		d.push(resource.Step{Kind: resource.StepIndex, Index: first + i})
		value := list.NewElement()
		switch {
		case isNull(element) && !takesNull(fd):
			d.errorf(element, "", "the element is empty")
		case fd.Message() != nil:
			d.message(element, value.Message())
		default:
			if v, ok := d.scalar(element, fd); ok {
				value = v
			}
		}
		list.Append(value) // also what could not be read: later elements keep their index
		d.pop()
	}
}

// present is how many elements the list that the decoder is at has in the layers below, which come before those of this one.
func (d *decoder) present(list protoreflect.FieldDescriptor) int {
	m := d.base
	if m == nil || d.anys > 0 {
		return 0
	}
	for _, step := range d.trail[:len(d.trail)-1] {
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(step.Name))
		if step.Kind != resource.StepField || fd == nil || fd.Message() == nil || fd.IsMap() || fd.IsList() {
			return 0 // inside an element, which is of one layer only
		}
		m = m.Get(fd).Message()
	}
	if m.Descriptor() != list.ContainingMessage() {
		return 0
	}
	return m.Get(list).List().Len()
}

// mapField adds the entries of a map field.
func (d *decoder) mapField(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	node, ok := d.open(n)
	if !ok {
		return
	}
	defer d.close(n)
	if node.Kind != yaml.MappingNode {
		d.errorf(node, "", "want a mapping of keys to values, found %s", describe(node))
		return
	}
	content, own := d.entries(node)
	entries := m.Mutable(fd).Map()
	for i := 0; i+1 < len(content); i += 2 {
		key, value := follow(content[i]), content[i+1]
		d.push(resource.Step{Kind: resource.StepKey, Name: key.Value})
		d.inherit(i >= own, func() { d.mapEntry(key, value, entries, fd) })
		d.pop()
	}
}

func (d *decoder) mapEntry(key, n *yaml.Node, entries protoreflect.Map, fd protoreflect.FieldDescriptor) {
	k, ok := d.mapKey(key, fd.MapKey())
	switch {
	case !ok:
	case entries.Has(k):
		d.errorf(key, "", "given twice")
	case isNull(n) && !takesNull(fd.MapValue()):
		d.errorf(n, "", "the value is empty")
	case fd.MapValue().Message() != nil:
		v := entries.NewValue()
		if d.message(n, v.Message()) {
			entries.Set(k, v)
		}
	default:
		if v, ok := d.scalar(n, fd.MapValue()); ok {
			entries.Set(k, v)
		}
	}
}

// mapKey converts a key, which may be written with or without quotes.
func (d *decoder) mapKey(n *yaml.Node, fd protoreflect.FieldDescriptor) (protoreflect.MapKey, bool) {
	if n.Kind != yaml.ScalarNode {
		d.errorf(n, "", "want a key, found %s", describe(n))
		return protoreflect.MapKey{}, false
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(n.Value).MapKey(), true
	case protoreflect.BoolKind:
		b, err := strconv.ParseBool(n.Value)
		if err != nil {
			d.errorf(n, "", "the key must be true or false")
		}
		return protoreflect.ValueOfBool(b).MapKey(), err == nil
	default:
		v, ok := d.number(n, fd)
		if !ok {
			return protoreflect.MapKey{}, false
		}
		return v.MapKey(), true
	}
}

// fieldNamed finds a field by its proto or its lowerCamelCase name.
func fieldNamed(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := d.Fields().ByName(protoreflect.Name(name)); fd != nil {
		return fd
	}
	return d.Fields().ByJSONName(name)
}

// alternative is another field of fd's oneof that is set already.
func alternative(m protoreflect.Message, fd protoreflect.FieldDescriptor) protoreflect.FieldDescriptor {
	if oneof := fd.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		return m.WhichOneof(oneof)
	}
	return nil
}

// unknownField reports a key that is not a field.
func (d *decoder) unknownField(key *yaml.Node, in protoreflect.MessageDescriptor) {
	d.problems.Add(resource.Problem{Path: resource.PathOf(d.trail).Field(key.Value), Kind: resource.UnknownField, File: d.file, Line: key.Line, Column: key.Column,
		Message: fmt.Sprintf("unknown field %q in %s", key.Value, in.FullName()), Hint: fieldHint(key.Value, in)})
}

// isNull says whether a value is YAML's null: nothing at all, ~ or null.
func isNull(n *yaml.Node) bool {
	n = follow(n)
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// takesNull says whether null is a value of a field instead of leaving it unset.
func takesNull(fd protoreflect.FieldDescriptor) bool {
	if m := fd.Message(); m != nil {
		return m.FullName() == "google.protobuf.Value"
	}
	return fd.Enum() != nil && fd.Enum().FullName() == "google.protobuf.NullValue"
}

// describe says what a node is, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "nothing"
		}
		if value := n.Value; len(value) <= 60 {
			return strconv.Quote(value)
		}
		return "a text of " + strconv.Itoa(len(n.Value)) + " bytes"
	default:
		return "an alias"
	}
}
