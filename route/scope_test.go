package route

import (
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// keysOf compiles a ScopeKeyBuilder given as YAML, and returns what is wrong with it.
func keysOf(t testing.TB, text string) (*ScopeKeys, string) {
	t.Helper()
	var cfg hcmv3.ScopedRoutes_ScopeKeyBuilder
	if err := protojson.Unmarshal(toJSON(t, []byte(text)), &cfg); err != nil {
		t.Fatal(err)
	}
	p := resource.NewProblems("")
	k := CompileScopeKeys(&cfg, "b", p)
	var all []string
	for _, problem := range p.All() {
		all = append(all, problem.String())
	}
	return k, strings.Join(all, "\n")
}

// scopeOf reads a scope, and returns what is wrong with it.
func scopeOf(t testing.TB, text string) (*Scope, string) {
	t.Helper()
	var cfg routev3.ScopedRouteConfiguration
	if err := protojson.Unmarshal(toJSON(t, []byte(text)), &cfg); err != nil {
		t.Fatal(err)
	}
	p := resource.NewProblems("")
	s := ReadScope(&cfg, "", p)
	if p.Len() > 0 {
		return s, p.All()[0].String()
	}
	return s, ""
}

// named is a scope with a key.
func named(name string, fragments ...string) *Scope {
	var key []byte
	for _, f := range fragments {
		key = appendFragment(key, f)
	}
	return &Scope{Name: name, Key: string(key), Routes: name}
}

func TestScopeKeysAreBuiltAsEnvoyBuildsThem(t *testing.T) {
	const element = "{fragments: [{header_value_extractor: {name: Addr, element_separator: ';', element: {key: x, separator: '='}}}]}"
	const index = "{fragments: [{header_value_extractor: {name: Addr, element_separator: ',', index: 1}}]}"
	const two = "{fragments: [{header_value_extractor: {name: Host, index: 0}}, {header_value_extractor: {name: y, index: 0}}]}"
	const alone = "{fragments: [{header_value_extractor: {name: Addr, element: {key: x, separator: '='}}}]}"
	for _, c := range []struct {
		builder string
		r       *message.Request
		want    []string // nil: no key
	}{
		{element, get("h", "/", "addr", "a=1;x=2;x=3"), []string{"2"}}, {element, get("h", "/", "addr", "a=1"), nil}, {element, get("h", "/"), nil},
		{element, get("h", "/", "addr", "x"), []string{""}}, {element, get("h", "/", "addr", "x=a=b"), []string{"a=b"}}, {element, get("h", "/", "addr", ""), nil},
		{element, get("h", "/", "addr", ";;x=;"), []string{""}}, {element, get("h", "/", "addr", "a=1", "addr", "x=2"), nil}, // the first counts
		{alone, get("h", "/", "addr", "x=1;x=2"), []string{"1;x=2"}}, {alone, get("h", "/", "addr", "a;x=2"), nil},
		{index, get("h", "/", "addr", "a,b,c"), []string{"b"}}, {index, get("h", "/", "addr", "a"), nil}, {index, get("h", "/", "addr", "a,"), []string{""}},
		{two, get("h:80", "/", "Y", "v,w"), []string{"h:80", "v,w"}}, {two, get("h", "/"), nil}, {two, get("", "/", "y", "v"), nil}, {two, get("h", "/", "y", ""), []string{"h", ""}},
		{"{fragments: [{header_value_extractor: {name: ':path', index: 0}}, {header_value_extractor: {name: ':method', index: 0}}, {header_value_extractor: {name: ':scheme', index: 0}}]}",
			get("h", "/p"), []string{"/p", "GET", "http"}},
	} {
		k, problems := keysOf(t, c.builder)
		if problems != "" {
			t.Fatal(problems)
		}
		got, ok := k.Append(nil, c.r)
		if ok != (c.want != nil) || ok && string(got) != named("", c.want...).Key {
			t.Errorf("%s of %v %q: %q, %v, want %q", c.builder, c.r.Authority, c.r.Header.Get("addr"), got, ok, c.want)
		}
	}
}

func TestWrongScopesAreRefused(t *testing.T) {
	for builder, want := range map[string]string{
		"{}":                "b.fragments: must have at least one fragment",
		"{fragments: [{}]}": "b.fragments[0]: has no type",
		"{fragments: [{header_value_extractor: {}}]}":                                                  "name: must not be empty",
		"{fragments: [{header_value_extractor: {name: a}}]}":                                           "extract_type not set",
		"{fragments: [{header_value_extractor: {name: a, index: 1}}]}":                                 "index: Index > 0 for empty string element separator.",
		"{fragments: [{header_value_extractor: {name: a, element: {}}}]}":                              "element.separator: must not be empty",
		"{fragments: [{header_value_extractor: {name: a, element_separator: '', element: {key: a}}}]}": "element.separator: must not be empty",
	} {
		if _, problems := keysOf(t, builder); !strings.Contains(problems, want) {
			t.Errorf("%s: %q, want %q", builder, problems, want)
		}
	}
	const key = "key: {fragments: [{string_key: a}]}"
	for scope, want := range map[string]string{
		"{route_configuration_name: r, " + key + "}":                                                   "name: must not be empty",
		"{name: s, " + key + "}":                                                                       "one of route_configuration_name and route_configuration is required",
		"{name: s, route_configuration_name: r, route_configuration: {}, " + key + "}":                 "only one of",
		"{name: s, on_demand: true, route_configuration: {}, " + key + "}":                             "on_demand: only routes that are subscribed to",
		"{name: s, route_configuration_name: r}":                                                       "key.fragments: must have at least one fragment",
		"{name: s, route_configuration_name: r, key: {fragments: [{}]}}":                               "key.fragments[0]: has no type",
		"{name: s, on_demand: true, route_configuration_name: r, key: {fragments: [{string_key: a}]}}": "",
	} {
		if _, problem := scopeOf(t, scope); !strings.Contains(problem, want) || (want == "") != (problem == "") {
			t.Errorf("%s: %q, want %q", scope, problem, want)
		}
	}
	if s, _ := scopeOf(t, "{name: s, route_configuration_name: r, key: {fragments: [{string_key: a}, {string_key: ''}]}}"); s.Key != named("", "a", "").Key {
		t.Errorf("%q", s.Key)
	}
}

func TestScopesChange(t *testing.T) {
	keys, _ := keysOf(t, "{fragments: [{header_value_extractor: {name: k, index: 0}}]}")
	s := NewScopes[string](keys)
	for _, step := range []struct {
		name     string
		remove   []string
		set      []*Scope
		want     string // the values of the keys 1, 2, 3
		conflict string
	}{
		{"one", nil, []*Scope{named("a", "1")}, "a1 - -", ""},
		{"another, and nobody that is removed", []string{"x"}, []*Scope{named("b", "2")}, "a1 b2 -", ""},
		{"a taken key", nil, []*Scope{named("c", "1"), named("d", "3")}, "a1 b2 d3", "scope key conflict found, first scope is 'a', second scope is 'c'"},
		{"a key that becomes free", []string{"d"}, []*Scope{named("e", "3")}, "a1 b2 e3", ""},
		{"two swap", nil, []*Scope{named("a", "2"), named("b", "1")}, "b1 a2 e3", ""},
		{"one conflict in a change, the old one stays", nil, []*Scope{named("e", "1")}, "b1 a2 e3", "scope key conflict found, first scope is 'b', second scope is 'e'"},
		{"its key has been taken by another", nil, []*Scope{named("e", "1"), named("b", "3")}, "e1 a2 b3", ""},
		{"all go", []string{"a", "b", "e"}, nil, "- - -", ""},
	} {
		before := s
		next, rejected := s.With(step.remove, step.set, func(x *Scope) string { return x.Name + x.Key[1:] })
		s = next
		var got []string
		for _, k := range []string{"1", "2", "3"} {
			value, ok := s.Find(get("h", "/", "k", k))
			if !ok {
				value = "-"
			}
			got = append(got, value)
		}
		text := ""
		for _, err := range rejected {
			text += err.Error()
		}
		if joined := strings.Join(got, " "); joined != step.want || text != step.conflict {
			t.Errorf("%s: %q %q, want %q %q", step.name, joined, text, step.want, step.conflict)
		}
		if before.Len() > 0 {
			if _, ok := before.Find(get("h", "/")); ok {
				t.Errorf("%s: no key has a scope", step.name)
			}
		}
		n := 0
		for range s.Values() {
			n++
		}
		if n != s.Len() || len(s.All()) != n {
			t.Errorf("%s: %d values, %d scopes, %d in all", step.name, n, s.Len(), len(s.All()))
		}
	}
	one, _ := s.With(nil, []*Scope{named("a", "1")}, func(*Scope) string { return "old" })
	two := one.Replace("a", "new").Replace("nobody", "x")
	_, was := one.Get("a")
	scope, is := two.Get("a")
	if none, value := two.Get("nobody"); was != "old" || is != "new" || scope.Name != "a" || none != nil || value != "" {
		t.Errorf("%q, then %q of %v", was, is, scope)
	}
}

func TestFindingAScopeAllocatesNothing(t *testing.T) {
	keys, _ := keysOf(t, "{fragments: [{header_value_extractor: {name: k, element_separator: ',', index: 1}}, {header_value_extractor: {name: host, index: 0}}]}")
	s, _ := NewScopes[int](keys).With(nil, []*Scope{named("a", "x", "h")}, func(*Scope) int { return 7 })
	r := get("h", "/", "k", "y,x")
	if n := testing.AllocsPerRun(100, func() {
		if v, ok := s.Find(r); !ok || v != 7 {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzScopeKeys checks that no header breaks the scope key, and that only the same fragments make the same key.
func FuzzScopeKeys(f *testing.F) {
	for _, seed := range [][4]string{{"a=1;x=2", ";", "x", "="}, {"", "", "", ""}, {"x", "x", "x", "x"}, {";;;", ";", "k", "=="}, {"a\xff,b", ",", "a", "\xff"}} {
		f.Add(seed[0], seed[1], seed[2], seed[3], uint8(1))
	}
	f.Fuzz(func(t *testing.T, value, separator, key, between string, index uint8) {
		r := get("h", "/")
		r.Header.Add("k", value)
		byIndex := extractor{header: "k", separator: separator, index: int(index)}
		byKey := extractor{header: "k", separator: separator, byKey: true, key: key, between: between}
		elements := []string{value}
		if separator != "" {
			elements = strings.Split(value, separator)
		}
		got, ok := byIndex.extract(r)
		if want := int(index) < len(elements); ok != want || ok && got != elements[index] {
			t.Fatalf("element %d of %q: %q, %v", index, elements, got, ok)
		}
		if between == "" {
			return // refused when compiled
		}
		want, found := "", false
		for _, e := range elements {
			if parts := strings.SplitN(e, between, 2); parts[0] == key {
				want, found = strings.Join(parts[1:], ""), true
				break
			}
		}
		content, ok := byKey.extract(r)
		if ok != found || content != want {
			t.Fatalf("%q of %q: %q, %v, want %q, %v", key, elements, content, ok, want, found)
		}
		one, _ := (&ScopeKeys{fragments: []extractor{byIndex, byKey}}).Append(nil, r)
		if other := named("", got, content+"x").Key; ok && string(one) == other {
			t.Fatalf("one key for two lists: %q", one)
		}
	})
}
