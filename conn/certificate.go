package conn

import (
	"crypto/sha1" //nolint:gosec // a fingerprint that configurations ask for by this name
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A Certificate is the facts of an X.509 certificate as logs, headers and rules show them. They are made on first use. Safe for concurrent
// use; the nil Certificate has none.
type Certificate struct {
	X509 *x509.Certificate

	once  sync.Once
	facts CertificateFacts
}

// CertificateFacts are what a certificate says, as text in the form that Envoy gives it. Empty where it says nothing.
type CertificateFacts struct {
	Subject, Issuer                     string // RFC 2253, ASCII only
	CommonName                          string // of the subject
	Serial                              string // lower case hex, two digits a byte
	Fingerprint256                      string // of the DER form, lower case hex
	Fingerprint1                        string
	URISANs, DNSSANs, IPSANs, EmailSANs []string // byte by byte as in the certificate, whose IA5Strings may hold control characters
	OtherNames                          []string // text values of otherName SANs, with UPN among them
	OIDs                                []string // of its extensions, dotted
	NotBefore, NotAfter                 time.Time
	PEM                                 string // URL-encoded
}

// NewCertificate returns the facts of x, nil of nil.
func NewCertificate(x *x509.Certificate) *Certificate {
	if x == nil {
		return nil
	}
	return &Certificate{X509: x}
}

// Facts returns what the certificate says.
func (c *Certificate) Facts() *CertificateFacts {
	if c == nil {
		return &noFacts
	}
	c.once.Do(c.read)
	return &c.facts
}

// noFacts are those of no certificate. Immutable.
var noFacts CertificateFacts

func (c *Certificate) read() {
	x, f := c.X509, &c.facts
	f.Subject, f.Issuer, f.CommonName = nameText(x.RawSubject), nameText(x.RawIssuer), x.Subject.CommonName
	f.Serial = serialText(x.SerialNumber)
	sum256, sum1 := sha256.Sum256(x.Raw), sha1.Sum(x.Raw) //nolint:gosec // see the import
	f.Fingerprint256, f.Fingerprint1 = hex.EncodeToString(sum256[:]), hex.EncodeToString(sum1[:])
	for i := range x.Extensions {
		e := &x.Extensions[i]
		f.OIDs = append(f.OIDs, e.Id.String())
		if e.Id.Equal(subjectAltName) {
			f.readNames(e.Value)
		}
	}
	f.NotBefore, f.NotAfter = x.NotBefore, x.NotAfter
	f.PEM = pemText(x)
}

// serialText is BoringSSL's BN_bn2hex: whole bytes, but one digit for zero.
func serialText(n *big.Int) string {
	if n == nil || n.Sign() == 0 {
		return "0"
	}
	text := hex.EncodeToString(n.Bytes())
	if n.Sign() < 0 {
		return "-" + text
	}
	return text
}

// pemText encodes what is not a letter, a digit or one of "-._", as Envoy does; a space becomes %20.
func pemText(x *x509.Certificate) string {
	text := url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})))
	return strings.ReplaceAll(text, "+", "%20")
}
