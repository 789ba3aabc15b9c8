package file

import (
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/resource"
)

// Options say what to load and what to accept.
type Options struct {
	Path   string // the file; its extension says the format: .yaml, .yml, .json, .pb, .pb_text, .textproto; YAML otherwise
	Inline string // YAML merged over the file: scalars replace, lists append, messages merge (--config-yaml)

	// AllowUnknownStatic makes unknown and unsupported fields warnings (--allow-unknown-static-fields). Extensions and enum
	// values that are not supported stay errors: nothing can take their place, and leaving out a filter is not harmless.
	AllowUnknownStatic bool

	Support resource.Support     // what is supported; extensions whose type it does not list are not
	Types   *protoregistry.Types // where the types of Anys are looked up; nil: all that are linked
}

// Load reads a configuration and reports all that is wrong with it, sorted by place. The Set is nil only when no Bootstrap
// could be read; with errors among the problems it is incomplete and only good for looking at.
func Load(o Options) (*resource.Set, *resource.Problems) {
	p := &resource.Problems{}
	source, err := Open(o)
	if err != nil {
		p.Add(resource.Problem{Kind: resource.Syntax, File: o.Path, Message: err.Error()})
		return nil, p
	}
	if o.Types == nil {
		o.Types = protoregistry.GlobalTypes
	}
	bootstrap, where := source.decode(o, p)
	if bootstrap == nil {
		return nil, p
	}
	check(bootstrap, o, p)
	set := resource.FromBootstrap(bootstrap, source.name(), p)
	finish(bootstrap, where, o, p)
	return set, p
}

// name is the source for people: "file bootstrap.yaml".
func (s *Source) name() string {
	var names []string
	for i := range s.layers {
		if s.layers[i].name == InlineName {
			names = append(names, InlineName)
		} else {
			names = append(names, "file "+s.layers[i].name)
		}
	}
	return strings.Join(names, " and ")
}

// decode reads every layer and merges them. It returns nil if one could not be read.
func (s *Source) decode(o Options, p *resource.Problems) (*bootstrapv3.Bootstrap, *locator) {
	var merged *bootstrapv3.Bootstrap
	where := &locator{layers: s.layers}
	failed := false
	for i := range s.layers {
		b := &bootstrapv3.Bootstrap{}
		var base protoreflect.Message
		if merged != nil {
			base = merged.ProtoReflect()
		}
		root, ok := s.layers[i].decode(b, base, o, p)
		where.roots = append(where.roots, root)
		failed = failed || !ok
		if merged == nil {
			merged = b
		} else {
			proto.Merge(merged, b)
		}
	}
	if failed {
		return nil, where
	}
	return merged, where
}

// check reports what the merged message holds that is not supported or breaks a rule, unless it follows from what decoding
// has reported already.
func check(b *bootstrapv3.Bootstrap, o Options, p *resource.Problems) {
	known := map[resource.Path]bool{}
	for _, problem := range p.All() {
		if problem.Severity == resource.Error {
			known[problem.Path] = true
			known[parent(problem.Path)+".*"] = true
		}
	}
	var found resource.Problems
	resource.Check(b, "", o.Support, o.Types, &found)
	checkRuntime(b, &found)
	for _, problem := range found.All() {
		missing := problem.Message == "value is required" || problem.Message == "value is required and must not be nil."
		if !within(known, problem.Path) && !(missing && known[parent(problem.Path)+".*"]) {
			p.Add(problem)
		}
	}
}

// within says whether a path, or one it leads through, is in the set.
func within(set map[resource.Path]bool, p resource.Path) bool {
	if len(set) == 0 {
		return false
	}
	for p != "" {
		if set[p] {
			return true
		}
		p = p[:max(0, strings.LastIndexAny(string(p), ".["))]
	}
	return false
}

// parent is the place of the message that holds the field at p.
func parent(p resource.Path) resource.Path {
	return p[:max(0, strings.LastIndexByte(string(p), '.'))]
}

// finish gives every problem its resource, position and severity.
func finish(b *bootstrapv3.Bootstrap, where *locator, o Options, p *resource.Problems) {
	p.Edit(func(problem resource.Problem) resource.Problem {
		if problem.File == "" {
			problem.File, problem.Line, problem.Column = where.locate(problem.Path)
		}
		if problem.Resource == "" {
			problem.Resource = resourceAt(b, problem.Path)
		}
		lenient := problem.Kind == resource.UnknownField || problem.Kind == resource.UnsupportedField
		if o.AllowUnknownStatic && lenient && problem.Severity == resource.Error {
			problem.Severity = resource.Warning
		}
		return problem
	})
	p.Sort()
}

// resourceAt names the static resource a path leads into.
func resourceAt(b *bootstrapv3.Bootstrap, at resource.Path) string {
	rest, ok := strings.CutPrefix(string(at), "static_resources.")
	if !ok {
		return ""
	}
	list, rest, _ := strings.Cut(rest, "[")
	index, _, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 {
		return ""
	}
	static := b.GetStaticResources()
	switch {
	case list == "listeners" && i < len(static.GetListeners()):
		l := static.GetListeners()[i]
		return resource.Key{Type: resource.Listener, Name: resource.ListenerName(l, i)}.String()
	case list == "clusters" && i < len(static.GetClusters()):
		return resource.Key{Type: resource.Cluster, Name: static.GetClusters()[i].GetName()}.String()
	case list == "secrets" && i < len(static.GetSecrets()):
		return resource.Key{Type: resource.Secret, Name: static.GetSecrets()[i].GetName()}.String()
	}
	return ""
}
