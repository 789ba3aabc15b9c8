package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/ocsp"
)

// An Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	pair Pair
	root bool // it has signed itself
}

// NewAuthority returns a self-signed authority of this name, with an ECDSA key and ten years to live.
func NewAuthority(name string) (*Authority, error) { return NewAuthorityFor(Request{Name: name}) }

// NewAuthorityFor returns a self-signed authority; usages and alternative names are as requested, which is to say none by default.
func NewAuthorityFor(r Request) (*Authority, error) {
	pair, err := issue(nil, &r, true)
	if err != nil {
		return nil, err
	}
	return &Authority{*pair, true}, nil
}

// Intermediate returns an authority whose own certificate a has signed. What it issues brings that certificate along.
func (a *Authority) Intermediate(name string) (*Authority, error) {
	pair, err := issue(a, &Request{Name: name}, true)
	if err != nil {
		return nil, err
	}
	return &Authority{*pair, false}, nil
}

// Issue returns a leaf that a has signed, with its key and the intermediates up to, but not including, the root.
func (a *Authority) Issue(r Request) (*Pair, error) { return issue(a, &r, false) }

// SelfSigned returns a leaf that is its own issuer.
func SelfSigned(r Request) (*Pair, error) { return issue(nil, &r, false) }

// issue makes a certificate, signed by itself where by is nil.
func issue(by *Authority, r *Request, authority bool) (*Pair, error) {
	template, err := r.template(authority)
	if err != nil {
		return nil, err
	}
	key, err := r.key()
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", r.Name, err)
	}
	parent, signer, chain := template, key, []*x509.Certificate(nil)
	if by != nil {
		parent, signer = by.pair.Leaf, by.pair.Key
		if !by.root {
			chain = append([]*x509.Certificate{by.pair.Leaf}, by.pair.Chain...)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", r.Name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", r.Name, err)
	}
	return &Pair{Leaf: leaf, Key: key, Chain: chain}, nil
}

// Certificate is the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.pair.Leaf }

// Key is the authority's private key.
func (a *Authority) Key() crypto.Signer { return a.pair.Key }

// PEM is the authority's certificate alone.
func (a *Authority) PEM() []byte { return block("CERTIFICATE", a.pair.Leaf.Raw) }

// Pool holds the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.pair.Leaf)
	return pool
}

// CRL returns a revocation list in PEM that is current for a day and revokes these certificates as of now.
func (a *Authority) CRL(revoked ...*x509.Certificate) ([]byte, error) {
	now := time.Now()
	return a.CRLAt(now.Add(-time.Hour), now.AddDate(0, 0, 1), revoked...)
}

// CRLAt is CRL for a list that was made at this and is replaced at next.
func (a *Authority) CRLAt(this, next time.Time, revoked ...*x509.Certificate) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(this.Unix()), ThisUpdate: this, NextUpdate: next}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: this})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.pair.Leaf, a.pair.Key)
	if err != nil {
		return nil, fmt.Errorf("revocation list of %q: %w", a.pair.Leaf.Subject.CommonName, err)
	}
	return block("X509 CRL", der), nil
}

// OCSP returns a response in DER that says what status (ocsp.Good, ocsp.Revoked, ocsp.Unknown) the certificate has from this to next.
func (a *Authority) OCSP(of *x509.Certificate, status int, this, next time.Time) ([]byte, error) {
	r := ocsp.Response{Status: status, SerialNumber: of.SerialNumber, ThisUpdate: this, NextUpdate: next}
	if status == ocsp.Revoked {
		r.RevokedAt, r.RevocationReason = this, ocsp.KeyCompromise
	}
	der, err := ocsp.CreateResponse(a.pair.Leaf, a.pair.Leaf, r, a.pair.Key)
	if err != nil {
		return nil, fmt.Errorf("OCSP response for %q: %w", of.Subject.CommonName, err)
	}
	return der, nil
}

// block is one PEM block.
func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
