package dispatch

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

const hostKey = `"scopeKeyBuilder": {"fragments": [{"headerValueExtractor": {"name": "Host", "index": 0}}]}`

// scopedBy is a scoped_routes whose scope is the host.
func scopedBy(how string) string {
	return `"scopedRoutes": {"name": "s", ` + hostKey + `, "rdsConfigSource": ` + ads + `, ` + how + `}`
}

const srds = `"scopedRds": {"scopedRdsConfigSource": ` + ads + `}`

// scopeText is a scope for a host, with more fields.
func scopeText(name, host, more string) string {
	return fmt.Sprintf(`{"name": %q, "key": {"fragments": [{"stringKey": %q}]}, %s}`, name, host, more)
}

func byName(routes string) string { return fmt.Sprintf(`"routeConfigurationName": %q`, routes) }

func inlineScope(cluster, more string) string {
	return `"routeConfiguration": {"name": "in", "virtualHosts": [` + virtualHost(cluster, "*", more) + `]}`
}

// scopes delivers a change of the scopes, and returns what is rejected.
func (s *shop) scopes(remove []string, set ...string) string {
	s.t.Helper()
	d := subscription.Delta{Version: "1", Remove: remove}
	for _, text := range set {
		m := &routev3.ScopedRouteConfiguration{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			s.t.Fatalf("%v in %s", err, text)
		}
		r, err := resource.New(resource.Key{Type: resource.Scope, Name: m.GetName()}, m, "test", "")
		if err != nil {
			s.t.Fatal(err)
		}
		d.Set = append(d.Set, r)
	}
	return s.collection(resource.Key{Type: resource.Scope, Name: subscription.All}, d)
}

// collection delivers a change of a collection, and returns what is rejected.
func (s *shop) collection(key resource.Key, d subscription.Delta) string {
	s.t.Helper()
	rejected, asked := s.hub.DeliverAll(s.source, key, d)
	if !asked {
		s.t.Fatalf("nobody asks for %v", key)
	}
	var all []string
	for _, r := range rejected {
		for _, p := range r.Problems {
			all = append(all, r.Key.Name+"> "+p.String())
		}
	}
	return strings.Join(all, "\n")
}

// wanted lists the names of a type that somebody wants.
func (s *shop) wanted(kind string) int { return len(s.hub.All(kind)) }

func TestScopesAreDelivered(t *testing.T) {
	s := newShop(t)
	b := s.manager(scopedBy(srds), "", nil)
	s.start(b, 1)
	expect := func(step string, want ...string) {
		t.Helper()
		for i, host := range []string{"a", "b", "c"} {
			if got := s.from(b, host); got != want[i] {
				t.Errorf("%s: %s gets %q, want %q", step, host, got, want[i])
			}
		}
	}
	good := func(rejected string) {
		t.Helper()
		if rejected != "" {
			t.Error(rejected)
		}
	}
	if ready(b) {
		t.Error("ready without scopes")
	}
	expect("before", "404", "404", "404")
	good(s.scopes(nil, scopeText("one", "a", byName("ra")), scopeText("two", "b", byName("rb")), scopeText("three", "c", inlineScope("in", ""))))
	if ready(b) {
		t.Error("ready without routes")
	}
	expect("no routes yet", "404", "404", " in 1")
	s.cluster("ra", "ca")
	if ready(b) {
		t.Error("ready without all routes")
	}
	s.cluster("rb", "cb")
	if !ready(b) {
		t.Error("not ready with all routes")
	}
	expect("all", " ca 1", " cb 1", " in 1")
	s.cluster("ra", "ca2")
	b.Publish(s.table(2))
	expect("routes and clusters changed", " ca2 2", " cb 2", " in 2")
	if got := s.scopes(nil, scopeText("four", "b", byName("rb"))); !strings.Contains(got, "four> error: scoped route \"four\": key: scope key conflict found, first scope is 'two', second scope is 'four'") {
		t.Error(got)
	}
	if got := s.scopes(nil, scopeText("one", "a", inlineScope("", "")), scopeText("five", "e", byName("ra"))); !strings.Contains(got, "one> error: scoped route \"one\": route_configuration.virtual_hosts[0].routes[0].route.cluster") {
		t.Error(got)
	}
	expect("conflict and mistake", " ca2 2", " cb 2", " in 2")
	if got := s.from(b, "e"); got != " ca2 2" {
		t.Errorf("another scope of the same routes: %q", got)
	}
	good(s.scopes(nil, scopeText("two", "b", byName("later"))))
	expect("until other routes have come", " ca2 2", " cb 2", " in 2")
	if s.wanted(resource.Route) != 2 {
		t.Errorf("%d route configurations wanted", s.wanted(resource.Route))
	}
	s.cluster("later", "cl")
	expect("other routes", " ca2 2", " cl 2", " in 2")
	good(s.scopes([]string{"three", "five"}, scopeText("one", "b", byName("ra")), scopeText("two", "a", byName("later"))))
	expect("swapped", " cl 2", " ca2 2", "404")
	good(s.scopes([]string{"one"}))
	expect("removed", " cl 2", "404", "404")
	scope := s.env.Stats.Scope("http.p.scoped_rds.s.")
	if all, active := scope.Gauge("all_scopes").Value(), scope.Gauge("active_scopes").Value(); all != 1 || active != 1 || scope.Counter("config_reload").Value() == 0 {
		t.Errorf("%d scopes, %d active", all, active)
	}
	release(b)
	if n := s.wanted(""); n != 0 {
		t.Errorf("%d resources are still wanted", n)
	}
}

func TestScopesMayBeListed(t *testing.T) {
	s := newShop(t)
	list := `"scopedRouteConfigurationsList": {"scopedRouteConfigurations": [` +
		scopeText("one", "a", byName("r")) + `,` + scopeText("two", "b", inlineScope("in", "")) + `]}`
	b := s.manager(scopedBy(list), "", nil)
	if len(b.Clusters) != 1 {
		t.Errorf("clusters that must exist: %v", b.Clusters)
	}
	s.start(b, 1)
	if got := s.from(b, "a") + s.from(b, "b"); got != "404 in 1" || ready(b) {
		t.Errorf("%q, ready: %v", got, ready(b))
	}
	s.cluster("r", "c")
	if got := s.from(b, "a") + s.from(b, "b") + s.from(b, "other"); got != " c 1 in 1404" || !ready(b) {
		t.Errorf("%q, ready: %v", got, ready(b))
	}
	for host, want := range map[string]string{"a": "the first route", "other": "no scope key, or one of no scope"} {
		x := b.Explain.(*Explainer).Explain(&message.Request{Method: "GET", Authority: host, Path: "/", Body: message.NoBody}, connection(t).Info(), 0)
		if !strings.Contains(x.Reason, want) {
			t.Errorf("%s: %q, want %q", host, x.Reason, want)
		}
	}
	// A connection manager that comes later begins with what is in force.
	next := s.manager(scopedBy(list), `{"name": "t", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "tag"}}`, b.Handler)
	s.start(next, 2)
	release(b)
	if got := s.from(next, "a") + s.from(next, "b"); got != "tag c 2tag in 2" {
		t.Errorf("%q", got)
	}
	release(next)
}

func TestOverridesOfScopesFitTheFilters(t *testing.T) {
	s := newShop(t)
	override := func(text string) string {
		return fmt.Sprintf(`, "typedPerFilterConfig": {"t": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": %q}}`, text)
	}
	b := s.manager(scopedBy(srds), `{"name": "t", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "tag"}}`, nil)
	s.start(b, 1)
	if got := s.scopes(nil, scopeText("one", "a", inlineScope("ca", override("x"))), scopeText("two", "b", inlineScope("cb", override("bad")))); !strings.Contains(got, "two> error") || strings.Contains(got, "one>") {
		t.Error(got)
	}
	if got := s.from(b, "a") + s.from(b, "b"); got != "tag/x ca 1404" {
		t.Errorf("%q", got)
	}
	release(b)
}

func TestWrongScopedRoutesAreRefused(t *testing.T) {
	s := newShop(t)
	list := func(scopes string) string {
		return scopedBy(`"scopedRouteConfigurationsList": {"scopedRouteConfigurations": [` + scopes + `]}`)
	}
	for routes, want := range map[string]string{
		`"scopedRoutes": {` + hostKey + `, ` + srds + `}`:                                   "at.scoped_routes.name: must not be empty",
		`"scopedRoutes": {"name": "s", ` + srds + `}`:                                       "scope_key_builder.fragments: must have at least one",
		`"scopedRoutes": {"name": "s", ` + hostKey + `}`:                                    "one of scoped_route_configurations_list and scoped_rds is required",
		list(scopeText("one", "a", byName("r")) + `,` + scopeText("two", "a", byName("r"))): "scoped_route_configurations[1].key: scope key conflict found, first scope is 'one', second scope is 'two'",
		list(scopeText("one", "a", byName("r")) + `,` + scopeText("one", "b", byName("r"))): "scoped_route_configurations[1].name: duplicate scoped route configuration 'one' found",
		`"scopedRoutes": {"name": "s", ` + hostKey + `, "scopedRouteConfigurationsList": {"scopedRouteConfigurations": [` + scopeText("one", "a", byName("r")) + `]}}`: "rds_config_source is required",
		scopedBy(`"scopedRds": {"scopedRdsConfigSource": ` + ads + `, "srdsResourcesLocator": "xdstp://x/y"}`):                                                         "is not a collection",
	} {
		_, p := s.try(routes, "", nil)
		var all []string
		for _, problem := range p.All() {
			all = append(all, problem.String())
		}
		if text := strings.Join(all, "\n"); !strings.Contains(text, want) || !p.HasErrors() {
			t.Errorf("%s: %q, want %q", routes, text, want)
		}
	}
}

// from makes a request to a host and returns the body, or another status than 200.
func (s *shop) from(b extension.Built, host string) string {
	d := &bench{Dispatcher: b.Handler.(*Dispatcher)}
	c := d.caller(s.t, "GET")
	c.req.Authority = host
	d.serve(c)
	switch {
	case c.resp == nil:
		return "no response"
	case c.resp.Status == 200:
		return c.body
	}
	return strconv.Itoa(c.resp.Status)
}
