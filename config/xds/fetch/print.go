package fetch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"gopkg.in/yaml.v3"
)

// A shown is a Result as it is written.
type shown struct {
	ControlPlane string        `json:"control_plane,omitempty"`
	Types        []shownAnswer `json:"types"`
}

type shownAnswer struct {
	Type      string            `json:"type"`
	Version   string            `json:"version"`
	Missing   []string          `json:"missing,omitempty"`
	Resources []json.RawMessage `json:"resources"`
}

type shownResource struct {
	Name     string          `json:"name"`
	Version  string          `json:"version,omitempty"`
	Resource json.RawMessage `json:"resource"`
}

// WriteJSON writes the result as indented JSON.
func (r *Result) WriteJSON(w io.Writer) error {
	b, err := r.json()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

// WriteYAML writes the result as YAML: what is in it can be used in files as it is.
func (r *Result) WriteYAML(w io.Writer) error {
	b, err := r.json()
	if err != nil {
		return err
	}
	var doc yaml.Node // JSON is YAML, and this keeps the order of the fields
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return err
	}
	block(&doc)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return err
	}
	return e.Close()
}

// block takes the style of JSON away.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

func (r *Result) json() ([]byte, error) {
	out := shown{ControlPlane: r.ControlPlane, Types: []shownAnswer{}}
	for _, a := range r.Answers {
		s := shownAnswer{Type: a.Type, Version: a.Version, Missing: a.Missing, Resources: []json.RawMessage{}}
		for _, one := range a.Resources {
			body := text(one.Message)
			b, err := json.Marshal(shownResource{Name: one.Name, Version: one.Version, Resource: body})
			if err != nil {
				return nil, err
			}
			s.Resources = append(s.Resources, b)
		}
		out.Types = append(out.Types, s)
	}
	return json.Marshal(out)
}

// text is a message as JSON. One that has no such form is named by its type.
func text(a *anypb.Any) json.RawMessage {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(a)
	if err == nil {
		return b
	}
	b, err = json.Marshal(map[string]string{"@type": a.GetTypeUrl(), "error": strings.ReplaceAll(fmt.Sprint(err), "\u00a0", " ")})
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}
