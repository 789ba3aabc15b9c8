package rbac

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc/grpctest"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

func TestSupport(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func parse[T proto.Message](t testing.TB, text string, m T) T {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return m
}

func compile(t testing.TB, text string) (*Filter, *stats.Store) {
	t.Helper()
	store := stats.NewStore(stats.Options{})
	f, err := New(&extension.Env{HTTP: store.Scope("http.h")}, parse(t, text, &rbacv3.RBAC{}))
	if err != nil {
		t.Fatal(err)
	}
	return f, store
}

// ask passes a GET through the filter and says whether it came through, and what is known of it then.
func ask(t testing.TB, f *Filter, path string) (passed bool, x *exchange.Exchange) {
	t.Helper()
	q := grpctest.Request(path, nil)
	q.Method = "GET"
	resp := grpctest.Response(200, nil)
	x, _ = grpctest.Exchange(f, func(context.Context, *exchange.Exchange) (*message.Response, error) {
		passed = true
		return resp, nil
	}, q)
	x.Conn = &conn.Info{Network: "tcp", Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("10.0.0.2:1")}
	got, err := x.Run(t.Context())
	if passed {
		if got != resp || err != nil {
			t.Errorf("%s: %v, %v", path, got, err)
		}
		return true, x
	}
	var e *exchange.Error
	if !errors.As(err, &e) || e.Status != 403 || e.Body != "RBAC: access denied" || e.Flag != 0 {
		t.Fatalf("%s: %+v", path, err)
	}
	x.Reply(err)
	return false, x
}

// policy is a JSON policy for paths that begin with a prefix.
func policy(prefix string) string {
	return `{"permissions": [{"url_path": {"path": {"prefix": "` + prefix + `"}}}], "principals": [{"any": true}]}`
}

func metadata(fields ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(fields); i += 2 {
		m[fields[i].(string)] = fields[i+1]
	}
	return m
}

func TestRequestsAreAllowedOrDenied(t *testing.T) {
	rules := `"policies": {"the a": ` + policy("/a") + `}`
	for _, tc := range []struct {
		cfg, path, details string
		passed             bool
		fields             map[string]any
		want               map[string]int64
	}{
		{`{}`, "/a", "", true, nil, map[string]int64{"allowed": 0, "denied": 0}},
		{`{"rules": {}}`, "/a", "rbac_access_denied_matched_policy[none]", false, metadata("enforced_engine_result", "denied"),
			map[string]int64{"denied": 1, "allowed": 0}},
		{`{"rules": {` + rules + `}}`, "/a", "", true, metadata("enforced_engine_result", "allowed", "enforced_effective_policy_id", "the a"),
			map[string]int64{"allowed": 1, "denied": 0}},
		{`{"rules": {` + rules + `}}`, "/b?/a", "rbac_access_denied_matched_policy[none]", false, metadata("enforced_engine_result", "denied"),
			map[string]int64{"denied": 1}},
		{`{"rules": {"action": "DENY", ` + rules + `}}`, "/a", "rbac_access_denied_matched_policy[the_a]", false,
			metadata("enforced_engine_result", "denied", "enforced_effective_policy_id", "the a"), map[string]int64{"denied": 1}},
		{`{"rules": {"action": "DENY", ` + rules + `}}`, "/b", "", true, metadata("enforced_engine_result", "allowed"), map[string]int64{"allowed": 1}},
		{`{"rules": {"action": "DENY", ` + rules + `}, "rules_stat_prefix": "p_", "track_per_rule_stats": true}`, "/a",
			"rbac_access_denied_matched_policy[the_a]", false, metadata("p_enforced_engine_result", "denied", "p_enforced_effective_policy_id", "the a"),
			map[string]int64{"p_.denied": 1, "p_.policy.the a.denied": 1, "denied": 0}},
		{`{"rules": {` + rules + `}, "track_per_rule_stats": true}`, "/a", "", true,
			metadata("enforced_engine_result", "allowed", "enforced_effective_policy_id", "the a"), map[string]int64{"allowed": 1, "policy.the a.allowed": 1}},
		{`{"shadow_rules": {"action": "DENY", ` + rules + `}, "shadow_rules_stat_prefix": "s_", "track_per_rule_stats": true}`, "/a", "", true,
			metadata("s_shadow_engine_result", "denied", "s_shadow_effective_policy_id", "the a"),
			map[string]int64{"s_.shadow_denied": 1, "s_.policy.the a.shadow_denied": 1, "allowed": 0, "denied": 0}},
		{`{"shadow_rules": {` + rules + `}}`, "/b", "", true, metadata("shadow_engine_result", "denied"), map[string]int64{"shadow_denied": 1}},
		{`{"shadow_rules": {` + rules + `}}`, "/a", "", true, metadata("shadow_engine_result", "allowed", "shadow_effective_policy_id", "the a"),
			map[string]int64{"shadow_allowed": 1, "shadow_denied": 0}},
		{`{"shadow_rules": {` + rules + `}, "rules": {"action": "DENY", ` + rules + `}}`, "/a", "rbac_access_denied_matched_policy[the_a]", false,
			metadata("shadow_engine_result", "allowed", "shadow_effective_policy_id", "the a", "enforced_engine_result", "denied", "enforced_effective_policy_id", "the a"),
			map[string]int64{"shadow_allowed": 1, "denied": 1}},
	} {
		f, store := compile(t, tc.cfg)
		passed, x := ask(t, f, tc.path)
		if passed != tc.passed || x.Record.Details != tc.details {
			t.Errorf("%s, %s: passed %v, details %q", tc.cfg, tc.path, passed, x.Record.Details)
		}
		if got := x.Record.Metadata["envoy.filters.http.rbac"]; !maps.Equal(got, tc.fields) {
			t.Errorf("%s, %s: metadata %v, want %v", tc.cfg, tc.path, got, tc.fields)
		}
		for name, n := range tc.want {
			grpctest.Expect(t, store, map[string]int64{"http.h.rbac." + name: n})
		}
	}
}

func TestLogAsksForTheAccessLog(t *testing.T) {
	const rules = `{"action": "LOG", "policies": {"a": `
	f, store := compile(t, `{"rules": `+rules+policy("/a")+`}}}`)
	for path, want := range map[string]bool{"/a": true, "/b": false} {
		passed, x := ask(t, f, path)
		if got := x.Record.Metadata["envoy.common"]["access_log_hint"]; !passed || got != want {
			t.Errorf("%s: passed %v, %v", path, passed, got)
		}
	}
	grpctest.Expect(t, store, map[string]int64{"http.h.rbac.allowed": 2, "http.h.rbac.denied": 0})
	f, _ = compile(t, `{"shadow_rules": `+rules+policy("/a")+`}}}`)
	if _, x := ask(t, f, "/a"); x.Record.Metadata["envoy.common"] != nil {
		t.Errorf("shadow rules ask: %v", x.Record.Metadata)
	}
}

// The maps of an outcome are in the records of many exchanges.
func TestFiltersAddToTheMetadataOfOthers(t *testing.T) {
	first, _ := compile(t, `{"rules": {"action": "LOG"}, "rules_stat_prefix": "one_"}`)
	second, _ := compile(t, `{"rules": {"policies": {"a": `+policy("/a")+`}}, "rules_stat_prefix": "two_"}`)
	_, alone := ask(t, first, "/a")
	before := maps.Clone(alone.Record.Metadata[name])
	x := &exchange.Exchange{Conn: alone.Conn, Request: grpctest.Request("/a", nil)}
	end := grpctest.Upstream(func(context.Context, *exchange.Exchange) (*message.Response, error) {
		return grpctest.Response(200, nil), nil
	})
	x.Take(alone.Route, []exchange.Filter{first, second, end})
	if _, err := x.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := metadata("one_enforced_engine_result", "allowed", "two_enforced_engine_result", "allowed", "two_enforced_effective_policy_id", "a")
	if got := x.Record.Metadata[name]; !maps.Equal(got, want) || x.Record.Metadata["envoy.common"]["access_log_hint"] != false {
		t.Errorf("%v", x.Record.Metadata)
	}
	if got := alone.Record.Metadata[name]; !maps.Equal(got, before) || len(alone.Record.Metadata) != 2 {
		t.Errorf("the record of another exchange became %v", alone.Record.Metadata)
	}
}

func TestRoutesHaveTheirOwnRules(t *testing.T) {
	f, store := compile(t, `{"rules": {}, "shadow_rules": {}, "rules_stat_prefix": "base"}`)
	route := func(text string) *Filter {
		g, err := f.ForRoute(parse(t, text, &rbacv3.RBACPerRoute{}))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	if passed, x := ask(t, route(`{}`), "/a"); !passed || x.Record.Metadata != nil {
		t.Errorf("an empty override: passed %v, %v", passed, x.Record.Metadata)
	}
	own := route(`{"rbac": {"rules": {"policies": {"a": ` + policy("/a") + `}}, "rules_stat_prefix": "own_", "track_per_rule_stats": true}}`)
	if passed, x := ask(t, own, "/a"); !passed || x.Record.Metadata[name]["own_enforced_effective_policy_id"] != "a" {
		t.Errorf("passed %v, %v", passed, x.Record.Metadata)
	}
	if passed, _ := ask(t, f, "/a"); passed {
		t.Error("the filter took over what a route says")
	}
	grpctest.Expect(t, store, map[string]int64{
		"http.h.rbac.base.allowed": 1, "http.h.rbac.base.denied": 1, "http.h.rbac.base.policy.a.allowed": 1, "http.h.rbac.shadow_denied": 1,
	})
}

func TestWrongConfigurations(t *testing.T) {
	const wrong = `{"policies": {"p": {"permissions": [{}], "principals": [{"any": true}]}}}`
	const place = `rules.policies["p"].permissions[0].rule: must not be empty`
	env := &extension.Env{HTTP: stats.NewStore(stats.Options{}).Scope("http.h")}
	for text, want := range map[string]string{
		`{"rules": ` + wrong + `}`: place, `{"shadow_rules": ` + wrong + `}`: "shadow_" + place,
		`{"matcher": {}}`: "matcher: not supported; use rules", `{"shadow_matcher": {}}`: "shadow_matcher: not supported; use shadow_rules",
	} {
		if _, err := New(env, parse(t, text, &rbacv3.RBAC{})); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		f, _ := compile(t, `{}`)
		if _, err := f.ForRoute(parse(t, `{"rbac": `+text+`}`, &rbacv3.RBACPerRoute{})); err == nil || err.Error() != "rbac."+want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestExtensionCompiles(t *testing.T) {
	e := Extension()
	env := &extension.Env{HTTP: stats.NewStore(stats.Options{}).Scope("http.h")}
	f, err := e.New(env, &rbacv3.RBAC{})
	if err != nil {
		t.Fatal(err)
	}
	if g, err := e.ForRoute(env, f, &rbacv3.RBACPerRoute{}); err != nil || g == f {
		t.Errorf("%v, %v", g, err)
	}
}

func TestHandlingAllocatesNothing(t *testing.T) {
	for _, cfg := range []string{`{"rules": {"policies": {"a": ` + policy("/a") + `}}}`, `{"rules": {}}`, `{"rules": {"action": "LOG"}}`, `{"shadow_rules": {}}`} {
		f, _ := compile(t, cfg)
		_, x := ask(t, f, "/a")
		resp := grpctest.Response(200, nil)
		x.Take(x.Route, []exchange.Filter{f, grpctest.Upstream(func(context.Context, *exchange.Exchange) (*message.Response, error) { return resp, nil })})
		if n := testing.AllocsPerRun(100, func() {
			x.Record.Metadata = nil
			_, _ = x.Run(t.Context())
		}); n != 0 {
			t.Errorf("%s: %v allocations", cfg, n)
		}
	}
}
