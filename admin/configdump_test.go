package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

func someDump() Dump {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	failed := &FailedUpdate{Message: &clusterv3.Cluster{Name: "new", AltStatName: "failed"}, At: at.Add(time.Minute), Details: "no such field", Version: "v9"}
	return Dump{
		Bootstrap: &bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "node-1"}}, Updated: at,
		ListenersVersion: "l1", ClustersVersion: "c1",
		Clusters: []DumpEntry{
			{Name: "web", Message: &clusterv3.Cluster{Name: "web", AltStatName: "w"}, Updated: at},
			{Name: "api", Message: &clusterv3.Cluster{Name: "api"}, Updated: at, Dynamic: true, Version: "c1"},
			{Name: "new", Message: &clusterv3.Cluster{Name: "new"}, Updated: at, Dynamic: true, Version: "c1", Phase: Warming, Failed: failed},
		},
		Listeners: []DumpEntry{
			{Name: "static", Message: &listenerv3.Listener{Name: "static"}, Updated: at},
			{Name: "lds", Message: &listenerv3.Listener{Name: "lds"}, Updated: at, Dynamic: true, Version: "l0", Phase: Draining},
			{Name: "lds", Message: &listenerv3.Listener{Name: "lds"}, Updated: at, Dynamic: true, Version: "l1"},
			{Name: "refused", Dynamic: true, Failed: failed},
		},
		Routes: []DumpEntry{
			{Name: "r", Message: &routev3.RouteConfiguration{Name: "r"}, Updated: at},
			{Name: "rds", Message: &routev3.RouteConfiguration{Name: "rds"}, Updated: at, Dynamic: true, Version: "r1"},
		},
		Secrets: []DumpEntry{{Name: "cert", Updated: at, Message: secret("cert")}},
		Endpoints: func() []DumpEntry {
			return []DumpEntry{{Name: "web", Message: &endpointv3.ClusterLoadAssignment{ClusterName: "web"}}}
		},
	}
}

func secret(name string) *tlsv3.Secret {
	inline := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline("public"), PrivateKey: inline("s3cret"), Password: inline("s3cret"),
	}}}
}

func TestConfigDump(t *testing.T) {
	_, body := get(t, State{Dump: someDump}, "/config_dump?include_eds")
	golden(t, "config_dump", body)
	if _, without := get(t, State{Dump: someDump}, "/config_dump"); strings.Contains(without, "EndpointsConfigDump") {
		t.Error("endpoints without include_eds")
	}
}

func TestConfigDumpParameters(t *testing.T) {
	const static = "envoy.admin.v3.ClustersConfigDump.StaticCluster"
	for _, tc := range []struct {
		query     string
		code      int
		with, not []string
	}{
		{"resource=static_clusters", 200, []string{static, `"alt_stat_name": "w"`, "last_updated"}, []string{"dynamic", `"name": "api"`}},
		{"resource=static_clusters&mask=cluster.name", 200, []string{`"name": "web"`}, []string{"alt_stat_name", "last_updated"}},
		{"resource=static_clusters&mask=cluster", 200, []string{`"name": "web"`, "alt_stat_name"}, []string{"last_updated"}},
		{"resource=dynamic_listeners&mask=name,active_state.version_info", 200, []string{`"name": "lds"`, `"version_info": "l1"`}, []string{"l0", "listener.v3"}},
		{"resource=static_clusters&mask=cluster.nonsense", 400, []string{"FieldMask could not be successfully used."}, nil},
		{"resource=static_clusters&mask=nonsense", 400, nil, nil},
		{"resource=bootstrap", 400, []string{"bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"}, nil},
		{"resource=<i>nothing</i>", 404, []string{"&lt;i&gt;nothing&lt;/i&gt; not found in config dump"}, []string{"<i>"}},
		{"resource=static_endpoint_configs", 404, nil, nil},
		{"resource=static_endpoint_configs&include_eds", 200, []string{"ClusterLoadAssignment"}, nil},
		{"mask=bootstrap", 200, []string{"node-1"}, []string{"ClustersConfigDump", "last_updated"}},
		{"mask=bootstrap.node.id", 200, []string{"node-1"}, nil},
		{"mask=nonsense", 400, []string{"could not be successfully applied to any configs"}, nil},
		{"mask=static_clusters.cluster", 400, nil, nil},
		{"name_regex=we.", 200, []string{`"name": "web"`, "node-1"}, []string{`"name": "api"`, `"name": "lds"`, `"name": "r"`}},
		{"name_regex=we", 200, []string{"node-1"}, []string{`"name": "web"`}},
		{"name_regex=(", 400, []string{"Error while parsing name_regex"}, nil},
	} {
		code, body := get(t, State{Dump: someDump}, "/config_dump?"+tc.query)
		if code != tc.code {
			t.Errorf("%s: %d %s", tc.query, code, body)
		}
		for _, s := range tc.with {
			if !strings.Contains(body, s) {
				t.Errorf("%s: no %q in\n%s", tc.query, s, body)
			}
		}
		for _, s := range tc.not {
			if strings.Contains(body, s) {
				t.Errorf("%s: %q in\n%s", tc.query, s, body)
			}
		}
	}
}

func TestConfigDumpDoesNotTouchTheConfiguration(t *testing.T) {
	dump := someDump()
	s := State{Dump: func() Dump { return dump }}
	for _, query := range []string{"", "?resource=static_secrets&mask=name", "?mask=static_clusters"} {
		if code, body := get(t, s, "/config_dump"+query); code != http.StatusOK || strings.Contains(body, "s3cret") {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	kept, ok := dump.Secrets[0].Message.(*tlsv3.Secret)
	if !ok || kept.GetTlsCertificate().GetPrivateKey().GetInlineString() != "s3cret" || kept.GetName() != "cert" {
		t.Errorf("the secret was changed: %v", kept)
	}
}
