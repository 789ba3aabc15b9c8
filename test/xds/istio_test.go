package xds

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/server"
	"github.com/weftproxy/weft/test/certs"
	"github.com/weftproxy/weft/test/kit"
)

var update = flag.Bool("update", false, "rewrite testdata")

// istioSets are the recordings.
var istioSets = []string{"base-sidecar", "sidecar", "k8s-sidecar", "k8s-gateway-api-router"}

// What istiod was recorded to send: as it is, and what is left of it without what Weft does not have.
func TestIstio(t *testing.T) {
	dir, s := istioDir(t), supported(t)
	var all []*istioSet
	for _, name := range istioSets {
		x := &istioSet{name: name, sent: readRecording(t, filepath.Join(dir, name))}
		for i := range x.sent {
			x.errors = append(x.errors, errorsIn(s, &x.sent[i]))
		}
		all = append(all, x)
	}
	t.Run("as it is", func(t *testing.T) {
		for _, x := range all {
			t.Run(x.name, func(t *testing.T) { both(t, x.asItIs) })
		}
	})
	t.Run("missing", func(t *testing.T) { missingForIstio(t, s, all) })
	for _, x := range all {
		x.sent = reduced(t, s, x.sent)
	}
	t.Run("reduced", func(t *testing.T) {
		for _, x := range all {
			t.Run(x.name, func(t *testing.T) { both(t, x.reduced) })
		}
	})
	t.Run("gateway", func(t *testing.T) { both(t, all[len(all)-1].gateway) })
}

// An istioSet is a recording.
type istioSet struct {
	name   string
	sent   recording
	errors [][]resource.Problem // what the fields of each resource alone show
}

// asItIs is in force, or named with what is not supported of it.
func (x *istioSet) asItIs(t *testing.T, delta bool) {
	m := startIstio(t, delta)
	m.plane.Update(func(e *kit.Edit) { serve(m, e, x.sent) })
	m.answers("/", "alive")
	got := m.outcome(x.sent)
	m.answers("/", "alive")
	golden(t, filepath.Join("testdata", "istio-"+x.name+".golden"), got.text(x.sent))
	for i, r := range x.sent {
		if len(x.errors[i]) == 0 {
			continue
		}
		want := fmt.Sprintf("%s: %s", x.errors[i][0].Path, x.errors[i][0].Message)
		if v := got[r.url][r.name]; v.taken || !strings.Contains(firstOf(v.why), want) {
			t.Errorf("%s %q: in force %v, rejected with %.300q, want %q", r.url, r.name, v.taken, v.why, want)
		}
	}
}

// reduced is in force without what Weft does not have.
func (x *istioSet) reduced(t *testing.T, delta bool) {
	m := startIstio(t, delta)
	m.plane.Update(func(e *kit.Edit) { serve(m, e, x.sent) })
	m.answers("/", "alive")
	got := m.outcome(x.sent)
	m.answers("/", "alive")
	golden(t, filepath.Join("testdata", "istio-"+x.name+"-reduced.golden"), got.text(x.sent))
	warming := 0
	if x.name == "sidecar" {
		warming = 1 // our own, whose filters were rejected
	}
	m.gauge("listener_manager.total_listeners_warming", warming) // the others have their routes and certificates
}

// startIstio runs a process that is set up like one of Istio's: it has its certificates from another service than the rest.
func startIstio(t *testing.T, delta bool) *mesh {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	m := &mesh{t: t, plane: kit.NewControlPlane(), port: port, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	m.plane.Update(func(e *kit.Edit) {
		e.Touch(kit.ClusterURL)
		e.Touch(kit.ListenerURL)
	})
	m.plane.Serve(ln)
	t.Cleanup(m.plane.Stop)
	b := kit.ADSBootstrap(ln.Addr().String(), delta)
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, kit.WithHTTP2(kit.StaticCluster("sds-grpc", ln.Addr().String())))
	m.launch(server.Options{Bootstrap: b})
	return m
}

// witness is how the names of our own resources begin. They make everything wanted that was recorded, whatever becomes of the recorded
// resources that name it.
const witness = "witness "

// serve offers what was recorded, our own resources that name it, and the secrets of Istio's agent.
func serve(m *mesh, e *kit.Edit, sent recording) {
	e.Set(witness+"alive", kit.Routes(witness+"alive", "/", "=alive"))
	m.front(e, witness+"alive")
	var filters []*hcmv3.HttpFilter
	patient := kit.ADS()
	patient.InitialFetchTimeout = durationpb.New(0)
	for _, r := range sent {
		switch r.url {
		case kit.EndpointURL:
			c := kit.EDSCluster(witness + r.name)
			c.EdsClusterConfig.ServiceName = r.name
			e.Set(c.GetName(), c)
		case kit.RouteURL:
			e.Set(witness+r.name, kit.HTTPListener(witness+r.name, "127.0.0.1:0", r.name))
		case kit.FilterURL:
			filters = append(filters, &hcmv3.HttpFilter{Name: r.name, ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{
				ConfigDiscovery: &corev3.ExtensionConfigSource{
					ConfigSource: patient, TypeUrls: []string{"type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"},
				},
			}})
		case kit.ListenerURL:
			if l, ok := r.message.(*listenerv3.Listener); ok && l.GetBindToPort() == nil {
				l.Address = kit.Address("127.0.0.1:0")
			}
		}
		e.Set(r.name, r.message)
	}
	if len(filters) > 0 {
		manager := kit.Manager(witness+"filters", witness+"alive")
		manager.HttpFilters = append(filters, manager.HttpFilters...)
		e.Set(witness+"filters", &listenerv3.Listener{
			Name: witness + "filters", Address: kit.Address("127.0.0.1:0"), BindToPort: wrapperspb.Bool(false),
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: kit.Any(manager)},
			}}}},
		})
	}
	agentSecrets(m.t, e)
}

// agentSecrets offers what Istio's agent does: its certificate and whom it trusts.
func agentSecrets(t *testing.T, e *kit.Edit) {
	t.Helper()
	ca, err := certs.NewAuthority("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(certs.Request{URIs: []string{"spiffe://cluster.local/ns/default/sa/default"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	e.Set("default", &tlsv3.Secret{Name: "default", Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(pair.PEM()), PrivateKey: inline(key)},
	}})
	e.Set("ROOTCA", &tlsv3.Secret{Name: "ROOTCA", Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(ca.PEM())},
	}})
}

// A verdict is what has become of a resource.
type verdict struct {
	taken bool   // in force, or warming
	why   string // it was rejected; "": it was not
}

// verdicts are those of all that was sent, by type URL and name.
type verdicts map[string]map[string]verdict

// outcome waits until all that was sent is in force, or warming, or rejected: by the configuration dump and by what the control plane was
// told.
func (m *mesh) outcome(sent recording) verdicts {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	for _, k := range recordingKinds {
		if !slices.ContainsFunc(sent, func(r recorded) bool { return r.url == k.url }) {
			continue
		}
		if _, err := m.plane.AwaitVersion(ctx, k.url); err != nil {
			m.t.Fatalf("%s: %v", k.url, err)
		}
	}
	look := time.NewTicker(200 * time.Millisecond) // the page has megabytes
	defer look.Stop()
	got := m.dump()
	for missing := got.missing(sent); len(missing) > 0; missing = got.missing(sent) {
		select {
		case <-look.C:
			got = m.dump()
		case <-ctx.Done():
			m.t.Fatalf("neither in force nor rejected are %d: %q", len(missing), missing)
		}
	}
	var untold []string
	err := m.plane.Await(ctx, func(said []kit.Said) bool {
		untold = got.untold(sent, said)
		return len(untold) == 0
	})
	if err != nil {
		m.t.Fatalf("rejected, and the control plane was not told of %d: %q", len(untold), untold)
	}
	return got
}

// missing are the resources that nothing is known of.
func (v verdicts) missing(sent recording) (out []string) {
	for _, r := range sent {
		if x := v[r.url][r.name]; !x.taken && x.why == "" {
			out = append(out, r.url[strings.LastIndexByte(r.url, '.')+1:]+" "+r.name)
		}
	}
	return out
}

// untold are the rejected resources that no NACK names with the first reason there is for it.
func (v verdicts) untold(sent recording, said []kit.Said) (out []string) {
	nacks := map[string]string{}
	for _, s := range said {
		nacks[s.TypeURL] += s.Error + "\n"
	}
	for _, r := range sent {
		if x := v[r.url][r.name]; x.why != "" && !strings.Contains(nacks[r.url], firstOf(x.why)) {
			out = append(out, r.name+": "+firstOf(x.why))
		}
	}
	return out
}

// firstOf is the first of the problems of a resource that was rejected.
func firstOf(why string) string {
	first, _, _ := strings.Cut(why, "; error: ")
	return strings.TrimPrefix(first, "error: ")
}

// dump reads the configuration dump.
func (m *mesh) dump() verdicts {
	m.t.Helper()
	status, body := m.ask("GET", "http://"+m.at.Admin+"/config_dump?include_eds")
	var all struct {
		Configs []map[string]json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal([]byte(body), &all); status != http.StatusOK || err != nil {
		m.t.Fatalf("/config_dump: %d %v %.2000s", status, err, body)
	}
	out := verdicts{}
	for _, section := range all.Configs {
		for field, raw := range section {
			if url := dumpFields[field]; url != "" {
				out.read(m.t, url, raw)
			}
		}
	}
	return out
}

// dumpFields are the fields of the configuration dump that have what control planes sent. Immutable.
var dumpFields = map[string]string{
	"dynamic_active_clusters": kit.ClusterURL, "dynamic_warming_clusters": kit.ClusterURL, "dynamic_listeners": kit.ListenerURL,
	"dynamic_route_configs": kit.RouteURL, "dynamic_endpoint_configs": kit.EndpointURL, "ecds_filters": kit.FilterURL,
}

// read adds the elements of a field of the dump.
func (v verdicts) read(t *testing.T, url string, raw json.RawMessage) {
	t.Helper()
	type named struct {
		Name        string `json:"name"`
		ClusterName string `json:"cluster_name"`
	}
	type failure struct {
		Config  named  `json:"failed_configuration"`
		Details string `json:"details"`
	}
	var all []struct {
		named

		Status   string          `json:"client_status"`
		Active   json.RawMessage `json:"active_state"`
		Warming  json.RawMessage `json:"warming_state"`
		Cluster  named           `json:"cluster"`
		Route    named           `json:"route_config"`
		Endpoint named           `json:"endpoint_config"`
		Filter   named           `json:"ecds_filter"`
		Error    *failure        `json:"error_state"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if v[url] == nil {
		v[url] = map[string]verdict{}
	}
	for _, x := range all {
		name := x.Name + x.Cluster.Name + x.Route.Name + x.Endpoint.ClusterName + x.Filter.Name
		in := v[url][name]
		if x.Error != nil {
			in.why = x.Error.Details
			if failed := x.Error.Config.Name + x.Error.Config.ClusterName; failed != name || name == "" {
				t.Errorf("%s %q is rejected, and what was rejected is named %q", url, name, failed)
			}
		} else if x.Active != nil || x.Warming != nil || x.Status == "ACKED" {
			in.taken = true
		}
		v[url][name] = in
	}
}

// text is what became of all that was sent.
func (v verdicts) text(sent recording) string {
	var b strings.Builder
	for _, k := range recordingKinds {
		var taken, rejected []string
		for _, r := range sent {
			if r.url != k.url {
				continue
			}
			if x := v[r.url][r.name]; x.why != "" {
				rejected = append(rejected, r.name+"\n      "+short(firstOf(x.why)))
			} else {
				taken = append(taken, r.name)
			}
		}
		if len(taken)+len(rejected) == 0 {
			continue
		}
		slices.Sort(taken)
		slices.Sort(rejected)
		fmt.Fprintf(&b, "%s: %d accepted, %d rejected\n", k.file, len(taken), len(rejected))
		for _, x := range taken {
			b.WriteString("  + " + x + "\n")
		}
		for _, x := range rejected {
			b.WriteString("  - " + x + "\n")
		}
	}
	return b.String()
}

// short is a problem without the name of its resource.
func short(problem string) string {
	for _, kind := range []string{"cluster ", "listener ", "route ", "endpoint ", "filter ", "endpoints "} {
		if rest, ok := strings.CutPrefix(problem, kind); ok {
			if quoted, err := strconv.QuotedPrefix(rest); err == nil {
				return strings.TrimPrefix(rest[len(quoted):], ": ")
			}
		}
	}
	return problem
}

// golden compares with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the difference. It is now:\n%s", path, got)
	}
}
