package rbac

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/message"
)

func TestPoliciesAreAskedInTheOrderOfTheirNames(t *testing.T) {
	const policies = `"policies": {
		"b": {"permissions": [{"destination_port": 1}, {"destination_port": 8443}], "principals": [{"any": true}]},
		"a": {"permissions": [{"any": true}], "principals": [{"not_id": {"any": true}}, {"authenticated": {}}]},
		"c": {"permissions": [{"any": true}], "principals": [{"any": true}]}}`
	s := Subject{Conn: plain()}
	for action, allowed := range map[string]bool{"ALLOW": true, "DENY": false, "LOG": true} {
		e := engine(t, false, `{"action": "`+action+`", `+policies+`}`)
		if d := e.Decide(&s); d.Allowed != allowed || e.Name(d.Policy) != "b" {
			t.Errorf("%s: %+v", action, d)
		}
	}
	secured := Subject{Conn: secure(nil, false)}
	if e := engine(t, false, `{`+policies+`}`); e.Name(e.Decide(&secured).Policy) != "a" {
		t.Error("the policy before is passed over")
	}
	for action, allowed := range map[string]bool{"ALLOW": false, "DENY": true, "LOG": true} {
		if d := engine(t, false, `{"action": "`+action+`"}`).Decide(&s); d != (Decision{allowed, None}) {
			t.Errorf("%s without policies: %+v", action, d)
		}
	}
}

func TestWhatCannotBeToldStopsNoOtherPolicy(t *testing.T) {
	const policies = `"policies": {
		"a": {"permissions": [{"destination_port": 1}], "principals": [{"any": true}]},
		"b": {"permissions": [{"any": true}], "principals": [{"any": true}]}}`
	unix := plain()
	unix.Local = netip.AddrPort{}
	s := Subject{Conn: unix}
	for action, want := range map[string]Decision{"ALLOW": {true, 1}, "DENY": {false, 0}, "LOG": {true, 0}} {
		if d := engine(t, false, `{"action": "`+action+`", `+policies+`}`).Decide(&s); d != want {
			t.Errorf("%s: %+v, want %+v", action, d, want)
		}
	}
}

func TestDetails(t *testing.T) {
	for name, want := range map[string]string{
		"a \t\f\v\n\ry": "a______y", "ab df  xy": "ab_df__xy", "ns[d]-policy[p]-rule[0]": "ns[d]-policy[p]-rule[0]",
	} {
		e := &Engine{policies: []policy{{name: name}}}
		if got := e.Details(0); got != "rbac_access_denied_matched_policy["+want+"]" {
			t.Errorf("%q: %s", name, got)
		}
		if got := e.Details(None); got != "rbac_access_denied_matched_policy[none]" {
			t.Error(got)
		}
	}
}

// A formula is a random principal. Its leaves are filter state that is "t", is not, or is not there.
type formula struct {
	op    int // 0: a leaf, 1: not, 2: and, 3: or
	leaf  string
	parts []formula
}

func randomFormula(r *rand.Rand, depth int) formula {
	f := formula{op: r.IntN(4)}
	if depth == 0 || f.op == 0 {
		return formula{leaf: string(rune('a' + r.IntN(4)))}
	}
	n := 1
	if f.op > 1 {
		n += r.IntN(3)
	}
	for range n {
		f.parts = append(f.parts, randomFormula(r, depth-1))
	}
	return f
}

func (f *formula) json() string {
	var parts []string
	for i := range f.parts {
		parts = append(parts, f.parts[i].json())
	}
	list := strings.Join(parts, ", ")
	return [...]string{
		`{"filter_state": {"key": "` + f.leaf + `", "string_match": {"exact": "t"}}}`, `{"not_id": ` + list + `}`,
		`{"and_ids": {"ids": [` + list + `]}}`, `{"or_ids": {"ids": [` + list + `]}}`,
	}[f.op]
}

// holds is what the formula says where everything is known.
func (f *formula) holds(state map[string]string) bool {
	switch f.op {
	case 0:
		return state[f.leaf] == "t"
	case 1:
		return !f.parts[0].holds(state)
	}
	for i := range f.parts {
		if f.parts[i].holds(state) == (f.op == 3) {
			return f.op == 3
		}
	}
	return f.op == 2
}

// completions calls do with every state in which what is not known in state is known.
func completions(state map[string]string, do func(map[string]string)) {
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, ok := state[key]; ok {
			continue
		}
		for _, v := range []string{"t", "f"} {
			next := map[string]string{key: v}
			for k, v := range state {
				next[k] = v
			}
			completions(next, do)
		}
		return
	}
	do(state)
}

// An engine that lets somebody in though it does not know everything would let him in whatever the rest is; and where it knows
// everything it says what the formula says.
func TestWhatIsNotKnownNeverAllows(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 7))
	allowedUnknowing := 0
	for range 150 {
		f := randomFormula(r, 4)
		allow, deny := engine(t, true, inPolicy("ALLOW", "principal", f.json())), engine(t, true, inPolicy("DENY", "principal", f.json()))
		known := map[string]string{}
		for _, key := range []string{"a", "b", "c", "d"} {
			if v := r.IntN(3); v < 2 {
				known[key] = []string{"t", "f"}[v]
			}
		}
		ask := func(e *Engine, state map[string]string) bool {
			return e.Decide(&Subject{Conn: plain(), Request: &message.Request{}, State: state}).Allowed
		}
		allows, denies := ask(allow, known), !ask(deny, known)
		if allows && len(known) < 4 {
			allowedUnknowing++
		}
		completions(known, func(state map[string]string) {
			holds := f.holds(state)
			if ask(allow, state) != holds || ask(deny, state) == holds {
				t.Fatalf("%s with %v: %v expected", f.json(), state, holds)
			}
			if allows && !holds || !denies && holds {
				t.Fatalf("%s with %v: ALLOW allows %v, DENY denies %v, though it may be %v", f.json(), known, allows, denies, state)
			}
		})
	}
	if allowedUnknowing == 0 {
		t.Error("no formula was decided without knowing everything; the test shows too little")
	}
}

func TestUnsupportedRulesAreRefused(t *testing.T) {
	nested := strings.Repeat(`{"not_id": `, 101) + `{"any": true}` + strings.Repeat(`}`, 101)
	for _, tc := range []struct{ rule, want string }{
		{`permission {}`, `policies["p"].permissions[0].rule: must not be empty`},
		{`principal {}`, `policies["p"].principals[0].identifier: must not be empty`},
		{`permission {"and_rules": {}}`, `policies["p"].permissions[0].and_rules.rules: must not be empty`},
		{`principal {"or_ids": {}}`, `policies["p"].principals[0].or_ids.ids: must not be empty`},
		{`permission {"any": false}`, `permissions[0].any: must be true`},
		{`principal {"not_id": {"any": false}}`, `principals[0].not_id.any: must be true`},
		{`permission {"destination_port": 65536}`, `destination_port: 65536 is not a port`},
		{`permission {"destination_port_range": {"start": 5, "end": 5}}`, `range start 5 cannot be greater or equal than range end 5`},
		{`permission {"destination_port_range": {"start": -1, "end": 5}}`, `range start -1 is out of bounds`},
		{`permission {"destination_port_range": {"start": 1, "end": 65537}}`, `range end 65537 is out of bounds`},
		{`permission {"destination_ip": {"address_prefix": "x"}}`, `destination_ip: range 0: address_prefix: "x" is not an IP address`},
		{`permission {"requested_server_name": {}}`, `requested_server_name: string matcher has no pattern`},
		{`permission {"header": {"name": ""}}`, `header: name: must not be empty`},
		{`permission {"header": {"name": "Transfer-Encoding", "present_match": true}}`, `header.name: Transfer-Encoding: a field of one connection`},
		{`principal {"header": {"name": "keep-alive", "present_match": true}}`, `header.name: keep-alive: a field of one connection`},
		{`permission {"url_path": {"path": {"safe_regex": {"regex": "("}}}}`, `url_path.path: safe_regex: `},
		{`permission {"uri_template": {"name": "x"}}`, `uri_template.typed_config: empty`},
		{`permission {"matcher": {"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}}}}`,
			`matcher: extension "x" (google.protobuf.Struct) is not supported`},
		{`principal {"custom": {"name": "x"}}`, `custom: extension "x" () is not supported`},
		{`principal {"custom": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"}}}`,
			`custom.typed_config: san_matcher or any_validated_client_certificate must be set`},
		{`principal {"custom": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config",
			"san_matcher": {"san_type": "OTHER_NAME", "matcher": {"exact": "x"}}}}}`, `custom.typed_config: san_matcher.san_type: OTHER_NAME is not supported`},
		{`principal {"authenticated": {"principal_name": {"custom": {"name": "x"}}}}`, `authenticated.principal_name: custom string matchers are not supported`},
		{`principal {"metadata": {"filter": "x"}}`, `metadata: filter and path must not be empty`},
		{`principal {"sourced_metadata": {"metadata_source": 7}}`, `sourced_metadata.metadata_source: 7 is not supported`},
		{`principal {"filter_state": {"string_match": {"exact": "x"}}}`, `filter_state.key: must not be empty`},
		{`principal ` + nested, `nested more than 100 deep`},
	} {
		kind, one, _ := strings.Cut(tc.rule, " ")
		refused(t, CompileHTTP, inPolicy("ALLOW", kind, one), tc.want)
	}
	for rules, want := range map[string]string{
		`{"action": 9}`:                 `action: 9 is not supported`,
		`{"audit_logging_options": {}}`: `audit_logging_options: not supported`,
		`{"policies": {"p": {"principals": [{"any": true}]}}}`:                                                          `policies["p"].permissions: must not be empty`,
		`{"policies": {"p": {"permissions": [{"any": true}]}}}`:                                                         `policies["p"].principals: must not be empty`,
		`{"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}], "condition": {}}}}`:         `policies["p"].condition: CEL`,
		`{"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}], "checked_condition": {}}}}`: `policies["p"].checked_condition: CEL`,
		`{"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}], "cel_config": {}}}}`:        `policies["p"].cel_config: CEL`,
	} {
		refused(t, CompileHTTP, rules, want)
		refused(t, CompileNetwork, rules, want)
	}
}

func TestNetworkRulesAboutRequestsAreRefused(t *testing.T) {
	for rule, place := range map[string]string{
		`{"header": {"name": "x"}}`:                                                "header",
		`{"url_path": {"path": {"exact": "/"}}}`:                                   "url_path",
		`{"sourced_metadata": {"metadata_source": "ROUTE"}}`:                       "sourced_metadata.metadata_source",
		`permission {"uri_template": {}}`:                                          "uri_template",
		`principal {"filter_state": {"key": "k", "string_match": {"exact": "x"}}}`: "filter_state",
	} {
		kinds := []string{"permission", "principal"}
		if kind, one, _ := strings.Cut(rule, " "); kind == "permission" || kind == "principal" {
			kinds, rule = []string{kind}, one
		}
		for _, kind := range kinds {
			f := forms[kind]
			list := in(`[`+rule+`]`, f.list)
			for _, wrapped := range []string{rule, in(rule, f.not), in(in(list, f.and), f.not), in(list, f.or)} {
				refused(t, CompileNetwork, inPolicy("DENY", kind, wrapped), place+": only the HTTP filter knows of requests")
			}
		}
	}
}

func refused(t *testing.T, compile func(*rbacv3.RBAC) (*Engine, error), rules, want string) {
	t.Helper()
	var cfg rbacv3.RBAC
	if err := protojson.Unmarshal([]byte(rules), &cfg); err != nil {
		t.Fatalf("%v in %s", err, rules)
	}
	if _, err := compile(&cfg); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %s", rules, err, want)
	}
}

// many is an engine with so many policies, the last of which matches GET /last.
func many(t testing.TB, n int) *Engine {
	var b strings.Builder
	b.WriteString(`{"policies": {`)
	for i := range n {
		path := fmt.Sprintf("/service-%d/", i)
		if i == n-1 {
			path = "/last"
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `"policy-%06d": {"permissions": [{"and_rules": {"rules": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}},
			{"or_rules": {"rules": [{"url_path": {"path": {"prefix": %q}}}]}}, {"destination_port": 8443}]}}],
			"principals": [{"and_ids": {"ids": [{"authenticated": {"principal_name": {"prefix": "spiffe://td/"}}},
			{"not_id": {"remote_ip": {"address_prefix": "10.9.0.0", "prefix_len": 16}}}]}}]}`, i, path)
	}
	b.WriteString(`}}`)
	return engine(t, true, b.String())
}

func TestDecidingAllocatesNothing(t *testing.T) {
	e := many(t, 1000)
	s := Subject{
		Conn:    secure(certificate(t, "leaf", []string{"spiffe://td/ns/a/sa/b"}, nil, nil, nil), true),
		Request: &message.Request{Method: "GET", Path: "/last?q", Body: message.NoBody},
	}
	if d := e.Decide(&s); d != (Decision{true, 999}) {
		t.Fatalf("%+v", d)
	}
	if n := testing.AllocsPerRun(20, func() {
		here := s
		e.Decide(&here)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	s := Subject{Conn: secure(nil, true), Request: &message.Request{Method: "GET", Path: "/none", Body: message.NoBody}}
	for _, n := range []int{10, 1000} {
		e := many(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Decide(&s)
			}
		})
	}
}
