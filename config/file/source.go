package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/resource"
)

// maxFileSize bounds a configuration file: 256 MiB.
const maxFileSize = 256 << 20

// InlineName is the File of problems in Options.Inline.
const InlineName = "--config-yaml"

// A format is how the bytes of a layer are written.
type format uint8

const (
	formatYAML format = iota
	formatJSON
	formatBinary
	formatText
)

// A layer is one input: the file or the inline text. Later layers are merged over earlier ones.
type layer struct {
	name   string
	format format
	raw    []byte
}

// A Source is the text of a configuration, kept to say where in it a field is. It is immutable.
type Source struct{ layers []layer }

// Open reads the inputs that o names. Without a path and without inline text it is an error, and so is a file that cannot be
// read or is larger than 256 MiB.
func Open(o Options) (*Source, error) {
	s := &Source{}
	if o.Path != "" {
		raw, err := readFile(o.Path)
		if err != nil {
			return nil, err
		}
		s.layers = append(s.layers, layer{name: o.Path, format: formatOf(o.Path), raw: raw})
	}
	if o.Inline != "" {
		s.layers = append(s.layers, layer{name: InlineName, format: formatYAML, raw: []byte(o.Inline)})
	}
	if len(s.layers) == 0 {
		return nil, errors.New("no configuration: neither a file (--config-path) nor inline YAML (--config-yaml) is given")
	}
	return s, nil
}

// readFile reads a whole file of bounded size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plainPathError(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() <= maxFileSize {
		b.Grow(int(info.Size()) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(f, maxFileSize+1)); err != nil {
		return nil, plainPathError(err)
	}
	if b.Len() > maxFileSize {
		return nil, fmt.Errorf("larger than %d MiB", maxFileSize>>20)
	}
	return b.Bytes(), nil
}

// plainPathError leaves out the path, which the Problem has already.
func plainPathError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("cannot %s the file: %w", p.Op, p.Err)
	}
	return err
}

// formatOf is the format that a file's extension stands for, YAML for those Envoy does not know.
func formatOf(path string) format {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".json":
		return formatJSON
	case ".pb":
		return formatBinary
	case ".pb_text", ".textproto", ".pbtxt":
		return formatText
	default:
		return formatYAML
	}
}

// parse returns the layer as a tree of nodes, nil for an empty document. Only YAML and JSON have one.
func (l *layer) parse(p *resource.Problems) *yaml.Node {
	if l.format == formatJSON {
		return parseJSON(l, p)
	}
	return parseYAML(l, p)
}

// parseYAML reads the first document of a YAML stream.
func parseYAML(l *layer, p *resource.Problems) (root *yaml.Node) {
	defer func() { // the parser is not ours; a fault in it must not be more than a bad file
		if fault := recover(); fault != nil {
			root = nil
			p.Add(resource.Problem{Kind: resource.Syntax, File: l.name, Message: fmt.Sprintf("not YAML: %v", fault), Hint: templateHint(l.raw)})
		}
	}()
	in := yaml.NewDecoder(bytes.NewReader(l.raw))
	var doc, rest yaml.Node
	if err := in.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			p.Add(yamlProblem(l, err))
		}
		return nil
	}
	if err := in.Decode(&rest); err == nil && len(rest.Content) > 0 {
		p.Add(resource.Problem{Severity: resource.Warning, File: l.name, Line: rest.Line, Column: rest.Column,
			Message: "only the first YAML document of the file is used"})
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

// yamlProblem takes the line out of an error such as "yaml: line 12: did not find expected key".
func yamlProblem(l *layer, err error) resource.Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if _, err := fmt.Sscanf(rest, "%d: ", &line); err == nil {
			_, text, _ = strings.Cut(rest, ": ")
		}
	}
	return resource.Problem{Kind: resource.Syntax, File: l.name, Line: line, Message: "not YAML: " + text, Hint: templateHint(l.raw)}
}

// templateHint recognizes text that still has to be rendered.
func templateHint[T string | []byte](text T) string {
	for _, mark := range []string{"{{", "{%", "<%"} {
		if strings.Contains(string(text), mark) {
			return "this contains " + mark + ", so it looks like a Jinja, Go or ERB template; render it first"
		}
	}
	return ""
}

// Position is where a field is written: the file (or InlineName), line and column, both from 1. When the field itself is not
// written, it is the place of the nearest message around it that is; 0, 0 when the format has no lines. Each call parses the
// text again.
func (s *Source) Position(at resource.Path) (file string, line, column int) {
	return s.locator().locate(at)
}

// Annotate fills in where the problems without a File are written: those that a later step than Load has found. It parses the
// text once.
func (s *Source) Annotate(problems []resource.Problem) {
	var where *locator
	for i := range problems {
		if problems[i].File != "" {
			continue
		}
		if where == nil {
			where = s.locator()
		}
		problems[i].File, problems[i].Line, problems[i].Column = where.locate(problems[i].Path)
	}
}

// A locator finds places in the parsed layers.
type locator struct {
	layers []layer
	roots  []*yaml.Node // per layer; nil where there is no tree
	merges int          // how many merge keys the present search may still follow
}

// maxMerges bounds the merge keys that one search follows: they can multiply.
const maxMerges = 10000

// locator parses every layer that has lines.
func (s *Source) locator() *locator {
	l := &locator{layers: s.layers}
	for i := range s.layers {
		var root *yaml.Node
		if f := s.layers[i].format; f == formatYAML || f == formatJSON {
			root = s.layers[i].parse(&resource.Problems{})
		}
		l.roots = append(l.roots, root)
	}
	return l
}

// A cursor is where the walk along a path is in one layer.
type cursor struct {
	node         *yaml.Node // nil: the path leaves this layer
	line, column int        // of the deepest thing found
	steps        int        // how many steps led there
}

// locate walks along a path in all layers at once: singular fields may be in several of them, the last counts; elements of a
// list are those of the first layer, then those of the second.
func (l *locator) locate(at resource.Path) (file string, line, column int) {
	cursors := make([]cursor, len(l.roots))
	for i, root := range l.roots {
		if cursors[i].node = follow(root); root != nil {
			cursors[i].line, cursors[i].column = root.Line, root.Column
		}
	}
	l.merges = maxMerges
	steps := at.Steps()
	for _, step := range steps {
		l.advance(cursors, step)
	}
	best := -1
	for i := range cursors {
		whole := len(steps) > 0 && cursors[i].steps == len(steps) // of two that write the field, the last counts
		if best < 0 || cursors[i].steps > cursors[best].steps || whole || cursors[best].line == 0 {
			best = i
		}
	}
	if best < 0 {
		return "", 0, 0
	}
	return l.layers[best].name, cursors[best].line, cursors[best].column
}

// advance takes one step in every layer.
func (l *locator) advance(cursors []cursor, step resource.Step) {
	index := step.Index
	for i := range cursors {
		c := &cursors[i]
		if c.node == nil {
			continue
		}
		key, value := (*yaml.Node)(nil), (*yaml.Node)(nil)
		switch {
		case step.Kind == resource.StepIndex && c.node.Kind == yaml.SequenceNode:
			if index >= 0 && index < len(c.node.Content) {
				value = c.node.Content[index]
				key = value
			}
			index -= len(c.node.Content)
		case step.Kind == resource.StepIndex: // a lone element
			if index == 0 {
				key, value = c.node, c.node
			}
			index--
		case step.Kind != resource.StepIndex && c.node.Kind == yaml.MappingNode:
			key, value = l.lookup(c.node, step)
		}
		c.node = follow(value)
		if key != nil {
			c.line, c.column = key.Line, key.Column
			c.steps++
		}
	}
}

// lookup finds the entry of a mapping for a field or map key, also in what is merged into it by `<<`.
func (l *locator) lookup(n *yaml.Node, step resource.Step) (key, value *yaml.Node) {
	if l.merges--; l.merges < 0 {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if matches(n.Content[i], step) {
			return n.Content[i], n.Content[i+1]
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		from := follow(n.Content[i+1])
		sources := []*yaml.Node{from}
		if from != nil && from.Kind == yaml.SequenceNode {
			sources = from.Content
		}
		for _, source := range sources {
			if source = follow(source); source != nil && source.Kind == yaml.MappingNode {
				if key, value = l.lookup(source, step); key != nil {
					return key, value
				}
			}
		}
	}
	return nil, nil
}

// matches says whether a key node is the one a step means.
func matches(key *yaml.Node, step resource.Step) bool {
	if key = follow(key); key == nil || key.Kind != yaml.ScalarNode {
		return false
	}
	if step.Kind == resource.StepKey {
		return key.Value == step.Name
	}
	return key.Value == step.Name || sameName(key.Value, step.Name)
}

// sameName says whether key is the lowerCamelCase spelling of a proto field name.
func sameName(key, proto string) bool {
	k := 0
	upper := false
	for i := range len(proto) {
		c := proto[i]
		if c == '_' {
			upper = true
			continue
		}
		if upper && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper = false
		if k >= len(key) || key[k] != c {
			return false
		}
		k++
	}
	return k == len(key)
}

// follow is the node an alias stands for; any other node is itself.
func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// isMerge says whether a key is YAML's merge key `<<`.
func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.Tag == "!!merge"
}
