package server

import (
	"fmt"
	"io"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/resource"
)

// A loaded is a configuration as it was read, and what is wrong with it.
type loaded struct {
	name     string        // "envoy.yaml", for people
	source   *file.Source  // nil when there is no text
	set      *resource.Set // nil when nothing could be read
	problems []resource.Problem
}

// load reads the configuration that the command line names.
func (o Options) load(support resource.Support) *loaded {
	if o.Bootstrap != nil {
		return fromBootstrap(o.Bootstrap, support)
	}
	from := file.Options{
		Path: o.ConfigPath, Inline: o.ConfigYAML, AllowUnknownStatic: o.AllowUnknownStaticFields, Support: support,
	}
	l := &loaded{name: either(o.ConfigPath, file.InlineName)}
	set, problems := file.Load(from)
	l.set, l.problems = set, problems.All()
	if set == nil {
		return l
	}
	if source, err := file.Open(from); err == nil { // if it is gone by now only positions are missing
		l.source = source
	}
	return l
}

// fromBootstrap is a configuration that was made by the program.
func fromBootstrap(b *bootstrapv3.Bootstrap, support resource.Support) *loaded {
	l := &loaded{name: "built-in"}
	var problems resource.Problems
	resource.Check(b, "", support, protoregistry.GlobalTypes, &problems)
	var all []*resource.Resource
	add := func(key resource.Key, m proto.Message, at resource.Path) {
		r, err := resource.New(key, m, "built-in", at)
		if err != nil {
			problems.Errorf(at, "", "%v", err)
			return
		}
		all = append(all, r)
	}
	const at = resource.Path("static_resources")
	for i, c := range b.GetStaticResources().GetClusters() {
		add(resource.Key{Type: resource.Cluster, Name: c.GetName()}, c, at.Field("clusters").Index(i))
	}
	for i, x := range b.GetStaticResources().GetListeners() {
		add(resource.Key{Type: resource.Listener, Name: x.GetName()}, x, at.Field("listeners").Index(i))
	}
	for i, x := range b.GetStaticResources().GetSecrets() {
		add(resource.Key{Type: resource.Secret, Name: x.GetName()}, x, at.Field("secrets").Index(i))
	}
	set, err := resource.NewSet(b, all)
	if err != nil {
		problems.Errorf(at, "", "%v", err)
	}
	l.set, l.problems = set, problems.All()
	return l
}

// reject adds what compiling has found wrong, unless reading has said so already of the same field.
func (l *loaded) reject(rejected []resource.Rejection) {
	known := map[resource.Path]bool{}
	for _, p := range l.problems {
		if p.Severity == resource.Error {
			known[p.Path] = true
		}
	}
	for _, r := range rejected {
		l.add(slices.DeleteFunc(r.Problems, func(p resource.Problem) bool { return p.Path != "" && known[p.Path] }))
	}
}

// add adds problems that were found in compiling.
func (l *loaded) add(problems []resource.Problem) {
	if l.source != nil {
		l.source.Annotate(problems)
	}
	l.problems = append(l.problems, problems...)
}

// err is nil when no problem is an error.
func (l *loaded) err() error {
	n := 0
	for _, p := range l.problems {
		if p.Severity == resource.Error {
			n++
		}
	}
	switch {
	case n == 1:
		return fmt.Errorf("configuration '%s' has 1 error", l.name)
	case n > 1:
		return fmt.Errorf("configuration '%s' has %d errors", l.name, n)
	case l.set == nil:
		return fmt.Errorf("configuration '%s' could not be read", l.name)
	}
	return nil
}

// serious are the problems that are more than notes.
func (l *loaded) serious() []resource.Problem {
	var out []resource.Problem
	for _, p := range l.problems {
		if p.Severity != resource.Note {
			out = append(out, p)
		}
	}
	return out
}

// place is where a field is written: "envoy.yaml:12:5", or the path when there are no lines.
func (l *loaded) place(path string) string {
	if l.source == nil {
		return path
	}
	name, line, column := l.source.Position(resource.Path(path))
	if line == 0 {
		return path
	}
	return fmt.Sprintf("%s:%d:%d", name, line, column)
}

// write lists the problems that are at least as severe as least, one line each.
func (l *loaded) write(w io.Writer, least resource.Severity) {
	for _, p := range l.problems {
		if p.Severity <= least {
			fmt.Fprintln(w, p)
		}
	}
}
