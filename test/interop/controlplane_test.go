//go:build interop

package interop

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A planeRun is one run of go-control-plane's integration server: in one of its modes, with options.
type planeRun struct {
	mode                         string
	tls, mux                     bool
	http, scoped, vhds, tcp      int // listeners
	clusters, runtimes, extended int
}

// planeRuns are all modes, each as it is by default and with more of everything over TLS. Virtual hosts are only delivered by deltas on
// streams of their own, and only the state of the world is delivered by several caches (mux): in other modes the server has no such thing.
func planeRuns() []planeRun {
	var out []planeRun
	for _, mode := range []string{"ads", "xds", "rest", "delta", "delta-ads"} {
		few := planeRun{mode: mode, http: 2, scoped: 2, tcp: 2, clusters: 4, runtimes: 1, extended: 1}
		many := planeRun{mode: mode, tls: true, http: 3, scoped: 4, tcp: 3, clusters: 8, runtimes: 3, extended: 4}
		if mode == "delta" {
			few.vhds, many.vhds = 2, 4
		}
		out = append(out, few, many)
		if mode == "ads" || mode == "xds" {
			few.mux, many.mux = true, true
			out = append(out, few, many)
		}
	}
	return out
}

func (r planeRun) name() string {
	name := r.mode
	if r.tls {
		name += ", many over TLS"
	}
	if r.mux {
		name += ", mux"
	}
	return name
}

// listeners is how many there are.
func (r planeRun) listeners() int { return r.http + r.scoped + r.vhds + r.tcp }

// batches are how often the server asks for all listeners of a version, and how long it waits in between: 2 s, and twice that where
// Weft asks for news every second.
func (r planeRun) batches() (n int, every time.Duration) {
	if r.mode == "rest" {
		return 16, 250 * time.Millisecond
	}
	return 10, 200 * time.Millisecond
}

const (
	planeVersions = 3
	planeMessage  = "the origin of the control plane's test"
)

// args are the server's.
func (r planeRun) args(p planePorts) []string {
	n, every := r.batches()
	args := []string{
		"-debug", "-xds", r.mode, "-nodeID", "weft-test", "-message", planeMessage, "-u", strconv.Itoa(planeVersions),
		"-r", strconv.Itoa(n), "-delay", every.String(), "-port", port(p.xds), "-gateway", port(p.gateway), "-als", port(p.logs),
		"-upstream", port(p.upstream), "-base", strconv.Itoa(p.base), "-tls=" + strconv.FormatBool(r.tls), "-mux=" + strconv.FormatBool(r.mux),
	}
	for _, o := range []struct {
		name string
		n    int
	}{
		{"-http", r.http}, {"-scopedhttp", r.scoped}, {"-vhdshttp", r.vhds}, {"-tcp", r.tcp},
		{"-clusters", r.clusters}, {"-runtimes", r.runtimes}, {"-extension", r.extended},
	} {
		args = append(args, o.name, strconv.Itoa(o.n))
	}
	return args
}

// planePorts are where everybody listens.
type planePorts struct {
	xds, gateway, logs, upstream, admin string
	base                                int // of the listeners
}

func newPlanePorts(t *testing.T, upstream string, listeners int) planePorts {
	p := planePorts{xds: freeAddr(t), gateway: freeAddr(t), logs: freeAddr(t), admin: freeAddr(t), upstream: upstream}
	for n, last := 0, 0; n < listeners; n++ { // a row of them
		at, err := strconv.Atoi(port(freeAddr(t)))
		if err != nil {
			t.Fatal(err)
		}
		if at != last+1 {
			p.base, n = at, 0
		}
		last = at
	}
	return p
}

const planeBootstrap = `
node: {id: weft-test, cluster: test-cluster}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN_PORT}}}
dynamic_resources:
  ADS_CONFIG
  lds_config: SOURCE
  cds_config: SOURCE
layered_runtime:
  layers: [LAYERS]
static_resources:
  clusters:
  - name: xds_cluster
    connect_timeout: 1s
    typed_extension_protocol_options: XDS_PROTOCOL
    load_assignment:
      cluster_name: xds_cluster
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: XDS_PORT}}}}]}]
  - name: als_cluster
    connect_timeout: 1s
    typed_extension_protocol_options: HTTP2
    load_assignment:
      cluster_name: als_cluster
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ALS_PORT}}}}]}]
`

// bootstrap is Weft's: where its resources come from, and as many runtime layers as the server has.
func (r planeRun) bootstrap(p planePorts) string {
	const (
		service = `{transport_api_version: V3, set_node_on_first_message_only: true,
    grpc_services: [{envoy_grpc: {cluster_name: xds_cluster}}], api_type: `
		rest  = `{transport_api_version: V3, api_type: REST, cluster_names: [xds_cluster], refresh_delay: 0.5s}`
		http2 = `{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
      explicit_http_config: {http2_protocol_options: {}}}}`
		ads = `{resource_api_version: V3, ads: {}}`
	)
	own := func(api string) string { return `{resource_api_version: V3, api_config_source: ` + api + `}` }
	config, source, at, protocol := "", "", p.xds, http2
	switch r.mode {
	case "ads":
		config, source = "ads_config: "+service+"GRPC}", ads
	case "delta-ads":
		config, source = "ads_config: "+service+"DELTA_GRPC}", ads
	case "xds":
		source = own(service + "GRPC}")
	case "delta":
		source = own(service + "DELTA_GRPC}")
	case "rest":
		source, at, protocol = own(rest), p.gateway, "{}"
	}
	var layers []string
	for i := range r.runtimes {
		layers = append(layers, fmt.Sprintf("{name: runtime-%d, rtds_layer: {name: runtime-%d, rtds_config: %s}}", i, i, source))
	}
	return strings.NewReplacer("ADMIN_PORT", port(p.admin), "XDS_PORT", port(at), "ALS_PORT", port(p.logs), "ADS_CONFIG", config,
		"SOURCE", source, "LAYERS", strings.Join(layers, ", "), "XDS_PROTOCOL", protocol, "HTTP2", http2).Replace(planeBootstrap)
}

// TestControlPlane has go-control-plane's integration server configure Weft. The server sends one version of everything after the other
// and asks for each listener again and again; it ends well if after each version it got what it wanted of all of them. What it may miss are
// the first answers of a version: it takes clusters away before the listeners that use them are told of others.
func TestControlPlane(t *testing.T) {
	server := peer(t, "main")
	runs := planeRuns()
	if os.Getenv(inNetwork) == "" && ownNetwork(t, 1+len(runs)) {
		return
	}
	upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, planeMessage) }))
	for _, r := range runs {
		t.Run(r.name(), func(t *testing.T) { r.run(t, server, newPlanePorts(t, upstream, r.listeners())) })
	}
}

func (r planeRun) run(t *testing.T, server string, ports planePorts) {
	began := time.Now()
	p := start(t, server, r.args(ports)...)
	p.ready(ports.xds, ports.gateway, ports.logs)
	w := &weft{admin: ports.admin, process: start(t, binary, "-c", write(t, "weft.yaml", r.bootstrap(ports)), "--drain-time-s", "1")}
	select {
	case <-p.done:
	case <-w.done:
		t.Fatalf("Weft has ended: %v", w.err)
	case <-time.After(4 * patience):
		t.Fatal("the control plane goes on and on")
	}
	if said := p.out.String(); p.err != nil || !strings.Contains(said, "Test for "+r.mode+" passed!") {
		t.Errorf("%v\n%s", p.err, tail(said))
	}
	r.judge(t, p.out.String())
	r.stats(t, w)
	r.serves(t, ports) // although the control plane is gone
	t.Logf("%d listeners, %v", r.listeners(), time.Since(began).Round(time.Millisecond))
}

// batch is what the server says after asking all listeners.
var batch = regexp.MustCompile(`request batch (\d+), ok (\d+), failed (\d+), pass (true|false)`)

// judge looks at every batch: all listeners were asked, and what had come to work went on working until the next version.
func (r planeRun) judge(t *testing.T, said string) {
	n, _ := r.batches()
	all := batch.FindAllStringSubmatch(said, -1)
	if len(all) != n*planeVersions {
		t.Errorf("%d batches, want %d", len(all), n*planeVersions)
	}
	for i, b := range all {
		ok, failed := number(t, b[2]), number(t, b[3])
		if ok+failed != r.listeners() {
			t.Errorf("version %d, batch %s: %d and %d requests, want %d", i/n, b[1], ok, failed, r.listeners())
		}
		if i%n == n-1 && b[4] != "true" {
			t.Errorf("version %d does not work", i/n)
		}
	}
	for cluster := range min(r.clusters, r.http) { // the server prints the access log
		for version := range planeVersions {
			if name := fmt.Sprintf("cluster-v%d-%d", version, cluster); !strings.Contains(said, " / http") || !strings.Contains(said, name+"\n") {
				t.Errorf("no access log entry of %s has come", name)
			}
		}
	}
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stats looks at what Weft has counted: nothing was refused, nothing waited in vain, and all is in force.
func (r planeRun) stats(t *testing.T, w *weft) {
	resp, err := http.Get("http://" + w.admin + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case strings.HasSuffix(name, "update_rejected") || strings.HasSuffix(name, "init_fetch_timeout"):
			if value != "0" {
				t.Errorf("%s: %s, want 0", name, value)
			}
		case strings.HasSuffix(name, "cds.update_success") || strings.HasSuffix(name, "lds.update_success"):
			if number(t, value) < planeVersions {
				t.Errorf("%s: %s, want %d or more", name, value, planeVersions)
			}
		}
	}
	for name, want := range map[string]int{
		"listener_manager.total_listeners_active": r.listeners(), "listener_manager.total_listeners_warming": 0,
		"cluster_manager.active_clusters": 2 + r.clusters, "cluster_manager.warming_clusters": 0,
	} {
		if got := w.stat(name); got != int64(want) {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// serves asks every listener.
func (r planeRun) serves(t *testing.T, ports planePorts) {
	client := &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	scheme := "http"
	if r.tls {
		scheme = "https"
	}
	for i := range r.listeners() {
		resp, err := client.Get(fmt.Sprintf("%s://127.0.0.1:%d/", scheme, ports.base+i))
		if err != nil {
			t.Error(err)
			continue
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it has been read
		if err != nil || string(text) != planeMessage {
			t.Errorf("listener %d: %q, %v", i, text, err)
		}
	}
}
