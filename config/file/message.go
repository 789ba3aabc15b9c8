package file

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/resource"
)

// Message fills m from the file o.Path, whose extension says the format as for Load, and reports what cannot be read into it: the problems
// have the file and, where the format has lines, line and column. What was read before and beside them is in m; what they are in is not
// complete. Nothing is checked that can be read. The Source says where the fields are written; it is nil, after one problem, when the file
// cannot be read at all. empty reports that the file has nothing in it. Of an Any whose type o.Support does not list only the type is kept.
func Message(o Options, m proto.Message) (s *Source, empty bool, p *resource.Problems) {
	raw, err := readFile(o.Path)
	if err != nil {
		p = &resource.Problems{}
		p.Add(resource.Problem{Kind: resource.Syntax, File: o.Path, Message: err.Error()})
		return nil, false, p
	}
	return Parse(o, raw, m)
}

// Parse is Message for text that was read already, or came from elsewhere: o.Path is what problems call it, and says the format.
func Parse(o Options, raw []byte, m proto.Message) (s *Source, empty bool, p *resource.Problems) {
	p = &resource.Problems{}
	if o.Types == nil {
		o.Types = protoregistry.GlobalTypes
	}
	s = &Source{layers: []layer{{name: o.Path, format: formatOf(o.Path), raw: raw}}}
	l := &s.layers[0]
	root, ok := l.decode(m, nil, o, p)
	if !ok {
		return nil, false, p
	}
	return s, root == nil && (l.format == formatYAML || l.format == formatJSON) || len(l.raw) == 0, p
}
