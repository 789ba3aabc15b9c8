package scripts

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/test/certs"
	"github.com/weftproxy/weft/test/kit"
)

// A tlsPort is a Weft with one listener whose port serves mutual TLS, TLS with two certificates, TLS that it passes on, and plain HTTP.
type tlsPort struct {
	*testing.T
	lab       *kit.Lab
	weft      *kit.Weft
	authority *certs.Authority
	addr      string
}

func issued(t *testing.T, a *certs.Authority, r certs.Request) *certs.Pair {
	t.Helper()
	p, err := a.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tlsContext is the transport socket with a certificate, and more fields of the common context and of the context.
func tlsContext(t *testing.T, p *certs.Pair, common, more string) string {
	t.Helper()
	key, err := p.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
        common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}]%s}%s}}`,
		p.PEM(), key, common, more)
}

// httpChain answers every request with the chain's name.
func httpChain(name, match, socket string) string {
	if socket != "" {
		socket = "transport_socket: " + socket + "\n    "
	}
	return fmt.Sprintf(`
  - name: %[1]s
    filter_chain_match: {%[2]s}
    %[3]sfilters:
    - name: hcm
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: %[1]s
        access_log: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {{log "main"}},
          log_format: {text_format_source: {inline_string: "%%FILTER_CHAIN_NAME%% %%REQUESTED_SERVER_NAME%% %%DOWNSTREAM_TLS_VERSION%% %%DOWNSTREAM_PEER_URI_SAN%%\n"}}}}]
        http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
        route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: %[1]s}}}]}]}`,
		name, match, socket)
}

func startTLSPort(t *testing.T) *tlsPort {
	t.Helper()
	p := &tlsPort{T: t, lab: kit.New(t)}
	var err error
	if p.authority, err = certs.NewAuthority("root"); err != nil {
		t.Fatal(err)
	}
	mesh := issued(t, p.authority, certs.Request{URIs: []string{"spiffe://mesh/server"}, DNS: []string{"mesh.example"}})
	one := issued(t, p.authority, certs.Request{DNS: []string{"one.example"}})
	two := issued(t, p.authority, certs.Request{DNS: []string{"*.two.example"}})
	mutual := fmt.Sprintf(", alpn_protocols: [istio, http/1.1], validation_context: {trusted_ca: {inline_string: %q}}", p.authority.PEM())
	p.lab.Upstream("far").Manual()
	p.weft = p.lab.Start(`{{admin}}
static_resources:
  listeners:
  - name: main
    stat_prefix: port
    address: {{listen "main"}}
    filter_chains:` + strings.ReplaceAll(
		httpChain("mutual", "transport_protocol: tls, application_protocols: [istio]", tlsContext(t, mesh, mutual, ", require_client_certificate: true"))+
			httpChain("one", "transport_protocol: tls, server_names: [one.example]", tlsContext(t, one, ", alpn_protocols: [h2, http/1.1]", ""))+
			httpChain("slow", "server_names: [slow.example]", tlsContext(t, one, "", "")+"\n    transport_socket_connect_timeout: 0.1s")+
			httpChain("two", `server_names: ["*.two.example"]`, tlsContext(t, two, "", ""))+`
  - name: far
    filter_chain_match: {server_names: [far.example]}
    filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: far, cluster: far}}]`+
			httpChain("plain", "transport_protocol: raw_buffer", ""), "\n", "\n    ") + `
  clusters:
  - {name: far, {{hosts "far" "far"}}}
`)
	if p.addr, err = p.weft.Addr("main"); err != nil {
		t.Fatal(err)
	}
	return p
}

// dial connects and says hello; nil is no TLS.
func (p *tlsPort) dial(cfg *tls.Config) net.Conn {
	p.Helper()
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	if cfg == nil {
		return nc
	}
	c := tls.Client(nc, cfg)
	if err := c.Handshake(); err != nil {
		p.Fatal(err)
	}
	return c
}

// answerOn sends a request and returns the body of what is answered.
func answerOn(c net.Conn) (string, error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r.Body)
	_ = r.Body.Close() // read to its end
	return string(b), err
}

// stats waits until statistics of the listener have these values.
func (p *tlsPort) stats(want map[string]int64) {
	p.Helper()
	for name, n := range want {
		if err := p.weft.WaitStat(name, n); err != nil {
			p.Error(err)
		}
	}
}

// logged fails the test unless these are the access log's next lines.
func (p *tlsPort) logged(want ...string) {
	p.Helper()
	lines, err := p.lab.Log("main", len(want))
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\n")
	}
	if err != nil || !slices.Equal(lines, want) {
		p.Errorf("%q, %v", lines, err)
	}
}

func TestOnePortServesTLSByNameAndPlainText(t *testing.T) {
	p := startTLSPort(t)
	for _, tt := range []struct{ server, chain, certificate string }{
		{"one.example", "one", "one.example"},
		{"ONE.example", "one", "one.example"},
		{"x.two.example", "two", "*.two.example"},
	} {
		c := p.dial(&tls.Config{ServerName: tt.server, RootCAs: p.authority.Pool()}).(*tls.Conn)
		if got := c.ConnectionState().PeerCertificates[0].DNSNames; !slices.Equal(got, []string{tt.certificate}) {
			t.Errorf("%s: certificate of %q", tt.server, got)
		}
		for range 2 {
			if got, err := answerOn(c); got != tt.chain || err != nil {
				t.Errorf("%s: %q, %v", tt.server, got, err)
			}
			p.logged(tt.chain + " " + strings.ToLower(tt.server) + " TLSv1.3 -")
		}
	}
	if got, err := answerOn(p.dial(nil)); got != "plain" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	p.logged("plain - - -")
	p.stats(map[string]int64{
		"tls_inspector.tls_found": 3, "tls_inspector.tls_not_found": 1, "tls_inspector.sni_found": 3, "tls_inspector.alpn_not_found": 3,
		"listener.port.ssl.handshake": 3, "listener.port.no_filter_chain_match": 0,
	})
}

func TestOnePortServesMutualTLS(t *testing.T) {
	p := startTLSPort(t)
	client := issued(t, p.authority, certs.Request{URIs: []string{"spiffe://mesh/client"}})
	stranger, err := certs.NewAuthority("another root")
	if err != nil {
		t.Fatal(err)
	}
	other := issued(t, stranger, certs.Request{URIs: []string{"spiffe://mesh/client"}})
	cfg := &tls.Config{ServerName: "mesh.example", RootCAs: p.authority.Pool(), NextProtos: []string{"istio"}, Certificates: []tls.Certificate{client.TLS()}}
	c := p.dial(cfg)
	if got, err := answerOn(c); got != "mutual" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	p.logged("mutual mesh.example TLSv1.3 spiffe://mesh/client")
	// A name goes before a protocol, and there is no way back from it.
	named := &tls.Config{ServerName: "x.two.example", RootCAs: p.authority.Pool(), NextProtos: []string{"istio"}}
	if got, err := answerOn(p.dial(named)); got != "two" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	p.logged("two x.two.example TLSv1.3 -")
	for _, refused := range []*tls.Config{
		{ServerName: "mesh.example", RootCAs: p.authority.Pool(), NextProtos: []string{"istio"}},
		{ServerName: "mesh.example", RootCAs: p.authority.Pool(), NextProtos: []string{"istio"}, Certificates: []tls.Certificate{other.TLS()}},
	} {
		refused.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(refused.Certificates) == 0 {
				return &tls.Certificate{}, nil
			}
			return &refused.Certificates[0], nil // whoever the server asks for
		}
		if got, err := answerOn(p.dial(refused)); err == nil {
			t.Errorf("a client without a good certificate is answered %q", got)
		}
	}
	p.stats(map[string]int64{"listener.port.ssl.fail_verify_no_cert": 1, "listener.port.ssl.fail_verify_error": 1, "listener.port.ssl.handshake": 2})
}

func TestOnePortPassesTLSOn(t *testing.T) {
	p := startTLSPort(t)
	far := issued(t, p.authority, certs.Request{DNS: []string{"far.example"}})
	served := make(chan error, 1)
	go func() { // ends when the client is answered, or not in time
		peer, err := p.lab.Upstream("far").Accept()
		if err != nil {
			served <- err
			return
		}
		c := tls.Server(peer.Conn, &tls.Config{Certificates: []tls.Certificate{far.TLS()}})
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			served <- err
			return
		}
		_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nfar")
		served <- err
	}()
	c := p.dial(&tls.Config{ServerName: "far.example", RootCAs: p.authority.Pool()})
	if got, err := answerOn(c); got != "far" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	p.stats(map[string]int64{"tls_inspector.sni_found": 1, "listener.port.ssl.handshake": 0, "tcp.far.downstream_cx_total": 1})
}

func TestOnePortChoosesTheProtocol(t *testing.T) {
	p := startTLSPort(t)
	for _, versions := range []int{1, 2} {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{ServerName: "one.example", RootCAs: p.authority.Pool()},
			ForceAttemptHTTP2: versions == 2,
		}
		client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		r, err := client.Get("https://" + p.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close() // read to its end
		transport.CloseIdleConnections()
		if string(b) != "one" || err != nil || r.ProtoMajor != versions {
			t.Errorf("HTTP/%d: %q, %v, over HTTP/%d", versions, b, err, r.ProtoMajor)
		}
	}
}

// A mute is a connection that is written to and says nothing.
type mute struct {
	net.Conn
	said bytes.Buffer
}

func (m *mute) Write(b []byte) (int, error) { return m.said.Write(b) }

func (m *mute) Read([]byte) (int, error) { return 0, io.EOF }

func TestOnePortEndsHandshakesThatDoNot(t *testing.T) {
	p := startTLSPort(t)
	m := &mute{Conn: p.dial(nil)}
	if err := tls.Client(m, &tls.Config{ServerName: "slow.example", RootCAs: p.authority.Pool()}).Handshake(); err == nil {
		t.Fatal("a handshake with nobody")
	}
	if _, err := m.Conn.Write(m.said.Bytes()); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(m.Conn); len(b) == 0 || err != nil {
		t.Errorf("%d bytes of a server's half of the handshake, then %v", len(b), err)
	}
	p.stats(map[string]int64{
		"listener.port.downstream_cx_transport_socket_connect_timeout": 1, "listener.port.ssl.handshake": 0, "listener.port.downstream_cx_active": 0,
	})
}

// Bytes that begin like a ClientHello and are none are plain text, as in Envoy; what no chain is for is closed.
func TestOnePortClosesWhatNoChainIsFor(t *testing.T) {
	p := startTLSPort(t)
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(nc, &tls.Config{ServerName: "nowhere.example", RootCAs: p.authority.Pool()})
	if err := c.Handshake(); err == nil {
		t.Error("a handshake for a name that there is no chain for")
	}
	p.stats(map[string]int64{"listener.port.no_filter_chain_match": 1})
	if _, err := io.WriteString(p.dial(nil), "\x16\x03\x01\x00\x05\x09\x00\x00\x01\x00"); err != nil {
		t.Fatal(err)
	}
	p.stats(map[string]int64{"tls_inspector.tls_not_found": 1, "listener.port.downstream_cx_total": 1, "http.plain.downstream_cx_protocol_error": 1})
}
