package file

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
)

// FuzzLoad decodes any text as each format: no panic, no problem without words, and what loads without an error passes through
// its binary form unchanged.
func FuzzLoad(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, section := range archive.Files {
			if section.Name != "problems" {
				f.Add(section.Data, filepath.Ext(section.Name) == ".json")
			}
		}
	}
	f.Add([]byte("node: {metadata: {a: &a [*a, *a]}}"), false)
	f.Add([]byte("node: {<<: [&x {id: a}, *x]}"), false)
	f.Add([]byte(`{"node": {"id": "\ud83d\ude00"}}`), true)
	support := everything()
	path := filepath.Join(f.TempDir(), "in")
	f.Fuzz(func(t *testing.T, text []byte, json bool) {
		file := path + ".yaml"
		if json {
			file = path + ".json"
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		set, problems := Load(Options{Path: file, Support: support})
		for _, problem := range problems.All() {
			if problem.Message == "" || problem.File == "" {
				t.Errorf("problem without words or file: %#v", problem)
			}
		}
		if set == nil {
			if !problems.HasErrors() {
				t.Error("nothing loaded and no reason")
			}
			return
		}
		if problems.HasErrors() {
			return
		}
		binary, err := proto.Marshal(set.Bootstrap)
		if err != nil {
			t.Fatal(err)
		}
		file = path + ".pb"
		if err := os.WriteFile(file, binary, 0o600); err != nil {
			t.Fatal(err)
		}
		again, problems := Load(Options{Path: file, Support: support})
		if problems.HasErrors() || !proto.Equal(again.Bootstrap, set.Bootstrap) || again.Len() != set.Len() {
			t.Errorf("binary form differs: %v", problems.All())
		}
		for _, r := range set.All(resource.Cluster) {
			if other := again.Get(r.Key); other == nil || other.Hash != r.Hash {
				t.Errorf("%v differs in binary form", r.Key)
			}
		}
	})
}
