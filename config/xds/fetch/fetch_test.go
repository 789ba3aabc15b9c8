package fetch

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/test/certs"
)

// A plane is a control plane with a fixed set of resources.
type plane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	resources map[string]map[string]*anypb.Any // by type URL and name
	silent    string                           // a type that is never answered
	end       bool                             // the stream ends at once

	mu    sync.Mutex
	nodes []string
	heads []string
}

func (p *plane) note(node *corev3.Node, md metadata.MD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if node != nil {
		p.nodes = append(p.nodes, node.GetId())
		p.heads = append(p.heads, strings.Join(md.Get("token"), ","))
	}
}

// of returns what is asked for by these names: all, if there are none.
func (p *plane) of(url string, names []string) []string {
	var out []string
	for name := range p.resources[url] {
		if len(names) == 0 || slices.Contains(names, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (p *plane) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	asked := map[string]string{}
	for !p.end {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		p.note(r.GetNode(), md)
		names := strings.Join(r.GetResourceNames(), " ")
		before, again := asked[r.GetTypeUrl()]
		if again && before == names || r.GetTypeUrl() == p.silent {
			continue // an acknowledgement
		}
		asked[r.GetTypeUrl()] = names
		m := &discoveryv3.DiscoveryResponse{TypeUrl: r.GetTypeUrl(), VersionInfo: "v1", Nonce: "n", ControlPlane: &corev3.ControlPlane{Identifier: "plane"}}
		for _, name := range p.of(r.GetTypeUrl(), r.GetResourceNames()) {
			m.Resources = append(m.Resources, p.resources[r.GetTypeUrl()][name])
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (p *plane) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if len(r.GetResourceNamesSubscribe()) == 0 || r.GetTypeUrl() == p.silent {
			continue
		}
		m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.GetTypeUrl(), SystemVersionInfo: "v1", Nonce: "n"}
		for _, name := range r.GetResourceNamesSubscribe() {
			names := []string{name}
			if name == "*" {
				names = p.of(r.GetTypeUrl(), nil)
			}
			for _, name := range names {
				if body := p.resources[r.GetTypeUrl()][name]; body != nil {
					m.Resources = append(m.Resources, &discoveryv3.Resource{Name: name, Version: "r1", Resource: body})
				} else {
					m.RemovedResources = append(m.RemovedResources, name)
				}
			}
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
}

// add adds a resource.
func (p *plane) add(t *testing.T, name string, m proto.Message) {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	if p.resources == nil {
		p.resources = map[string]map[string]*anypb.Any{}
	}
	if p.resources[a.GetTypeUrl()] == nil {
		p.resources[a.GetTypeUrl()] = map[string]*anypb.Any{}
	}
	p.resources[a.GetTypeUrl()][name] = a
}

// serve starts the plane and returns its address.
func (p *plane) serve(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, p)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln) // until Stop
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return ln.Addr().String()
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

// shop is a plane with a bit of everything.
func shop(t *testing.T) *plane {
	t.Helper()
	p := &plane{}
	manager, err := anypb.New(&hcmv3.HttpConnectionManager{StatPrefix: "x", RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{
		Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: "routes"}}})
	if err != nil {
		t.Fatal(err)
	}
	context, err := anypb.New(&tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "cert", SdsConfig: ads()}}}})
	if err != nil {
		t.Fatal(err)
	}
	p.add(t, "l", &listenerv3.Listener{Name: "l", FilterChains: []*listenerv3.FilterChain{{
		Filters:         []*listenerv3.Filter{{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager}}, {Name: "odd", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/no.such.Type", Value: []byte{1}}}}},
		TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: context}},
	}}})
	p.add(t, "routes", &routev3.RouteConfiguration{Name: "routes"})
	p.add(t, "other", &routev3.RouteConfiguration{Name: "other"})
	p.add(t, "c", &clusterv3.Cluster{Name: "c", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: "service"}})
	p.add(t, "service", &endpointv3.ClusterLoadAssignment{ClusterName: "service"})
	p.add(t, "cert", &tlsv3.Secret{Name: "cert", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "public"}},
		PrivateKey:       &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "very private"}},
	}}})
	return p
}

func summary(r *Result) string {
	var out []string
	for _, a := range r.Answers {
		var names []string
		for _, one := range a.Resources {
			names = append(names, one.Name)
		}
		out = append(out, a.Type+": "+strings.Join(names, " "))
	}
	return strings.Join(append(out, r.Problems()...), "; ")
}

// brief are options for tests.
func brief(server string) Options {
	return Options{Server: server, Node: &corev3.Node{Id: "me"}, Follow: true, Timeout: 30 * time.Second, Quiet: 50 * time.Millisecond}
}

func TestFetch(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Options)
		plane  func(*plane)
		want   string
	}{
		"everything": {want: "listeners: l; clusters: c; routes: routes; endpoints: service; secrets: cert"},
		"no follow":  {change: func(o *Options) { o.Follow = false }, want: "listeners: l; clusters: c"},
		"one type":   {change: func(o *Options) { o.Types = []string{"rds"} }, want: "routes: other routes"},
		"names":      {change: func(o *Options) { o.Types, o.Names = []string{"routes"}, []string{"other"} }, want: "routes: other"},
		"a name that is not there": {change: func(o *Options) { o.Types, o.Names = []string{"routes"}, []string{"other", "none"} },
			want: "routes: other; routes: not sent: none"},
		"a reference to nothing": {plane: func(p *plane) { delete(p.resources, "type.googleapis.com/envoy.config.route.v3.RouteConfiguration") },
			want: "listeners: l; clusters: c; routes: ; endpoints: service; secrets: cert; routes: not sent: routes"},
		"a silent type": {plane: func(p *plane) { p.silent = "type.googleapis.com/envoy.config.cluster.v3.Cluster" }, change: func(o *Options) { o.Timeout = time.Second },
			want: "listeners: l; clusters: ; routes: routes; secrets: cert; clusters: no answer"},
	} {
		for _, delta := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " delta"}[delta], func(t *testing.T) {
				t.Parallel()
				p := shop(t)
				if test.plane != nil {
					test.plane(p)
				}
				o := brief(p.serve(t))
				o.Delta = delta
				if test.change != nil {
					test.change(&o)
				}
				r, err := Fetch(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if got := summary(r); got != test.want {
					t.Errorf("%s\nwant %s", got, test.want)
				}
			})
		}
	}
}

func TestFetchIsPrinted(t *testing.T) {
	o := brief(shop(t).serve(t))
	r, err := Fetch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var y, j bytes.Buffer
	if err := r.WriteYAML(&y); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteJSON(&j); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"control_plane: plane\n", "- type: listeners\n", "version: v1\n", "route_config_name: routes\n", "unreadable_type: type.googleapis.com/no.such.Type\n",
		"inline_string: '[redacted]'", "inline_string: public",
	} {
		if !strings.Contains(y.String(), want) {
			t.Errorf("no %q in\n%s", want, y.String())
		}
	}
	if !strings.Contains(j.String(), `"route_config_name": "routes"`) {
		t.Errorf("JSON is\n%s", j.String())
	}
	if strings.Contains(y.String()+j.String(), "very private") {
		t.Error("a private key is printed")
	}
	o.Reveal = true
	if r, err = Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	y.Reset()
	if err := r.WriteYAML(&y); err != nil || !strings.Contains(y.String(), "very private") {
		t.Errorf("%v: the key is not shown in\n%s", err, y.String())
	}
}

func TestFetchSaysWhatIsWrong(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }() // the test is over
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	pair, err := certs.SelfSigned(certs.Request{Name: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	encrypted := grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair.TLS()}}))
	plainServer, tlsServer := shop(t).serve(t), shop(t).serve(t, encrypted)
	bare := &plane{end: true}
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"nobody there":   {brief(nobody), "cannot reach " + nobody},
		"silence":        {Options{Server: silent.Addr().String(), Timeout: 200 * time.Millisecond}, "has answered nothing within 200ms"},
		"TLS is missing": {brief(tlsServer), "is --tls missing?"},
		"TLS is wrong":   {Options{Server: plainServer, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "does not speak TLS; leave out --tls"},
		"unknown CA":     {Options{Server: tlsServer, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "certificate"},
		"an end":         {brief(bare.serve(t)), "has ended the stream without an answer"},
		"a type":         {Options{Server: nobody, Types: []string{"cluster", "nonsense"}}, `unknown type "nonsense": want listeners, clusters`},
		"names":          {Options{Server: nobody, Names: []string{"a"}}, "names are of one type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Fetch(t.Context(), test.o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestReadBootstrap(t *testing.T) {
	p := shop(t)
	host, port, err := net.SplitHostPort(p.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	good := `
node: {id: from-file, cluster: c}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    grpc_services:
    - envoy_grpc: {cluster_name: control}
      initial_metadata: [{key: token, value: t}]
static_resources:
  clusters:
  - name: control
    load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: ` + host + `, port_value: ` + port + `}}}}]}]}
`
	for name, test := range map[string]struct{ content, want string }{
		"good":       {good, ""},
		"sotw":       {strings.Replace(good, "DELTA_GRPC", "GRPC", 1), ""},
		"no ads":     {"node: {id: a}", "there is no dynamic_resources.ads_config; name the control plane with --server"},
		"no cluster": {strings.Replace(good, "name: control\n", "name: other\n", 1), `names the cluster "control", which static_resources does not have`},
		"no address": {good[:strings.Index(good, "    load_assignment")], "has no address in its load_assignment"},
		"no service": {"dynamic_resources: {ads_config: {api_type: GRPC}}", "grpc_services is empty"},
		"no YAML":    {"a: [", "not YAML"},
		"sds": {good + "    transport_socket: {name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {validation_context_sds_secret_config: {name: x}}}}\n",
			"its certificates come from SDS"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			o := Options{Follow: true, Timeout: 30 * time.Second, Quiet: 50 * time.Millisecond}
			err := o.ReadBootstrap(path)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			r, err := Fetch(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := summary(r); got != "listeners: l; clusters: c; routes: routes; endpoints: service; secrets: cert" || o.Node.GetId() != "from-file" {
				t.Error(got, o.Node)
			}
		})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.nodes, []string{"from-file"}) || !slices.Equal(p.heads, []string{"t"}) { // of the stream that is not a delta
		t.Errorf("nodes %v, metadata %v", p.nodes, p.heads)
	}
}
