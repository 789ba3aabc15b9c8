package server

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
)

// plantFiles writes files below dir.
func plantFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func diskConfig(name, root, sub string, cluster bool) *bootstrapv3.RuntimeLayer {
	return &bootstrapv3.RuntimeLayer{Name: name, LayerSpecifier: &bootstrapv3.RuntimeLayer_DiskLayer_{
		DiskLayer: &bootstrapv3.RuntimeLayer_DiskLayer{SymlinkRoot: root, Subdirectory: sub, AppendServiceCluster: cluster},
	}}
}

// moveLink moves a link to dir into place at link.
func moveLink(t *testing.T, dir, link string) {
	t.Helper()
	if err := os.Symlink(dir, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

func TestRuntimeDirectory(t *testing.T) {
	dir := t.TempDir()
	plantFiles(t, dir, map[string]string{
		"a": "1\n", "b/c/d": "# a comment\nx\n\ny  \n", "empty": "# nothing\n", ".hidden": "h", "..data/z": "z",
		"routes/canary": "numerator: 5\ndenominator: TEN_THOUSAND\n",
	})
	if err := os.Symlink("nowhere", filepath.Join(dir, "broken")); err != nil {
		t.Fatal(err)
	}
	got, err := readRuntime(dir)
	want := map[string]string{"a": "1", "b.c.d": "x\ny", "empty": "", "routes.canary": "numerator: 5\ndenominator: TEN_THOUSAND"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
}

func TestRuntimeDirectoryBounds(t *testing.T) {
	deep := strings.Repeat("d/", maxRuntimeDepth-1)
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"as deep as may be": {map[string]string{deep + "x": "1"}, ""},
		"too deep":          {map[string]string{deep + "d/x": "1"}, "16 deep"},
		"as large":          {map[string]string{"x": strings.Repeat("x", maxRuntimeFile)}, ""},
		"too large":         {map[string]string{"x": strings.Repeat("x", maxRuntimeFile+1)}, "larger than"},
	} {
		dir := t.TempDir()
		plantFiles(t, dir, tc.files)
		_, err := readRuntime(dir)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readRuntime(filepath.Join(t.TempDir(), "none")); err != errNoDirectory {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestRuntimeLayersOfDirectories(t *testing.T) {
	dir := t.TempDir()
	plantFiles(t, dir, map[string]string{"v1/envoy/a": "1", "v1/envoy/b": "1", "v1/override/front/b": "2"})
	root := filepath.Join(dir, "current")
	moveLink(t, "v1", root)
	store, out := stats.NewStore(stats.Options{}), &extension.Runtime{}
	l := newLayers(store, out)
	l.use(nil, "front", l.log)
	b := layered(diskConfig("root", root, "envoy", false), diskConfig("override", root, "override", true), diskConfig("none", root, "none", false))
	l.load(b)
	runtimeIs(t, out, map[string]string{"a": "1", "b": "2"})
	check := func(want map[string]int64) {
		t.Helper()
		for name, n := range want {
			if got, _ := store.Value("runtime." + name); got != n {
				t.Errorf("%s = %d, want %d", name, got, n)
			}
		}
	}
	check(map[string]int64{"num_layers": 2, "override_dir_exists": 1, "override_dir_not_exists": 0, "load_success": 1, "load_error": 0})
	plantFiles(t, dir, map[string]string{"v2/envoy/a": "3", "v2/envoy/big": strings.Repeat("x", maxRuntimeFile+1)})
	moveLink(t, "v2", root)
	l.reread(false)
	runtimeIs(t, out, map[string]string{"a": "1", "b": "1"}) // what cannot be read leaves the last values; the other directory has gone
	check(map[string]int64{"load_success": 1, "load_error": 1})
	if err := os.Remove(filepath.Join(dir, "v2/envoy/big")); err != nil {
		t.Fatal(err)
	}
	l.reread(true)
	runtimeIs(t, out, map[string]string{"a": "3"})
	check(map[string]int64{"num_layers": 1, "override_dir_not_exists": 2, "load_success": 2})
}

func TestRuntimeDirectoryIsFollowed(t *testing.T) {
	dir := t.TempDir()
	plantFiles(t, dir, map[string]string{"v1/a": "1", "v2/a": "2", "v3/a": "3"})
	root := filepath.Join(dir, "current")
	moveLink(t, "v1", root)
	out := &extension.Runtime{}
	l := newLayers(stats.NewStore(stats.Options{}), out)
	l.load(layered(diskConfig("disk", root, "", false)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.run(ctx); close(done) }() // ends with ctx; waited for below
	defer func() { cancel(); <-done }()
	for _, version := range []string{"2", "3", "1"} { // the first may come before the directory is watched
		moveLink(t, "v"+version, root)
		untilRuntime(t, func() bool { v, _ := out.Lookup("a"); return v == version })
	}
	l.load(layered(staticLayer(t, "base", map[string]any{"a": "static"})))
	untilRuntime(t, func() bool { v, _ := out.Lookup("a"); return v == "static" })
}

// untilRuntime waits until something holds that the kernel has to tell of.
func untilRuntime(t *testing.T, holds func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it does not come to hold")
		}
	}
}
