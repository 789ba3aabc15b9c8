package secret

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// anchors are the certificates and revocation lists of one PEM text. Immutable.
type anchors struct {
	certs []*x509.Certificate
	pool  *x509.CertPool
	crls  []*x509.RevocationList
}

// anchorsOf reads a PEM text, or finds what was read of the same before.
func (s *Store) anchorsOf(text []byte) (*anchors, error) {
	key := sha256.Sum256(text)
	if have := s.trusts.get(key); have != nil {
		return have, nil
	}
	a, err := parseAnchors(text)
	if err != nil {
		return nil, err
	}
	return s.trusts.put(key, a), nil
}

// parseAnchors reads the certificates and revocation lists of a PEM text. There has to be at least one.
func parseAnchors(text []byte) (*anchors, error) {
	a := &anchors{}
	known := map[[sha256.Size]byte]bool{}
	rest := text
	for {
		var block *pem.Block
		before := rest
		if block, rest = pem.Decode(rest); block == nil {
			if len(a.certs)+len(a.crls) == 0 {
				return nil, noBlock(text, "certificate or revocation list")
			}
			if cutShort(before) {
				return nil, noBlock(before, "certificate or revocation list")
			}
			break
		}
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate %d: %w", len(a.certs)+1, err)
			}
			if sum := sha256.Sum256(c.Raw); !known[sum] { // bundles repeat themselves
				known[sum] = true
				a.certs = append(a.certs, c)
			}
		case "TRUSTED CERTIFICATE":
			return nil, errors.New("a TRUSTED CERTIFICATE block is OpenSSL's own format: convert it with: openssl x509")
		case "X509 CRL":
			l, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("revocation list %d: %w", len(a.crls)+1, err)
			}
			a.crls = append(a.crls, l)
		}
	}
	a.pool = x509.NewCertPool()
	for _, c := range a.certs {
		a.pool.AddCert(c)
	}
	return a, nil
}
