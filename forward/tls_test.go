package forward

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http1"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/proxyproto"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/transport/tcp"
	wefttls "github.com/weftproxy/weft/transport/tls"
	"github.com/weftproxy/weft/upstream"
)

// A secured is a fixture whose cluster lies on transport sockets over the loopback network.
type secured struct {
	*fixture
	secrets *secret.Store
}

// secure makes a fixture whose cluster "c" has more fields, and these hosts. It may name the given secrets.
func secure(t *testing.T, more string, statics func(*secret.Store) []*secret.Static, hosts ...string) *secured {
	t.Helper()
	f := &secured{fixture: newFixture(t, &routerv3.Router{}, ok), secrets: secret.NewStore(secret.Options{})}
	var all []*secret.Static
	if statics != nil {
		all = statics(f.secrets)
	}
	f.add(f.compile(more, f.secrets.View(all...), hosts...))
	return f
}

func (f *secured) compile(more string, view *secret.View, hosts ...string) *upstream.Cluster {
	f.t.Helper()
	sockets, err := socket.NewRegistry(wefttls.Upstream(), proxyproto.Upstream())
	if err != nil {
		f.t.Fatal(err)
	}
	var endpoints []string
	for _, h := range hosts {
		ip, port, _ := net.SplitHostPort(h)
		endpoints = append(endpoints, `{"endpoint": {"hostname": "host.example.com", "address": {"socketAddress": {"address": "`+ip+`", "portValue": `+port+`}}}}`)
	}
	text := `{"name": "c", "type": "STATIC", "connectTimeout": "5s", "loadAssignment": {"clusterName": "c", "endpoints": [{"lbEndpoints": [` +
		strings.Join(endpoints, ", ") + `]}]}` + more + `}`
	cfg := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(text), cfg); err != nil {
		f.t.Fatal(err, text)
	}
	p := resource.NewProblems("c")
	c := upstream.Compile(upstream.CompileEnv{
		Stats: f.store, Network: tcp.New(), Sockets: sockets, Secrets: view,
		HTTP1: func(upstream.HTTP1Options) protocol.Client { return http1.NewClient(http1.ClientOptions{}) },
		HTTP2: func(o http2.ClientOptions) protocol.Client { return http2.NewClient(o) },
	}, cfg, "", p)
	if p.HasErrors() {
		f.t.Fatal(p.All())
	}
	f.t.Cleanup(c.Close)
	return c
}

// https starts a server that tells what it was asked, for which name and in which version.
func https(t *testing.T, h2 bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %q", r.Proto, r.Host, r.TLS.ServerName)
	}))
	s.EnableHTTP2 = h2
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that have to fail
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func pemOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// tlsTo is a transport socket that trusts the server's certificate, with more fields.
func tlsTo(s *httptest.Server, more string) string {
	anchor, _ := json.Marshal(pemOf(s))
	return `{"name": "tls", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", ` +
		`"commonTlsContext": {"validationContext": {"trustedCa": {"inlineString": ` + string(anchor) + `}}}` + more + `}}`
}

// speaks is how HTTP is spoken.
func speaks(options string) string {
	return `, "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type":
		"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", ` + options + `}}`
}

func TestRequestsOverTLS(t *testing.T) {
	both, one := https(t, true), https(t, false)
	for _, tt := range []struct {
		name, options string
		s             *httptest.Server
		downstream    string
		want, speaks  string
	}{
		{"http1", `"explicitHttpConfig": {"httpProtocolOptions": {}}`, both, "HTTP/2", `HTTP/1.1 example.com "sni.example.com"`, "HTTP/1.1"},
		{"http2", `"explicitHttpConfig": {"http2ProtocolOptions": {}}`, both, "HTTP/1.1", `HTTP/2.0 example.com "sni.example.com"`, "HTTP/2"},
		{"auto to a server of both", `"autoConfig": {}`, both, "HTTP/1.1", `HTTP/2.0 example.com "sni.example.com"`, "HTTP/2"},
		{"auto to a server of HTTP/1", `"autoConfig": {}`, one, "HTTP/2", `HTTP/1.1 example.com "sni.example.com"`, "HTTP/1.1"},
		{"downstream's HTTP/2", `"useDownstreamProtocolConfig": {}`, both, "HTTP/2", `HTTP/2.0 example.com "sni.example.com"`, "HTTP/2"},
		{"downstream's HTTP/1", `"useDownstreamProtocolConfig": {}`, both, "HTTP/1.1", `HTTP/1.1 example.com "sni.example.com"`, "HTTP/1.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := secure(t, `, "transportSocket": `+tlsTo(tt.s, `, "sni": "sni.example.com"`)+speaks(tt.options), nil, tt.s.Listener.Addr().String())
			for i := range 3 {
				c := f.call(func(x *exchange.Exchange) { x.Record.Protocol = tt.downstream })
				r := c.run()
				if r.Status != 200 || r.body != tt.want || c.x.Record.UpstreamProtocol != tt.speaks || c.x.Record.UpstreamTLS == nil {
					t.Errorf("%d: %d %q over %s, want %q", i, r.Status, r.body, c.x.Record.UpstreamProtocol, tt.want)
				}
				r.Release()
			}
			f.check("cluster.c.", "upstream_cx_total 1 upstream_cx_connect_fail 0 ssl.handshake 1 default.total_match_count 0")
		})
	}
}

func TestSchemeOfTheUpstream(t *testing.T) {
	s := https(t, false)
	f := secure(t, `, "transportSocket": `+tlsTo(s, ""), nil, s.Listener.Addr().String())
	plain := newFixture(t, &routerv3.Router{}, ok)
	for _, tt := range []struct {
		f     *fixture
		match bool
		want  string
	}{{f.fixture, true, "https"}, {f.fixture, false, "from downstream"}, {plain, true, "http"}} {
		c := tt.f.call(func(x *exchange.Exchange) { x.UpstreamScheme, x.Request.Scheme = tt.match, "from downstream" })
		if r := c.run(); r.Status != 200 || c.x.Request.Scheme != tt.want {
			t.Errorf("match_upstream %v: %d, scheme %s, want %s", tt.match, r.Status, c.x.Request.Scheme, tt.want)
		}
	}
}

func TestAutoSNIGoesByTheRequest(t *testing.T) {
	s := https(t, true)
	f := secure(t, `, "transportSocket": `+tlsTo(s, "")+speaks(`"autoConfig": {}, "upstreamHttpProtocolOptions":
		{"autoSni": true, "autoSanValidation": true, "overrideAutoSniHeader": "x-name"}`), nil, s.Listener.Addr().String())
	for i, tt := range []struct {
		authority, header string
		status            int
		want              string
		cx                string
	}{
		{"example.com", "", 200, `"example.com"`, "1"},
		{"example.com:8443", "", 200, `"example.com"`, "1"},
		{"127.0.0.1:99", "", 200, `""`, "2"},
		{"other.org", "example.com:1", 200, `"example.com"`, "2"},
		{"other.org", "", 503, "verify SAN list", "3"},
		{"a.example.com", "", 200, `"a.example.com"`, "4"},
		{"[::1]:99", "", 200, `""`, "5"},
	} {
		r := f.call(func(x *exchange.Exchange) {
			x.Request.Authority = tt.authority
			if tt.header != "" {
				x.Request.Header.Add("X-Name", tt.header)
			}
		}).run()
		if r.Status != tt.status || !strings.Contains(r.body, tt.want) {
			t.Errorf("%d: %d %q, want %q", i, r.Status, r.body, tt.want)
		}
		f.check("cluster.c.", "upstream_cx_total "+tt.cx)
	}
	f.check("cluster.c.", "upstream_cx_connect_fail 1 ssl.fail_verify_san 1")
}

func TestManyRequestsOverTLSAtOnce(t *testing.T) {
	s := https(t, true)
	for _, options := range []string{`"explicitHttpConfig": {"httpProtocolOptions": {}}`, `"autoConfig": {}`} {
		f := secure(t, `, "transportSocket": `+tlsTo(s, "")+speaks(options+`, "upstreamHttpProtocolOptions": {"autoSni": true, "autoSanValidation": true}`),
			nil, s.Listener.Addr().String())
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 40 {
					name := fmt.Sprintf("n%d.example.com", (i+j)%3)
					r := f.call(func(x *exchange.Exchange) { x.Request.Authority = name }).run()
					if r.Status != 200 || !strings.HasSuffix(r.body, fmt.Sprintf("%s %q", name, name)) {
						t.Errorf("%s: %d %q", name, r.Status, r.body)
					}
					r.Release()
				}
			})
		}
		all.Wait()
		f.check("cluster.c.", "upstream_rq_200 320 upstream_rq_active 0 upstream_cx_connect_fail 0")
		c := f.table.Find("c")
		c.Close()
		if n := c.Stats(0).CxActive.Value(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	}
}

func TestFailedHandshakeIsAnsweredLikeEnvoy(t *testing.T) {
	s, other := https(t, false), plainHost(t)
	for _, tt := range []struct{ name, host, socket, reason string }{
		{"name", s.Listener.Addr().String(), tlsTo(s, `, "sni": "other.org", "autoSniSanValidation": true`),
			"TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher"},
		{"no TLS", other, tlsTo(s, ""), "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := secure(t, `, "transportSocket": `+tt.socket, nil, tt.host)
			c := f.call(nil)
			r := c.run()
			body := "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: " + tt.reason
			details := "upstream_reset_before_response_started{remote_connection_failure|" + strings.ReplaceAll(tt.reason, " ", "_")
			if r.Status != 503 || !strings.HasPrefix(r.body, body) {
				t.Errorf("%d %q, want %q", r.Status, r.body, body)
			}
			if c.flags() != "UF" || !strings.HasPrefix(c.x.Record.Details, details) || !strings.HasPrefix(c.x.Record.UpstreamFailure, tt.reason) {
				t.Errorf("%s, %q, %q", c.flags(), c.x.Record.Details, c.x.Record.UpstreamFailure)
			}
			f.check("cluster.c.", "upstream_cx_total 1 upstream_cx_connect_fail 1 upstream_cx_active 0 upstream_rq_503 1")
		})
	}
}

// plainHost answers whatever comes in clear text.
func plainHost(t *testing.T) string {
	return host(t, tcp.New(), func(nc net.Conn) {
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = nc.Read(make([]byte, 1))
		_, _ = io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = io.Copy(io.Discard, nc)
	})
}

func TestFailedHandshakeIsRetriedElsewhere(t *testing.T) {
	s := https(t, false)
	f := secure(t, `, "transportSocket": `+tlsTo(s, ""), nil, plainHost(t), s.Listener.Addr().String())
	for range 4 {
		c := f.call(policy(exchange.RetryPolicy{On: exchange.RetryConnectFailure, Retries: 1, Base: time.Nanosecond}))
		if r := c.run(); r.Status != 200 {
			t.Errorf("%d %q", r.Status, r.body)
		}
	}
	n, _ := f.store.Value("cluster.c.upstream_rq_retry_success")
	if failed, _ := f.store.Value("cluster.c.upstream_cx_connect_fail"); n == 0 || n != failed {
		t.Errorf("%d retries, %d failed connections", n, failed)
	}
}

func TestRefusedClientCertificateSaysSo(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	s.StartTLS()
	defer s.Close()
	f := secure(t, `, "transportSocket": {"name": "tls", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
		"commonTlsContext": {"tlsParams": {"tlsMaximumProtocolVersion": "TLSv1_3"}}}}`, nil, s.Listener.Addr().String())
	// The server says so after the handshake: to the request, or before it is sent.
	c := f.call(nil)
	r := c.run()
	if r.Status != 503 || c.flags() != "UC" && c.flags() != "UF" {
		t.Errorf("%d %q %s", r.Status, r.body, c.flags())
	}
	if f.check("cluster.c.", "upstream_cx_active 0"); !strings.Contains(r.body, "connection") {
		t.Errorf("%q", r.body)
	}
}

func TestConnectionsSurviveTheRotationOfTheirSecrets(t *testing.T) {
	s := https(t, true)
	anchor := func(text string) *tlsv3.Secret {
		m := &tlsv3.Secret{}
		quoted, _ := json.Marshal(text)
		if err := protojson.Unmarshal([]byte(`{"name": "trust", "validationContext": {"trustedCa": {"inlineString": `+string(quoted)+`}}}`), m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	compile := func(store *secret.Store, m *tlsv3.Secret) *secret.Static {
		p := resource.NewProblems("secret")
		st := store.Compile(m, "secret", p)
		if p.HasErrors() {
			t.Fatal(p.All())
		}
		return st
	}
	for _, version := range []string{`"explicitHttpConfig": {"httpProtocolOptions": {}}`, `"autoConfig": {}`} {
		f := secure(t, `, "transportSocket": {"name": "tls", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
			"commonTlsContext": {"validationContextSdsSecretConfig": {"name": "trust"}}}}`+speaks(version), func(store *secret.Store) []*secret.Static {
			st := compile(store, anchor(pemOf(s)))
			st.Publish()
			return []*secret.Static{st}
		}, s.Listener.Addr().String())
		get := func(want int) {
			t.Helper()
			if r := f.call(nil).run(); r.Status != want {
				t.Fatalf("%d %q, want %d", r.Status, r.body, want)
			}
		}
		get(200)
		compile(f.secrets, anchor(strangerPEM(t))).Publish()
		get(200)
		f.check("cluster.c.", "upstream_cx_total 1 upstream_cx_destroy 0")
		f.table.Find("c").Hosts().All()[0].Pool().Retire() // new connections are made under the new rules
		get(503)
		compile(f.secrets, anchor(pemOf(s))).Publish()
		get(200)
		f.check("cluster.c.", "upstream_cx_total 3 upstream_cx_connect_fail 1")
	}
}

// strangerPEM is a certificate that has signed nothing.
func strangerPEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, m, m, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// proxied is a host that a PROXY protocol header comes to.
func proxied(t *testing.T, heads chan<- proxyproto.Header, serve func(net.Conn)) string {
	return host(t, tcp.New(), func(nc net.Conn) {
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		var b []byte
		for {
			h, n, need, err := proxyproto.Decode(b)
			if err != nil {
				t.Error(err)
				return
			}
			if n > 0 {
				h.TLVs = bytes.Clone(h.TLVs)
				heads <- h
				break
			}
			for len(b) < need {
				one := make([]byte, 1)
				if _, err := io.ReadFull(nc, one); err != nil {
					return
				}
				b = append(b, one...)
			}
		}
		serve(nc)
	})
}

func proxySocket(version, inner string) string {
	return `{"name": "proxy", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
		"config": {"version": "` + version + `", "passThroughTlvs": {"matchType": "INCLUDE", "tlvType": [224]}, "addedTlvs": [{"type": 225, "value": "aGk="}]},
		"transportSocket": ` + inner + `}}`
}

const rawInner = `{"name": "raw", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}`

func TestHTTPWithProxyProtocolIsAPoolForEachPeer(t *testing.T) {
	heads := make(chan proxyproto.Header, 10)
	at := proxied(t, heads, func(nc net.Conn) {
		b := make([]byte, 4096)
		for {
			if _, err := nc.Read(b); err != nil {
				return
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
		}
	})
	f := secure(t, `, "transportSocket": `+proxySocket("V2", rawInner), nil, at)
	for i, tt := range []struct {
		from string
		cx   string
	}{{"1.2.3.4:5", "1"}, {"1.2.3.4:5", "1"}, {"1.2.3.4:6", "2"}, {"1.2.3.4:5", "2"}} {
		r := f.call(func(x *exchange.Exchange) {
			info := *x.Conn
			info.Remote, info.Local = addrPort(tt.from), addrPort("9.9.9.9:80")
			info.ProxyTLVs = []byte("\xe0\x00\x01a\xe2\x00\x01b")
			x.Conn = &info
		}).run()
		if r.Status != 200 {
			t.Fatalf("%d: %d %q", i, r.Status, r.body)
		}
		f.check("cluster.c.", "upstream_cx_total "+tt.cx)
	}
	for _, from := range []string{"1.2.3.4:5", "1.2.3.4:6"} {
		if h := <-heads; h.Source != addrPort(from) || h.Destination != addrPort("9.9.9.9:80") || string(h.TLVs) != "\xe1\x00\x02hi\xe0\x00\x01a" {
			t.Errorf("%+v, want %s", h, from)
		}
	}
}

func TestTCPWithProxyProtocolAndTLS(t *testing.T) {
	s := https(t, false) // for its certificate
	heads := make(chan proxyproto.Header, 1)
	at := proxied(t, heads, func(nc net.Conn) {
		tc := tls.Server(nc, s.TLS)
		_, _ = io.Copy(tc, tc)
		_ = tc.CloseWrite()
	})
	for _, version := range []string{"V1", "V2"} {
		f := secure(t, `, "transportSocket": `+proxySocket(version, tlsTo(s, "")), nil, at)
		b := newTCP(t, tcp.New(), "", at)
		b.p.clusters.Store(f.table)
		nc := b.dial()
		exchangeBytes(t, nc, "over TLS")
		down := (<-b.conns).Info()
		if h := <-heads; h.Source != down.Remote || h.Destination != down.Local || h.Source != conn.AddrPort(nc.LocalAddr()) {
			t.Errorf("%s: %+v, want %v > %v", version, h, down.Remote, down.Local)
		}
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(nc); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
		if err := <-b.ends; err != nil {
			t.Error(err)
		}
		f.check("cluster.c.", "upstream_cx_total 1 upstream_cx_active 0 ssl.handshake 1")
		if r := b.log.last(); r.UpstreamTLS == nil || !r.UpstreamTLS.Verified {
			t.Errorf("%s: %+v", version, r.UpstreamTLS)
		}
	}
}

func TestTCPHandshakeFailure(t *testing.T) {
	s := https(t, false)
	f := secure(t, `, "transportSocket": `+tlsTo(s, `, "sni": "other.org", "autoSniSanValidation": true`), nil, s.Listener.Addr().String())
	b := newTCP(t, tcp.New(), `, "maxConnectAttempts": 2`, s.Listener.Addr().String())
	b.p.clusters.Store(f.table)
	nc := b.dial()
	if rest, err := io.ReadAll(nc); err == nil && len(rest) > 0 {
		t.Errorf("%q", rest)
	}
	if err := <-b.ends; err == nil {
		t.Error("no error")
	}
	if r := b.log.last(); r.Flags.String() != "UF,URX" || !strings.Contains(r.UpstreamFailure, "CERTIFICATE_VERIFY_FAILED") || r.Attempts != 2 {
		t.Errorf("%s, %q, %d attempts", r.Flags, r.UpstreamFailure, r.Attempts)
	}
}

func TestHostOf(t *testing.T) {
	for in, want := range map[string]struct {
		host string
		ip   bool
	}{
		"example.com": {"example.com", false}, "example.com:80": {"example.com", false}, "example.com:x": {"example.com:x", false},
		"example.com:65536": {"example.com:65536", false}, "1.2.3.4": {"1.2.3.4", true}, "1.2.3.4:5": {"1.2.3.4", true},
		"[::1]": {"::1", true}, "[::1]:80": {"::1", true}, "": {"", false},
	} {
		if host, ip := hostOf(in); host != want.host || ip != want.ip {
			t.Errorf("%q: %q %v", in, host, ip)
		}
	}
}
