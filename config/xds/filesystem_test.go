package xds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/resource"
)

func TestFileIsTakenAndFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cds.yaml")
	put(t, path, yamlOf("1", "a", "b"))
	h := startLocal(t, Options{})
	h.all(fileSource(path), resource.Cluster)
	h.expect(`cluster "a" 1, cluster "b" 1`)
	put(t, path, yamlOf("2", "b", "c")) // b is as it was, which reaches nobody
	h.expect(`cluster "b" 1, cluster "c" 2`)
	if err := os.WriteFile(path, []byte(yamlOf("3", "d")), 0o600); err != nil { // in place
		t.Fatal(err)
	}
	h.expect(`cluster "d" 3`)
	put(t, path, yamlOf("4"))
	h.expect("")
	all := h.client.Streams()
	if len(all) != 1 || all[0].Transport != "file" || all[0].Source != path || !all[0].Connected || len(all[0].Types) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestFileFormats(t *testing.T) {
	body, err := anypb.New(&clusterv3.Cluster{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	m := &discoveryv3.DiscoveryResponse{VersionInfo: "7", Resources: []*anypb.Any{body}}
	for extension, marshal := range map[string]func(proto.Message) ([]byte, error){
		".pb": proto.Marshal, ".pb_text": prototext.Marshal, ".json": protojson.Marshal,
	} {
		t.Run(extension, func(t *testing.T) {
			raw, err := marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "cds"+extension)
			put(t, path, string(raw))
			h := startLocal(t, Options{})
			h.all(fileSource(path), resource.Cluster)
			h.expect(`cluster "a" 7`)
		})
	}
}

func TestFileWithAMistake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cds.yaml")
	good := yamlOf("1", "a", "b")
	for name, test := range map[string]struct {
		content string
		want    string
		log     []string
		counter string
	}{
		"half a file": {"version_info: '2'\nresources:\n- '@type", `cluster "a" 1, cluster "b" 1`, []string{"cds.yaml:", "not YAML"}, "update_failure"},
		"nothing":     {"", `cluster "a" 1, cluster "b" 1`, []string{"is empty"}, "update_failure"},
		"no such field of the response": {"resuorces: []", `cluster "a" 1, cluster "b" 1`,
			[]string{"cds.yaml:1:1: error: resuorces: unknown field", "resources"}, "update_failure"},
		"a field that is misspelt": {yamlOf("2", "a\n  alt_stat_namee: x", "c"), `cluster "a" 1, cluster "c" 2`,
			[]string{"cds.yaml:5:3", "alt_stat_namee"}, "update_rejected"},
		"a field that is not supported": {yamlOf("2", "a\n  lb_policy: RANDOM", "c"), `cluster "a" 1, cluster "c" 2`,
			[]string{"cds.yaml:5:3", `lb_policy: not supported`}, "update_rejected"},
		"a value that breaks a rule": {yamlOf("2", "a\n  connect_timeout: 0s", "c"), `cluster "a" 1, cluster "c" 2`,
			[]string{"cds.yaml:5:3", "connect_timeout"}, "update_rejected"},
		"a resource of another type": {yamlOf("2", "a") + "- '@type': type.googleapis.com/envoy.config.listener.v3.Listener\n  name: l\n",
			`cluster "a" 1, cluster "b" 1`, []string{"Listener"}, ""},
		"a duplicate": {yamlOf("2", "a", "c", "a"), `cluster "a" 1, cluster "c" 2`, []string{`duplicate cluster`}, "update_rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			put(t, path, good)
			h := startLocal(t, Options{})
			h.all(fileSource(path), resource.Cluster)
			h.expect(`cluster "a" 1, cluster "b" 1`)
			put(t, path, test.content)
			h.logged(test.log...)
			if test.counter != "" {
				h.counted(test.counter, 1)
			}
			h.expect(test.want)
			put(t, path, strings.Replace(good, `"1"`, `"3"`, 1)+"- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: d\n")
			h.until("repaired", func() bool { return strings.Contains(h.now(), `cluster "d" 3`) })
			h.logged("is good again")
		})
	}
}

func TestFileOfNamedResources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eds.yaml")
	const one = "- '@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  cluster_name: "
	put(t, path, "version_info: '1'\nresources:\n"+one+"a\n"+one+"b\n")
	h := startLocal(t, Options{})
	source := fileSource(path)
	h.one(source, resource.Endpoint, "a")
	h.expect(`endpoints "a" 1`)
	b := h.one(source, resource.Endpoint, "b") // comes later, and the file is not touched
	h.expect(`endpoints "a" 1, endpoints "b" 1`)
	h.one(source, resource.Endpoint, "c")
	h.logged(`endpoints \"c\"`, "does not have one that is wanted")
	b.Release()
	put(t, path, "version_info: '2'\nresources:\n"+one+"c\n") // a is left out: it stays as it was
	h.expect(`endpoints "a" 1, endpoints "b" 1, endpoints "c" 2`)
}

func TestFileBehindLinks(t *testing.T) {
	dir := t.TempDir()
	swap := func(version string, names ...string) {
		t.Helper()
		data := filepath.Join(dir, "..v"+version)
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(data, "cds.yaml"), yamlOf(version, names...))
		if err := os.Symlink(filepath.Base(data), filepath.Join(dir, "..next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	swap("1", "a")
	path := filepath.Join(dir, "cds.yaml")
	if err := os.Symlink("..data/cds.yaml", path); err != nil {
		t.Fatal(err)
	}
	source := fileSource(path)
	source.GetPathConfigSource().WatchedDirectory = &corev3.WatchedDirectory{Path: dir}
	h := startLocal(t, Options{})
	h.all(source, resource.Cluster)
	h.expect(`cluster "a" 1`)
	swap("2", "b")
	h.expect(`cluster "b" 2`)
}

func TestCheckPath(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "x.yaml")
	put(t, there, "{}")
	watched := fileSource(there)
	watched.GetPathConfigSource().WatchedDirectory = &corev3.WatchedDirectory{Path: dir + "/none"}
	for name, test := range map[string]struct {
		source *corev3.ConfigSource
		want   string
	}{
		"good": {fileSource(there), ""},
		"old":  {&corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Path{Path: there}}, ""},
		"missing": {fileSource(dir + "/none.yaml"),
			"s.path_config_source.path: paths must refer to an existing path in the system: '" + dir + "/none.yaml' does not exist"},
		"empty":           {fileSource(""), "s.path_config_source.path: value length must be at least 1 characters"},
		"directory":       {fileSource(dir), "s.path_config_source.path: '" + dir + "' is a directory"},
		"watched missing": {watched, "s.path_config_source.watched_directory.path: paths must refer to an existing path"},
		"old missing": {&corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Path{Path: "/none/x"}},
			"s.path: paths must refer to an existing path in the system: '/none/x' does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			p := resource.NewProblems("")
			checkPath(test.source, "s", p)
			got := ""
			if p.HasErrors() {
				got = strings.TrimPrefix(p.All()[0].String(), "error: ")
			}
			if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
