package xds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/resource"
)

// A restServer answers what it is told to.
type restServer struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	body   map[string]string // by path; guarded by mu
	asked  []*discoveryv3.DiscoveryRequest
	hosts  []string
	count  int
}

func newRESTServer(t *testing.T) *restServer {
	t.Helper()
	s := &restServer{status: http.StatusOK, body: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *restServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	m := &discoveryv3.DiscoveryRequest{}
	if err == nil {
		err = protojson.Unmarshal(raw, m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	body, known := s.body[r.URL.Path]
	if err != nil || r.Method != http.MethodPost || !known || r.Header.Get("content-type") != "application/json" {
		http.Error(w, fmt.Sprint("not as it should be: ", err), http.StatusBadRequest)
		return
	}
	s.asked, s.hosts = append(s.asked, m), append(s.hosts, r.Host)
	w.WriteHeader(s.status)
	if s.status == http.StatusOK {
		_, _ = io.WriteString(w, body) // who asked is gone
	}
}

// say sets the answers from now on.
func (s *restServer) say(status int, path, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body[path] = status, body
}

func (s *restServer) seen(f func(*discoveryv3.DiscoveryRequest) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.asked {
		if f(m) {
			return true
		}
	}
	return false
}

func (s *restServer) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// dial connects to the server whatever the cluster.
func (s *restServer) dial(ctx context.Context, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
}

func restSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_REST, TransportApiVersion: corev3.ApiVersion_V3, ClusterNames: []string{"control"},
		RefreshDelay: durationpb.New(10 * time.Millisecond), RequestTimeout: durationpb.New(localPatience),
	}}}
}

// jsonOf is an answer with clusters.
func jsonOf(version string, clusters ...string) string {
	var all []string
	for _, c := range clusters {
		all = append(all, `{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": `+c+`}`)
	}
	return fmt.Sprintf(`{"version_info": %q, "resources": [%s]}`, version, strings.Join(all, ", "))
}

const clustersPath = "/v3/discovery:clusters"

func TestRESTIsPolled(t *testing.T) {
	s := newRESTServer(t)
	s.say(http.StatusOK, clustersPath, jsonOf("1", `"a"`, `"b"`))
	h := startLocal(t, Options{Dial: s.dial, Node: &corev3.Node{Id: "me"}})
	h.all(restSource(), resource.Cluster)
	h.expect(`cluster "a" 1, cluster "b" 1`)
	h.until("the version is told", func() bool {
		return s.seen(func(m *discoveryv3.DiscoveryRequest) bool {
			return m.GetVersionInfo() == "1" && m.GetNode().GetId() == "me" && strings.HasSuffix(m.GetTypeUrl(), ".Cluster") && len(m.GetResourceNames()) == 0
		})
	})
	s.say(http.StatusOK, clustersPath, jsonOf("2", `"b"`, `"c"`))
	h.expect(`cluster "b" 1, cluster "c" 2`)
	s.say(http.StatusNotModified, clustersPath, "")
	n := s.requests()
	h.until("asked on", func() bool { return s.requests() > n+2 })
	h.expect(`cluster "b" 1, cluster "c" 2`)
	all := h.client.Streams()
	if len(all) != 1 || all[0].Transport != "rest" || !all[0].Connected || all[0].Method != clustersPath || all[0].Types[0].Version != "2" {
		t.Errorf("%+v", all)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts[0] != "control" {
		t.Errorf("host %q, want the cluster's name", s.hosts[0])
	}
}

func TestRESTGoesOnAfterFailures(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		body, log string
		rejected  bool
	}{
		"a status":       {http.StatusServiceUnavailable, "", "answers 503", false},
		"a redirect":     {http.StatusFound, "", "answers 302", false},
		"no JSON":        {http.StatusOK, "<html>", "not JSON", false},
		"half an answer": {http.StatusOK, `{"version_info": "2", "resources": [`, "not JSON", false},
		"nothing":        {http.StatusOK, "", "is empty", false},
		"another type":   {http.StatusOK, `{"type_url": "type.googleapis.com/x.Y"}`, "answers with the type", false},
		"too much":       {http.StatusOK, strings.Repeat(" ", 5000), "larger than", false},
		"a bad resource": {http.StatusOK, jsonOf("2", `"a", "lb_policy": "RANDOM"`), "lb_policy", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRESTServer(t)
			s.say(http.StatusOK, clustersPath, jsonOf("1", `"a"`))
			h := startLocal(t, Options{Dial: s.dial, MaxReceive: 4000})
			h.all(restSource(), resource.Cluster)
			h.expect(`cluster "a" 1`)
			s.say(test.status, clustersPath, test.body)
			h.logged(test.log)
			counter := "update_failure"
			if test.rejected {
				counter = "update_rejected"
			}
			h.until("counted", func() bool { return h.store.Scope(resource.Cluster).Counter(counter).Value() > 0 })
			h.expect(`cluster "a" 1`)
			s.say(http.StatusOK, clustersPath, jsonOf("3", `"a"`, `"b"`))
			h.until("well again", func() bool { return strings.Contains(h.now(), `cluster "b" 3`) })
		})
	}
}

func TestRESTIgnoresWhatItDoesNotKnow(t *testing.T) {
	for reject, want := range map[bool]string{false: `cluster "a" 1`, true: ""} {
		s := newRESTServer(t)
		s.say(http.StatusOK, clustersPath, jsonOf("1", `"a", "from_the_future": 1`))
		h := startLocal(t, Options{Dial: s.dial, RejectUnknown: reject})
		h.all(restSource(), resource.Cluster)
		if reject {
			h.logged("from_the_future")
		}
		h.expect(want)
	}
}

func TestRESTOfNamedResources(t *testing.T) {
	s := newRESTServer(t)
	const one = `{"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": `
	s.say(http.StatusOK, "/v3/discovery:endpoints", `{"version_info": "1", "resources": [`+one+`"a"}, `+one+`"b"}]}`)
	h := startLocal(t, Options{Dial: s.dial})
	h.one(restSource(), resource.Endpoint, "a")
	h.expect(`endpoints "a" 1`)
	h.one(restSource(), resource.Endpoint, "b")
	h.expect(`endpoints "a" 1, endpoints "b" 1`)
	h.until("both are asked for", func() bool {
		return s.seen(func(m *discoveryv3.DiscoveryRequest) bool { return strings.Join(m.GetResourceNames(), " ") == "a b" })
	})
	if s.seen(func(m *discoveryv3.DiscoveryRequest) bool {
		return len(m.GetResourceNames()) == 2 && m.GetVersionInfo() != ""
	}) &&
		!s.seen(func(m *discoveryv3.DiscoveryRequest) bool {
			return len(m.GetResourceNames()) == 2 && m.GetVersionInfo() == ""
		}) {
		t.Error("who asks for more names says that it has the version of fewer")
	}
}

func TestRESTWaitsNoLongerThanItsTimeout(t *testing.T) {
	gone := make(chan struct{})
	h := startLocal(t, Options{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		<-ctx.Done()
		select {
		case gone <- struct{}{}:
		default:
		}
		return nil, ctx.Err()
	}})
	source := restSource()
	source.GetApiConfigSource().RequestTimeout = durationpb.New(20 * time.Millisecond)
	h.all(source, resource.Cluster)
	h.logged("no answer within 20ms")
	select {
	case <-gone:
	case <-time.After(localPatience):
		t.Error("the dial goes on")
	}
}

func TestCheckREST(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev3.ApiConfigSource)
		want   string
	}{
		"good":         {func(*corev3.ApiConfigSource) {}, ""},
		"no cluster":   {func(a *corev3.ApiConfigSource) { a.ClusterNames = nil }, "s.cluster_names: REST needs the name of exactly one cluster"},
		"unknown":      {func(a *corev3.ApiConfigSource) { a.ClusterNames = []string{"x"} }, `s.cluster_names[0]: there is no static cluster "x"`},
		"no delay":     {func(a *corev3.ApiConfigSource) { a.RefreshDelay = nil }, "s.refresh_delay: REST needs to know how often to ask"},
		"zero timeout": {func(a *corev3.ApiConfigSource) { a.RequestTimeout = durationpb.New(0) }, "s.request_timeout: must be more than nothing"},
		"gRPC":         {func(a *corev3.ApiConfigSource) { a.GrpcServices = []*corev3.GrpcService{{}} }, "s.grpc_services: REST does not use gRPC services"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Client{o: Options{ClusterKnown: func(name string) bool { return name == "control" }}}
			a := restSource().GetApiConfigSource()
			test.change(a)
			p := resource.NewProblems("")
			c.checkREST(a, "s", p)
			got := ""
			if p.HasErrors() {
				got = strings.TrimPrefix(p.All()[0].String(), "error: ")
			}
			if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
