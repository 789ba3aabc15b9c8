package file

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
)

var update = flag.Bool("update", false, "rewrite the problems in testdata")

// TestGolden loads testdata/*.txtar. Sections: in.* is the file, inline is --config-yaml, problems is what Load reports, and
// bootstrap.json, if there, what it reads. Words in the comment before the first section: allow-unknown-static, common (only
// the support of this package and resource, instead of everything).
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { golden(t, name) })
	}
}

func golden(t *testing.T, name string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	words := string(archive.Comment)
	o := Options{AllowUnknownStatic: strings.Contains(words, "allow-unknown-static"), Support: everything()}
	if strings.Contains(words, "common") {
		o.Support = common(t)
	}
	dir := t.TempDir()
	want, problemsAt := "", -1
	var bootstrap *bootstrapv3.Bootstrap
	for i, f := range archive.Files {
		switch {
		case f.Name == "inline":
			o.Inline = string(f.Data)
		case f.Name == "problems":
			want, problemsAt = string(f.Data), i
		case f.Name == "bootstrap.json":
			bootstrap = &bootstrapv3.Bootstrap{}
			if err := protojson.Unmarshal(f.Data, bootstrap); err != nil {
				t.Fatal(err)
			}
		default:
			o.Path = filepath.Join(dir, f.Name)
			if err := os.WriteFile(o.Path, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	set, problems := Load(o)
	var got strings.Builder
	for _, problem := range problems.All() {
		got.WriteString(strings.ReplaceAll(problem.String(), dir+"/", "") + "\n")
	}
	if *update && problemsAt >= 0 {
		archive.Files[problemsAt].Data = []byte(got.String())
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if bootstrap == nil {
		return
	}
	if set == nil {
		t.Fatal("no Set")
	}
	if diff := cmp.Diff(bootstrap, set.Bootstrap, protocmp.Transform()); diff != "" {
		t.Errorf("bootstrap (-want +got):\n%s", diff)
	}
}
