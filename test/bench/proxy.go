//go:build linux

package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed configs
var configs embed.FS

// A kind is what a proxy is configured for.
type kind string

const (
	kindHTTP     kind = "http"     // one route, one cluster
	kindStream   kind = "stream"   // TCP
	kindServices kind = "services" // many routes, many clusters
	kindH2       kind = "h2-h2"    // HTTP/2 from clients and to the upstream, with prior knowledge
	kindH2H1     kind = "h2-h1"    // HTTP/2 from clients
	kindH1H2     kind = "h1-h2"    // HTTP/2 to the upstream
	kindTLS      kind = "tls"      // TLS from clients
	kindTLSH2    kind = "tls-h2"   // HTTP/2 over TLS from clients
	kindSites    kind = "sites"    // TLS from clients, a certificate for each of many names
	kindFleet    kind = "fleet"    // everything from a control plane
)

// A proxy is one of the programs compared: how to configure and start it.
type proxy struct {
	name   string // as in the table
	tool   string // which binary: nginx, haproxy, caddy, weft
	config string // template in configs/
	argv   func(binary, config string) []string
	env    []string
	bye    syscall.Signal // ends it; SIGKILL if zero
	splice bool
	lazy   bool // certificates are loaded when a connection wants them
	kinds  []kind
}

// proxies are all the programs the bench knows, in the order of the tables.
func proxies() []proxy {
	all := []kind{kindHTTP, kindStream, kindServices, kindH2, kindH2H1, kindH1H2, kindTLS, kindTLSH2, kindSites}
	nginx := func(binary, config string) []string { return []string{binary, "-c", config, "-e", "stderr"} }
	haproxy := func(binary, config string) []string { return []string{binary, "-db", "-f", config} }
	return []proxy{
		{
			name: "nginx", tool: "nginx", config: "nginx.conf", kinds: all, argv: nginx,
			// A killed nginx master leaves its worker behind; a terminated one does not.
			bye: syscall.SIGTERM,
		},
		{name: "nginx-map", tool: "nginx", config: "nginx.conf", kinds: []kind{kindSites}, argv: nginx, bye: syscall.SIGTERM, lazy: true},
		{name: "haproxy", tool: "haproxy", config: "haproxy.cfg", kinds: all, argv: haproxy},
		{name: "haproxy-splice", tool: "haproxy", config: "haproxy.cfg", kinds: []kind{kindStream}, argv: haproxy, splice: true},
		{
			name: "weft", tool: "weft", config: "weft.yaml", kinds: append(slices.Clone(all), kindFleet),
			argv: func(binary, config string) []string {
				return []string{binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"}
			},
		},
		{
			name: "caddy", tool: "caddy", config: "caddy.json", kinds: []kind{kindHTTP, kindH2, kindH2H1, kindH1H2},
			argv: func(binary, config string) []string { return []string{binary, "run", "--config", config} },
			env:  []string{"GOMAXPROCS=1"},
		},
	}
}

// selectProxies returns those of a comma-separated list; nginx and HAProxy bring their variants.
func selectProxies(list string, skipCaddy bool) ([]proxy, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	var chosen []proxy
	for _, p := range proxies() {
		if i := slices.Index(names, p.name); i >= 0 {
			names = slices.Delete(names, i, i+1)
		} else if !slices.ContainsFunc(chosen, func(c proxy) bool { return c.tool == p.tool }) {
			continue
		}
		if p.tool != "caddy" || !skipCaddy {
			chosen = append(chosen, p)
		}
	}
	switch {
	case len(names) > 0:
		return nil, fmt.Errorf("-proxies: unknown: %s", strings.Join(names, ", "))
	case len(chosen) == 0:
		return nil, errors.New("no proxy to measure")
	}
	return chosen, nil
}

// A setup fills a configuration template.
type setup struct {
	Kind         kind
	Dir          string // scratch directory of this start
	Listen       string // where clients connect
	Admin        string // stats
	Origin       string // upstream, HTTP
	OriginStream string // upstream, TCP
	Services     int
	Connections  int // from clients, at most
	Sockets      int // from clients and to upstreams, at most
	Splice       bool
	Lazy         bool
	Cert, Key    string // files, with TLS
	SitesDir     string // where the certificates by name are
	Sites        int
	Root         bool
	StreamModule string // nginx: module file to load; empty when it is built in
}

// DownH2 reports whether clients speak HTTP/2.
func (s setup) DownH2() bool { return s.Kind == kindH2 || s.Kind == kindH2H1 || s.Kind == kindTLSH2 }

// TLS reports whether clients speak TLS.
func (s setup) TLS() bool { return s.Kind == kindTLS || s.Kind == kindTLSH2 || s.Kind == kindSites }

// UpH2 reports whether the upstream does.
func (s setup) UpH2() bool { return s.Kind == kindH2 || s.Kind == kindH1H2 }

func (p *proxy) does(k kind) bool { return slices.Contains(p.kinds, k) }

// render writes the configuration of p to s.Dir and returns its path.
func (p *proxy) render(s setup) (string, error) {
	t, err := template.New(p.config).Funcs(template.FuncMap{
		"host":     func(addr string) (string, error) { h, _, err := net.SplitHostPort(addr); return h, err },
		"port":     func(addr string) (string, error) { _, port, err := net.SplitHostPort(addr); return port, err },
		"site":     nameOfSite,
		"endpoint": func(name, addr string) map[string]string { return map[string]string{"Name": name, "Addr": addr} },
	}).ParseFS(configs, "configs/"+p.config)
	if err != nil {
		return "", err
	}
	if p.tool == "haproxy" && s.Kind == kindServices {
		if err := writeServicesMap(filepath.Join(s.Dir, "services.map"), s.Services); err != nil {
			return "", err
		}
	}
	if p.tool == "haproxy" && s.Kind == kindSites {
		if err := writeSiteList(filepath.Join(s.Dir, "sites.list"), s.SitesDir, s.Sites); err != nil {
			return "", err
		}
	}
	path := filepath.Join(s.Dir, p.config)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(t.Execute(f, s), f.Close())
}

// writeServicesMap writes HAProxy's table from path prefix to backend.
func writeServicesMap(path string, services int) error {
	var b strings.Builder
	for i := range services {
		fmt.Fprintf(&b, "/svc%d/ svc%d\n", i, i)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// A running proxy is started, answers, and is measured.
type running struct {
	*child
	setup setup
	certs *tlsFiles
	plane *plane        // its control plane; nil without one
	took  time.Duration // from its start to its first answer
	live  time.Time     // when everything from the control plane was in force
	dir   string
}

// start configures and starts p for a scenario and waits until it answers. The caller stops it.
func (b *bench) start(ctx context.Context, p *proxy, sc scenario) (_ *running, err error) {
	dir, err := os.MkdirTemp(b.dir, p.name+"-")
	if err != nil {
		return nil, err
	}
	ports, err := b.ports.free(2)
	if err != nil {
		return nil, err
	}
	clients := cmp.Or(sc.clients, b.options.idle) + 1000
	s := setup{
		Kind: sc.kind, Dir: dir, Listen: ports[0], Admin: ports[1],
		Origin: b.origins[cmp.Or(sc.service, serviceHTTP1)], OriginStream: b.originStream,
		Services: b.options.services, Connections: clients, Sockets: 2 * clients, Splice: p.splice,
		Lazy: p.lazy, Sites: b.options.sites, Root: os.Geteuid() == 0, StreamModule: b.tools.streamModule,
	}
	if s.TLS() {
		s.Cert, s.Key, s.SitesDir = b.certs.cert, b.certs.key, b.certs.dir
	}
	r := &running{setup: s, certs: b.certs, dir: dir}
	var config string
	if sc.fleet != nil {
		r.plane, config, err = b.launch(sc.fleet, s)
	} else {
		config, err = p.render(s)
	}
	if err != nil {
		return nil, err
	}
	began := time.Now()
	c, err := spawn(command{
		name: p.name, argv: p.argv(b.tools.binary(p.tool), config),
		env: p.env, dir: dir, cpus: b.proxyCPUs, bye: p.bye,
	})
	if err != nil {
		r.stop()
		return nil, err
	}
	r.child = c
	if sc.fleet != nil && sc.fleet.profiled {
		profile := b.profile(ctx, r, sc.name, 5*time.Second)
		defer func() { err = errors.Join(err, profile()) }()
	}
	if err := c.ready(ctx, time.Minute, r.probe()); err != nil {
		r.stop()
		return nil, err
	}
	r.took = time.Since(began)
	return r, nil
}

// probe returns a check that the proxy serves: one answer from the upstream, of the
// last service where there are many.
func (r *running) probe() func() error {
	listen := r.setup.Listen
	switch r.setup.Kind {
	case kindFleet:
		return r.fleetProbe()
	case kindStream:
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), askLimit)
			defer cancel()
			_, err := receiveStreams(ctx, listen, 1, 1)
			return err
		}
	case kindServices:
		path := fmt.Sprintf("/svc%d/", r.setup.Services-1)
		return func() error { return dialAsk(listen, path, askLimit) }
	case kindTLS:
		return func() error { return dialAskTLS(listen, r.certs.client(siteName, "http/1.1"), "/100", askLimit) }
	case kindTLSH2:
		return func() error { return dialAskTLS(listen, r.certs.client(siteName, "h2"), "/100", askLimit) }
	case kindSites:
		last := r.certs.client(nameOfSite(r.setup.Sites-1), "http/1.1")
		return func() error { return dialAskTLS(listen, last, "/100", askLimit) }
	case kindH2, kindH2H1:
		return func() error { return dialAskH2(listen, "/100", askLimit) }
	}
	return func() error { return dialAsk(listen, "/100", askLimit) }
}

// stop ends the proxy and removes its files.
func (r *running) stop() {
	if r.child != nil {
		r.child.stop()
	}
	if r.plane != nil {
		r.plane.stop()
	}
	_ = os.RemoveAll(r.dir)
}
