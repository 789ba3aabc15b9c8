package file

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/resource"
)

// corpus is the folder of bootstrap files collected from other projects, beside the repository.
func corpus(t *testing.T) string {
	_, self, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(self), "..", "..", "..", "shared", "data", "envoy-configs")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the corpus is missing: %v", err)
		}
		t.Skipf("the corpus is not here: %v", err)
	}
	return dir
}

func TestCorpusLoadsOrNamesItsProblems(t *testing.T) {
	dir := corpus(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	support := everything()
	clean, rejected, unreadable := 0, 0, 0
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		set, problems := Load(Options{Path: path, Support: support})
		switch {
		case set == nil:
			unreadable++
			if !problems.HasErrors() {
				t.Errorf("%s: not loaded and no reason", entry.Name())
			}
		case problems.HasErrors():
			rejected++
		default:
			clean++
		}
		for _, problem := range problems.All() {
			if problem.Message == "" || problem.File == "" || problem.Path == "" && problem.Kind != resource.Syntax {
				t.Errorf("%s: unnamed problem: %v", entry.Name(), problem)
			}
			if problem.Line == 0 && problem.Kind != resource.Syntax {
				t.Errorf("%s: no line: %v", entry.Name(), problem)
			}
			if testing.Verbose() {
				t.Log(problem)
			}
		}
	}
	t.Logf("%d files: %d load, %d are rejected with reasons, %d cannot be read", len(entries), clean, rejected, unreadable)
}

// TestCorpusDecodesAsProtojson compares with the protobuf module's own JSON decoder, for the files it can read.
func TestCorpusDecodesAsProtojson(t *testing.T) {
	dir := corpus(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	support := everything()
	compared := 0
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		want := oracle(path)
		if want == nil {
			continue
		}
		compared++
		set, problems := Load(Options{Path: path, Support: support})
		for _, problem := range problems.All() {
			if problem.Kind == resource.UnknownField || problem.Kind == resource.Syntax {
				t.Errorf("%v", problem)
			}
		}
		if set == nil {
			t.Errorf("%s: not loaded", entry.Name())
			continue
		}
		if diff := cmp.Diff(want, set.Bootstrap, protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", entry.Name(), diff)
		}
	}
	if compared < 20 {
		t.Errorf("only %d files could be compared", compared)
	}
	t.Logf("%d of %d files compared", compared, len(entries))
}

// oracle reads a file with yaml.v3 and protojson, or returns nil if they cannot.
func oracle(path string) *bootstrapv3.Bootstrap {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var tree any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return nil
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(text, b); err != nil {
		return nil
	}
	return b
}
