package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/upstream"
)

// A tag is a filter that leaves its text on the request: a StringValue. Texts that end with "bad" are refused, "plain..." takes no overrides.
type tag string

func (g tag) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	x.Request.Header.Add("x-tag", string(g))
	return next.Handle(ctx, x)
}

func newTag(text string) (exchange.Filter, error) {
	if strings.HasSuffix(text, "bad") {
		return nil, errors.New("bad tag " + text)
	}
	return tag(text), nil
}

// A shop has connection managers, and a Hub that gives them what they name.
type shop struct {
	t        testing.TB
	env      *extension.Env
	kind     extension.NetworkFilter
	hub      *subscription.Hub
	source   subscription.Source
	clusters sync.Map // of *upstream.Table, to int
}

const ads = `{"ads": {}}`

func newShop(t testing.TB) *shop {
	s := &shop{t: t, hub: subscription.New(subscription.Options{}), kind: Extension()}
	s.source = subscription.NewSource(&corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}})
	registry, err := extension.NewRegistry(extension.Extensions{HTTP: []extension.HTTPFilter{
		{
			Name: "test.tag", Config: &wrapperspb.StringValue{}, Override: &wrapperspb.StringValue{},
			New: func(_ *extension.Env, cfg proto.Message) (exchange.Filter, error) {
				return newTag(cfg.(*wrapperspb.StringValue).GetValue())
			},
			ForRoute: func(_ *extension.Env, f exchange.Filter, o proto.Message) (exchange.Filter, error) {
				if strings.HasPrefix(string(f.(tag)), "plain") {
					return nil, errors.New("takes no overrides")
				}
				return newTag(string(f.(tag)) + "/" + o.(*wrapperspb.StringValue).GetValue())
			},
		},
		{
			Name: "test.answer", Config: &wrapperspb.BytesValue{}, Terminal: true,
			New: func(*extension.Env, proto.Message) (exchange.Filter, error) { return last(s.answer), nil },
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.env = &extension.Env{Stats: stats.NewStore(stats.Options{}), Registry: registry, Hub: s.hub, Log: slog.New(slog.DiscardHandler)}
	s.env.Listener.Scope = s.env.Stats.Scope("listener.l.")
	return s
}

// answer says what the exchange has met: the tags, the route, and the number of the cluster table.
func (s *shop) answer(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
	if x.Route.Target == nil {
		return nil, &exchange.Error{Stage: exchange.Routing, Status: 404, Flag: observe.NR, Details: "route_not_found"}
	}
	cluster, _ := x.Route.Target.Choose(x.Request, 0)
	n, _ := s.clusters.Load(x.Clusters)
	var tags []string
	for value := range x.Request.Header.Values("x-tag") {
		tags = append(tags, value)
	}
	return x.Answer(200, fmt.Sprintf("%s %s %d", strings.Join(tags, "+"), cluster, n), nil), nil
}

// table makes a cluster table with a number.
func (s *shop) table(n int) *upstream.Table {
	t := upstream.NewTable()
	s.clusters.Store(t, n)
	return t
}

// try compiles a connection manager of JSON: its routes, and its filters but for the last.
func (s *shop) try(routes, filters string, prev conn.Handler) (extension.Built, *resource.Problems) {
	s.t.Helper()
	if filters != "" {
		filters += ","
	}
	m := &hcmv3.HttpConnectionManager{}
	text := `{"statPrefix": "p", ` + routes + `, "httpFilters": [` + filters + `{"name": "last", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": ""}}]}`
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		s.t.Fatalf("%v in %s", err, text)
	}
	env := *s.env
	env.Path, env.Problems = "at", resource.NewProblems(`listener "l"`)
	built, err := s.kind.New(&env, m, prev)
	if err != nil {
		s.t.Fatal(err)
	}
	return built, env.Problems
}

// manager is try for one that has to be good.
func (s *shop) manager(routes, filters string, prev conn.Handler) extension.Built {
	s.t.Helper()
	built, p := s.try(routes, filters, prev)
	if p.Len() > 0 {
		s.t.Fatalf("problems: %v", p.All())
	}
	return built
}

// start holds what a connection manager watches and publishes it.
func (s *shop) start(b extension.Built, clusters int) {
	hold(b)
	b.Publish(s.table(clusters))
}

func hold(b extension.Built) {
	for _, w := range b.Watches {
		w.Hold()
	}
}

func release(b extension.Built) {
	for _, w := range b.Watches {
		w.Release()
	}
}

func ready(b extension.Built) bool {
	for _, w := range b.Watches {
		select {
		case <-w.Ready():
		default:
			return false
		}
	}
	return true
}

const rds = `"rds": {"configSource": ` + ads + `, "routeConfigName": "r"}`

// inline is a route_config that sends all to a cluster.
func inline(cluster string) string {
	return `"routeConfig": {"name": "inline", "virtualHosts": [` + virtualHost(cluster, "*", "") + `]}`
}

func virtualHost(cluster, domain, more string) string {
	return fmt.Sprintf(`{"name": %q, "domains": [%q], "routes": [{"name": %q, "match": {"prefix": "/"}, "route": {"cluster": %q} %s}]}`, domain, domain, cluster, cluster, more)
}

// routes delivers a route configuration with these virtual hosts.
func (s *shop) routes(name, hosts string) []resource.Problem {
	s.t.Helper()
	m := &routev3.RouteConfiguration{}
	if err := protojson.Unmarshal([]byte(fmt.Sprintf(`{"name": %q, "virtualHosts": [%s]}`, name, hosts)), m); err != nil {
		s.t.Fatal(err)
	}
	return s.deliver(resource.Key{Type: resource.Route, Name: name}, m)
}

// cluster delivers one that sends all to a cluster.
func (s *shop) cluster(name, cluster string) []resource.Problem {
	s.t.Helper()
	return s.routes(name, virtualHost(cluster, "*", ""))
}

// filter delivers the configuration of a filter.
func (s *shop) filter(name string, m proto.Message) []resource.Problem {
	s.t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.deliver(resource.Key{Type: resource.Filter, Name: name}, &corev3.TypedExtensionConfig{Name: name, TypedConfig: a})
}

func (s *shop) deliver(key resource.Key, m proto.Message) []resource.Problem {
	s.t.Helper()
	r, err := resource.New(key, m, "test", "")
	if err != nil {
		s.t.Fatal(err)
	}
	r.Version = "1"
	problems, asked := s.hub.Deliver(s.source, r)
	if !asked {
		s.t.Fatalf("nobody asks for %v", key)
	}
	return problems
}

// get makes a request and returns the body, or another status than 200.
func (s *shop) get(b extension.Built) string {
	return (&bench{Dispatcher: b.Handler.(*Dispatcher)}).get(connection(s.t))
}

// get makes a request on a connection.
func (b *bench) get(on *conn.Conn) string {
	c := b.callerOn(on, "GET")
	b.serve(c)
	switch {
	case c.resp == nil:
		return "no response"
	case c.resp.Status == 200:
		return c.body
	}
	return strconv.Itoa(c.resp.Status)
}

// expect checks what a request is answered with.
func (s *shop) expect(b extension.Built, what, want string) {
	s.t.Helper()
	if got := s.get(b); got != want {
		s.t.Errorf("%s: answer %q, want %q", what, got, want)
	}
}

func texts(problems []resource.Problem) string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return strings.Join(out, "\n")
}
