package file

import (
	"maps"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftproxy/weft/resource"
)

func TestRuntimeLayer(t *testing.T) {
	var s structpb.Struct
	text := `{"a": 1.5, "b": {"c": true, "d": {"numerator": 1, "denominator": "MILLION"}}, "e": "x", "bad": [1], "worse": null,
		"envoy": {"resource_limits": {"listener": {"in": {"connection_limit": "many"}}}}}`
	if err := protojson.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	p := resource.NewProblems("")
	got := RuntimeLayer(&runtimev3.Runtime{Layer: &s}, p)
	want := map[string]string{"a": "1.5", "b.c": "true", "b.d": `{"denominator":"MILLION","numerator":1}`, "e": "x"}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	var at []string
	for _, problem := range p.All() {
		at = append(at, string(problem.Path))
	}
	if got, want := strings.Join(at, " "), `layer["bad"] layer["envoy"]["resource_limits"]["listener"]["in"]["connection_limit"] layer["worse"]`; got != want {
		t.Errorf("problems at %s, want %s", got, want)
	}
}

func TestRuntimeText(t *testing.T) {
	for text, want := range map[string]string{
		"":                "",
		"5":               "5",
		"yes":             "yes",
		`{"numerator":5}`: `{"numerator":5}`,
		"numerator: 5\ndenominator: TEN_THOUSAND": `{"denominator":"TEN_THOUSAND","numerator":5}`,
		"{numerator: 5}": `{"numerator":5}`,
		"numerator: [":   "numerator: [",
		"a numerator":    "a numerator",
	} {
		if got := RuntimeText(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestRuntimeLayersThatCannotBeTogether(t *testing.T) {
	for text, want := range map[string]string{
		`{"layers": [{"name": "a", "adminLayer": {}}, {"name": "b", "diskLayer": {"symlinkRoot": "/r"}}, {"name": "c", "staticLayer": {"a": 1}}]}`: "",
		`{"layers": [{"name": "a", "adminLayer": {}}, {"name": "b", "adminLayer": {}}]}`:                                                           "layered_runtime.layers[1].admin_layer",
		`{"layers": [{"name": "a", "staticLayer": {}}, {"name": "a", "adminLayer": {}}]}`:                                                          "layered_runtime.layers[1].name",
		`{"layers": [{"name": "a", "diskLayer": {}}]}`:                                                                                             "layered_runtime.layers[0].disk_layer.symlink_root",
		`{"layers": [{"name": "a", "rtdsLayer": {"name": "x"}}]}`:                                                                                  "layered_runtime.layers[0].rtds_layer.rtds_config",
		`{"layers": [{"name": "a", "rtdsLayer": {"rtdsConfig": {"ads": {}}}}]}`:                                                                    "layered_runtime.layers[0].rtds_layer.name",
		`{"layers": [{"name": "a", "staticLayer": {"k": []}}]}`:                                                                                    `layered_runtime.layers[0].static_layer["k"]`,
		`{"layers": [{"name": "a", "staticLayer": {"overload": {"global_downstream_max_connections": 1.5}}}]}`:                                     `layered_runtime.layers[0].static_layer["overload"]["global_downstream_max_connections"]`,
	} {
		b := &bootstrapv3.Bootstrap{LayeredRuntime: &bootstrapv3.LayeredRuntime{}}
		if err := protojson.Unmarshal([]byte(text), b.LayeredRuntime); err != nil {
			t.Fatal(err)
		}
		p := resource.NewProblems("")
		checkRuntime(b, p)
		var at []string
		for _, problem := range p.All() {
			if problem.Severity == resource.Error {
				at = append(at, string(problem.Path))
			}
		}
		if got := strings.Join(at, " "); got != want {
			t.Errorf("%s: problems at %q, want %q", text, got, want)
		}
	}
}

func FuzzRuntimeText(f *testing.F) {
	f.Add("numerator: 5\ndenominator: TEN_THOUSAND")
	f.Add("{numerator: &a [*a]}")
	f.Add(`{"numerator": 1e400}`)
	f.Fuzz(func(t *testing.T, text string) {
		if got := RuntimeText(text); RuntimeText(got) != got {
			t.Errorf("%q becomes %q and that something else", text, got)
		}
	})
}
