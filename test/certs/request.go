package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"net/url"
	"time"
)

// A Request says what a certificate shall be. The zero value asks for a nameless one with an ECDSA key on P-256, for servers and
// clients, valid since an hour ago for ten years.
type Request struct {
	Name   string   // common name
	Org    string   // organization; empty: none
	DNS    []string // subject alternative names, as are the next three
	IPs    []net.IP
	Emails []string
	URIs   []string // parsed by net/url

	Key   crypto.Signer  // used instead of a new one
	RSA   int            // bits of a new RSA key, instead of an ECDSA one
	Curve elliptic.Curve // of a new ECDSA key; nil: P-256
	Ed    bool           // a new Ed25519 key, instead of an ECDSA one

	NotBefore  time.Time          // zero: an hour ago
	NotAfter   time.Time          // zero: ten years after NotBefore
	Usages     []x509.ExtKeyUsage // nil: server and client; authorities have none unless asked
	MustStaple bool               // the TLS feature extension that asks for OCSP stapling (RFC 7633 section 4)
}

// years is how long certificates are valid that do not say.
const years = 10

// period returns the request's validity with its defaults.
func (r *Request) period() (from, until time.Time) {
	if from = r.NotBefore; from.IsZero() {
		from = time.Now().Add(-time.Hour)
	}
	if until = r.NotAfter; until.IsZero() {
		until = from.AddDate(years, 0, 0)
	}
	return from, until
}

// key returns the request's key, or a new one of its kind.
func (r *Request) key() (crypto.Signer, error) {
	switch {
	case r.Key != nil:
		return r.Key, nil
	case r.RSA > 0:
		return rsa.GenerateKey(rand.Reader, r.RSA)
	case r.Ed:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case r.Curve != nil:
		return ecdsa.GenerateKey(r.Curve, rand.Reader)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// template returns what x509.CreateCertificate wants, for a leaf or an authority.
func (r *Request) template(authority bool) (*x509.Certificate, error) {
	from, until := r.period()
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: r.Name}, NotBefore: from, NotAfter: until,
		DNSNames: r.DNS, IPAddresses: r.IPs, EmailAddresses: r.Emails, BasicConstraintsValid: true,
	}
	if r.Org != "" {
		t.Subject.Organization = []string{r.Org}
	}
	for _, text := range r.URIs {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("certificate %q: %w", r.Name, err)
		}
		t.URIs = append(t.URIs, u)
	}
	if r.MustStaple {
		// The feature extension is a sequence of integers; 5 is status_request.
		value, err := asn1.Marshal([]int{5})
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: value})
	}
	if t.ExtKeyUsage = r.Usages; authority {
		t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature
		return t, nil
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if t.ExtKeyUsage == nil {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return t, nil
}
