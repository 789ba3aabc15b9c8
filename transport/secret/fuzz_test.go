package secret

import (
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/crypto/ocsp"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/certs"
)

// FuzzKeyPair feeds the readers of certificates and keys. What they take has to be whole.
func FuzzKeyPair(f *testing.F) {
	p := leaf("a.example.com")
	key := must(p.KeyPEM())
	const password = "secret"
	f.Add(p.PEM(), key, "", []byte(nil), false)
	f.Add(p.PEM(), must(p.EncryptedKeyPEM(password)), password, ocsp.MalformedRequestErrorResponse, false)
	f.Add(p.PEM(), oldPEM(p, password), password, []byte{0x30, 0x03, 0x0a, 0x01, 0x00}, false)
	f.Add(must(p.PKCS12(password)), []byte(nil), password, []byte(nil), true)
	f.Add(p.PEM()[:200], key[:100], "", []byte(nil), false)
	f.Fuzz(func(t *testing.T, chain, key []byte, password string, staple []byte, packed bool) {
		m := &tlsv3.TlsCertificate{CertificateChain: octets(chain), PrivateKey: octets(key), Password: text([]byte(password)), OcspStaple: octets(staple)}
		if packed {
			m.Pkcs12, m.CertificateChain, m.PrivateKey = m.CertificateChain, nil, nil
		}
		problems := &resource.Problems{}
		slot := NewStore(Options{}).View().KeyPair(m, "c", problems)
		if (slot == nil) != problems.HasErrors() {
			t.Fatalf("slot %v, problems %v", slot, problems.All())
		}
		if slot == nil {
			return
		}
		k := slot.Load()
		if k.Certificate.Leaf == nil || len(k.Certificate.Certificate) == 0 || !matches(k.Certificate.PrivateKey, k.Certificate.Leaf) {
			t.Errorf("not whole: %+v", k)
		}
	})
}

// FuzzValidation feeds the readers of authorities, revocation lists and SPIFFE bundles.
func FuzzValidation(f *testing.F) {
	a := must(certs.NewAuthority("root"))
	f.Add(a.PEM(), must(a.CRL(leaf().Leaf)), []byte(nil))
	f.Add(append(a.PEM(), a.PEM()...), []byte(nil), bundleJSON("td", a))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte("x"), []byte(`{"trust_domains": {"": {"keys": [{"use": "x509-svid"}]}}}`))
	f.Fuzz(func(t *testing.T, authorities, lists, bundles []byte) {
		m := &tlsv3.CertificateValidationContext{}
		if bundles != nil {
			m = spiffeOf(&tlsv3.SPIFFECertValidatorConfig{TrustBundles: octets(bundles)})
		}
		m.TrustedCa = octets(authorities)
		if lists != nil {
			m.Crl = octets(lists)
		}
		problems := &resource.Problems{}
		slot := NewStore(Options{}).View().Validation(m, "v", problems)
		if (slot == nil) != problems.HasErrors() {
			t.Fatalf("slot %v, problems %v", slot, problems.All())
		}
		if slot == nil {
			return
		}
		v := slot.Load()
		if len(v.Roots) == 0 || bundles == nil && (v.Pool == nil || lists != nil && len(v.CRLs) == 0) || bundles != nil && len(v.Trust) == 0 {
			t.Errorf("not whole: %+v", v)
		}
	})
}
