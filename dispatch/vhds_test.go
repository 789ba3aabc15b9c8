package dispatch

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// withVhds delivers a route configuration with these virtual hosts that wants more of them.
func (s *shop) withVhds(source, hosts string) []resource.Problem {
	s.t.Helper()
	m := &routev3.RouteConfiguration{}
	if err := protojson.Unmarshal([]byte(fmt.Sprintf(`{"name": "r", "virtualHosts": [%s], "vhds": {"configSource": %s}}`, hosts, source)), m); err != nil {
		s.t.Fatal(err)
	}
	return s.deliver(resource.Key{Type: resource.Route, Name: "r"}, m)
}

// hosts delivers a change of the virtual hosts of r, given as name, text, name, text, and returns what is rejected.
func (s *shop) hosts(remove []string, set ...string) string {
	s.t.Helper()
	d := subscription.Delta{Version: "1", Remove: remove}
	for i := 0; i < len(set); i += 2 {
		m := &routev3.VirtualHost{}
		if err := protojson.Unmarshal([]byte(set[i+1]), m); err != nil {
			s.t.Fatal(err)
		}
		r, err := resource.New(resource.Key{Type: resource.VHost, Name: set[i]}, m, "test", "")
		if err != nil {
			s.t.Fatal(err)
		}
		d.Set = append(d.Set, r)
	}
	return s.collection(resource.Key{Type: resource.VHost, Name: "r/*"}, d)
}

func TestVirtualHostsAreDelivered(t *testing.T) {
	s := newShop(t)
	b := s.manager(rds, "", nil)
	s.start(b, 1)
	expect := func(step string, want ...string) {
		t.Helper()
		for i, host := range []string{"a", "b", "c"} {
			if got := s.from(b, host); got != want[i] {
				t.Errorf("%s: %s gets %q, want %q", step, host, got, want[i])
			}
		}
	}
	good := func(problems ...any) {
		t.Helper()
		if text := fmt.Sprint(problems...); text != "" && text != "[]" {
			t.Error(text)
		}
	}
	good(s.withVhds(ads, virtualHost("ca", "a", "")))
	if ready(b) {
		t.Error("ready before the virtual hosts have come")
	}
	expect("routes", " ca 1", "404", "404")
	good(s.hosts(nil, "r/b", virtualHost("cb", "b", "")))
	if !ready(b) {
		t.Error("not ready with virtual hosts")
	}
	expect("a virtual host", " ca 1", " cb 1", "404")
	if got := s.hosts(nil, "r/c", virtualHost("cc", "c", ""), "r/d", virtualHost("cd", "a", ""), "r/b", virtualHost("", "b", "")); !strings.Contains(got, `r/d> error: virtual host "r/d": domains[0]: Only unique values for domains are permitted.`) ||
		!strings.Contains(got, `r/b> error: virtual host "r/b": routes[0].route.cluster: must not be empty`) || strings.Contains(got, "r/c>") {
		t.Error(got)
	}
	expect("bad ones among good ones", " ca 1", " cb 1", " cc 1")
	good(s.withVhds(ads, virtualHost("ca2", "a", "")))
	expect("routes changed", " ca2 1", " cb 1", " cc 1")
	if got := fmt.Sprint(s.withVhds(ads, virtualHost("x", "c", ""))); !strings.Contains(got, "Only unique values for domains") {
		t.Errorf("a domain that a delivered one has: %s", got)
	}
	expect("routes rejected", " ca2 1", " cb 1", " cc 1")
	good(s.hosts([]string{"r/b", "r/nobody"}))
	expect("removed", " ca2 1", "404", " cc 1")
	good(s.hosts(nil, "r/b", virtualHost("cb2", "b", "")))
	expect("re-added", " ca2 1", " cb2 1", " cc 1")

	// A connection manager that comes later begins with what is in force.
	next := s.manager(rds, `{"name": "t", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "tag"}}`, b.Handler)
	hold(next)
	if !ready(next) {
		t.Error("the next one is not ready")
	}
	expect("while the next one warms", " ca2 1", " cb2 1", " cc 1")
	next.Publish(s.table(2))
	release(b)
	b = next
	expect("the next one", "tag ca2 2", "tag cb2 2", "tag cc 2")

	good(s.cluster("r", "whole"))
	expect("no virtual hosts wanted", "tag whole 2", "tag whole 2", "tag whole 2")
	if n := s.wanted(resource.VHost); n != 0 {
		t.Errorf("%d collections of virtual hosts wanted", n)
	}
	good(s.withVhds(ads, ""))
	expect("wanted again", "404", "404", "404")
	good(s.hosts(nil, "r/b", virtualHost("cb", "*", "")))
	expect("delivered again", "tag cb 2", "tag cb 2", "tag cb 2")
	release(b)
	if n := s.wanted(""); n != 0 {
		t.Errorf("%d resources are still wanted", n)
	}
}

func TestVirtualHostsComeByDeltaOnly(t *testing.T) {
	s := newShop(t)
	b := s.manager(rds, "", nil)
	s.start(b, 1)
	for source, want := range map[string]string{
		`{"apiConfigSource": {"apiType": "GRPC"}}`:       deltaOnly,
		`{"pathConfigSource": {"path": "/x"}}`:           deltaOnly,
		`{"apiConfigSource": {"apiType": "DELTA_GRPC"}}`: "",
		ads: "",
	} {
		problems := s.withVhds(source, "")
		if want == "" && len(problems) == 0 {
			continue
		}
		if len(problems) != 1 || want == "" || problems[0].Path != "vhds.config_source" || problems[0].Message != want {
			t.Errorf("%s: %v", source, problems)
		}
	}
	release(b)
}

// Each scope's route configuration may have virtual hosts of its own delivered.
func TestScopesHaveVirtualHostsDelivered(t *testing.T) {
	s := newShop(t)
	b := s.manager(scopedBy(srds), "", nil)
	s.start(b, 1)
	s.scopes(nil, scopeText("one", "a", byName("r")), scopeText("two", "b", byName("other")))
	s.cluster("other", "co")
	s.withVhds(ads, "")
	if ready(b) {
		t.Error("ready before the virtual hosts")
	}
	if got := s.hosts(nil, "r/x", virtualHost("cx", "*", "")); got != "" {
		t.Error(got)
	}
	if got := s.from(b, "a") + s.from(b, "b"); got != " cx 1 co 1" || !ready(b) {
		t.Errorf("%q, ready %v", got, ready(b))
	}
	s.scopes([]string{"one"})
	if got := s.from(b, "a"); got != "404" || s.wanted(resource.VHost) != 0 {
		t.Errorf("%q, %d collections wanted", got, s.wanted(resource.VHost))
	}
	release(b)
	if n := s.wanted(""); n != 0 {
		t.Errorf("%d resources are still wanted", n)
	}
}

func TestInlineTablesHaveNoVirtualHostsDelivered(t *testing.T) {
	s := newShop(t)
	const vhds = `{"name": "in", "vhds": {"configSource": ` + ads + `}}`
	for routes, want := range map[string]resource.Path{
		`"routeConfig": ` + vhds: "at.route_config.vhds",
		scopedBy(`"scopedRouteConfigurationsList": {"scopedRouteConfigurations": [` + scopeText("one", "a", `"routeConfiguration": `+vhds) + `]}`): "at.scoped_routes.scoped_route_configurations_list.scoped_route_configurations[0].route_configuration.vhds",
	} {
		_, p := s.try(routes, "", nil)
		if all := p.All(); len(all) != 1 || all[0].Path != want || !p.HasErrors() {
			t.Errorf("%s: %v", routes, all)
		}
	}
	b := s.manager(scopedBy(srds), "", nil)
	s.start(b, 1)
	if got := s.scopes(nil, scopeText("one", "a", `"routeConfiguration": `+vhds)); !strings.Contains(got, "route_configuration.vhds: not supported") {
		t.Error(got)
	}
	release(b)
}

// Whatever is delivered at the same time, the last versions of all are in force in the end, and no request meets anything that never was.
func TestAllIsDeliveredAtOnce(t *testing.T) {
	s := newShop(t)
	b := s.manager(scopedBy(srds), "", nil)
	clusters := s.table(1)
	hold(b)
	b.Publish(clusters)
	s.scopes(nil, scopeText("one", "a", byName("r")), scopeText("two", "b", byName("r")), scopeText("three", "c", byName("r")))
	s.withVhds(ads, virtualHost("c0", "x", ""))
	s.hosts(nil, "r/y", virtualHost("v0", "*", ""))
	const rounds = 60
	var all sync.WaitGroup
	run := func(f func(i int)) {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range rounds {
				f(i)
			}
		}()
	}
	run(func(i int) { s.withVhds(ads, virtualHost(fmt.Sprint("c", i), "x", "")) })
	run(func(i int) { s.hosts(nil, "r/y", virtualHost(fmt.Sprint("v", i), "*", "")) })
	run(func(i int) {
		if i%2 == 0 {
			s.scopes(nil, scopeText("two", "other", byName("r")))
		} else {
			s.scopes(nil, scopeText("two", "b", byName("r")))
		}
	})
	run(func(i int) {
		s.scopes([]string{"three"})
		s.scopes(nil, scopeText("three", "c", byName("r")))
	})
	run(func(int) { b.Publish(clusters) })
	run(func(int) {
		if got := s.from(b, "a"); !strings.HasPrefix(got, " v") {
			t.Errorf("scope one: %q", got)
		}
	})
	all.Wait()
	for _, host := range []string{"a", "b", "c"} {
		if got, want := s.from(b, host), fmt.Sprintf(" v%d 1", rounds-1); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	table := b.Explain.(*Explainer).b.state().routes.of(&message.Request{Authority: "a"}).table
	if got := table.Match(&message.Request{Authority: "x", Path: "/"}, nil, 0).Name; got != fmt.Sprint("c", rounds-1) {
		t.Errorf("the last routes: %q", got)
	}
	release(b)
	if n := s.wanted(""); n != 0 {
		t.Errorf("%d resources are still wanted", n)
	}
}
