package tls

import (
	"crypto/elliptic"
	"crypto/tls"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/resource"
)

func TestCertificatesAreChosenByName(t *testing.T) {
	certs := []*issued{
		issue(t, nil, wish{name: "default", dns: []string{"default.test"}}),
		issue(t, nil, wish{name: "wild", dns: []string{"*.example.com"}}),
		issue(t, nil, wish{name: "exact", dns: []string{"WWW.example.com", "other.test"}}),
		issue(t, nil, wish{name: "again", dns: []string{"www.example.com"}}),
		issue(t, nil, wish{name: "only.by.name"}),
		issue(t, nil, wish{name: "rsa", dns: []string{"rsa.test"}, rsa: true}),
	}
	for _, full := range []bool{false, true} {
		s, _ := serve(t, &tlsv3.DownstreamTlsContext{FullScanCertsOnSniMismatch: wrapperspb.Bool(full)}, certs...)
		for sni, want := range map[string]string{
			"": "default", "default.test": "default", "a.example.com": "wild", "A.EXAMPLE.com": "wild", "a.b.example.com": "default",
			"example.com": "default", "www.example.com": "exact", "other.test": "exact", "only.by.name": "only.by.name",
			"nobody.test": "default", "localhost": "default", "rsa.test": "rsa",
		} {
			cfg := anyone()
			cfg.ServerName = sni
			if o := shake(t, s, cfg).ok(t); o.shown() != want || o.info.TLS.Local.Facts().CommonName != want {
				t.Errorf("full scan %v, %q: %s, want %s", full, sni, o.shown(), want)
			}
		}
	}
}

func TestCertificatesAreChosenByWhatTheClientCanDo(t *testing.T) {
	dns := []string{"example.com"}
	p256 := issue(t, nil, wish{name: "p256", dns: dns})
	p384 := issue(t, nil, wish{name: "p384", dns: dns, curve: elliptic.P384()})
	rsa := issue(t, nil, wish{name: "rsa", dns: dns, rsa: true})
	wild := issue(t, nil, wish{name: "wild", dns: []string{"*.example.com"}, rsa: true})
	sub := issue(t, nil, wish{name: "sub", dns: []string{"sub.example.com"}})
	ecdsaOnly := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	rsaOnly := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for _, c := range []struct {
		name   string
		certs  []*issued
		sni    string
		suites []uint16
		full   bool
		want   string // "": the handshake fails
	}{
		{"ECDSA before RSA", []*issued{rsa, p256}, "example.com", nil, false, "p256"},
		{"ECDSA before RSA without a name", []*issued{rsa, p256}, "", nil, false, "p256"},
		{"RSA where that is all", []*issued{p256, rsa}, "example.com", rsaOnly, false, "rsa"},
		{"RSA where that is all, without a name", []*issued{p256, rsa}, "", rsaOnly, false, "rsa"},
		{"ECDSA where that is all", []*issued{rsa, p256}, "example.com", ecdsaOnly, false, "p256"},
		{"a wildcard that can be used before an exact one that cannot", []*issued{sub, wild}, "sub.example.com", rsaOnly, false, "wild"},
		{"the default whatever its key", []*issued{p256, rsa}, "nobody.test", rsaOnly, false, ""},
		{"a full scan finds another", []*issued{p256, rsa}, "nobody.test", rsaOnly, true, "rsa"},
		{"the first of one type", []*issued{p384, p256}, "example.com", nil, false, "p384"},
	} {
		s, _ := serve(t, &tlsv3.DownstreamTlsContext{FullScanCertsOnSniMismatch: wrapperspb.Bool(c.full), CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{EcdhCurves: []string{"X25519", "P-256", "P-384"}}}}, c.certs...)
		cfg := anyone()
		cfg.ServerName, cfg.CipherSuites, cfg.MaxVersion = c.sni, c.suites, tls.VersionTLS12
		if o := shake(t, s, cfg); o.shown() != c.want || (o.err == nil) != (c.want != "") {
			t.Errorf("%s: %q (%v), want %q", c.name, o.shown(), o.err, c.want)
		}
	}
}

func TestARotatedCertificateIsShownNext(t *testing.T) {
	old := issue(t, nil, wish{name: "old", dns: []string{"example.com"}})
	renewed := issue(t, nil, wish{name: "new", dns: []string{"example.com", "more.test"}})
	other := issue(t, nil, wish{name: "other", dns: []string{"other.test"}})
	secretOf := func(c *issued) *tlsv3.Secret {
		return &tlsv3.Secret{Name: "cert", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: c.message(t)}}
	}
	otherSecret := &tlsv3.Secret{Name: "other", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: other.message(t)}}
	r := newRig(t, otherSecret, secretOf(old))
	s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "other"}, {Name: "cert"}}}})
	see := func(sni, want string) {
		t.Helper()
		cfg := anyone()
		cfg.ServerName = sni
		if o := shake(t, s, cfg).ok(t); o.shown() != want {
			t.Errorf("%s: %s, want %s", sni, o.shown(), want)
		}
	}
	see("example.com", "old")
	see("more.test", "other")
	r.compile(t, secretOf(renewed)).Publish()
	see("more.test", "new")
	see("example.com", "new")
	if n := r.count("certificate.cert.expiration_unix_time_seconds"); n != renewed.x509.NotAfter.Unix() {
		t.Errorf("expires at %d, want %d", n, renewed.x509.NotAfter.Unix())
	}
}

func TestAChosenCertificateIsNeverOld(t *testing.T) {
	key := issue(t, nil, wish{}).key
	of := func(i int, name string) *tlsv3.Secret {
		return named(fmt.Sprint(i), issue(t, nil, wish{name: name, dns: []string{fmt.Sprintf("a%d.test", i)}, key: key}).message(t))
	}
	var secrets []*tlsv3.Secret
	common := &tlsv3.CommonTlsContext{}
	for i := range freshAll + 1 {
		secrets = append(secrets, of(i, "old"))
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, &tlsv3.SdsSecretConfig{Name: fmt.Sprint(i)})
	}
	r := newRig(t, secrets...)
	s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: common})
	s.looked.Store(math.MaxInt64) // all were just looked at
	cfg := anyone()
	cfg.ServerName = "a40.test"
	shake(t, s, cfg).ok(t)
	r.compile(t, of(40, "new")).Publish()
	if o := shake(t, s, cfg).ok(t); o.shown() != "new" || o.info.TLS.Local.Facts().CommonName != "new" {
		t.Errorf("%s, %s", o.shown(), o.info.TLS.Local.Facts().CommonName)
	}
	r.compile(t, of(41, "new")).Publish()
	before := s.current.Load()
	if s.now() != before {
		t.Error("all were looked at again at once")
	}
	s.looked.Store(-2 * freshEvery) // long ago
	if s.now() == before {
		t.Error("a change was not seen")
	}
}

// hello is what a modern client says.
func hello(sni string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: sni, SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
		CipherSuites:     []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SupportedCurves:  []tls.CurveID{tls.X25519, tls.CurveP256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256}}
}

// many returns a server with n certificates that share a key: a.<i>.test and *.w<i>.test.
func many(t testing.TB, n int) *Server {
	t.Helper()
	root := authority(t, "ca")
	key := issue(t, root, wish{}).key
	certs := make([]*issued, n)
	for i := range certs {
		certs[i] = issue(t, root, wish{name: fmt.Sprint(i), dns: []string{fmt.Sprintf("a.%d.test", i), fmt.Sprintf("*.w%d.test", i)}, key: key})
	}
	s, _ := serve(t, &tlsv3.DownstreamTlsContext{}, certs...)
	return s
}

func TestManyCertificates(t *testing.T) {
	const n = 2 * freshAll
	s := many(t, n)
	for _, i := range []int{0, 1, n / 2, n - 1} {
		for _, sni := range []string{fmt.Sprintf("a.%d.test", i), fmt.Sprintf("x.w%d.test", i)} {
			if c, _ := s.now().choose(hello(sni)); c.pair.Facts.Facts().CommonName != fmt.Sprint(i) {
				t.Errorf("%s: %s", sni, c.pair.Facts.Facts().CommonName)
			}
		}
	}
	h := hello("x.w100.test")
	if allocs := testing.AllocsPerRun(100, func() { s.now() }); allocs > 0 {
		t.Errorf("looking for changes allocates %v times", allocs)
	}
	if allocs := testing.AllocsPerRun(100, func() { s.now().choose(h) }); allocs > 2 { // of crypto/tls
		t.Errorf("choosing allocates %v times", allocs)
	}
}

func BenchmarkChoose(b *testing.B) {
	s := many(b, 10_000)
	h := hello("x.w7777.test")
	b.ReportAllocs()
	for b.Loop() {
		s.now().choose(h)
	}
}

func TestBadConfigurationsAreNamed(t *testing.T) {
	cert := issue(t, nil, wish{name: "c"})
	root := authority(t, "ca")
	with := func(common *tlsv3.CommonTlsContext) *tlsv3.DownstreamTlsContext {
		common.TlsCertificates = []*tlsv3.TlsCertificate{cert.message(t)}
		return &tlsv3.DownstreamTlsContext{CommonTlsContext: common}
	}
	params := func(p *tlsv3.TlsParameters) *tlsv3.DownstreamTlsContext {
		return with(&tlsv3.CommonTlsContext{TlsParams: p})
	}
	validated := func(v *tlsv3.CertificateValidationContext) *tlsv3.DownstreamTlsContext {
		return with(&tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}})
	}
	needing := func(m *tlsv3.DownstreamTlsContext) *tlsv3.DownstreamTlsContext {
		m.RequireClientCertificate = wrapperspb.Bool(true)
		return m
	}
	stapling := with(&tlsv3.CommonTlsContext{})
	stapling.OcspStaplePolicy = tlsv3.DownstreamTlsContext_MUST_STAPLE
	for _, c := range []struct {
		m    *tlsv3.DownstreamTlsContext
		want string // place and words
	}{
		{&tlsv3.DownstreamTlsContext{}, "tls.common_tls_context|No TLS certificates found for server context"},
		{params(&tlsv3.TlsParameters{CipherSuites: []string{"AES128-SHA", "RC4-MD5"}}), `tls.common_tls_context.tls_params.cipher_suites[1]|"RC4-MD5"`},
		{params(&tlsv3.TlsParameters{CipherSuites: []string{"TLS_AES_128_GCM_SHA256"}}), `tls.common_tls_context.tls_params.cipher_suites[0]|TLS_AES_128_GCM_SHA256`},
		{params(&tlsv3.TlsParameters{CipherSuites: []string{"-ALL"}}), `tls.common_tls_context.tls_params.cipher_suites[0]|"-ALL"`},
		{params(&tlsv3.TlsParameters{EcdhCurves: []string{"P-224"}}), `tls.common_tls_context.tls_params.ecdh_curves[0]|"P-224"`},
		{params(&tlsv3.TlsParameters{TlsMinimumProtocolVersion: 4, TlsMaximumProtocolVersion: 3}), `tls.common_tls_context.tls_params.tls_minimum_protocol_version|TLSv1.3`},
		{with(&tlsv3.CommonTlsContext{AlpnProtocols: []string{"h2", strings.Repeat("x", 256)}}), "tls.common_tls_context.alpn_protocols[1]|not the name of a protocol"},
		{needing(with(&tlsv3.CommonTlsContext{})), "tls.require_client_certificate|nothing to verify"},
		{needing(validated(&tlsv3.CertificateValidationContext{})), "tls.require_client_certificate|nothing to verify"},
		{validated(&tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem()), VerifyCertificateHash: []string{"ab"}}), "tls.common_tls_context.validation_context|Invalid hex-encoded SHA-256 ab"},
		{validated(&tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem()), VerifyCertificateSpki: []string{"ab"}}), "tls.common_tls_context.validation_context|Invalid base64-encoded SHA-256 ab"},
		{validated(&tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem()), MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{
			{SanType: tlsv3.SubjectAltNameMatcher_OTHER_NAME, Matcher: exactly("x")}}}), "tls.common_tls_context.validation_context|oid"},
		{stapling, "tls.common_tls_context.tls_certificates[0]|Required OCSP response is missing from TLS context"},
	} {
		r := newRig(t)
		s, err := NewServer(r.env(), c.m)
		place, words, _ := strings.Cut(c.want, "|")
		found := slices.ContainsFunc(r.problems.All(), func(p resource.Problem) bool {
			return string(p.Path) == place && strings.Contains(p.Message, words)
		})
		if s != nil || err != nil || !found {
			t.Errorf("want %q, got %v, %v", c.want, err, r.problems.All())
		}
	}
}
