package dispatch

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

const tagA = `{"name": "tag", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "a"}}`

func overrideOf(filter, text string) string {
	return `, "typedPerFilterConfig": {"` + filter + `": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "` + text + `"}}`
}

func TestRoutesAreDelivered(t *testing.T) {
	s := newShop(t)
	b := s.manager(rds, tagA, nil)
	if len(b.Clusters) != 0 || len(b.Watches) != 1 {
		t.Errorf("clusters %v, %d watches", b.Clusters, len(b.Watches))
	}
	s.start(b, 1)
	if ready(b) {
		t.Error("ready without routes")
	}
	s.expect(b, "before the routes", "404")
	if p := s.cluster("r", "c1"); len(p) > 0 || !ready(b) {
		t.Errorf("ready %v, problems %v", ready(b), p)
	}
	s.expect(b, "first version", "a c1 1")
	s.cluster("r", "c2")
	s.expect(b, "second version", "a c2 1")
	b.Publish(s.table(2))
	s.expect(b, "new clusters", "a c2 2")
	problems := s.routes("r", virtualHost("c3", "*", overrideOf("tag", "bad")))
	const want = `error: route "r": virtual_hosts[0].routes[0].typed_per_filter_config["tag"]: bad tag a/bad`
	if texts(problems) != want {
		t.Errorf("problems:\n%s\nwant:\n%s", texts(problems), want)
	}
	problems = s.routes("r", virtualHost("c3", "*", "")+","+virtualHost("c3", "*", ""))
	if got := texts(problems); !strings.HasPrefix(got, `error: route "r": virtual_hosts[1].domains[0]: Only a single wildcard`) {
		t.Errorf("problems:\n%s", got)
	}
	s.expect(b, "rejected", "a c2 2")
	s.hub.Remove(s.source, resource.Key{Type: resource.Route, Name: "r"})
	s.expect(b, "removed", "a c2 2")
	s.routes("r", virtualHost("c3", "*", overrideOf("tag", "o")))
	s.expect(b, "with an override", "a/o c3 2")
	s.routes("r", virtualHost("c4", "*", `, "typedPerFilterConfig": {"tag": {"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": ""}}`))
	s.expect(b, "an override of another type", "a/o c3 2")
	for name, want := range map[string]uint64{"config_reload": 3, "update_success": 3, "update_rejected": 3, "update_attempt": 6, "update_empty": 0} {
		if got := s.env.Stats.Scope("http.p.rds.r.").Counter(name).Value(); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestRoutesThatAreThereAreUsedAtOnce(t *testing.T) {
	s := newShop(t)
	first := s.manager(rds, "", nil)
	s.start(first, 1)
	s.routes("r", virtualHost("c1", "*", overrideOf("tag", "o")))
	second := s.manager(rds, tagA, nil)
	s.start(second, 2)
	if !ready(second) {
		t.Error("not ready")
	}
	s.expect(first, "without the filter", " c1 1")
	s.expect(second, "with the filter", "a/o c1 2")
	if a, b := first.Explain.(*Explainer).Routes(), second.Explain.(*Explainer).Routes(); a != b {
		t.Error("one version was compiled twice")
	}
	s.routes("r", virtualHost("c2", "*", ""))
	if a, b := first.Explain.(*Explainer).Routes(), second.Explain.(*Explainer).Routes(); a != b {
		t.Error("the next version was compiled twice")
	}
	s.expect(first, "without the filter", " c2 1")
	s.expect(second, "with the filter", "a c2 2")
	problems := s.routes("r", virtualHost("c3", "*", overrideOf("tag", "bad")))
	if len(problems) != 1 {
		t.Errorf("problems: %v", problems)
	}
	s.expect(first, "rejected by the other", " c2 1")
	s.expect(second, "rejected", "a c2 2")
}

func TestRoutesThatDoNotFitRejectTheConnectionManager(t *testing.T) {
	s := newShop(t)
	first := s.manager(rds, "", nil)
	s.start(first, 1)
	s.routes("r", virtualHost("c1", "*", overrideOf("tag", "o")))
	_, p := s.try(rds, strings.ReplaceAll(tagA, `"a"`, `"plain"`), nil)
	const want = `error: route "r": virtual_hosts[0].routes[0].typed_per_filter_config["tag"]: takes no overrides`
	if texts(p.All()) != want {
		t.Errorf("problems:\n%s\nwant:\n%s", texts(p.All()), want)
	}
}

func TestConnectionManagersNameWhatIsWrongWithRDS(t *testing.T) {
	s := newShop(t)
	_, p := s.try(`"rds": {"configSource": `+ads+`}`, "", nil)
	if want := "error: listener \"l\": at.rds.route_config_name: must not be empty"; texts(p.All()) != want {
		t.Errorf("%s, want %s", texts(p.All()), want)
	}
	s.env.Hub = nil
	_, p = s.try(rds, "", nil)
	if want := "error: listener \"l\": at.rds: no configuration is delivered here (hint: give the routes inline, in route_config)"; texts(p.All()) != want {
		t.Errorf("%s, want %s", texts(p.All()), want)
	}
}

// TestTheOldOneServesWhileTheNewOneWarms has two connection managers with one Dispatcher.
func TestTheOldOneServesWhileTheNewOneWarms(t *testing.T) {
	s := newShop(t)
	old := s.manager(rds, tagA, nil)
	s.start(old, 1)
	s.cluster("r", "c1")
	next := s.manager(`"rds": {"configSource": `+ads+`, "routeConfigName": "r2"}`, strings.ReplaceAll(tagA, `"a"`, `"b"`)+","+tagA, old.Handler)
	if next.Handler != old.Handler {
		t.Fatal("connections would not stay")
	}
	hold(next)
	if ready(next) {
		t.Error("ready without its routes")
	}
	s.expect(old, "warming", "a c1 1")
	s.cluster("r", "c2")
	s.expect(old, "changed while the next warms", "a c2 1")
	s.cluster("r2", "c3")
	s.expect(old, "warm, but not published", "a c2 1")
	next.Publish(s.table(2))
	s.expect(next, "published", "b+a c3 2")
	s.cluster("r", "c4")
	s.expect(next, "the old one's routes change", "b+a c3 2")
	release(old)
	s.cluster("r2", "c5")
	s.expect(next, "changed", "b+a c5 2")
	third := s.manager(inline("c6"), tagA, next.Handler)
	s.start(third, 3)
	s.cluster("r2", "c7")
	s.expect(third, "inline routes again", "a c6 3")
	if len(third.Clusters) != 1 {
		t.Errorf("clusters %v", third.Clusters)
	}
	release(next)
}

func TestRoutesThatDoNotComeAreAwaitedForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		b := s.manager(`"rds": {"configSource": {"ads": {}, "initialFetchTimeout": "3s"}, "routeConfigName": "r"}`, tagA, nil)
		s.start(b, 1)
		began := time.Now()
		<-b.Watches[0].Ready()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("ready after %v", took)
		}
		if n := s.env.Stats.Scope("http.p.rds.r.").Counter("init_fetch_timeout").Value(); n != 1 {
			t.Errorf("init_fetch_timeout is %d", n)
		}
		s.expect(b, "without routes", "404")
		s.cluster("r", "c1")
		s.expect(b, "late routes", "a c1 1")
		release(b)
	})
}

func TestWithoutRoutesNoRouteIsFound(t *testing.T) {
	s := newShop(t)
	b := s.manager(rds, tagA, nil)
	log := &logbook{}
	log.format, _ = format.Compile("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%", format.Options{})
	d := b.Handler.(*Dispatcher)
	d.cfg.logs = append(d.cfg.logs, log)
	s.start(b, 1)
	s.expect(b, "no routes", "404")
	if want := "404 NR route_not_found"; len(log.lines) != 1 || log.lines[0] != want {
		t.Errorf("logged %q, want %q", log.lines, want)
	}
}

func TestConnectionsSeeNewRoutes(t *testing.T) {
	s := newShop(t)
	b := s.manager(rds, tagA, nil)
	s.start(b, 1)
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- b.Handler.ServeConn(t.Context(), conn.New(far)) }()
	read := bufio.NewReader(near)
	for _, cluster := range []string{"c1", "c2", "c3"} {
		s.cluster("r", cluster)
		_ = near.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(near, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(read, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if want := "a " + cluster + " 1"; string(body) != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
	_ = near.Close()
	<-done
}

func TestExplainKnowsTheTableThatWasDelivered(t *testing.T) {
	s := newShop(t)
	b := s.manager(rds, tagA, nil)
	s.start(b, 1)
	e := b.Explain.(*Explainer)
	ask := func() Explanation {
		return e.Explain(&message.Request{Method: "GET", Path: "/x", Authority: "h", Scheme: "http", Body: message.NoBody}, &conn.Info{}, 0)
	}
	if x := ask(); x.TablePlace != `route "r"` || x.Reason != "the route configuration has not come from its source yet" {
		t.Errorf("%+v", x)
	}
	s.cluster("r", "c1")
	x := ask()
	if x.Cluster != "c1" || x.Place != `route "r": virtual_hosts[0].routes[0]` || x.HostPlace != `route "r": virtual_hosts[0]` || x.TablePlace != `route "r"` {
		t.Errorf("%+v", x)
	}
	if got := x.Route.Origin + x.Route.Place; got != x.Place {
		t.Errorf("the route is at %q", got)
	}
}

// TestReroutingStaysInTheView changes all there is while an exchange is under way that is matched again.
func TestReroutingStaysInTheView(t *testing.T) {
	s := newShop(t)
	old := s.manager(inline("c1"), tagA, nil)
	s.start(old, 1)
	d := old.Handler.(*Dispatcher)
	next := s.manager(inline("c2"), "", d)
	change := last(func(ctx context.Context, x *exchange.Exchange) (*message.Response, error) {
		next.Publish(s.table(2))
		x.Reroute()
		return s.answer(ctx, x)
	})
	old.Explain.(*Explainer).b.apply(func(before state) ([]httpFilter, *routing) {
		filters := slices.Clone(before.filters)
		filters[1].filter = change
		return filters, before.routes
	})
	s.expect(old, "rerouted", "a c1 1")
	s.expect(next, "afterwards", " c2 2")
}
