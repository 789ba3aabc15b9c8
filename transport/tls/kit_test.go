package tls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An issued is a certificate with its key and who issued it.
type issued struct {
	x509   *x509.Certificate
	key    crypto.Signer
	issuer *issued // nil: itself
}

// A wish is what a certificate is to be.
type wish struct {
	name       string
	dns, email []string
	uri        string
	ip         string
	ca         bool
	rsa        bool
	curve      elliptic.Curve // P-256
	from, to   time.Time      // an hour ago, in an hour
	usage      []x509.ExtKeyUsage
	extra      []pkix.Extension
	serial     int64
	key        crypto.Signer
}

var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// issue makes a certificate; a nil issuer signs itself.
func issue(t testing.TB, by *issued, w wish) *issued {
	t.Helper()
	c := &issued{issuer: by, key: w.key}
	switch {
	case c.key != nil:
	case w.rsa:
		c.key = rsaKey()
	default:
		if w.curve == nil {
			w.curve = elliptic.P256()
		}
		key, err := ecdsa.GenerateKey(w.curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.key = key
	}
	m := &x509.Certificate{
		SerialNumber: big.NewInt(w.serial), Subject: pkix.Name{CommonName: w.name}, NotBefore: w.from, NotAfter: w.to,
		DNSNames: w.dns, EmailAddresses: w.email, ExtKeyUsage: w.usage, KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: w.extra,
	}
	if w.serial == 0 {
		m.SerialNumber = big.NewInt(time.Now().UnixNano())
	}
	if w.from.IsZero() {
		m.NotBefore = time.Now().Add(-time.Hour)
	}
	if w.to.IsZero() {
		m.NotAfter = time.Now().Add(time.Hour)
	}
	if w.ca {
		m.IsCA, m.BasicConstraintsValid, m.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	if w.uri != "" {
		u, err := url.Parse(w.uri)
		if err != nil {
			t.Fatal(err)
		}
		m.URIs = []*url.URL{u}
	}
	if w.ip != "" {
		m.IPAddresses = []net.IP{net.ParseIP(w.ip)}
	}
	parent, signer := m, c.key
	if by != nil {
		parent, signer = by.x509, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, m, parent, c.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if c.x509, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// authority makes a CA that signs itself.
func authority(t testing.TB, name string) *issued { return issue(t, nil, wish{name: name, ca: true}) }

// pem is the certificate as text, with those of intermediate issuers.
func (c *issued) pem() string {
	var b strings.Builder
	for x := c; x != nil && (x == c || x.issuer != nil); x = x.issuer {
		b.WriteString(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.x509.Raw})))
	}
	return b.String()
}

// pair is the certificate with its key for crypto/tls.
func (c *issued) pair() tls.Certificate {
	p := tls.Certificate{PrivateKey: c.key, Leaf: c.x509}
	for x := c; x != nil && (x == c || x.issuer != nil); x = x.issuer {
		p.Certificate = append(p.Certificate, x.x509.Raw)
	}
	return p
}

func (c *issued) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.x509)
	return p
}

// message is the certificate with its key as configured.
func (c *issued) message(t testing.TB) *tlsv3.TlsCertificate {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tlsv3.TlsCertificate{CertificateChain: inline(c.pem()),
		PrivateKey: inline(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))}
}

// revoke makes a list of revoked numbers.
func (c *issued) revoke(t testing.TB, next time.Duration, extra []pkix.Extension, serials ...int64) string {
	t.Helper()
	m := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(next), ExtraExtensions: extra}
	for _, n := range serials {
		m.RevokedCertificateEntries = append(m.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, m, c.x509, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

// A rig is where sockets are compiled.
type rig struct {
	store    *secret.Store
	view     *secret.View
	stats    *stats.Store
	problems *resource.Problems
	statics  map[string]*secret.Static
}

func newRig(t testing.TB, secrets ...*tlsv3.Secret) *rig {
	t.Helper()
	r := &rig{store: secret.NewStore(secret.Options{}), stats: stats.NewStore(stats.Options{}), problems: resource.NewProblems("test"),
		statics: map[string]*secret.Static{}}
	var all []*secret.Static
	for _, m := range secrets {
		st := r.compile(t, m)
		st.Publish()
		all = append(all, st)
	}
	r.view = r.store.View(all...)
	return r
}

// compile makes a static secret.
func (r *rig) compile(t testing.TB, m *tlsv3.Secret) *secret.Static {
	t.Helper()
	p := resource.NewProblems(m.GetName())
	st := r.store.Compile(m, "secret", p)
	if p.HasErrors() {
		t.Fatal(p.All())
	}
	return st
}

// env is what sockets are made with.
func (r *rig) env() *socket.Env {
	return &socket.Env{Secrets: r.view, Stats: r.stats.Scope("listener.test."), Log: slog.New(slog.DiscardHandler), Path: "tls",
		Runtime: func(string) (string, bool) { return "", false }, Problems: r.problems}
}

// server compiles a server, which has to work.
func (r *rig) server(t testing.TB, m *tlsv3.DownstreamTlsContext) *Server {
	t.Helper()
	s, err := NewServer(r.env(), m)
	if err != nil || r.problems.HasErrors() {
		t.Fatal(err, r.problems.All())
	}
	return s
}

// serve is server with a rig of its own and these certificates.
func serve(t testing.TB, m *tlsv3.DownstreamTlsContext, certs ...*issued) (*Server, *rig) {
	t.Helper()
	if m.CommonTlsContext == nil {
		m.CommonTlsContext = &tlsv3.CommonTlsContext{}
	}
	for _, c := range certs {
		m.CommonTlsContext.TlsCertificates = append(m.CommonTlsContext.TlsCertificates, c.message(t))
	}
	r := newRig(t)
	return r.server(t, m), r
}

// count is the value of a counter.
func (r *rig) count(name string) int64 {
	n, _ := r.stats.Value("listener.test.ssl." + name)
	return n
}

// value is the value of a series below the listener.
func (r *rig) value(name string) int64 {
	n, _ := r.stats.Value("listener.test." + name)
	return n
}

// An outcome is what became of a handshake, seen from both sides.
type outcome struct {
	info   *conn.Info
	err    error // of the server
	client tls.ConnectionState
	theirs error // of the client: its handshake, or what came instead of the server's first bytes
}

// sockets returns the two ends of a TCP connection, the server's first.
func sockets(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	there, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	_, _ = here.SetDeadline(deadline), there.SetDeadline(deadline)
	t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
	return here, there
}

// shake does a handshake between s and a client of crypto/tls and sends a byte each way.
func shake(t testing.TB, s socket.Server, cfg *tls.Config) outcome {
	t.Helper()
	here, there := sockets(t)
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := conn.New(here)
		o.info = c.Info()
		if o.err = s.Handshake(c); o.err == nil {
			_, _ = c.Write([]byte("w"))
			_, _ = c.Peek(1)
		} else {
			_ = here.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, here) // a reset would overtake the alert
		}
		_ = c.Close()
	}()
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		cfg = cfg.Clone()
		cfg.InsecureSkipVerify = true
	}
	tc := tls.Client(there, cfg)
	if o.theirs = tc.Handshake(); o.theirs == nil {
		if _, o.theirs = io.ReadFull(tc, make([]byte, 1)); o.theirs == nil {
			_, o.theirs = tc.Write([]byte("c"))
		}
	}
	o.client = tc.ConnectionState()
	_ = there.(*net.TCPConn).CloseWrite()
	<-done
	return o
}

// anyone is a client's configuration that takes any certificate.
func anyone() *tls.Config { return &tls.Config{InsecureSkipVerify: true} } //nolint:gosec // it is a test

// shown is the name of the certificate that the client was shown.
func (o outcome) shown() string {
	if len(o.client.PeerCertificates) == 0 {
		return ""
	}
	return o.client.PeerCertificates[0].Subject.CommonName
}

// ok fails the test unless both sides have succeeded.
func (o outcome) ok(t testing.TB) outcome {
	t.Helper()
	if o.err != nil || o.theirs != nil {
		t.Fatalf("server: %v, client: %v", o.err, o.theirs)
	}
	return o
}

// logs is a logger that a test can read.
func logs() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}
