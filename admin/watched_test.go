package admin

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// received is the state of a resource in force; without a message it was only asked for.
func received(kind, name, version string, m proto.Message) subscription.Status {
	key := resource.Key{Type: kind, Name: name}
	st := subscription.Status{Key: key, Updated: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if m != nil {
		st.Current = &resource.Resource{Key: key, Message: m, Version: version}
	}
	return st
}

// refused is st with a version after it that was not accepted.
func refused(st subscription.Status, m proto.Message) subscription.Status {
	r := &resource.Resource{Key: st.Key, Message: m, Version: "bad"}
	st.Rejected = &subscription.Rejected{Resource: r, At: st.Updated.Add(time.Minute), Problems: []resource.Problem{
		{Severity: resource.Warning, Message: "not shown beside an error"}, {Path: "a.b", Message: "no such field"}, {Path: "c", Message: "too large"},
	}}
	return st
}

func watchedDump() Dump {
	gone := received(resource.Route, "gone", "r0", &routev3.RouteConfiguration{Name: "gone"})
	gone.Absent = true
	d := Dump{}
	d.AddWatched([]subscription.Status{
		received(resource.Cluster, "*", "", nil),
		received(resource.VHost, "rds/*", "", nil),
		received(resource.Secret, "wanted", "", nil),
		refused(received(resource.Secret, "cert", "s1", secret("cert")), secret("cert")),
		refused(received(resource.Route, "rds", "r1", &routev3.RouteConfiguration{Name: "rds"}), &routev3.RouteConfiguration{Name: "rds", VirtualHosts: []*routev3.VirtualHost{{Name: "v"}}}),
		gone,
		refused(received(resource.Route, "never", "", nil), nil),
		received(resource.Endpoint, "eds", "e1", &endpointv3.ClusterLoadAssignment{ClusterName: "eds"}),
		received(resource.Filter, "ecds", "x1", &corev3.TypedExtensionConfig{Name: "ecds"}),
		received(resource.Runtime, "rtds", "t1", &runtimev3.Runtime{Name: "rtds"}),
	})
	d.AddMembers("scopes", []subscription.Status{
		received(resource.Scope, "b", "s2", &routev3.ScopedRouteConfiguration{Name: "b"}),
		refused(received(resource.Scope, "a", "s1", &routev3.ScopedRouteConfiguration{Name: "a"}), nil),
	})
	d.AddMembers("rds", []subscription.Status{received(resource.VHost, "rds/v", "v1", &routev3.VirtualHost{Name: "v"})})
	return d
}

func TestConfigDumpOfWatchedResources(t *testing.T) {
	s := State{Dump: watchedDump}
	_, body := get(t, s, "/config_dump?include_eds")
	golden(t, "config_dump_watched", body)
	if strings.Contains(body, "s3cret") {
		t.Error("a rejected secret is shown")
	}
	for query, want := range map[string]string{
		"resource=ecds_filters":                                   `"name": "ecds"`,
		"resource=dynamic_endpoint_configs&include_eds":           `"cluster_name": "eds"`,
		"resource=dynamic_route_configs&mask=error_state.details": `c: too large`,
		"resource=dynamic_scoped_route_configs&name_regex=sc.*":   `"name": "scopes"`,
		"resource=dynamic_warming_secrets&mask=name,version_info": `"version_info": "uninitialized"`,
		"resource=dynamic_route_configs&name_regex=gone":          "DOES_NOT_EXIST",
		"mask=ecds_filters":                                       "ecds_filter",
	} {
		if code, body := get(t, s, "/config_dump?"+query); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, no %s in\n%s", query, code, want, body)
		}
	}
}

func TestDetailsOfARejection(t *testing.T) {
	many := make([]resource.Problem, 50)
	for i := range many {
		many[i].Message = "bad"
	}
	for want, problems := range map[string][]resource.Problem{
		"":                   nil,
		"warning: only this": {{Severity: resource.Warning, Message: "only this"}},
		strings.Repeat("error: bad; ", 20) + "...": many,
	} {
		if got := Details(problems); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
