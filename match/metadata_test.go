package match

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

func TestMetadataMatches(t *testing.T) {
	facts := map[string]map[string]any{"ns": {
		"s": "text", "n": 5.0, "b": true, "null": nil, "list": []any{"x", 2.0}, "in": map[string]any{"deep": "er"},
	}}
	for cfg, want := range map[string]bool{
		`{"path":[{"key":"s"}],"value":{"stringMatch":{"exact":"text"}}}`:                                                    true,
		`{"path":[{"key":"s"}],"value":{"stringMatch":{"exact":"text"}},"invert":true}`:                                      false,
		`{"path":[{"key":"gone"}],"value":{"stringMatch":{"exact":"text"}},"invert":true}`:                                   true,
		`{"path":[{"key":"n"}],"value":{"doubleMatch":{"exact":5}}}`:                                                         true,
		`{"path":[{"key":"n"}],"value":{"doubleMatch":{"range":{"start":1,"end":5}}}}`:                                       false,
		`{"path":[{"key":"n"}],"value":{"doubleMatch":{"range":{"start":5,"end":6}}}}`:                                       true,
		`{"path":[{"key":"b"}],"value":{"boolMatch":true}}`:                                                                  true,
		`{"path":[{"key":"b"}],"value":{"boolMatch":false}}`:                                                                 false,
		`{"path":[{"key":"null"}],"value":{"nullMatch":{}}}`:                                                                 true,
		`{"path":[{"key":"s"}],"value":{"nullMatch":{}}}`:                                                                    false,
		`{"path":[{"key":"s"}],"value":{"presentMatch":true}}`:                                                               true,
		`{"path":[{"key":"gone"}],"value":{"presentMatch":false}}`:                                                           true,
		`{"path":[{"key":"list"}],"value":{"listMatch":{"oneOf":{"doubleMatch":{"exact":2}}}}}`:                              true,
		`{"path":[{"key":"list"}],"value":{"listMatch":{"oneOf":{"boolMatch":true}}}}`:                                       false,
		`{"path":[{"key":"in"},{"key":"deep"}],"value":{"stringMatch":{"prefix":"e"}}}`:                                      true,
		`{"path":[{"key":"s"},{"key":"deep"}],"value":{"presentMatch":true}}`:                                                false,
		`{"path":[{"key":"n"}],"value":{"orMatch":{"valueMatchers":[{"boolMatch":true},{"doubleMatch":{"exact":5}}]}}}`:      true,
		`{"path":[{"key":"n"}],"value":{"orMatch":{"valueMatchers":[{"boolMatch":true},{"stringMatch":{"exact":"text"}}]}}}`: false,
	} {
		var m matcherv3.MetadataMatcher
		if err := protojson.Unmarshal([]byte(cfg), &m); err != nil {
			t.Fatal(err)
		}
		m.Filter = "ns"
		compiled, err := NewMetadata(&m)
		if err != nil {
			t.Fatal(err)
		}
		if got := compiled.Match(facts); got != want {
			t.Errorf("%s: %v", cfg, got)
		}
	}
	for _, bad := range []*matcherv3.MetadataMatcher{{}, {Filter: "a"}, {Filter: "a", Path: []*matcherv3.MetadataMatcher_PathSegment{{}}}} {
		if _, err := NewMetadata(bad); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

type runtime map[string]string

func (r runtime) Lookup(key string) (string, bool) { v, ok := r[key]; return v, ok }

func TestFractionHoldsForItsPart(t *testing.T) {
	cfg := &corev3.RuntimeFractionalPercent{RuntimeKey: "k", DefaultValue: &typev3.FractionalPercent{Numerator: 30}}
	for _, c := range []struct {
		runtime Runtime
		random  uint64
		want    bool
	}{
		{nil, 29, true}, {nil, 30, false}, {nil, 129, true}, {runtime{}, 29, true}, {runtime{"k": "0"}, 0, false}, {runtime{"k": "100"}, 99, true},
		{runtime{"k": `{"numerator":1,"denominator":"TEN_THOUSAND"}`}, 10_000, true},
		{runtime{"k": `{"numerator":1,"denominator":"MILLION"}`}, 10_000, false}, {runtime{"k": "x"}, 29, true},
	} {
		if got := NewFraction(cfg, c.runtime).Match(c.random); got != c.want {
			t.Errorf("%v, %d: %v", c.runtime, c.random, got)
		}
	}
}

func TestFractionFollowsTheRuntime(t *testing.T) {
	values := runtime{"k": `{"numerator":1,"denominator":"TEN_THOUSAND"}`}
	f := NewFraction(&corev3.RuntimeFractionalPercent{RuntimeKey: "k", DefaultValue: &typev3.FractionalPercent{Numerator: 30}}, values)
	if f.Match(1) || !f.Match(0) {
		t.Error("one of ten thousand")
	}
	if n := testing.AllocsPerRun(100, func() { f.Match(1) }); n > 0 {
		t.Errorf("%v allocations for a value that stays", n)
	}
	values["k"] = `{"numerator":2,"denominator":"TEN_THOUSAND"}`
	if !f.Match(1) || f.Match(2) {
		t.Error("two of ten thousand")
	}
	values["k"] = "{"
	if !f.Match(29) || f.Match(30) {
		t.Error("what is no fraction leaves the default")
	}
}
