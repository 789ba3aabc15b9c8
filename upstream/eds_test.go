package upstream

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"buf.build/go/protoyaml"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/upstream/balance"
)

// ads is the source of a test's assignments.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

// A plane hands out assignments.
type plane struct {
	*world
	hub *subscription.Hub
	n   int
}

func newPlane(t *testing.T) *plane {
	p := &plane{world: newWorld(t), hub: subscription.New(subscription.Options{})}
	p.env.Hub = p.hub
	return p
}

func planeBubble(t *testing.T, test func(t *testing.T, w *plane)) {
	synctest.Test(t, func(t *testing.T) { test(t, newPlane(t)) })
}

// edsOf is a cluster whose hosts come by EDS.
func edsOf(more string) string {
	return "name: web\ntype: EDS\neds_cluster_config: {eds_config: {ads: {}}}\n" + more + "\n"
}

func assignmentOf(t testing.TB, yaml string) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	m := &endpointv3.ClusterLoadAssignment{}
	if err := protoyaml.Unmarshal([]byte("cluster_name: web\n"+yaml), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// send delivers an assignment for the cluster web and returns what is wrong with it.
func (w *plane) send(yaml string) []resource.Problem {
	w.t.Helper()
	r, err := resource.New(resource.Key{Type: resource.Endpoint, Name: "web"}, assignmentOf(w.t, yaml), "test", "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.n++
	r.Version = fmt.Sprint(w.n)
	problems, asked := w.hub.Deliver(subscription.NewSource(ads()), r)
	if !asked {
		w.t.Fatal("nobody wants the assignment")
	}
	return problems
}

// set delivers an assignment that is good.
func (w *plane) set(policy string, groups ...string) {
	w.t.Helper()
	if len(groups) > 0 {
		policy += "\nendpoints:\n"
	}
	if got := w.send(policy + strings.Join(groups, "")); len(got) > 0 {
		w.t.Fatal(got)
	}
}

func hosts(c *Cluster) string {
	var all []string
	for _, h := range c.Hosts().All() {
		all = append(all, fmt.Sprintf("%s p%d w%d %s", strings.TrimSuffix(h.Address(), ":80"), h.Priority(), h.Weight(), h.Health()))
	}
	return strings.Join(all, ", ")
}

func TestAssignmentsBecomeHosts(t *testing.T) {
	type step struct {
		policy string
		groups []string
		want   string
		change int64 // membership_change after it
		same   int64 // update_no_rebuild after it
	}
	a, b := spot("", "10.0.0.1"), spot("", "10.0.0.1", "10.0.0.2")
	for name, steps := range map[string][]step{
		"added, removed, added again": {
			{groups: []string{a}, want: "10.0.0.1 p0 w1 healthy", change: 1},
			{groups: []string{b}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy", change: 2},
			{groups: []string{a}, want: "10.0.0.1 p0 w1 healthy", change: 3},
			{groups: []string{b}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy", change: 4},
		},
		"all gone": {
			{groups: []string{b}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy", change: 1},
			{groups: nil, want: "", change: 2},
		},
		"the same": {
			{groups: []string{b}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy", change: 1},
			{groups: []string{b}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy", change: 1, same: 1},
			{groups: []string{spot("proximity: {value: 3}", "10.0.0.1", "10.0.0.2")}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy", change: 1, same: 2},
		},
		"weights": {
			{groups: []string{spot("", "10.0.0.1 load_balancing_weight: 3", "10.0.0.2")}, want: "10.0.0.1 p0 w3 healthy, 10.0.0.2 p0 w1 healthy", change: 1},
			{groups: []string{spot("", "10.0.0.1", "10.0.0.2 load_balancing_weight: 7")}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w7 healthy", change: 1},
		},
		"priorities": {
			{groups: []string{a, spot("priority: 1", "10.0.0.2")}, want: "10.0.0.1 p0 w1 healthy, 10.0.0.2 p1 w1 healthy", change: 1},
			{groups: []string{spot("", "10.0.0.2"), spot("priority: 1", "10.0.0.1")}, want: "10.0.0.2 p0 w1 healthy, 10.0.0.1 p1 w1 healthy", change: 1},
		},
		"health": {
			{
				groups: []string{spot("", "10.0.0.1 health_status: UNHEALTHY", "10.0.0.2 health_status: DRAINING", "10.0.0.3 health_status: DEGRADED", "10.0.0.4 health_status: TIMEOUT")},
				want:   "10.0.0.1 p0 w1 /failed_eds_health, 10.0.0.2 p0 w1 /eds_status_draining, 10.0.0.3 p0 w1 /degraded_eds_health, 10.0.0.4 p0 w1 /failed_eds_health", change: 1,
			},
			{
				groups: []string{spot("", "10.0.0.1 health_status: HEALTHY", "10.0.0.2", "10.0.0.3 health_status: UNHEALTHY", "10.0.0.4 health_status: DEGRADED")},
				want:   "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy, 10.0.0.3 p0 w1 /failed_eds_health, 10.0.0.4 p0 w1 /degraded_eds_health", change: 1,
			},
		},
		"named twice": {{groups: []string{spot("", "10.0.0.1", "10.0.0.1"), spot("priority: 1", "10.0.0.1")}, want: "10.0.0.1 p0 w1 healthy", change: 1}},
		"a pipe": {
			{groups: []string{"  - lb_endpoints: [{endpoint: {address: {pipe: {path: /run/web.sock}}}}]\n"}, want: "/run/web.sock p0 w1 healthy", change: 1},
			{groups: []string{a}, want: "10.0.0.1 p0 w1 healthy", change: 2},
		},
		"only the factor": {
			{groups: []string{a}, want: "10.0.0.1 p0 w1 healthy", change: 1},
			{policy: "policy: {overprovisioning_factor: 200}", groups: []string{a}, want: "10.0.0.1 p0 w1 healthy", change: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPlane(t)
			c := w.start(edsOf(""))
			for i, s := range steps {
				w.set(s.policy, s.groups...)
				if got := hosts(c); got != s.want {
					t.Errorf("step %d: hosts %q, want %q", i, got, s.want)
				}
				w.expect(c, "membership_change", s.change)
				w.expect(c, "update_no_rebuild", s.same)
				w.expect(c, "update_success", int64(i)+1)
				w.expect(c, "membership_total", int64(c.Hosts().Len()))
			}
		})
	}
}

func TestAssignmentsAreRejectedByName(t *testing.T) {
	for _, c := range []struct{ yaml, path, message string }{
		{"endpoints:\n" + spot("", "web.test"), "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address", "malformed IP address: web.test"},
		{"endpoints:\n" + spot("priority: 129", "10.0.0.1"), "endpoints[0].priority", "out of range"},
		{"endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 70000}}}}]}]",
			"endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value", "not a port"},
		{"endpoints: [{lb_endpoints: [{endpoint: {}}]}]", "endpoints[0].lb_endpoints[0].endpoint.address.socket_address", "needs a socket_address or a pipe"},
		{"endpoints: [{lb_endpoints: [{}]}]", "endpoints[0].lb_endpoints[0].endpoint", "needs an address"},
		{"policy: {drop_overloads: [{category: a}, {category: b}]}", "policy.drop_overloads", "not supported"},
		{"policy: {endpoint_stale_after: 0s}", "policy.endpoint_stale_after", "greater than zero"},
		{"endpoints:\n" + spot("", "10.0.0.1 load_balancing_weight: 4294967295", "10.0.0.2 load_balancing_weight: 1"), "endpoints[0]", "sum of the weights"},
	} {
		t.Run(c.path, func(t *testing.T) {
			w := newPlane(t)
			u := w.start(edsOf(""))
			w.set("", spot("", "10.9.9.9"))
			got := w.send(c.yaml)
			if len(got) != 1 || string(got[0].Path) != c.path || !strings.Contains(got[0].Message, c.message) {
				t.Errorf("got %v, want %s at %s", got, c.message, c.path)
			}
			if addresses(u) != "10.9.9.9:80" || u.eds.group.Lane(0).UpdateRejected.Value() != 1 || isReady(u) != true {
				t.Errorf("hosts %s, %d rejected", addresses(u), u.eds.group.Lane(0).UpdateRejected.Value())
			}
		})
	}
}

func TestEDSClustersThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name, yaml, path, message string
		hub                       bool
	}{
		{"no source", "name: web\ntype: EDS\neds_cluster_config: {service_name: a}", "cluster.eds_cluster_config.eds_config", "without an EDS config", true},
		{"no config", "name: web\ntype: EDS", "cluster.eds_cluster_config.eds_config", "without an EDS config", true},
		{"no hub", edsOf(""), "cluster.eds_cluster_config.eds_config", "not supported", false},
		{"not EDS", "name: web\ntype: STATIC\neds_cluster_config: {eds_config: {ads: {}}}", "cluster.eds_cluster_config", "non-EDS", true},
		{"endpoints of its own", edsOf("load_assignment: {cluster_name: web}"), "cluster.load_assignment", "come from eds_config only", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newPlane(t)
			if !c.hub {
				w.env.Hub = nil
			}
			p := resource.NewProblems("")
			Compile(w.env, parse(t, c.yaml), "cluster", p)
			if got := p.All(); len(got) != 1 || string(got[0].Path) != c.path || !strings.Contains(got[0].Message, c.message) {
				t.Errorf("got %v, want %s at %s", got, c.message, c.path)
			}
		})
	}
}

func TestHostsStayTheSameOnes(t *testing.T) {
	planeBubble(t, func(t *testing.T, w *plane) {
		server := w.serve("10.0.0.1:80", "")
		c := w.start(edsOf(""))
		w.set("", spot("", "10.0.0.1", "10.0.0.2"))
		h := c.Hosts().All()[0]
		l, err := h.Pool().Acquire(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
		h.Stats().RqTotal.Add(5)
		w.set("", spot("locality: {region: r, zone: z}", "10.0.0.3",
			"10.0.0.1 load_balancing_weight: 9\n      health_status: DEGRADED\n      metadata: {filter_metadata: {envoy.lb: {canary: true}}}"))
		if c.Hosts().All()[1] != h {
			t.Fatal("the host is another one")
		}
		if h.Weight() != 9 || h.Health() != DegradedEDSHealth || !h.Canary() || h.Stats().RqTotal.Value() != 5 {
			t.Errorf("weight %d, %v, canary %v, %d requests", h.Weight(), h.Health(), h.Canary(), h.Stats().RqTotal.Value())
		}
		if l, err = h.Pool().Acquire(t.Context(), 0, 0); err != nil || !l.Reused {
			t.Errorf("%v: the connection is gone", err)
		}
		w.set("", spot("", "10.0.0.3"))
		synctest.Wait()
		if _, conns := server.last(); conns != 1 {
			t.Errorf("%d connections", conns)
		}
		l.Release() // the last one of a host that is gone
		synctest.Wait()
		if !h.idle() {
			t.Error("a host that is gone keeps its connection")
		}
		w.set("", spot("", "10.0.0.1"))
		if c.Hosts().All()[0] == h {
			t.Error("a host that was gone has come back to life")
		}
	})
}

func TestHostsThatConnectInAnotherWayAreNewOnes(t *testing.T) {
	const host = "  - lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}%s}}]\n"
	for name, fields := range map[string]string{
		"another name":  ", hostname: a.test",
		"another check": ", health_check_config: {port_value: 99}",
	} {
		t.Run(name, func(t *testing.T) {
			w := newPlane(t)
			c := w.start(edsOf(""))
			w.set("", fmt.Sprintf(host, ""))
			before := c.Hosts().All()[0]
			w.set("", fmt.Sprintf(host, fields))
			after := c.Hosts().All()
			if len(after) != 1 || after[0] == before || !before.gone.Load() {
				t.Errorf("%d hosts, the same one: %v", len(after), after[0] == before)
			}
			w.set("", fmt.Sprintf(host, fields))
			if c.Hosts().All()[0] != after[0] {
				t.Error("a new host without need")
			}
		})
	}
}

func TestLocalitiesOfAnUpdateStayTogether(t *testing.T) {
	w := newPlane(t)
	c := w.start(edsOf("common_lb_config: {locality_weighted_lb_config: {}}"))
	w.set("", spot("locality: {zone: a}\n    load_balancing_weight: 1", "10.0.0.1"), spot("locality: {zone: b}\n    load_balancing_weight: 1", "10.0.0.2"))
	w.set("", spot("locality: {zone: a}\n    load_balancing_weight: 3", "10.0.0.1", "10.0.0.3"), spot("locality: {zone: b}\n    load_balancing_weight: 1", "10.0.0.2"))
	got := tally(t, c, 400)
	if a := got["10.0.0.1"] + got["10.0.0.3"]; a != 300 || got["10.0.0.1"] != 150 {
		t.Errorf("spread %v, want 3 of 4 in zone a", got)
	}
}

func TestFailoverFollowsAssignments(t *testing.T) {
	w := newPlane(t)
	c := w.start(edsOf(""))
	second := spot("priority: 1", "10.0.1.1")
	for i, s := range []struct {
		first string
		want  string
	}{
		{spot("", "10.0.0.1"), "10.0.0.1"},
		{spot("", "10.0.0.1 health_status: UNHEALTHY"), "10.0.1.1"},
		{spot("", "10.0.0.1 health_status: HEALTHY"), "10.0.0.1"},
		{spot("", "10.0.0.1 health_status: DRAINING"), "10.0.1.1"},
	} {
		w.set("", s.first, second)
		if got := tally(t, c, 20); got[s.want] != 20 {
			t.Errorf("step %d: %v, want all at %s", i, got, s.want)
		}
	}
}

func TestDropOverloads(t *testing.T) {
	for _, c := range []struct {
		policy  string
		draw    uint64
		dropped bool
		all     bool
	}{
		{"", 0, false, false},
		{"policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 0}}]}", 0, false, false},
		{"policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 25}}]}", 1<<62 - 1, true, false},
		{"policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 25}}]}", 1 << 62, false, false},
		{"policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 5000, denominator: TEN_THOUSAND}}]}", 1<<63 - 1, true, false},
		{"policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 500000, denominator: MILLION}}]}", 1 << 63, false, false},
		{"policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 100}}]}", 1<<64 - 1, true, true},
		{"policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 200}}]}", 1<<64 - 1, true, true},
	} {
		w := newPlane(t)
		u := w.start(edsOf(""))
		w.set(c.policy, spot("", "10.0.0.1"))
		dropped, all := u.Drops(&balance.Hints{Random: func() uint64 { return c.draw }})
		if dropped != c.dropped || all != c.all {
			t.Errorf("%s at %x: %v, %v", c.policy, c.draw, dropped, all)
		}
		w.set("", spot("", "10.0.0.1"))
		if dropped, _ := u.Drops(nil); dropped {
			t.Errorf("%s: the policy is gone and still drops", c.policy)
		}
	}
}

func TestAssignmentsGoStale(t *testing.T) {
	planeBubble(t, func(t *testing.T, w *plane) {
		const policy = "policy: {endpoint_stale_after: 60s, drop_overloads: [{category: a, drop_percentage: {numerator: 100}}]}"
		c := w.start(edsOf(""))
		m := c.members.Lane(0)
		expect := func(hosts int, stale, received uint64) {
			t.Helper()
			synctest.Wait()
			dropped, _ := c.Drops(nil)
			if c.Hosts().Len() != hosts || m.AssignmentStale.Value() != stale || m.AssignmentTimeoutReceived.Value() != received || dropped != (hosts > 0) {
				t.Errorf("%d hosts, %d stale, %d received, dropped %v; want %d, %d, %d", c.Hosts().Len(), m.AssignmentStale.Value(),
					m.AssignmentTimeoutReceived.Value(), dropped, hosts, stale, received)
			}
		}
		w.set(policy, spot("", "10.0.0.1"))
		pause(t.Context(), 59*time.Second)
		expect(1, 0, 1)
		w.set(policy, spot("", "10.0.0.1")) // renewed
		pause(t.Context(), 59*time.Second)
		expect(1, 0, 2)
		pause(t.Context(), 2*time.Second)
		expect(0, 1, 2)
		w.set(policy, spot("", "10.0.0.1")) // the same content brings the hosts back
		expect(1, 1, 3)
		pause(t.Context(), 61*time.Second)
		expect(0, 2, 3)
		w.set("policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 100}}]}", spot("", "10.0.0.2")) // good for ever
		pause(t.Context(), time.Hour)
		expect(1, 2, 3)
		w.set(policy, spot("", "10.0.0.1"))
		c.Close() // ends the timer
		pause(t.Context(), time.Hour)
		if m.AssignmentStale.Value() != 2 {
			t.Error("the timer of a closed cluster has gone off")
		}
	})
}

func TestEDSWantsItsAssignmentWhileItRuns(t *testing.T) {
	planeBubble(t, func(t *testing.T, w *plane) {
		wanted := func() string {
			var names []string
			for _, s := range w.hub.All(resource.Endpoint) {
				names = append(names, s.Key.Name)
			}
			slices.Sort(names)
			return strings.Join(names, " ")
		}
		plain := w.compile(edsOf(""))
		named := w.compile("name: other\ntype: EDS\neds_cluster_config: {service_name: svc, eds_config: {ads: {}}}")
		if wanted() != "" {
			t.Error("wanted before it was started: " + wanted())
		}
		plain.Start(t.Context())
		named.Start(t.Context())
		if wanted() != "svc web" {
			t.Error("wanted: " + wanted())
		}
		w.set("", spot("", "10.0.0.1"))
		next := w.compile(edsOf("connect_timeout: 1s")) // takes over
		next.Start(t.Context())
		if addresses(next) != "10.0.0.1:80" || !isReady(next) {
			t.Error("the next cluster does not begin with what there is")
		}
		ended := make(chan struct{})
		go func() { plain.Drain(t.Context()); close(ended) }()
		<-ended
		w.set("", spot("", "10.0.0.2"))
		if addresses(plain) != "10.0.0.1:80" || addresses(next) != "10.0.0.2:80" {
			t.Errorf("%s, %s", addresses(plain), addresses(next))
		}
		for _, c := range []*Cluster{plain, next, named, named} {
			c.Close()
		}
		if wanted() != "" {
			t.Error("wanted after all were closed: " + wanted())
		}
		late := w.compile(edsOf(""))
		late.Close()
		late.Start(t.Context())
		if wanted() != "" {
			t.Error("a closed cluster was started")
		}
	})
}

func TestHostsThatAreWellStayWhenAssignmentsDropThem(t *testing.T) {
	planeBubble(t, func(t *testing.T, w *plane) {
		w.serve("10.0.0.1:80", "")
		w.serve("10.0.0.2:80", "")
		c := w.start(edsOf(`health_checks: [{timeout: 1s, interval: 5s, no_traffic_interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]`))
		zone := func(weight int, hosts ...string) string {
			return spot(fmt.Sprintf("locality: {zone: a}\n    load_balancing_weight: %d", weight), hosts...)
		}
		w.set("", zone(1, "10.0.0.1", "10.0.0.2"))
		synctest.Wait()
		if got := hosts(c); got != "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 healthy" {
			t.Fatal(got)
		}
		w.set("", zone(2, "10.0.0.1"))
		if got := hosts(c); got != "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 /pending_dynamic_removal" {
			t.Error(got)
		}
		all := c.Hosts().All()
		if all[0].spec().locality != all[1].spec().locality {
			t.Error("the host that stays is in a locality of its own")
		}
		w.set("", zone(2, "10.0.0.1", "10.0.0.2 health_status: UNHEALTHY"))
		if got := hosts(c); got != "10.0.0.1 p0 w1 healthy, 10.0.0.2 p0 w1 /failed_eds_health" || c.Hosts().All()[1] != all[1] {
			t.Error(got)
		}
		w.set("")
		if got := c.Hosts().Len(); got != 2 {
			t.Errorf("%d hosts", got)
		}
	})
}

func TestLateSourcesCountAsTimeouts(t *testing.T) {
	planeBubble(t, func(t *testing.T, w *plane) {
		c := w.start(edsOf(""))
		w.hub.Fail(subscription.NewSource(ads()), resource.Key{Type: resource.Endpoint, Name: "web"})
		pause(t.Context(), 16*time.Second)
		w.expect(c, "update_failure", 1)
		w.expect(c, "update_attempt", 1)
		if n := c.eds.group.Lane(0).InitFetchTimeout.Value(); n != 1 {
			t.Errorf("init_fetch_timeout is %d", n)
		}
		w.set("", spot("", "10.0.0.1"))
		if addresses(c) != "10.0.0.1:80" {
			t.Error("an assignment that comes late is lost")
		}
	})
}

func TestAssignmentsChangeUnderTraffic(t *testing.T) {
	w := newPlane(t)
	c := w.start(edsOf("common_lb_config: {locality_weighted_lb_config: {}}"))
	zones := func(a, b string) []string {
		return []string{
			spot("locality: {zone: a}\n    load_balancing_weight: 2", "10.0.0.1", a+" load_balancing_weight: 3"),
			spot("locality: {zone: b}\n    load_balancing_weight: 1", "10.0.0.9", b),
		}
	}
	first, second := zones("10.0.0.2", "10.0.0.3"), zones("10.0.0.3", "10.0.0.4")
	w.set("", first...)
	done := make(chan struct{})
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				h, err := c.Pick(nil)
				if err != nil || h.Address() == "" || h.Weight() == 0 || h.Scheme() != "http" {
					t.Errorf("picked %v, %v", h, err)
					return
				}
				h.set(FailedOutlierCheck, 0) // as a check would
				c.rebuild()
				h.set(0, FailedOutlierCheck)
				c.TakeLoad()
			}
		})
	}
	for range 100 {
		w.set("", second...)
		w.set("", first...)
	}
	close(done)
	running.Wait()
	c.rebuild()
	if got := addresses(c); got != "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.9:80" {
		t.Error(got)
	}
	if got := c.Hosts().Healthy(); got != 4 {
		t.Errorf("%d are healthy", got)
	}
}
