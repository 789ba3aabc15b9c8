package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weftproxy/weft/test/certs"
)

// The names under which an upstream shows certificates of the authority that Weft knows for certain, and of the one it has just been told of.
const (
	appName  = "app.example"
	nextName = "next.example"
)

// A rotation is a running Weft whose certificates change: those it shows to clients, those it shows to upstreams, and the authorities of the
// upstreams.
type rotation struct {
	*testing.T
	p     *process
	admin string
	root  *certs.Authority // of what Weft shows, to clients and to upstreams
	sides []*side
}

// A side is a listener with its upstream, and the directory that both have their files in.
type side struct {
	name, listen, upstream, dir string
	put                         func(dir string, generation int, files []file) error

	server, client *certs.Pair // the current ones
	authority      *certs.Authority
	shown          atomic.Pointer[tls.Certificate] // by the upstream, of authority
	coming         atomic.Pointer[tls.Certificate] // of the next authority
	settling       sync.RWMutex                    // held while shown changes, and by requests that may have Weft connect to the upstream
	service        echoer
	generation     int
}

// A file is one to be written.
type file struct {
	name string
	data []byte
}

// putOver replaces files one after the other.
func putOver(dir string, _ int, files []file) error {
	for _, f := range files {
		name := filepath.Join(dir, f.name)
		if err := os.WriteFile(name+".new", f.data, 0o600); err != nil {
			return err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
	}
	return nil
}

// putVolume replaces all files at once, as Kubernetes does in its volumes: they are links through ..data, which is one itself.
func putVolume(dir string, generation int, files []file) error {
	version := fmt.Sprintf("..%d", generation)
	if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
		return err
	}
	if err := putOver(filepath.Join(dir, version), generation, files); err != nil {
		return err
	}
	data := filepath.Join(dir, "..data")
	if err := os.Symlink(version, data+"_tmp"); err != nil {
		return err
	}
	if err := os.Rename(data+"_tmp", data); err != nil {
		return err
	}
	if generation == 0 {
		for _, f := range files {
			if err := os.Symlink(filepath.Join("..data", f.name), filepath.Join(dir, f.name)); err != nil {
				return err
			}
		}
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", generation-1)))
}

// startRotation starts Weft with the sides "files", which are replaced one by one, and "volume".
func startRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{T: t, admin: freeAddr(t)}
	r.root = r.newAuthority("root")
	for _, s := range []*side{{name: "files", put: putOver}, {name: "volume", put: putVolume}} {
		s.dir, s.listen, s.authority = t.TempDir(), freeAddr(t), r.newAuthority("upstreams")
		s.upstream = r.serve(s)
		r.replace(s)
		r.settle(s)
		r.sides = append(r.sides, s)
	}
	path := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(path, []byte(r.config()), 0o600); err != nil {
		t.Fatal(err)
	}
	r.p = start(t, "-c", path)
	for _, s := range r.sides {
		r.p.ready(s.listen)
	}
	return r
}

func (r *rotation) newAuthority(name string) *certs.Authority {
	r.Helper()
	a, err := certs.NewAuthority(name)
	if err != nil {
		r.Fatal(err)
	}
	return a
}

func (r *rotation) pair(a *certs.Authority, name string) *certs.Pair {
	r.Helper()
	p, err := a.Issue(certs.Request{DNS: []string{name}})
	if err != nil {
		r.Fatal(err)
	}
	return p
}

func (r *rotation) issue(a *certs.Authority, name string) *tls.Certificate {
	r.Helper()
	c := r.pair(a, name).TLS()
	return &c
}

// replace gives a side new certificates towards clients and upstreams, and an authority of upstreams besides the one it has.
func (r *rotation) replace(s *side) {
	r.Helper()
	next := r.newAuthority("upstreams")
	s.server, s.client = r.pair(r.root, appName), r.pair(r.root, "client.example")
	s.coming.Store(r.issue(next, nextName))
	files := append(r.files("server", s.server), r.files("client", s.client)...)
	files = append(files, file{"ca.crt", slices.Concat(s.authority.PEM(), next.PEM())})
	if err := s.put(s.dir, s.generation, files); err != nil {
		r.Fatal(err)
	}
	s.generation++
	s.authority = next
}

func (r *rotation) files(name string, p *certs.Pair) []file {
	r.Helper()
	key, err := p.KeyPEM()
	if err != nil {
		r.Fatal(err)
	}
	return []file{{name + ".crt", p.PEM()}, {name + ".key", key}}
}

// settle makes the upstream of a side show what the authority has issued that Weft was told of with replace. Handshakes that have begun with
// what Weft knew before end first.
func (r *rotation) settle(s *side) {
	r.Helper()
	s.settling.Lock()
	defer s.settling.Unlock()
	s.shown.Store(r.issue(s.authority, appName))
}

// serve runs an upstream of a side that wants a certificate, and answers with its serial number.
func (r *rotation) serve(s *side) string {
	r.Helper()
	mux := http.NewServeMux()
	mux.Handle("/pkg.Service/", &s.service)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-serial", r.TLS.PeerCertificates[0].SerialNumber.String())
		_, _ = io.WriteString(w, "hello") // who is gone is gone
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	return serveOn(r.T, tls.NewListener(ln, &tls.Config{
		NextProtos: []string{"h2", "http/1.1"}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: r.root.Pool(),
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == nextName {
				return s.coming.Load(), nil
			}
			return s.shown.Load(), nil
		},
	}), mux)
}

// config has four clusters for each upstream: whose connections stay, whose are for one request, the same under the other name, and HTTP/2.
// They share what they trust, so that what has changed for one has changed for all.
func (r *rotation) config() string {
	const api = "type.googleapis.com/envoy.extensions."
	var listeners, clusters, secrets strings.Builder
	for _, s := range r.sides {
		pair := func(name string) string {
			return fmt.Sprintf("tls_certificates: [{certificate_chain: {filename: %[1]s/%[2]s.crt}, private_key: {filename: %[1]s/%[2]s.key}}]", s.dir, name)
		}
		fmt.Fprintf(&listeners, `
  - name: %[1]s
    address: %[2]s
    filter_chains:
    - transport_socket: {name: tls, typed_config: {"@type": %[3]stransport_sockets.tls.v3.DownstreamTlsContext,
        common_tls_context: {alpn_protocols: [h2, http/1.1], %[4]s}}}
      filters:
      - name: hcm
        typed_config:
          "@type": %[3]sfilters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %[1]s
          http_filters: [{name: router, typed_config: {"@type": %[3]sfilters.http.router.v3.Router}}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /pkg.Service/}, route: {cluster: %[1]s-stream, timeout: 0s}}
              - {match: {prefix: /fresh}, route: {cluster: %[1]s-fresh}}
              - {match: {prefix: /next}, route: {cluster: %[1]s-next}}
              - {match: {prefix: /}, route: {cluster: %[1]s-steady}}`, s.name, addressOf(s.listen), api, pair("server"))
		fmt.Fprintf(&secrets, `
  - name: %s
    validation_context: {trusted_ca: {filename: %s/ca.crt}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {suffix: .example}}]}`, s.name, s.dir)
		for _, c := range []struct{ name, sni, protocol, common string }{
			{"steady", appName, "http_protocol_options", ""},
			{"fresh", appName, "http_protocol_options", "max_requests_per_connection: 1"},
			{"next", nextName, "http_protocol_options", "max_requests_per_connection: 1"},
			{"stream", appName, "http2_protocol_options", ""},
		} {
			fmt.Fprintf(&clusters, `
  - name: %[1]s-%[2]s
    connect_timeout: 20s
    load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: %[3]s}}]}]}
    transport_socket: {name: tls, typed_config: {"@type": %[4]stransport_sockets.tls.v3.UpstreamTlsContext, sni: %[5]s,
      common_tls_context: {%[6]s, validation_context_sds_secret_config: {name: %[1]s}}}}
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
      "@type": %[4]supstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {%[8]s}, explicit_http_config: {%[7]s: {}}}}`,
				s.name, c.name, addressOf(s.upstream), api, c.sni, pair("client"), c.protocol, c.common)
		}
	}
	return fmt.Sprintf("admin: {address: %s}\nstatic_resources:\n  listeners:%s\n  clusters:%s\n  secrets:%s\n", addressOf(r.admin), &listeners, &clusters, &secrets)
}

// addressOf is an address as configurations have it.
func addressOf(a string) string {
	host, port, _ := net.SplitHostPort(a) // it comes from the system
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
}
