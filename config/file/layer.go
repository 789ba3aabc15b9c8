package file

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/resource"
)

// decode fills b from one layer, which will be merged over base, and returns the tree it was written as, nil for protobuf. ok is
// false when the layer could not be read at all.
func (l *layer) decode(b, base *bootstrapv3.Bootstrap, o Options, p *resource.Problems) (root *yaml.Node, ok bool) {
	switch l.format {
	case formatBinary:
		if err := proto.Unmarshal(l.raw, b); err != nil {
			l.unreadable(p, "not a binary envoy.config.bootstrap.v3.Bootstrap: "+err.Error())
			return nil, false
		}
		return nil, true
	case formatText:
		if err := (prototext.UnmarshalOptions{Resolver: o.Types}).Unmarshal(l.raw, b); err != nil {
			l.unreadable(p, "not a text envoy.config.bootstrap.v3.Bootstrap: "+err.Error())
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
		return nil, true // an empty document is an empty Bootstrap
	}
	d := &decoder{file: l.name, types: o.Types, support: o.Support, problems: p, budget: aliasBudget}
	if base != nil {
		d.base = base.ProtoReflect()
	}
	return root, d.message(root, b.ProtoReflect())
}

func (l *layer) unreadable(p *resource.Problems, message string) {
	p.Add(resource.Problem{Kind: resource.Syntax, File: l.name, Message: message})
}
