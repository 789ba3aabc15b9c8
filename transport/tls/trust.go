package tls

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/weftproxy/weft/transport/secret"
)

// A trust is a set of trust anchors with the rules for chains that lead to them. Immutable.
type trust struct {
	roots   []*x509.Certificate // nil of the system's pool
	pool    *x509.CertPool
	ageless bool // allow_expired_certificate
	depth   int  // the most certificates above the leaf, the anchor included; -1: any number
	leafCRL bool // only_verify_leaf_cert_crl
	crls    []*crl
}

// newTrust makes a set of trust anchors ready under the rules of v.
func newTrust(v *secret.Validation, roots []*x509.Certificate, pool *x509.CertPool) *trust {
	t := &trust{roots: roots, pool: pool, ageless: v.Message.GetAllowExpiredCertificate(), depth: -1,
		leafCRL: v.Message.GetOnlyVerifyLeafCertCrl()}
	if d := v.Message.GetMaxVerifyDepth(); d != nil {
		t.depth = int(d.GetValue())
	}
	if t.ageless && len(roots) > 0 {
		t.pool = x509.NewCertPool()
		for _, x := range roots {
			t.pool.AddCert(ageless(x))
		}
	}
	for _, list := range v.CRLs {
		t.crls = append(t.crls, newCRL(list))
	}
	return t
}

// ageless returns a copy of a certificate that does not expire.
func ageless(x *x509.Certificate) *x509.Certificate {
	c := *x
	c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	return &c
}

// plain reports whether crypto/tls can verify chains with the pool by itself.
func (t *trust) plain() bool { return !t.ageless }

// check finds a chain from the peer's certificate to an anchor that fulfills all rules. Chains that were verified already are not verified
// again. Errors are of type *verifyError.
func (t *trust) check(sent []*x509.Certificate, chains [][]*x509.Certificate, d *demand) error {
	if chains == nil {
		var err error
		if chains, err = t.verify(sent, d); err != nil {
			return chainError(err, sent)
		}
	}
	failed := depthError(len(sent)-1, "unable to get local issuer certificate")
	for _, chain := range chains {
		var err *verifyError
		if t.depth >= 0 && len(chain)-1 > t.depth {
			err = depthError(t.depth+1, "certificate chain too long")
		} else if err = t.revoked(chain, d.now); err == nil {
			return nil
		}
		failed = err
	}
	return failed
}

// verify builds the chains.
func (t *trust) verify(sent []*x509.Certificate, d *demand) ([][]*x509.Certificate, error) {
	o := x509.VerifyOptions{Roots: t.pool, CurrentTime: d.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if d.client {
		o.KeyUsages[0] = x509.ExtKeyUsageClientAuth
	}
	leaf := sent[0]
	if t.ageless {
		leaf = ageless(leaf)
	}
	if len(sent) > 1 {
		o.Intermediates = x509.NewCertPool()
		for _, x := range sent[1:] {
			if t.ageless {
				x = ageless(x)
			}
			o.Intermediates.AddCert(x)
		}
	}
	return leaf.Verify(o)
}

// revoked holds a chain to the revocation lists. Once there are any, there has to be one of every issuer in the chain, or of the leaf's
// where only leaves are looked at.
func (t *trust) revoked(chain []*x509.Certificate, now time.Time) *verifyError {
	if len(t.crls) == 0 {
		return nil
	}
	for i, x := range chain {
		issuer := t.issuer(chain, i)
		if issuer == nil {
			return depthError(i, "unable to get CRL issuer certificate")
		}
		if text := t.revocation(x, issuer, now); text != "" {
			return depthError(i, text)
		}
		if t.leafCRL {
			break
		}
	}
	return nil
}

// issuer is who signed the i-th certificate of a chain, nil where that is not known.
func (t *trust) issuer(chain []*x509.Certificate, i int) *x509.Certificate {
	if i+1 < len(chain) {
		return chain[i+1]
	}
	x := chain[i]
	if string(x.RawIssuer) == string(x.RawSubject) {
		return x
	}
	if k := slices.IndexFunc(t.roots, func(r *x509.Certificate) bool { return x.CheckSignatureFrom(r) == nil }); k >= 0 {
		return t.roots[k]
	}
	return nil
}

// revocation says what the lists of a certificate's issuer have against it, in the words of BoringSSL; "" for nothing.
func (t *trust) revocation(x, issuer *x509.Certificate, now time.Time) string {
	failed := "unable to get certificate CRL"
	clean := false
	for _, l := range t.crls {
		if string(l.list.RawIssuer) != string(issuer.RawSubject) {
			continue
		}
		switch text := l.usable(issuer, now, t.ageless); {
		case text != "":
			failed = text
		case l.revokes(x):
			return "certificate revoked"
		default:
			clean = true
		}
	}
	if clean {
		return ""
	}
	return failed
}
