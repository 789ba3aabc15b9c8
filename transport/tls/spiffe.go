package tls

import (
	"crypto/x509"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/transport/secret"
)

// spiffe makes the trust bundles of the SPIFFE validator ready. Of the other settings only allow_expired_certificate and the matchers of
// URI names count for it, as in Envoy.
func (v *verifier) spiffe(of *secret.Validation) {
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

// checkSPIFFE verifies an X.509-SVID with the bundle of its trust domain. (SPIFFE X509-SVID section 5)
func (v *verifier) checkSPIFFE(chain []*x509.Certificate, d *demand) error {
	leaf := chain[0]
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCRLSign|x509.KeyUsageCertSign) != 0 {
		return &verifyError{failedChain, "cert precheck"}
	}
	t := v.domains[trustDomain(sansOf(leaf))]
	if t == nil {
		return &verifyError{failedChain, "no trust bundle store"}
	}
	return t.check(chain, nil, d)
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
