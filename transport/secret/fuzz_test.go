package secret

import (
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/crypto/ocsp"
	"google.golang.org/protobuf/proto"

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

// FuzzDelivered delivers a message for each kind of secret. One that is refused changes nothing; one that is taken is of its kind.
func FuzzDelivered(f *testing.F) {
	a := must(certs.NewAuthority("root"))
	for _, m := range []*tlsv3.Secret{
		certSecret("x", inlined(leaf("a.example.com"))), trustSecret("x", validity(a.PEM())), {Name: "x"}, ticketSecret("x", make([]byte, ticketKeySize)),
		{Name: "x", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: text([]byte("s"))}}},
	} {
		f.Add(must(proto.Marshal(m)))
	}
	first := certSecret("x", inlined(leaf("first")))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &tlsv3.Secret{}
		if proto.Unmarshal(b, m) != nil || readsFiles(m) {
			return
		}
		m.Name = "x"
		feed := newFeed(t, func(o *Options) { o.Getenv = func(string) (string, bool) { return "", false } })
		slot := feed.pair("x")
		feed.accepted(first)
		before := slot.Load()
		problems := resource.NewProblems("")
		for _, p := range feed.send(m) {
			problems.Add(p)
		}
		switch after := slot.Load(); {
		case problems.HasErrors() && after != before:
			t.Errorf("refused, and in force: %v", problems.All())
		case !problems.HasErrors() && (m.GetTlsCertificate() == nil || !matches(after.Certificate.PrivateKey, after.Certificate.Leaf)):
			t.Errorf("taken: %v", m)
		}
	})
}

// readsFiles says whether a secret is partly in files.
func readsFiles(m *tlsv3.Secret) bool {
	kind, ok := kindOf(m)
	s := NewStore(Options{})
	switch {
	case !ok:
		return false
	case kind == TLSCertificate:
		return len(filesOf(planOf[KeyPair](s, m)().parts)) > 0
	case kind == ValidationContext:
		return len(filesOf(planOf[Validation](s, m)().parts)) > 0
	case kind == SessionTicketKeys:
		return len(filesOf(planOf[TicketKeys](s, m)().parts)) > 0
	}
	return len(filesOf(planOf[Generic](s, m)().parts)) > 0
}
