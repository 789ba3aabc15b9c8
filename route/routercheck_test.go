package route

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"gopkg.in/yaml.v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/resource"
)

// A checkCase is one case of Envoy's router_check_tool.
type checkCase struct {
	Name  string `json:"test_name"`
	Input struct {
		Authority, Path, Method string
		Internal, SSL           bool
		Runtime                 string
		Random                  uint64                        `json:"random_value"`
		Request                 []struct{ Key, Value string } `json:"additional_request_headers"`
		Response                []struct{ Key, Value string } `json:"additional_response_headers"`
	}
	Validate struct {
		Cluster         *string           `json:"cluster_name"`
		VirtualCluster  *string           `json:"virtual_cluster_name"`
		VirtualHost     *string           `json:"virtual_host_name"`
		PathRewrite     *string           `json:"path_rewrite"`
		HostRewrite     *string           `json:"host_rewrite"`
		PathRedirect    *string           `json:"path_redirect"`
		CodeRedirect    *int              `json:"code_redirect"`
		RequestMatches  []json.RawMessage `json:"request_header_matches"`
		ResponseMatches []json.RawMessage `json:"response_header_matches"`
	}
}

// checkRuntime is the tool's runtime: fractions hold only under the key that the case names.
type checkRuntime struct{ active string }

func (r *checkRuntime) Lookup(key string) (string, bool) { return "0", key != r.active }

// checkData is the folder with the tool's cases.
func checkData(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", "shared", "data", "router-check")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the router check cases are not there: %v", err)
		}
		t.Skipf("the router check cases are not there: %v", err)
	}
	return dir
}

// readYAML reads YAML, or JSON with trailing commas, as JSON.
func readYAML(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return toJSON(t, b)
}

func toJSON(t testing.TB, b []byte) []byte {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(durations(v))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// durations turns durations written as messages, which Envoy reads, into those of proto's JSON.
func durations(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = durations(v[i])
		}
	case map[string]any:
		for key, value := range v {
			fields, _ := value.(map[string]any)
			seconds, hasSeconds := fields["seconds"].(int)
			nanos, hasNanos := fields["nanos"].(int)
			if hasSeconds || hasNanos {
				v[key] = fmt.Sprintf("%d.%09ds", seconds, nanos)
			} else {
				v[key] = durations(value)
			}
		}
	}
	return v
}

func everything(t testing.TB) resource.Support {
	t.Helper()
	s, err := Support().Merge(resource.Values(), resource.Matchers(), resource.Core())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRouterCheckToolCases(t *testing.T) {
	dir := checkData(t)
	goldens, err := filepath.Glob(filepath.Join(dir, "*.golden.proto.*"))
	if err != nil || len(goldens) < 14 {
		t.Fatalf("%d files with cases: %v", len(goldens), err)
	}
	for _, golden := range goldens {
		name, _, _ := strings.Cut(filepath.Base(golden), ".")
		config := strings.TrimSuffix(name, "Failures") + ".yaml"
		t.Run(strings.TrimSuffix(filepath.Base(golden), ".golden.proto.json"), func(t *testing.T) {
			var cfg routev3.RouteConfiguration
			if err := protojson.Unmarshal(readYAML(t, filepath.Join(dir, config)), &cfg); err != nil {
				t.Fatal(err)
			}
			var tests struct{ Tests []checkCase }
			if err := json.Unmarshal(readYAML(t, golden), &tests); err != nil {
				t.Fatal(err)
			}
			rt := &checkRuntime{}
			table, unsupported := checkTable(t, &cfg, rt)
			for i, c := range tests.Tests {
				t.Run(fmt.Sprintf("%d %s", i, c.Name), func(t *testing.T) {
					if unsupported != "" {
						t.Skip(unsupported)
					}
					rt.active = c.Input.Runtime
					failures := c.run(t, table)
					if wanted := strings.HasSuffix(name, "Failures"); wanted && len(failures) == 0 {
						t.Error("passes, and must fail")
					} else if !wanted && len(failures) > 0 {
						t.Error(strings.Join(failures, "\n"))
					}
				})
			}
		})
	}
}

// checkTable compiles a configuration as the tool does: fractions of zero become one. It also says what the
// configuration has that Weft does not support.
func checkTable(t *testing.T, cfg *routev3.RouteConfiguration, rt match.Runtime) (table *Table, unsupported string) {
	t.Helper()
	for _, vh := range cfg.GetVirtualHosts() {
		for _, r := range vh.GetRoutes() {
			if f := r.GetMatch().GetRuntimeFraction(); f != nil && f.GetDefaultValue().GetNumerator() == 0 {
				f.DefaultValue.Numerator = 1
			}
		}
	}
	p := resource.NewProblems("")
	resource.Check(cfg, "", everything(t), protoregistry.GlobalTypes, p)
	table = Compile(Env{Runtime: rt}, cfg, "", p)
	for _, problem := range p.All() {
		switch {
		case problem.Severity != resource.Error:
		case problem.Kind == resource.UnsupportedField:
			unsupported = problem.String()
		default:
			t.Error(problem)
		}
	}
	return table, unsupported
}

// run runs one case and returns what is not as expected.
func (c *checkCase) run(t *testing.T, table *Table) (failures []string) {
	req, resp := c.messages()
	info := &conn.Info{Remote: netip.MustParseAddrPort("127.0.0.1:1"), DirectRemote: netip.MustParseAddrPort("127.0.0.1:1")}
	route := table.Match(req, info, c.Input.Random)
	entry := &observe.Entry{Record: &observe.Record{}, Conn: info, Request: req, Response: resp}
	got := struct{ cluster, vcluster, host, path, authority, location, status string }{}
	switch {
	case route.Target != nil:
		var w *exchange.Weighted
		got.cluster, w = route.Target.Choose(req, c.Input.Random)
		got.vcluster, got.host = route.Clusters.Find(req), route.VirtualHost
		route.RewriteRequest(req, entry, w, true)
		route.RewriteResponse(&resp.Header, entry, w)
		got.path, got.authority = req.Path, req.Authority
	case route.Redirect != nil || route.Direct != nil:
		got.location = string(route.AppendLocation(nil, req))
		var x exchange.Exchange
		if route.Direct != nil {
			resp = x.Answer(route.Direct.Status, route.Direct.Body, nil)
		} else {
			resp = x.Answer(route.Redirect.Status, "", nil)
		}
		if resp.Length > 0 {
			resp.Header.AddKnown(message.ContentLength, strconv.FormatInt(resp.Length, 10))
		}
		got.status = strconv.Itoa(resp.Status)
		route.RewriteResponse(&resp.Header, entry, nil)
	}
	compare := func(what string, want *string, got string) {
		if want != nil && *want != got {
			failures = append(failures, fmt.Sprintf("%s: %q, want %q", what, got, *want))
		}
	}
	v := &c.Validate
	compare("cluster_name", v.Cluster, got.cluster)
	compare("virtual_cluster_name", v.VirtualCluster, got.vcluster)
	compare("virtual_host_name", v.VirtualHost, got.host)
	compare("path_rewrite", v.PathRewrite, got.path)
	compare("host_rewrite", v.HostRewrite, got.authority)
	compare("path_redirect", v.PathRedirect, got.location)
	if v.CodeRedirect != nil {
		want := strconv.Itoa(*v.CodeRedirect)
		compare("code_redirect", &want, got.status)
	}
	for _, raw := range v.RequestMatches {
		if m := headerMatcher(t, raw); !m.MatchRequest(req) {
			failures = append(failures, "request: "+m.String())
		}
	}
	for _, raw := range v.ResponseMatches {
		if m := headerMatcher(t, raw); !m.MatchResponse(resp) {
			failures = append(failures, "response: "+m.String())
		}
	}
	return failures
}

func (c *checkCase) messages() (*message.Request, *message.Response) {
	r := &message.Request{Method: c.Input.Method, Authority: c.Input.Authority, Path: c.Input.Path, Scheme: "http", Body: message.NoBody}
	if c.Input.SSL {
		r.Scheme = "https"
	}
	r.Header.AddKnown(message.XForwardedProto, r.Scheme)
	if c.Input.Internal {
		r.Header.AddKnown(message.XEnvoyInternal, "true")
	}
	for _, h := range c.Input.Request {
		r.Header.Add(h.Key, h.Value)
	}
	resp := &message.Response{Body: message.NoBody}
	for _, h := range c.Input.Response {
		resp.Header.Add(h.Key, h.Value)
	}
	return r, resp
}

func headerMatcher(t *testing.T, raw json.RawMessage) *match.Header {
	t.Helper()
	var cfg routev3.HeaderMatcher
	if err := protojson.Unmarshal(raw, &cfg); err != nil {
		t.Fatal(err)
	}
	h, err := match.NewHeader(proto.Clone(&cfg).(*routev3.HeaderMatcher))
	if err != nil {
		t.Fatal(err)
	}
	return h
}
