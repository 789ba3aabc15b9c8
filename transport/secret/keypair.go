package secret

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/resource"
)

// The parts of a TlsCertificate, in the order of keyPairPlan.
const (
	partChain = iota
	partKey
	partPKCS12
	partPassword
	partStaple
)

// minRSA is the least size of an RSA key, in bits, as in Envoy.
const minRSA = 2048

// keyPairPlan is how a certificate with its key is made of its message.
func keyPairPlan(s *Store, m *tlsv3.TlsCertificate) func() plan[KeyPair] {
	pl := plan[KeyPair]{
		parts: []part{
			partChain:    {"certificate_chain", m.GetCertificateChain()},
			partKey:      {"private_key", m.GetPrivateKey()},
			partPKCS12:   {"pkcs12", m.GetPkcs12()},
			partPassword: {"password", m.GetPassword()},
			partStaple:   {"ocsp_staple", m.GetOcspStaple()},
		},
		build: func(in *inputs) (*KeyPair, error) {
			if err := checkCertificate(m); err != nil {
				return nil, err
			}
			if have := s.pairs.get(in.sum); have != nil {
				have.warnTimes(in)
				return have, nil
			}
			k, err := parseKeyPair(in)
			if err != nil {
				return nil, err
			}
			return s.pairs.put(in.sum, k), nil
		},
	}
	if dir := m.GetWatchedDirectory().GetPath(); dir != "" {
		pl.dirs = []string{dir}
	}
	return func() plan[KeyPair] { return pl }
}

// checkCertificate rejects what cannot be in a TlsCertificate, or not together.
func checkCertificate(m *tlsv3.TlsCertificate) error {
	for _, no := range []struct {
		field resource.Path
		set   bool
		hint  string
	}{
		{"private_key_provider", m.GetPrivateKeyProvider() != nil, noProvider},
		{"signed_certificate_timestamp", len(m.GetSignedCertificateTimestamp()) > 0, noTimestamps},
		{"tls_params", m.GetTlsParams() != nil, noParams},
	} {
		if no.set {
			return faultf(no.field, no.hint, "not supported")
		}
	}
	if m.GetOcspStaple().GetInlineString() != "" {
		return faultf("ocsp_staple", "the response is DER: use inline_bytes or filename", "OCSP staple cannot be provided via inline_string")
	}
	if m.GetPkcs12() != nil {
		for field, set := range map[resource.Path]bool{"private_key": m.GetPrivateKey() != nil, "certificate_chain": m.GetCertificateChain() != nil} {
			if set {
				return faultf("pkcs12", "leave one of them out", "Certificate configuration can't have both pkcs12 and %s", field)
			}
		}
		return nil
	}
	if m.GetCertificateChain() == nil {
		return faultf("certificate_chain", "give it a certificate_chain and a private_key, or pkcs12", "certificate chain not set")
	}
	if m.GetPrivateKey() == nil {
		return faultf("private_key", "a certificate needs its private_key", "private key not set")
	}
	return nil
}

// parseKeyPair makes a key pair of the parts of a TlsCertificate.
func parseKeyPair(in *inputs) (*KeyPair, error) {
	var chain []*x509.Certificate
	var key crypto.PrivateKey
	var err error
	source := partChain
	if in.parts[partPKCS12].src != nil {
		source = partPKCS12
		chain, key, err = parsePKCS12(in.data[partPKCS12], string(in.data[partPassword]))
		if err != nil {
			return nil, err
		}
	} else {
		if chain, err = parseChain(in.data[partChain]); err != nil {
			return nil, faultf("certificate_chain", "it wants PEM: the certificate, then its intermediates",
				"Failed to load certificate chain from %s: %v", in.parts[partChain].name(), err)
		}
		if key, err = parseKey(in.data[partKey], in.data[partPassword]); err != nil {
			return nil, keyFault(in, err)
		}
	}
	field := in.parts[source].field
	if err := checkPublic(chain[0]); err != nil {
		return nil, faultf(field, "", "Failed to load certificate chain from %s, %v", in.parts[source].name(), err)
	}
	if !matches(key, chain[0]) {
		name := in.parts[source].name()
		if source == partChain {
			field, name = "private_key", in.parts[partKey].name()
		}
		return nil, faultf(field, "the key has to be that of the first certificate of the chain",
			"Failed to load private key from %s, Cause: KEY_VALUES_MISMATCH: it is not the key of the certificate %q", name, chain[0].Subject)
	}
	k := &KeyPair{
		Certificate: tls.Certificate{PrivateKey: key, Leaf: chain[0]},
		Facts:       conn.NewCertificate(chain[0]), Names: namesOf(chain[0]), MustStaple: mustStaple(chain[0]), Source: in.parts[source].name(),
	}
	for _, c := range chain {
		k.Certificate.Certificate = append(k.Certificate.Certificate, c.Raw)
	}
	if err := k.staple(in); err != nil {
		return nil, err
	}
	if err := timely(chain[0], field); err != nil && !in.untimely {
		return nil, err
	}
	k.warnTimes(in)
	return k, nil
}

// warnTimes notes what has expired while it was in use, and an OCSP response that has.
func (k *KeyPair) warnTimes(in *inputs) {
	field := in.parts[partChain].field
	if in.parts[partPKCS12].src != nil {
		field = in.parts[partPKCS12].field
	}
	if err := timely(k.Certificate.Leaf, field); err != nil {
		in.warn(field, "%s", asFault(err).text)
	}
	if !k.StapleEnds.IsZero() && time.Now().After(k.StapleEnds) {
		in.warn("ocsp_staple", "the OCSP response has expired at %s", k.StapleEnds.Format(time.RFC3339))
	}
}

// timely refuses a certificate that is read at a time it is not for: every client would. Envoy takes it. One that expires while it is in use is
// kept, and one that is delivered where there is no better is taken, with a warning.
func timely(leaf *x509.Certificate, field resource.Path) error {
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		return faultf(field, "renew it; this machine's clock says "+now.UTC().Format(time.RFC3339),
			"the certificate %q has expired at %s", leaf.Subject, leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return faultf(field, "this machine's clock says "+now.UTC().Format(time.RFC3339),
			"the certificate %q is not valid before %s", leaf.Subject, leaf.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// checkPublic refuses keys that Envoy does not take.
func checkPublic(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return errText("only RSA certificates with 2048-bit or larger keys are supported")
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return errText("only P-256, P-384 or P-521 ECDSA certificates are supported")
		}
	}
	return nil
}

// matches says whether key is the private key of c.
func matches(key crypto.PrivateKey, c *x509.Certificate) bool {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

// namesOf is what SNI may select a certificate by: its DNS names, or its common name if it has none.
func namesOf(c *x509.Certificate) []string {
	if len(c.DNSNames) == 0 {
		if c.Subject.CommonName == "" {
			return nil
		}
		return []string{strings.ToLower(c.Subject.CommonName)}
	}
	out := make([]string, len(c.DNSNames))
	for i, name := range c.DNSNames {
		out[i] = strings.ToLower(name)
	}
	return out
}

// mustStaple says whether a certificate has the TLS feature extension with status_request and nothing else (RFC 7633), which is what Envoy
// looks for.
func mustStaple(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
			return string(e.Value) == "\x30\x03\x02\x01\x05"
		}
	}
	return false
}

// errText is an error that is only text.
type errText string

func (e errText) Error() string { return string(e) }
