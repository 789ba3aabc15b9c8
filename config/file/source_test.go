package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
)

func write(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExtensionSaysTheFormat(t *testing.T) {
	want := &bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "me"}}
	binary, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"a.yaml": []byte("node: {id: me}"), "a.yml": []byte("node: {id: me}"), "a.conf": []byte("node: {id: me}"),
		"a.json": []byte("\xef\xbb\xbf{\"node\": {\"id\": \"\\u006d\\u0065\"}}"), "a.JSON": []byte(`{"node":{"id":"me"}}`),
		"a.pb": binary, "a.pb_text": []byte(prototext.Format(want)), "a.textproto": []byte(prototext.Format(want)),
	} {
		set, problems := Load(Options{Path: write(t, name, text), Support: common(t)})
		for _, problem := range problems.All() {
			t.Errorf("%s: %v", name, problem)
		}
		if set == nil || !proto.Equal(set.Bootstrap, want) {
			t.Errorf("%s: not %v", name, want)
		}
	}
}

func TestUnreadableInputIsOneProblem(t *testing.T) {
	unknown, err := proto.Marshal(&corev3.Node{Id: "me"}) // field 1 of Bootstrap is a Node, not a string
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file string
		text []byte
		want string
	}{
		"binary":      {"a.pb", unknown, "not a binary"},
		"text":        {"a.pb_text", []byte("node {"), "not a text"},
		"yaml":        {"a.yaml", []byte("a: b: c"), "not YAML"},
		"tab":         {"a.yaml", []byte("node:\n\tid: a"), "not YAML"},
		"json":        {"a.json", []byte(`{"node": `), "not JSON: unexpected EOF"},
		"json rest":   {"a.json", []byte("{}\n{}"), "text after the end"},
		"json depth":  {"a.json", []byte(strings.Repeat("[", 1000)), "nested more than"},
		"list":        {"a.yaml", []byte("- a"), "want a mapping"},
		"scalar":      {"a.yaml", []byte("hello"), "want a mapping"},
		"unknown tag": {"a.yaml", []byte("node: {id: !secret x}"), "the YAML tag !secret"},
	} {
		_, problems := Load(Options{Path: write(t, test.file, test.text), Support: common(t)})
		if problems.Len() != 1 || !problems.HasErrors() || !strings.Contains(problems.All()[0].Message, test.want) {
			t.Errorf("%s: %v, want one problem with %q", name, problems.All(), test.want)
		}
	}
}

func TestMissingFileAndNothingAreErrors(t *testing.T) {
	for _, o := range []Options{{}, {Path: "/does/not/exist.yaml"}, {Path: t.TempDir()}} {
		set, problems := Load(o)
		if set != nil || problems.Len() != 1 || !problems.HasErrors() {
			t.Errorf("%+v: %v, want no Set and one error", o, problems.All())
		}
	}
}

func TestEmptyInputIsAnEmptyBootstrap(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "{}", "---\n"} {
		for _, name := range []string{"a.yaml", "a.json"} {
			if name == "a.json" && text != "" && text != "{}" {
				continue
			}
			set, problems := Load(Options{Path: write(t, name, []byte(text)), Support: common(t)})
			if set == nil || problems.Len() != 0 {
				t.Errorf("%s %q: %v", name, text, problems.All())
			}
		}
	}
}

func TestBinaryWithUnknownFieldsIsRejected(t *testing.T) {
	binary := append([]byte{0x0a, 0x06}, 0x0a, 0x00, 0xf8, 0x7f, 0x01, 0x00) // node {id: "", field 2047: 1, then a bad tag}
	binary = binary[:len(binary)-1]
	binary[1] = 5
	_, problems := Load(Options{Path: write(t, "a.pb", binary), Support: common(t)})
	if problems.Len() != 1 || problems.All()[0].Kind != resource.UnknownField || problems.All()[0].Path != "node" {
		t.Errorf("%v, want an unknown field in node", problems.All())
	}
}

func TestAliasesCannotMultiplyWithoutBound(t *testing.T) {
	var list, merge strings.Builder
	list.WriteString("node: {metadata: {aaa: &aaa [x, x, x, x, x, x, x, x, x, x]")
	merge.WriteString("node: {metadata: {aaa: &aaa {k: {}}")
	for i := range 60 {
		names := strings.Repeat("*a"+itoa(i)+", ", 9)
		list.WriteString(", a" + itoa(i+1) + ": &a" + itoa(i+1) + " [" + names + "]")
		merge.WriteString(", a" + itoa(i+1) + ": &a" + itoa(i+1) + " {<<: [" + names + "]}")
	}
	for name, text := range map[string]string{
		"list": list.String() + "}}", "merge": merge.String() + "}}",
		"self": "node: {metadata: {a: &a [*a, *a]}}", "self merge": "node: {metadata: {a: &a {<<: *a, b: *a}}}",
	} {
		_, problems := Load(Options{Path: write(t, "a.yaml", []byte(text)), Support: common(t)})
		if problems.Len() != 1 || !strings.Contains(problems.All()[0].Message, "expand to") && !strings.Contains(problems.All()[0].Message, "nested more") {
			t.Errorf("%s: %v, want the bound as the one problem", name, problems.All())
		}
	}
}

func itoa(i int) string { return string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}) }

func TestPositionFindsWhatIsWritten(t *testing.T) {
	path := write(t, "a.yaml", []byte(`node:
  id: x
staticResources:
  clusters:
  - name: a
    typed_extension_protocol_options:
      "x.y": {"@type": z}
  - &b
    name: b
  - <<: *b
    connectTimeout: 1s
  listeners:
    name: lone
`))
	source, err := Open(Options{Path: path, Inline: "node: {cluster: y}\nstatic_resources: {clusters: [{name: c}]}"})
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[resource.Path][3]any{
		"":             {path, 1, 1},
		"node.id":      {path, 2, 3},
		"node":         {InlineName, 1, 1}, // both write it: the last counts
		"node.cluster": {InlineName, 1, 8},
		"static_resources.clusters[0].typed_extension_protocol_options[\"x.y\"]": {path, 7, 7},
		"static_resources.clusters[2].connect_timeout":                           {path, 11, 5},
		"static_resources.clusters[2].name":                                      {path, 9, 5},
		"static_resources.clusters[3].name":                                      {InlineName, 2, 32},
		"static_resources.clusters[3].lb_policy":                                 {InlineName, 2, 31},
		"static_resources.clusters[9].name":                                      {path, 4, 3},
		"static_resources.listeners[0].name":                                     {path, 13, 5},
		"admin.address":                                                          {path, 1, 1},
	} {
		file, line, column := source.Position(at)
		if got := [3]any{file, line, column}; got != want {
			t.Errorf("%q is at %v, want %v", at, got, want)
		}
	}
}

func TestAnnotateFillsInMissingPlaces(t *testing.T) {
	path := write(t, "a.yaml", []byte("node:\n  id: x\n"))
	source, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	problems := []resource.Problem{{Path: "node.id"}, {Path: "node.id", File: "other", Line: 7}}
	source.Annotate(problems)
	if p := problems[0]; p.File != path || p.Line != 2 || p.Column != 3 {
		t.Errorf("%+v", p)
	}
	if p := problems[1]; p.File != "other" || p.Line != 7 {
		t.Errorf("%+v", p)
	}
}

func TestRuntimeIsFlatAndLaterLayersWin(t *testing.T) {
	set, problems := Load(Options{Inline: `
layered_runtime:
  layers:
  - name: a
    static_layer: {a: {b: 1, c: x}, d.e: true, f: {numerator: 5, denominator: HUNDRED}}
  - name: b
    static_layer: {a.b: 2.5}
`, Support: common(t)})
	if problems.Len() != 0 {
		t.Fatal(problems.All())
	}
	got := Runtime(set.Bootstrap)
	want := map[string]string{"a.b": "2.5", "a.c": "x", "d.e": "true", "f": `{"denominator":"HUNDRED","numerator":5}`}
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
}
