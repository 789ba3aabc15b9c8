package tls

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"sync/atomic"
	"time"
)

// A crl is a certificate revocation list, made ready for look-ups. Safe for concurrent use.
type crl struct {
	list    *x509.RevocationList
	serials map[string]struct{} // those revoked, as bytes of the number
	scoped  bool                // it has critical extensions: it speaks of some certificates only, which ones is not understood

	issuer atomic.Pointer[x509.Certificate] // who was last found to have signed it
}

// Reasons and extensions. (RFC 5280 section 5)
const removeFromCRL = 8

func newCRL(list *x509.RevocationList) *crl {
	l := &crl{list: list, serials: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
	for i := range list.Extensions {
		e := &list.Extensions[i]
		// A delta is not a whole list, whether it says so critically or not.
		l.scoped = l.scoped || e.Critical || e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27})
	}
	for i := range list.RevokedCertificateEntries {
		e := &list.RevokedCertificateEntries[i]
		for k := range e.Extensions {
			l.scoped = l.scoped || e.Extensions[k].Critical // the certificate's issuer may be another one
		}
		if e.ReasonCode != removeFromCRL {
			l.serials[string(e.SerialNumber.Bytes())] = struct{}{}
		}
	}
	return l
}

// usable says why the list cannot be relied on at the given time, in the words of BoringSSL; "" if it can.
func (l *crl) usable(issuer *x509.Certificate, now time.Time, ageless bool) string {
	if known := l.issuer.Load(); known == nil || !bytes.Equal(known.Raw, issuer.Raw) {
		if err := l.list.CheckSignatureFrom(issuer); err != nil {
			return "CRL signature failure"
		}
		l.issuer.Store(issuer)
	}
	switch {
	case l.scoped:
		return "Different CRL scope"
	case ageless:
		return ""
	case now.Before(l.list.ThisUpdate):
		return "CRL is not yet valid"
	case !l.list.NextUpdate.IsZero() && now.After(l.list.NextUpdate):
		return "CRL has expired"
	}
	return ""
}

// revokes reports whether the list has a certificate, which the list's issuer has issued.
func (l *crl) revokes(x *x509.Certificate) bool {
	_, there := l.serials[string(x.SerialNumber.Bytes())]
	return there
}
