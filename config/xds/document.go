package xds

import (
	"maps"
	"strconv"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/resource"
)

// A document is a DiscoveryResponse that was written as YAML, JSON, text or binary protobuf.
type document struct {
	message  *discoveryv3.DiscoveryResponse
	source   *file.Source
	problems map[int][]resource.Problem // by the resource that they are in, with paths within it; -1: of the whole document
	broken   bool                       // among those of the whole are errors
}

// readable is what of a document's Anys is read: what is supported, and what resources are wrapped in.
func (c *Client) readable() resource.Support {
	s := maps.Clone(c.o.Support)
	if s == nil {
		s = resource.Support{}
	}
	s["envoy.service.discovery.v3.Resource"] = resource.Names("name version ttl aliases resource resource_name cache_control")
	for i := range kinds {
		name := kinds[i].message().ProtoReflect().Descriptor().FullName()
		if _, ok := s[name]; !ok {
			s[name] = resource.Fields{}
		}
	}
	return s
}

// parse reads a document. name is what problems call it; its extension says the format. Unless strict, fields that the API does not have
// are left out and counted.
func (c *Client) parse(name string, raw []byte, strict bool) *document {
	d := &document{message: &discoveryv3.DiscoveryResponse{}, problems: map[int][]resource.Problem{}}
	source, empty, p := file.Parse(file.Options{Path: name, Support: c.readable()}, raw, d.message)
	d.source = source
	if empty && !p.HasErrors() {
		p.Add(resource.Problem{Kind: resource.Syntax, File: name, Message: "is empty",
			Hint: "`resources: []` says that there are none"})
	}
	for _, problem := range p.All() {
		if problem.Kind == resource.UnknownField && !strict {
			c.stats.unknown.Inc()
			continue
		}
		i, within := split(problem.Path)
		problem.Path = within
		d.problems[i] = append(d.problems[i], problem)
		d.broken = d.broken || i < 0 && problem.Severity == resource.Error
	}
	return d
}

// split returns which resource of a document a path leads into, and the rest of it; -1 for none.
func split(at resource.Path) (int, resource.Path) {
	steps := at.Steps()
	if len(steps) < 2 || steps[0].Name != "resources" || steps[1].Kind != resource.StepIndex {
		return -1, at
	}
	rest := steps[2:]
	return steps[1].Index, resource.PathOf(rest)
}

// response returns what the document says about one kind: the resources of that type, or all where the others would be mistakes.
func (d *document) response(k *kind, version string, all bool) *response {
	whole := fromSotW(d.message)
	r := &response{typeURL: k.url, version: version, nonce: whole.nonce, control: whole.control}
	for i, it := range whole.items {
		if body := it.body; !all && body != nil && body.GetTypeUrl() != k.url {
			continue
		}
		it.version = version
		wrapped := d.message.GetResources()[i].GetTypeUrl() == wrapperURL
		for _, p := range d.problems[i] {
			if wrapped {
				p.Path = resource.Path(strings.TrimPrefix(strings.TrimPrefix(string(p.Path), "resource"), "."))
			}
			if p.Severity == resource.Error {
				it.problems = append(it.problems, p)
			}
		}
		r.items = append(r.items, it)
	}
	return r
}

// whose returns the position in the document of each resource of a kind, by name.
func (d *document) whose(k *kind) map[string]int {
	out := map[string]int{}
	for i, it := range fromSotW(d.message).items {
		name := it.name
		if name == "" && it.body.GetTypeUrl() == k.url {
			name = nameIn(it.body.GetValue())
		}
		if _, ok := out[name]; !ok {
			out[name] = i
		}
	}
	return out
}

// locate fills in where in the document the problems of rejected resources are.
func (d *document) locate(k *kind, rejected []resource.Rejection) []resource.Problem {
	where := d.whose(k)
	var out []resource.Problem
	for _, r := range rejected {
		i, known := where[r.Key.Name]
		for _, p := range r.Problems {
			if p.Resource == "" {
				p.Resource = r.Key.String()
			}
			if p.File == "" && known && d.source != nil {
				at := "resources[" + strconv.Itoa(i) + "]"
				if d.message.GetResources()[i].GetTypeUrl() == wrapperURL {
					at += ".resource"
				}
				p.File, p.Line, p.Column = d.source.Position(join(resource.Path(at), p.Path))
			}
			out = append(out, p)
		}
	}
	return out
}

func join(at, within resource.Path) resource.Path {
	if within == "" || within[0] == '[' {
		return at + within
	}
	return at + "." + within
}
