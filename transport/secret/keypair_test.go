package secret

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/crypto/ocsp"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/certs"
)

func TestCertificatesAreReadFromEverywhere(t *testing.T) {
	dir := t.TempDir()
	p := leaf("A.example.com", "*.example.org")
	key := must(p.KeyPEM())
	rsaPair := must(ca().Issue(certs.Request{Name: "rsa", RSA: 2048}))
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaPair.Key.(*rsa.PrivateKey))})
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(p.Key.(*ecdsa.PrivateKey)))})
	params := []byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n")
	ed := must(ca().Issue(certs.Request{Name: "ed", Ed: true}))
	p384, p521 := must(ca().Issue(certs.Request{Curve: elliptic.P384()})), must(ca().Issue(certs.Request{Curve: elliptic.P521()}))
	inter := must(must(ca().Intermediate("between")).Issue(certs.Request{Name: "below"}))
	both := write(t, filepath.Join(dir, "both.pem"), append(slices.Clone(key), p.PEM()...))
	filed := writePair(t, dir, p)
	for _, tt := range []struct {
		name   string
		m      *tlsv3.TlsCertificate
		of     *certs.Pair
		source string
	}{
		{"inline string", inlined(p), p, "<inline>"},
		{"inline bytes", &tlsv3.TlsCertificate{CertificateChain: octets(p.PEM()), PrivateKey: octets(key)}, p, "<inline>"},
		{"files", filed, p, filed.GetCertificateChain().GetFilename()},
		{"one file for both", &tlsv3.TlsCertificate{CertificateChain: file(both), PrivateKey: file(both)}, p, both},
		{"environment", &tlsv3.TlsCertificate{CertificateChain: env("CERT"), PrivateKey: env("KEY")}, p, "<inline>"},
		{"PKCS #12", &tlsv3.TlsCertificate{Pkcs12: octets(must(inter.PKCS12("secret"))), Password: text([]byte("secret"))}, inter, "<inline>"},
		{"PKCS #12 without password", &tlsv3.TlsCertificate{Pkcs12: octets(must(p.PKCS12("")))}, p, "<inline>"},
		{"encrypted PKCS #8", &tlsv3.TlsCertificate{
			CertificateChain: text(p.PEM()), PrivateKey: text(must(p.EncryptedKeyPEM("secret"))), Password: text([]byte("secret")),
		}, p, "<inline>"},
		{"encrypted PEM", &tlsv3.TlsCertificate{
			CertificateChain: text(p.PEM()), PrivateKey: text(oldPEM(p, "secret")), Password: env("PASSWORD"),
		}, p, "<inline>"},
		{"password that is not needed", &tlsv3.TlsCertificate{CertificateChain: text(p.PEM()), PrivateKey: text(key), Password: env("PASSWORD")}, p, "<inline>"},
		{"PKCS #1", &tlsv3.TlsCertificate{CertificateChain: text(rsaPair.PEM()), PrivateKey: text(pkcs1)}, rsaPair, "<inline>"},
		{"SEC 1 behind its parameters", &tlsv3.TlsCertificate{CertificateChain: text(p.PEM()), PrivateKey: text(append(params, sec1...))}, p, "<inline>"},
		{"RSA", inlined(rsaPair), rsaPair, "<inline>"},
		{"Ed25519", inlined(ed), ed, "<inline>"},
		{"P-384", inlined(p384), p384, "<inline>"},
		{"P-521", inlined(p521), p521, "<inline>"},
		{"with an intermediate", inlined(inter), inter, "<inline>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vars := map[string]string{"CERT": string(p.PEM()), "KEY": string(key), "PASSWORD": "secret"}
			s := NewStore(Options{Getenv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }})
			problems := &resource.Problems{}
			slot := s.View().KeyPair(tt.m, "c", problems)
			if slot == nil || problems.Len() > 0 {
				t.Fatalf("problems: %v", problems.All())
			}
			k := slot.Load()
			want := tt.of.TLS()
			if !k.Certificate.Leaf.Equal(tt.of.Leaf) || !slices.EqualFunc(k.Certificate.Certificate, want.Certificate, slices.Equal) {
				t.Error("another certificate, or another chain")
			}
			if !matches(k.Certificate.PrivateKey, tt.of.Leaf) || k.Source != tt.source || slot.Name() != "" || k.Facts.X509 != k.Certificate.Leaf {
				t.Errorf("source %q, name %q", k.Source, slot.Name())
			}
		})
	}
}

func TestNamesOfCertificates(t *testing.T) {
	s := NewStore(Options{})
	for _, tt := range []struct {
		r      certs.Request
		want   []string
		staple bool
	}{
		{certs.Request{Name: "CN.example.com", DNS: []string{"A.example.com", "*.Example.org"}}, []string{"a.example.com", "*.example.org"}, false},
		{certs.Request{Name: "CN.example.com", URIs: []string{"spiffe://td/a"}}, []string{"cn.example.com"}, false},
		{certs.Request{MustStaple: true}, nil, true},
	} {
		k := pairSlot(t, s, inlined(must(ca().Issue(tt.r)))).Load()
		if !slices.Equal(k.Names, tt.want) || k.MustStaple != tt.staple {
			t.Errorf("names %q, want %q; must staple %v", k.Names, tt.want, k.MustStaple)
		}
	}
}

func TestCertificatesAreRefused(t *testing.T) {
	p, other := leaf("a"), leaf("b")
	key, chain := must(p.KeyPEM()), p.PEM()
	small := must(ca().Issue(certs.Request{RSA: 1024}))
	p224 := must(ca().Issue(certs.Request{Curve: elliptic.P224()}))
	p12 := must(p.PKCS12("secret"))
	encrypted := must(p.EncryptedKeyPEM("secret"))
	with := func(chain, key, password *corev3.DataSource) *tlsv3.TlsCertificate {
		return &tlsv3.TlsCertificate{CertificateChain: chain, PrivateKey: key, Password: password}
	}
	edit := func(f func(*tlsv3.TlsCertificate)) *tlsv3.TlsCertificate {
		m := inlined(p)
		f(m)
		return m
	}
	for _, tt := range []struct {
		name     string
		m        *tlsv3.TlsCertificate
		at, want string
	}{
		{"nothing", &tlsv3.TlsCertificate{}, "c.certificate_chain", "certificate chain not set"},
		{"no key", with(text(chain), nil, nil), "c.private_key", "private key not set"},
		{"no chain", with(nil, text(key), nil), "c.certificate_chain", "certificate chain not set"},
		{"an empty source", with(text(chain), &corev3.DataSource{}, nil), "c.private_key", "the data source is empty"},
		{"a file that is not there", with(file("/nowhere/tls.crt"), text(key), nil), "c.certificate_chain", "cannot be read: open /nowhere/tls.crt"},
		{"a variable that is not there", with(text(chain), env("NO_SUCH_VARIABLE"), nil), "c.private_key", `"NO_SUCH_VARIABLE" does not exist`},
		{"an empty chain", with(text([]byte(" \n")), text(key), nil), "c.certificate_chain", "<inline>: it is empty"},
		{"garbage for a chain", with(text([]byte("garbage")), text(key), nil), "c.certificate_chain", "no PEM block with a certificate"},
		{"a chain cut short", with(text(chain[:len(chain)-40]), text(key), nil), "c.certificate_chain", "cut short"},
		{"an intermediate cut short", with(text(append(slices.Clone(chain), chain[:90]...)), text(key), nil), "c.certificate_chain", "cut short"},
		{"a bad certificate", with(text(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), text(key), nil),
			"c.certificate_chain", "certificate 1: x509"},
		{"a key for a chain", with(text(key), text(key), nil), "c.certificate_chain", "of another kind: no certificate"},
		{"garbage for a key", with(text(chain), text([]byte("garbage")), nil), "c.private_key", "no PEM block with a private key"},
		{"an empty key", with(text(chain), text([]byte("\n")), nil), "c.private_key", "it is empty"},
		{"a key cut short", with(text(chain), text(key[:len(key)-40]), nil), "c.private_key", "cut short"},
		{"a bad key", with(text(chain), text(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), nil), "c.private_key", "asn1"},
		{"the key of another", with(text(chain), text(must(other.KeyPEM())), nil), "c.private_key", "KEY_VALUES_MISMATCH"},
		{"RSA of 1024 bits", inlined(small), "c.certificate_chain", "only RSA certificates with 2048-bit or larger keys are supported"},
		{"P-224", inlined(p224), "c.certificate_chain", "only P-256, P-384 or P-521 ECDSA certificates are supported"},
		{"no password", with(text(chain), text(encrypted), nil), "c.private_key", "the key is encrypted and there is no password"},
		{"a wrong password", with(text(chain), text(encrypted), text([]byte("wrong"))), "c.password", "the password is wrong"},
		{"no password, PEM", with(text(chain), text(oldPEM(p, "secret")), nil), "c.private_key", "the key is encrypted and there is no password"},
		{"a wrong password, PEM", with(text(chain), text(oldPEM(p, "secret")), text([]byte("wrong"))), "c.password", "the password is wrong"},
		{"a wrong password, PKCS #12", &tlsv3.TlsCertificate{Pkcs12: octets(p12), Password: text([]byte("wrong"))}, "c.password", "the password is wrong"},
		{"no password, PKCS #12", &tlsv3.TlsCertificate{Pkcs12: octets(p12)}, "c.password", "the password is wrong, or there is none"},
		{"garbage for PKCS #12", &tlsv3.TlsCertificate{Pkcs12: octets([]byte("garbage"))}, "c.pkcs12", "Failed to load pkcs12"},
		{"PKCS #12 and a key", edit(func(m *tlsv3.TlsCertificate) { m.Pkcs12, m.CertificateChain = octets(p12), nil }),
			"c.pkcs12", "can't have both pkcs12 and private_key"},
		{"PKCS #12 and a chain", edit(func(m *tlsv3.TlsCertificate) { m.Pkcs12, m.PrivateKey = octets(p12), nil }),
			"c.pkcs12", "can't have both pkcs12 and certificate_chain"},
		{"a staple in text", edit(func(m *tlsv3.TlsCertificate) { m.OcspStaple = text([]byte("x")) }), "c.ocsp_staple", "inline_string"},
		{"a bad staple", edit(func(m *tlsv3.TlsCertificate) { m.OcspStaple = octets([]byte("x")) }), "c.ocsp_staple", "OCSP response was unsuccessful"},
		{"a key provider", edit(func(m *tlsv3.TlsCertificate) { m.PrivateKeyProvider = &tlsv3.PrivateKeyProvider{} }), "c.private_key_provider", "not supported"},
		{"timestamps", edit(func(m *tlsv3.TlsCertificate) { m.SignedCertificateTimestamp = []*corev3.DataSource{{}} }),
			"c.signed_certificate_timestamp", "not supported"},
		{"parameters of its own", edit(func(m *tlsv3.TlsCertificate) { m.TlsParams = &tlsv3.TlsParameters{} }), "c.tls_params", "not supported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			problems := &resource.Problems{}
			if NewStore(Options{}).View().KeyPair(tt.m, "c", problems) != nil {
				t.Error("there is a slot")
			}
			wantProblem(t, problems, tt.at, tt.want)
		})
	}
}

func TestCertificatesOutOfTimeAreRefused(t *testing.T) {
	now := time.Now()
	for want, r := range map[string]certs.Request{
		"has expired at":      {NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)},
		"is not valid before": {NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)},
	} {
		p := &resource.Problems{}
		if slot := NewStore(Options{}).View().KeyPair(inlined(must(ca().Issue(r))), "c", p); slot != nil {
			t.Errorf("%s: there is a slot", want)
		}
		if !p.HasErrors() || p.All()[0].Path != "c.certificate_chain" || !strings.Contains(p.All()[0].Message, want) {
			t.Errorf("problems %v, want an error: %s", p.All(), want)
		}
	}
}

func TestStaples(t *testing.T) {
	a, now := ca(), time.Now()
	p, other := must(a.Issue(certs.Request{Name: "a"})), must(a.Issue(certs.Request{Name: "b"}))
	response := func(of *certs.Pair, status int, this, next time.Time) []byte {
		return must(a.OCSP(of.Leaf, status, this, next))
	}
	hour := time.Hour
	for _, tt := range []struct {
		name       string
		der        []byte
		warn, fail string
		ends       time.Time
	}{
		{"good", response(p, ocsp.Good, now.Add(-hour), now.Add(hour)), "", "", now.Add(hour)},
		{"expired", response(p, ocsp.Good, now.Add(-2*hour), now.Add(-hour)), "has expired", "", now.Add(-hour)},
		{"of the future", response(p, ocsp.Good, now.Add(hour), now.Add(2*hour)), "set in the future", "", now.Add(2 * hour)},
		{"revoked", response(p, ocsp.Revoked, now.Add(-hour), now.Add(hour)), "is revoked", "", now.Add(hour)},
		{"unknown", response(p, ocsp.Unknown, now.Add(-hour), now.Add(hour)), "is unknown", "", now.Add(hour)},
		{"of another", response(other, ocsp.Good, now.Add(-hour), now.Add(hour)), "", "OCSP response does not match its TLS certificate", time.Time{}},
		{"empty", []byte{}, "is empty", "", time.Time{}},
		{"an error", ocsp.TryLaterErrorResponse, "", "OCSP response was unsuccessful", time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := inlined(p)
			m.OcspStaple = octets(tt.der)
			problems := &resource.Problems{}
			slot := NewStore(Options{}).View().KeyPair(m, "c", problems)
			if tt.fail != "" {
				wantProblem(t, problems, "c.ocsp_staple", tt.fail)
				return
			}
			if problems.HasErrors() {
				t.Fatalf("problems: %v", problems.All())
			}
			k := slot.Load()
			if d := k.StapleEnds.Sub(tt.ends).Abs(); d > 2*time.Second || (k.Staple == nil) != (len(tt.der) == 0) {
				t.Errorf("staple of %d bytes ends at %v, want %v", len(k.Staple), k.StapleEnds, tt.ends)
			}
			if tt.warn == "" && problems.Len() > 0 || tt.warn != "" && (problems.Len() != 1 || !strings.Contains(problems.All()[0].Message, tt.warn)) {
				t.Errorf("warnings %v, want %q", problems.All(), tt.warn)
			}
		})
	}
}
