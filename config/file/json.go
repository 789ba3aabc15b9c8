package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/resource"
)

// A jsonReader turns JSON text into the same nodes that YAML gives, with lines and columns.
type jsonReader struct {
	raw    []byte
	tokens *json.Decoder

	// The position of offset, which only grows.
	offset, line, lineStart int
}

// parseJSON reads one JSON value.
func parseJSON(l *layer, p *resource.Problems) *yaml.Node {
	raw := bytes.TrimPrefix(l.raw, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	r := &jsonReader{raw: raw, tokens: json.NewDecoder(bytes.NewReader(raw)), line: 1}
	r.tokens.UseNumber()
	root, err := r.value(0)
	if err == nil {
		if _, more := r.tokens.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("text after the end of the JSON value")
			r.seek()
		}
	}
	if err == nil {
		return root
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		r.moveTo(max(r.offset, min(int(syntax.Offset)-1, len(raw))))
	}
	p.Add(resource.Problem{Kind: resource.Syntax, File: l.name, Line: r.line, Column: r.column(),
		Message: "not JSON: " + strings.TrimPrefix(err.Error(), "json: "), Hint: templateHint(raw)})
	return nil
}

// value reads one value and all that is in it.
func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	r.seek()
	n := &yaml.Node{Line: r.line, Column: r.column()}
	token, err := r.tokens.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for r.tokens.More() {
			child, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err = r.tokens.Token()
		return n, err
	case string:
		n.Tag, n.Value, n.Style = "!!str", t, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(t)
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	n.Kind = yaml.ScalarNode
	return n, nil
}

// seek moves to the start of the next token.
func (r *jsonReader) seek() {
	at := int(r.tokens.InputOffset())
	for at < len(r.raw) && strings.IndexByte(" \t\r\n,:", r.raw[at]) >= 0 {
		at++
	}
	r.moveTo(at)
}

func (r *jsonReader) moveTo(offset int) {
	for ; r.offset < offset && r.offset < len(r.raw); r.offset++ {
		if r.raw[r.offset] == '\n' {
			r.line++
			r.lineStart = r.offset + 1
		}
	}
}

func (r *jsonReader) column() int { return r.offset - r.lineStart + 1 }
