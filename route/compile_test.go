package route

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

// routeOf compiles one route, given as YAML without its match, of a virtual host with more fields.
func routeOf(t testing.TB, host, route string) *exchange.Route {
	t.Helper()
	return compile(t, configOf(t, withRoute(host, route))).Routes()[0]
}

// withRoute is a configuration of one virtual host with one route.
func withRoute(host, route string) string {
	return fmt.Sprintf("{name: rc, virtual_hosts: [{name: vh, domains: ['*'], %s routes: [{name: r, match: {prefix: /p}, %s}]}]}", host, route)
}

func TestDefaultsAreEnvoys(t *testing.T) {
	r := routeOf(t, "", "route: {cluster: c}")
	if r.Timeout != 15*time.Second || r.IdleTimeout != -1 || r.MaxStream != -1 || r.BufferLimit != -1 || r.Retry != nil || r.Priority != 0 ||
		r.Target.NotFound != 503 || r.Target.Cluster != "c" || r.Name != "r" || r.VirtualHost != "vh" || r.Table != "rc" ||
		r.Place != "rc.virtual_hosts[0].routes[0]" || !r.CaseSensitive || r.Matched != "/p" {
		t.Errorf("%+v", r)
	}
}

func TestRouteActionsCompile(t *testing.T) {
	r := routeOf(t, "per_request_buffer_limit_bytes: 7, include_request_attempt_count: true, include_attempt_count_in_response: true,", `
    stat_prefix: sp, request_body_buffer_limit: 9, decorator: {operation: op}, metadata: {filter_metadata: {ns: {a: [1, x]}}},
    route: {cluster: c, timeout: 0s, idle_timeout: 3s, max_stream_duration: {max_stream_duration: 4s}, priority: HIGH, cluster_not_found_response_code: NOT_FOUND,
      upgrade_configs: [{upgrade_type: WebSocket}, {upgrade_type: CONNECT, enabled: false, connect_config: {}}]}`)
	if r.Timeout != 0 || r.IdleTimeout != 3*time.Second || r.MaxStream != 4*time.Second || r.Priority != 1 || r.Target.NotFound != 404 || r.BufferLimit != 9 ||
		r.StatPrefix != "sp" || r.Decorator != "op" || !r.IncludeAttempt.Request || !r.IncludeAttempt.Response || !r.ConnectConfig {
		t.Errorf("%+v", r)
	}
	if d := cmp.Diff(map[string]bool{"websocket": true, "connect": false}, r.Upgrades); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]map[string]any{"ns": {"a": []any{1.0, "x"}}}, r.Metadata); d != "" {
		t.Error(d)
	}
	for code, status := range map[string]int{"MOVED_PERMANENTLY": 301, "FOUND": 302, "SEE_OTHER": 303, "TEMPORARY_REDIRECT": 307, "PERMANENT_REDIRECT": 308} {
		if r := routeOf(t, "", "redirect: {host_redirect: h, response_code: "+code+"}"); r.Redirect.Status != status {
			t.Errorf("%s: %d", code, r.Redirect.Status)
		}
	}
}

func TestRetryPoliciesCompile(t *testing.T) {
	const own = `retry_policy: {retry_on: '5xx,reset', num_retries: 3, per_try_timeout: 1s, per_try_idle_timeout: 2s, retriable_status_codes: [500],
      host_selection_retry_max_attempts: 5, retry_host_predicate: [{name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}],
      retry_back_off: {base_interval: 0.1s}, rate_limited_retry_back_off: {reset_headers: [{name: Retry-After}, {name: X-Reset, format: UNIX_TIMESTAMP}]},
      retriable_headers: [{name: a}], retriable_request_headers: [{name: ':method', string_match: {exact: GET}}]}`
	p := routeOf(t, "retry_policy: {retry_on: connect-failure},", "route: {cluster: c, "+own+"}").Retry
	if p.On != exchange.Retry5xx|exchange.RetryReset || p.Retries != 3 || p.PerTry != time.Second || p.PerTryIdle != 2*time.Second || p.HostAttempts != 5 ||
		!p.AvoidPrevious || p.Base != 100*time.Millisecond || p.Max != time.Second || p.RateLimitedMax != 300*time.Second ||
		!slices.Equal(p.Statuses, []uint32{500}) || len(p.Headers) != 1 || !p.RequestHeaders[0].MatchRequest(get("h", "/")) {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(p.RateLimited, []exchange.ResetHeader{{Name: "Retry-After"}, {Name: "X-Reset", Unix: true}}) {
		t.Errorf("%+v", p.RateLimited)
	}
	inherited := routeOf(t, "retry_policy: {retry_on: connect-failure},", "route: {cluster: c}").Retry
	if inherited == nil || inherited.On != exchange.RetryConnectFailure || inherited.Retries != 1 || inherited.Base != 25*time.Millisecond ||
		inherited.Max != 250*time.Millisecond || inherited.AvoidPrevious {
		t.Errorf("%+v", inherited)
	}
}

func TestHeaderMutationsAreAppliedInEnvoysOrder(t *testing.T) {
	const levels = `
most_specific_header_mutations_wins: %v
request_headers_to_add: [{header: {key: x, value: table}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
response_headers_to_add: [{header: {key: x, value: table}, append: false}]
virtual_hosts:
- name: vh
  domains: ['*']
  request_headers_to_add: [{header: {key: x, value: host}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: h, value: host}}]
  response_headers_to_remove: [Gone]
  routes:
  - match: {prefix: /}
    request_headers_to_add: [{header: {key: x, value: route}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: h, value: route}}]
    response_headers_to_add: [{header: {key: x, value: route}, append: false}]
    route: {weighted_clusters: {clusters: [{name: c, weight: 1, request_headers_to_add: [{header: {key: x, value: cluster}}, {header: {key: h, value: cluster}}]}]}}
`
	for most, want := range map[bool]string{false: "table cluster,route,host", true: "route cluster,host,route"} {
		table := compile(t, configOf(t, fmt.Sprintf(levels, most)))
		req := get("h", "/")
		r := table.Match(req, nil, 0)
		_, w := r.Target.Choose(req, 0)
		e := &observe.Entry{Request: req, Record: &observe.Record{}}
		r.RewriteRequest(req, e, w, true)
		h, _ := req.Header.Joined("h", ",")
		if got := req.Header.Get("x") + " " + h; got != want {
			t.Errorf("most specific wins %v: %s, want %s", most, got, want)
		}
		resp := get("h", "/", "gone", "1")
		r.RewriteResponse(&resp.Header, e, w)
		if got := resp.Header.Get("x"); got != strings.Fields(want)[0] || resp.Header.Has("gone") {
			t.Errorf("most specific wins %v: response %s", most, got)
		}
	}
}

func TestOverridesOfTheMostSpecificLevelHold(t *testing.T) {
	const any = "'@type': type.googleapis.com/"
	table := compile(t, configOf(t, `
typed_per_filter_config:
  a: {`+any+`google.protobuf.StringValue, value: table}
  b: {`+any+`google.protobuf.StringValue, value: table}
  c: {`+any+`envoy.config.route.v3.FilterConfig, disabled: true}
virtual_hosts:
- name: vh
  domains: ['*']
  typed_per_filter_config:
    b: {`+any+`google.protobuf.StringValue, value: host}
    d: {`+any+`envoy.config.route.v3.FilterConfig, is_optional: true, config: {`+any+`google.protobuf.StringValue, value: wrapped}}
  routes:
  - match: {prefix: /own}
    route: {cluster: c}
    typed_per_filter_config:
      a: {`+any+`envoy.config.route.v3.FilterConfig, disabled: true}
      c: {`+any+`envoy.config.route.v3.FilterConfig, config: {}}
  - {match: {prefix: /shared}, route: {cluster: c}}
`))
	got := map[string]string{}
	for name, o := range table.Routes()[0].Overrides {
		got[name] = fmt.Sprint(o.Config, " ", o.Disabled, " ", o.Place)
	}
	want := map[string]string{
		"a": `value:"table" true rc.virtual_hosts[0].routes[0].typed_per_filter_config["a"]`,
		"b": `value:"host" false rc.virtual_hosts[0].typed_per_filter_config["b"]`,
		"c": `<nil> false rc.virtual_hosts[0].routes[0].typed_per_filter_config["c"]`,
		"d": `value:"wrapped" false rc.virtual_hosts[0].typed_per_filter_config["d"]`,
	}
	for name := range got {
		got[name] = strings.ReplaceAll(got[name], "  ", " ")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if shared := table.Routes()[1].Overrides; !shared["c"].Disabled || len(shared) != 4 {
		t.Errorf("%v", shared)
	}
}

func TestIDsAreDense(t *testing.T) {
	table := compile(t, configOf(t, `{virtual_hosts: [
{name: a, domains: [a], require_tls: ALL, routes: [{match: {prefix: /}, route: {cluster: c}}, {match: {prefix: /}, route: {cluster: c}}]},
{name: b, domains: [b], routes: [{match: {prefix: /}, route: {cluster: c}}]}]}`))
	all := table.Routes()
	if len(all) != 5 {
		t.Fatalf("%d routes, want 3, a redirect and the one that says that there is none", len(all))
	}
	for i, r := range all {
		if r.ID != i {
			t.Errorf("route %d has ID %d", i, r.ID)
		}
	}
	if got := table.Match(get("a", "/"), nil, 0); got.Redirect == nil || got != all[got.ID] {
		t.Errorf("require_tls: %+v", got)
	}
	if got := table.Match(get("c", "/"), nil, 0); got != all[4] || got.Target != nil || got.Direct != nil || got.Redirect != nil {
		t.Errorf("no virtual host: %+v", got)
	}
	if empty := Compile(Env{}, nil, "", resource.NewProblems("")); empty.Match(get("a", "/"), nil, 0) == nil {
		t.Error("an empty table has no route for what it does not know")
	}
}

func TestClustersThatMustExist(t *testing.T) {
	const routes = `virtual_hosts: [{name: a, domains: [a], routes: [{match: {prefix: /}, route: {cluster: one}},
{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: two, weight: 1}, {cluster_header: x, weight: 1}]}}}, {match: {prefix: /}, route: {cluster_header: y}}]}]}`
	got := compile(t, configOf(t, "{"+routes)).Clusters()
	want := map[resource.Path]string{
		"rc.virtual_hosts[0].routes[0].route.cluster": "one", "rc.virtual_hosts[0].routes[1].route.weighted_clusters.clusters[0].name": "two"}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := compile(t, configOf(t, "{validate_clusters: false, "+routes)).Clusters(); len(got) != 0 {
		t.Errorf("not validated, and yet %v", got)
	}
}

func TestDirectResponsesReadTheirBodies(t *testing.T) {
	env := Env{Format: format.Options{
		Getenv:   func(name string) (string, bool) { return "env", name == "BODY" },
		ReadFile: func(name string) ([]byte, error) { return []byte("file"), nil },
	}}
	for source, want := range map[string]string{
		"inline_string: text": "text", "inline_bytes: dGV4dA==": "text", "environment_variable: BODY": "env", "filename: /x": "file",
	} {
		p := resource.NewProblems("")
		table := Compile(env, configOf(t, withRoute("", "direct_response: {status: 200, body: {"+source+"}}")), "", p)
		if got := table.Routes()[0].Direct.Body; got != want || p.HasErrors() {
			t.Errorf("%s: %q, %v", source, got, p.All())
		}
	}
}

func TestBrokenTablesAreRefusedByName(t *testing.T) {
	route := func(action string) string { return withRoute("", action) }
	match := func(m string) string {
		return "{virtual_hosts: [{name: vh, domains: ['*'], routes: [{match: {" + m + "}, route: {cluster: c}}]}]}"
	}
	for cfg, want := range map[string]string{
		`{virtual_hosts: [{name: a, domains: [x, X]}]}`:                                    "virtual_hosts[0].domains[1]: Only unique values for domains are permitted. Duplicate entry of domain X",
		`{virtual_hosts: [{name: a, domains: ['*.x']}, {name: b, domains: ['*.x']}]}`:      "virtual_hosts[1].domains[0]: Only unique values",
		`{virtual_hosts: [{name: a, domains: ['*']}, {name: b, domains: ['*']}]}`:          "virtual_hosts[1].domains[0]: Only a single wildcard domain is permitted",
		`{virtual_hosts: [{name: a, domains: ['']}]}`:                                      "virtual_hosts[0].domains[0]: must not be empty",
		withRoute("virtual_clusters: [{name: v}],", "route: {cluster: c}"):                 "virtual_hosts[0].virtual_clusters[0].headers: virtual clusters must define 'headers'",
		match("safe_regex: {regex: '('}"):                                                  "routes[0].match.safe_regex.regex: regular expression \"(\": missing closing )",
		match(""):                                                                          "routes[0].match: has no path specifier",
		match("path_separated_prefix: /a/"):                                                "path_separated_prefix: must not end with /",
		match("prefix: /, headers: [{name: a, string_match: {safe_regex: {regex: '*'}}}]"): "match.headers[0]: string_match: safe_regex: regular expression",
		match("prefix: /, query_parameters: [{name: ''}]"):                                 "match.query_parameters[0]: name: must not be empty",
		"{virtual_hosts: [{name: a, domains: [x], routes: [{match: {prefix: /}}]}]}":       "routes[0]: has no action",
		route("route: {}"): "routes[0].route: has no cluster specifier",
		route("route: {weighted_clusters: {clusters: []}}"):                                                                                       "weighted_clusters.clusters: must have at least one cluster",
		route("route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}"):                                                                   "Sum of weights in the weighted_cluster must be greater than 0.",
		route("route: {weighted_clusters: {clusters: [{name: a, weight: 4294967295}, {name: b, weight: 1}]}}"):                                    "exceeds 4294967295",
		route("route: {weighted_clusters: {clusters: [{name: a, cluster_header: b, weight: 1}]}}"):                                                "Only one of name or cluster_header can be specified",
		route("route: {weighted_clusters: {clusters: [{weight: 1}]}}"):                                                                            "At least one of name or cluster_header need to be specified",
		route("route: {cluster: c, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}}"):                                   "Specify only one of prefix_rewrite, regex_rewrite",
		route("route: {cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: '\\1'}}"):                                                   "regex_rewrite: substitution: \\1: the pattern has 0 groups",
		route("route: {cluster: c, upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]}"):                                                     "upgrade_configs[1].upgrade_type: Duplicate upgrade A",
		route("route: {cluster: c, upgrade_configs: [{upgrade_type: a, connect_config: {}}]}"):                                                    "Non-CONNECT upgrade type a has ConnectConfig",
		route("route: {cluster: c, retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}}"):                                       "max_interval must greater than or equal to the base_interval",
		route("route: {cluster: c, retry_policy: {retry_on: '5xx,what'}}"):                                                                        "warning: virtual_hosts[0].routes[0].route.retry_policy.retry_on: \"what\" is no retry condition",
		route("route: {cluster: c, retry_policy: {retry_host_predicate: [{name: other}]}}"):                                                       "retry_host_predicate[0]: not supported",
		route("direct_response: {status: 200, body: {inline_string: '" + strings.Repeat("x", 4097) + "'}}"):                                       "body: response body size is 4097 bytes; maximum is 4096",
		route("direct_response: {status: 200, body: {filename: /x}}"):                                                                             "body: filename: files cannot be read here",
		route("direct_response: {status: 99}"):                                                                                                    "direct_response.status: 99 is not in 200 to 599",
		route("route: {cluster: c}, request_headers_to_add: [{header: {key: ':path', value: x}}]"):                                                "request_headers_to_add[0]: header.key: :-prefixed or host headers may not be modified",
		route("route: {cluster: c}, request_headers_to_add: [{header: {key: Host, value: x}}]"):                                                   "may not be modified",
		route("route: {cluster: c}, response_headers_to_remove: [':status']"):                                                                     "response_headers_to_remove[0]: :-prefixed or host headers may not be removed",
		route("route: {cluster: c}, request_headers_to_add: [{header: {key: a, value: '%NONSENSE%'}}]"):                                           "request_headers_to_add[0]: header.value:",
		route("route: {cluster: c}, request_headers_to_add: [{header: {key: a}, append: true, append_action: 1}]"):                                "both append and append_action are specified",
		route("route: {cluster: c}, typed_per_filter_config: {f: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}"): "",
	} {
		p := resource.NewProblems("")
		Compile(Env{}, configOf(t, cfg), "", p)
		var all []string
		for _, problem := range p.All() {
			all = append(all, problem.String())
		}
		if text := strings.Join(all, "\n"); !strings.Contains(text, want) || (want == "") != (text == "") {
			t.Errorf("%s: %q, want %q", cfg, text, want)
		}
	}
}

func TestUnsupportedConditionsMatchNothing(t *testing.T) {
	for _, condition := range []string{
		"prefix: /, dynamic_metadata: [{filter: a, path: [{key: b}], value: {present_match: true}}]",
		"prefix: /, filter_state: [{key: a, string_match: {exact: b}}]",
	} {
		cfg := configOf(t, "{virtual_hosts: [{name: vh, domains: ['*'], routes: [{match: {"+condition+"}, route: {cluster: c}}]}]}")
		p := resource.NewProblems("")
		if r := Compile(Env{}, cfg, "", p).Match(get("h", "/"), nil, 0); r.Target != nil {
			t.Errorf("%s: matches", condition)
		}
		resource.Check(cfg, "", everything(t), protoregistry.GlobalTypes, p)
		if !p.HasErrors() {
			t.Errorf("%s: not reported", condition)
		}
	}
}

func TestExplanationsSayWhy(t *testing.T) {
	table := compile(t, configOf(t, `
name: rc
ignore_port_in_host_matching: true
virtual_hosts:
- {name: secure, domains: [tls.com], require_tls: ALL, routes: [{match: {prefix: /}, route: {cluster: c}}]}
- name: vh
  domains: ['*.foo.com']
  routes:
  - {name: exact, match: {path: /x}, route: {cluster: c}}
  - {name: header, match: {prefix: /, headers: [{name: x, string_match: {exact: a}}]}, route: {cluster: c}}
  - {name: taken, match: {prefix: /a}, route: {weighted_clusters: {clusters: [{name: c1, weight: 1}, {name: c2, weight: 1}]}}}
`))
	x := table.Explain(get("w.foo.com:80", "/a"), nil, 1)
	want := Explanation{
		Table: "rc", TablePlace: "rc", Authority: "w.foo.com", Host: "vh", HostPlace: "rc.virtual_hosts[1]", Domain: "*.foo.com", Kind: "suffix",
		Tried: []Try{
			{"exact", "rc.virtual_hosts[1].routes[0]", `path "/x"`, `path: not path "/x"`},
			{"header", "rc.virtual_hosts[1].routes[1]", `prefix "/"`, `does not hold: header "x" is "a"`},
			{"taken", "rc.virtual_hosts[1].routes[2]", `prefix "/a"`, ""},
		},
		Reason: "the first route whose conditions all hold", Place: "rc.virtual_hosts[1].routes[2]", Cluster: "c2",
		Target: "rc.virtual_hosts[1].routes[2].route.weighted_clusters.clusters[1]",
	}
	if x.Route.Name != "taken" {
		t.Errorf("route %q", x.Route.Name)
	}
	x.Route = nil
	if d := cmp.Diff(want, x); d != "" {
		t.Error(d)
	}
	if x := table.Explain(get("tls.com", "/a"), nil, 1); x.Route.Redirect == nil || !strings.Contains(x.Reason, "require_tls") {
		t.Errorf("%+v", x)
	}
	if x := table.Explain(get("other", "/a"), nil, 1); x.Route.Target != nil || !strings.Contains(x.Reason, "no virtual host") {
		t.Errorf("%+v", x)
	}
	if x := compile(t, big(500)).Explain(get("all.example.com", "/none"), nil, 0); len(x.Tried) != maxTried || x.Omitted != 400 {
		t.Errorf("%d tried, %d omitted", len(x.Tried), x.Omitted)
	}
}

func TestGRPCTimeoutsCompile(t *testing.T) {
	const s = time.Second
	for _, tc := range []struct {
		route string
		want  *exchange.GRPCTimeouts
		total time.Duration // Timeout
	}{
		{"timeout: 3s", nil, 3 * s}, {"timeout: 3s, grpc_timeout_offset: 1s", nil, 3 * s},
		{"timeout: 3s, max_grpc_timeout: 5s", &exchange.GRPCTimeouts{HeaderMax: -1, Offset: -1, Max: 5 * s, OldOffset: -1}, 3 * s},
		{"max_grpc_timeout: 0s, grpc_timeout_offset: 1s", &exchange.GRPCTimeouts{HeaderMax: -1, Offset: -1, OldOffset: s}, 15 * s},
		{"timeout: 3s, max_stream_duration: {max_stream_duration: 9s}", &exchange.GRPCTimeouts{Duration: true, HeaderMax: -1, Offset: -1, Max: -1, OldOffset: -1}, 0},
		{"max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 2s}",
			&exchange.GRPCTimeouts{Duration: true, Offset: 2 * s, Max: -1, OldOffset: -1}, 0},
	} {
		r := routeOf(t, "", "route: {cluster: c, "+tc.route+"}")
		if d := cmp.Diff(tc.want, r.GRPC); d != "" || r.Timeout != tc.total {
			t.Errorf("%s: timeout %v, %s", tc.route, r.Timeout, d)
		}
	}
}
