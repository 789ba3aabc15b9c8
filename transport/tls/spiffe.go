package tls

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/transport/secret"
)

// spiffe makes the trust bundles of the SPIFFE validator ready. Of the other settings only allow_expired_certificate and the matchers of
// URI names count for it, as in Envoy. Those that would make it accept fewer certificates are refused: whoever set them relies on them.
func (v *verifier) spiffe(of *secret.Validation) {
	if v.broken == nil {
		v.broken = ignoredBySPIFFE(of.Message)
	}
	v.trust, v.untrusted, v.hashes, v.spkis = nil, false, nil, nil
	v.domains = make(map[string]*trust, len(of.Trust))
	for name, pool := range of.Trust {
		v.domains[name] = &trust{pool: pool, depth: -1, ageless: of.Message.GetAllowExpiredCertificate()}
	}
	var uris []sanMatcher
	for _, m := range v.sans {
		if m.kind == tlsv3.SubjectAltNameMatcher_URI {
			uris = append(uris, m)
		}
	}
	v.sans = uris
}

// ignoredBySPIFFE says which setting the SPIFFE validator would ignore though it is there to refuse certificates; nil for none.
func ignoredBySPIFFE(m *tlsv3.CertificateValidationContext) error {
	typed := m.GetMatchTypedSubjectAltNames()
	isURI := func(s *tlsv3.SubjectAltNameMatcher) bool { return s.GetSanType() == tlsv3.SubjectAltNameMatcher_URI }
	switch {
	case len(typed) > 0 && !slices.ContainsFunc(typed, isURI):
		return errors.New("match_typed_subject_alt_names: the SPIFFE validator looks at names of type URI only")
	case len(m.GetVerifyCertificateHash()) > 0:
		return errors.New("verify_certificate_hash: the SPIFFE validator does not look at it")
	case len(m.GetVerifyCertificateSpki()) > 0:
		return errors.New("verify_certificate_spki: the SPIFFE validator does not look at it")
	case m.GetCrl() != nil:
		return errors.New("crl: the SPIFFE validator does not look at it")
	case m.GetMaxVerifyDepth() != nil:
		return errors.New("max_verify_depth: the SPIFFE validator does not look at it")
	}
	return nil
}

// checkSPIFFE verifies an X.509-SVID with the bundle of its trust domain. (SPIFFE X509-SVID section 5)
func (v *verifier) checkSPIFFE(chain []*x509.Certificate, d *demand) error {
	leaf := chain[0]
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCRLSign|x509.KeyUsageCertSign) != 0 {
		return &verifyError{failedChain, "cert precheck"}
	}
	names := sansOf(leaf)
	if uris(names) > 1 { // the bundle of one's trust domain would vouch for the other
		return &verifyError{failedChain, "more than one URI SAN"}
	}
	t := v.domains[trustDomain(names)]
	if t == nil {
		return &verifyError{failedChain, "no trust bundle store"}
	}
	return t.check(chain, nil, d)
}

// uris counts the URIs among names.
func uris(names []san) int {
	n := 0
	for _, s := range names {
		if s.kind == tlsv3.SubjectAltNameMatcher_URI {
			n++
		}
	}
	return n
}

// trustDomain is the trust domain of the first URI; "" where that is no SPIFFE ID.
func trustDomain(names []san) string {
	for _, s := range names {
		if s.kind == tlsv3.SubjectAltNameMatcher_URI {
			if rest, ok := strings.CutPrefix(s.value, "spiffe://"); ok {
				if domain, _, ok := strings.Cut(rest, "/"); ok {
					return domain
				}
			}
			return ""
		}
	}
	return ""
}
