package file

import (
	"os"
	"path/filepath"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
)

func TestMessageSaysWhatIsWrongAndKeepsTheRest(t *testing.T) {
	good := &discoveryv3.DiscoveryResponse{VersionInfo: "1"}
	binary, err := proto.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	text, err := prototext.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	const cluster = `"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster`
	for name, test := range map[string]struct {
		file, content string
		version       string
		resources     int
		unreadable    bool
		empty         bool
		problems      []string
	}{
		"yaml":        {file: "a.yaml", content: "version_info: '1'\nresources: [{" + cluster + ", name: a}]", version: "1", resources: 1},
		"json":        {file: "a.json", content: `{"versionInfo": "1"}`, version: "1"},
		"binary":      {file: "a.pb", content: string(binary), version: "1"},
		"text":        {file: "a.pb_text", content: string(text), version: "1"},
		"empty":       {file: "a.yaml", content: "# nothing\n", empty: true},
		"empty json":  {file: "a.json", empty: true},
		"empty pb":    {file: "a.pb", empty: true},
		"no such":     {file: "", unreadable: true, problems: []string{"cannot open the file: no such file or directory"}},
		"not yaml":    {file: "a.yaml", content: "a: [", unreadable: true, problems: []string{"not YAML: did not find expected node content"}},
		"not a proto": {file: "a.pb", content: "\xff", unreadable: true, problems: []string{"not a binary envoy.service.discovery.v3.DiscoveryResponse: proto: cannot parse invalid wire-format data"}},
		"mistakes": {file: "a.yaml", content: "version_info: '1'\nresources:\n- " + cluster + "\n  name: a\n  namee: b\n- {" + cluster + ", name: b}", version: "1", resources: 2,
			problems: []string{`resources[0].namee: unknown field "namee" in envoy.config.cluster.v3.Cluster`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), test.file)
			if test.file == "" {
				path += "missing.yaml"
			} else if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var r discoveryv3.DiscoveryResponse
			support := resource.Support{"envoy.config.cluster.v3.Cluster": resource.Names("name")}
			source, empty, p := Message(Options{Path: path, Support: support}, &r)
			if (source == nil) != test.unreadable || empty != test.empty || r.GetVersionInfo() != test.version || len(r.GetResources()) != test.resources {
				t.Errorf("source %v, empty %v, read %v", source != nil, empty, &r)
			}
			var got []string
			for _, problem := range p.All() {
				if problem.File != path {
					t.Errorf("%v has no file", problem)
				}
				got = append(got, plain(problem))
			}
			if diff := cmp.Diff(test.problems, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// plain is a problem's path and message. The protobuf library varies its spaces on purpose.
func plain(p resource.Problem) string {
	text := ""
	if p.Path != "" {
		text = string(p.Path) + ": "
	}
	out := []rune{}
	for _, r := range text + p.Message {
		if r == '\u00a0' {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

func TestMessagesSourceFindsFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cds.yaml")
	content := "resources:\n- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: a\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var r discoveryv3.DiscoveryResponse
	source, _, _ := Message(Options{Path: path, Support: resource.Support{"envoy.config.cluster.v3.Cluster": resource.Names("name")}}, &r)
	var c clusterv3.Cluster
	if err := r.GetResources()[0].UnmarshalTo(&c); err != nil || c.GetName() != "a" {
		t.Errorf("%v, %v", &c, err)
	}
	if _, line, column := source.Position("resources[0].name"); line != 3 || column != 3 {
		t.Errorf("the name is at %d:%d, not at 3:3", line, column)
	}
}
