package file

import (
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/resource"
)

// decode fills m from one layer, which will be merged over base, nil where there is none, and returns the tree it was written as, nil for
// protobuf. ok is false when the layer could not be read at all.
func (l *layer) decode(m proto.Message, base protoreflect.Message, o Options, p *resource.Problems) (root *yaml.Node, ok bool) {
	kind := string(m.ProtoReflect().Descriptor().FullName())
	switch l.format {
	case formatBinary:
		if err := proto.Unmarshal(l.raw, m); err != nil {
			l.unreadable(p, "not a binary "+kind+": "+err.Error())
			return nil, false
		}
		return nil, true
	case formatText:
		if err := (prototext.UnmarshalOptions{Resolver: o.Types}).Unmarshal(l.raw, m); err != nil {
			l.unreadable(p, "not a text "+kind+": "+err.Error())
			return nil, false
		}
		return nil, true
	}
	before := p.Len()
	root = l.parse(p)
	if root == nil {
		for _, problem := range p.All()[before:] {
			if problem.Severity == resource.Error {
				return nil, false
			}
		}
		return nil, true // an empty document is an empty message
	}
	d := &decoder{file: l.name, types: o.Types, support: o.Support, problems: p, budget: aliasBudget, base: base}
	return root, d.message(root, m.ProtoReflect())
}

func (l *layer) unreadable(p *resource.Problems, message string) {
	p.Add(resource.Problem{Kind: resource.Syntax, File: l.name, Message: message})
}
