//go:build linux

package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protoyaml"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

func TestSelectProxies(t *testing.T) {
	for _, c := range []struct {
		list string
		skip bool
		want string
	}{
		{"nginx,haproxy,weft,caddy", false, "nginx nginx-map haproxy haproxy-splice weft caddy"},
		{" caddy, nginx", false, "nginx nginx-map caddy"},
		{"caddy,weft", true, "weft"},
		{"nginx,squid", false, "error: -proxies: unknown: squid"},
		{"caddy", true, "error: no proxy to measure"},
	} {
		var names []string
		chosen, err := selectProxies(c.list, c.skip)
		for _, p := range chosen {
			names = append(names, p.name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want {
			t.Errorf("selectProxies(%q, %v) = %q, want %q", c.list, c.skip, got, c.want)
		}
	}
}

func testSetup(t *testing.T, k kind) setup {
	return setup{
		Kind: k, Dir: t.TempDir(), Listen: "127.0.0.1:20001", Admin: "127.0.0.1:20002",
		Origin: "127.0.0.1:20003", OriginStream: "127.0.0.1:20004", Services: 3, Sites: 3, Connections: 10,
		Cert: "/c/bench.crt", Key: "/c/bench.crt.key", SitesDir: "/c/sites", Sockets: 20, Root: true, StreamModule: "/m.so",
	}
}

func TestEveryConfigurationNamesListenerAndUpstream(t *testing.T) {
	for _, p := range proxies() {
		for _, k := range p.kinds {
			t.Run(p.name+"/"+string(k), func(t *testing.T) {
				s := testSetup(t, k)
				s.Splice, s.Lazy = p.splice, p.lazy
				path, err := p.render(s)
				if err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				want := []string{"20001", "20003"}
				switch k {
				case kindStream:
					want = []string{"20001", "20004"}
				case kindServices:
					want = append(want, "svc0", "svc2")
				}
				switch {
				case k == kindSites && p.tool == "haproxy":
					want = append(want, "/sites.list")
				case k == kindSites && p.lazy:
					want = append(want, "/c/sites/$site.crt", "site2.example site2;")
				case k == kindSites:
					want = append(want, "/c/sites/site0.crt", "/c/sites/site2.crt")
				case s.TLS():
					want = append(want, "/c/bench.crt", "X25519", map[string]string{"nginx": "TLSv1.3", "haproxy": "TLSv1.3", "weft": "TLSv1_3"}[p.tool])
				}
				if s.TLS() && s.DownH2() {
					want = append(want, map[string]string{"nginx": "ssl http2", "haproxy": "alpn h2", "weft": "[h2, http/1.1]"}[p.tool])
				} else if s.DownH2() || s.UpH2() {
					want = append(want, map[string]string{"nginx": "origin", "haproxy": "proto h2", "weft": "origin", "caddy": "h2c"}[p.tool])
				}
				if p.splice {
					want = append(want, "splice-response")
				}
				for _, w := range want {
					if !bytes.Contains(b, []byte(w)) {
						t.Errorf("no %s in\n%s", w, b)
					}
				}
				if bytes.Contains(b, []byte("<no value>")) || bytes.Contains(b, []byte("svc3")) || bytes.Contains(b, []byte("site3")) {
					t.Errorf("configuration:\n%s", b)
				}
			})
		}
	}
}

func TestWeftConfigurationIsABootstrap(t *testing.T) {
	weft := proxies()[slices.IndexFunc(proxies(), func(p proxy) bool { return p.name == "weft" })]
	for k, clusters := range map[kind]int{kindHTTP: 1, kindStream: 1, kindServices: 3, kindH2: 1, kindH2H1: 1,
		kindTLS: 1, kindTLSH2: 1, kindSites: 1} {
		path, err := weft.render(testSetup(t, k))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var boot bootstrapv3.Bootstrap
		if err := protoyaml.Unmarshal(b, &boot); err != nil {
			t.Fatalf("%s: %v\n%s", k, err, b)
		}
		if err := boot.ValidateAll(); err != nil {
			t.Errorf("%s: %v", k, err)
		}
		if n := len(boot.StaticResources.Listeners); n != 1 {
			t.Errorf("%s: %d listeners", k, n)
		}
		if n := len(boot.StaticResources.Clusters); n != clusters {
			t.Errorf("%s: %d clusters, want %d", k, n, clusters)
		}
		checkTransport(t, k, boot.StaticResources.Listeners[0].FilterChains[0])
		for _, c := range boot.StaticResources.Clusters {
			if h2 := len(c.TypedExtensionProtocolOptions) > 0; h2 != (k == kindH2) {
				t.Errorf("%s: HTTP/2 upstream: %v", k, h2)
			}
			if c.LoadAssignment.ClusterName != c.Name {
				t.Errorf("%s: cluster %q has the assignment of %q", k, c.Name, c.LoadAssignment.ClusterName)
			}
		}
	}
}

// checkTransport looks at what the chain makes of its connections.
func checkTransport(t *testing.T, k kind, chain *listenerv3.FilterChain) {
	t.Helper()
	if chain.TransportSocket == nil {
		if (setup{Kind: k}).TLS() {
			t.Errorf("%s: no transport socket", k)
		}
		return
	}
	var c tlsv3.DownstreamTlsContext
	if err := chain.TransportSocket.GetTypedConfig().UnmarshalTo(&c); err != nil {
		t.Fatalf("%s: %v", k, err)
	}
	common, want := c.CommonTlsContext, map[kind]int{kindTLS: 1, kindTLSH2: 1, kindSites: 3}[k]
	if n := len(common.TlsCertificates); n != want {
		t.Errorf("%s: %d certificates, want %d", k, n, want)
	}
	if h2 := common.AlpnProtocols[0] == "h2"; h2 != (k == kindTLSH2) {
		t.Errorf("%s: protocols %v", k, common.AlpnProtocols)
	}
}

func TestStreamSupport(t *testing.T) {
	none := func(string) bool { return false }
	for _, c := range []struct {
		text   string
		exists func(string) bool
		ok     bool
		module string
	}{
		{"configure arguments: --with-stream --with-threads", none, true, ""},
		{"--modules-path=/m --with-stream=dynamic", none, false, ""},
		{"--modules-path=/m --with-stream=dynamic", func(p string) bool { return p == "/m/ngx_stream_module.so" }, true, "/m/ngx_stream_module.so"},
	} {
		if ok, module := streamSupport(c.text, c.exists); ok != c.ok || module != c.module {
			t.Errorf("streamSupport(%q) = %v, %q; want %v, %q", c.text, ok, module, c.ok, c.module)
		}
	}
}

func TestPortsAreFreeAndDistinct(t *testing.T) {
	var p ports
	first, err := p.free(2)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	second, err := p.free(2)
	if err != nil {
		t.Fatal(err)
	}
	if all := slices.Compact(slices.Sorted(slices.Values(append(first, second...)))); len(all) != 4 {
		t.Errorf("ports %v and %v are not four", first, second)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-d 10ms", "-d 10ms"},
		{"-rounds 0", "-rounds 0"},
		{"-idle 0", "-idle"},
		{"extra", `unexpected argument "extra"`},
	} {
		if _, err := parseOptions(strings.Fields(c.args), io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("parseOptions(%q): %v, want %q", c.args, err, c.want)
		}
	}
	o, err := parseOptions([]string{"-run", "^get$|^tcp$", "-cache", filepath.Join("x", "y")}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := selectScenarios(o)
	if err != nil || len(chosen) != 2 || chosen[0].name != "get" || chosen[1].name != "tcp" {
		t.Errorf("selectScenarios = %d scenarios, %v", len(chosen), err)
	}
	o.run = ""
	if chosen, err = selectScenarios(o); err != nil {
		t.Fatal(err)
	}
	for _, s := range chosen {
		if s.asked {
			t.Errorf("%s runs by default", s.name)
		}
	}
	for _, bad := range []string{"nothing", "("} {
		o.run = bad
		if _, err := selectScenarios(o); err == nil {
			t.Errorf("-run %q is accepted", bad)
		}
	}
}
