package tls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/transport/secret"
)

// A verifyKind says which part of the verification of a certificate failed, and so which counter counts it.
type verifyKind uint8

const (
	failedChain verifyKind = iota // fail_verify_error
	failedSAN                     // fail_verify_san
	failedHash                    // fail_verify_cert_hash
)

// A verifyError says why a peer's certificate is not accepted, in Envoy's words.
type verifyError struct {
	kind verifyKind
	text string
}

func (e *verifyError) Error() string { return "verify cert failed: " + e.text }

// A verifier is a secret.Validation made ready. Immutable.
type verifier struct {
	of        *secret.Validation // what it was made of
	broken    error              // why it cannot be evaluated: it accepts nobody
	trust     *trust             // nil: no chain is verified
	domains   map[string]*trust  // of SPIFFE; nil without
	untrusted bool               // ACCEPT_UNTRUSTED
	sans      []sanMatcher
	hashes    [][sha256.Size]byte
	spkis     [][sha256.Size]byte
}

// A demand is what one verification asks for besides what is configured.
type demand struct {
	client bool                  // the peer is a client, not a server
	sans   []string              // the certificate has to have one of these names; none: not asked for
	dns    string                // the certificate has to have this DNS name, instead of a configured one; "": not asked for
	chains [][]*x509.Certificate // that were verified already with the verifier's plain pool; nil: to be verified
	now    time.Time
}

// newVerifier makes v ready. Where something is wrong the verifier says so and accepts nobody.
func newVerifier(v *secret.Validation) *verifier {
	m := v.Message
	vf := &verifier{of: v, untrusted: m.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED}
	vf.sans, vf.broken = newSANMatchers(m)
	if vf.broken == nil {
		vf.hashes, vf.broken = parseHashes(m.GetVerifyCertificateHash())
	}
	if vf.broken == nil {
		vf.spkis, vf.broken = parseSPKIs(m.GetVerifyCertificateSpki())
	}
	if v.Pool != nil {
		vf.trust = newTrust(v, v.Roots, v.Pool)
	}
	if v.Trust != nil {
		vf.spiffe(v)
	}
	return vf
}

// parseHashes reads hex SHA-256 hashes, which may have colons.
func parseHashes(list []string) ([][sha256.Size]byte, error) {
	var all [][sha256.Size]byte
	for _, text := range list {
		b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("verify_certificate_hash: Invalid hex-encoded SHA-256 %s", text)
		}
		all = append(all, [sha256.Size]byte(b))
	}
	return all, nil
}

// parseSPKIs reads base64 SHA-256 hashes.
func parseSPKIs(list []string) ([][sha256.Size]byte, error) {
	var all [][sha256.Size]byte
	for _, text := range list {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("verify_certificate_spki: Invalid base64-encoded SHA-256 %s", text)
		}
		all = append(all, [sha256.Size]byte(b))
	}
	return all, nil
}

// verifies reports whether there is anything that a certificate is held to.
func (v *verifier) verifies() bool {
	return v.broken != nil || v.trust != nil || v.domains != nil || v.pinned()
}

// pinned reports whether a certificate is held to names or hashes.
func (v *verifier) pinned() bool { return len(v.sans) > 0 || len(v.hashes) > 0 || len(v.spkis) > 0 }

// verify holds the chain that a peer has sent, its own certificate first, to the configuration. It reports whether the certificate was
// validated, which it is not where ACCEPT_UNTRUSTED let pass what would have failed. Errors are of type *verifyError.
func (v *verifier) verify(chain []*x509.Certificate, d *demand) (validated bool, err error) {
	validated, err = v.check(chain, d)
	if err != nil && v.untrusted && v.broken == nil && len(chain) > 0 {
		return false, nil
	}
	return validated && err == nil, err
}

func (v *verifier) check(chain []*x509.Certificate, d *demand) (validated bool, err error) {
	switch {
	case v.broken != nil:
		return false, &verifyError{failedChain, v.broken.Error()}
	case len(chain) == 0:
		return false, &verifyError{failedChain, "empty cert chain"}
	case v.domains != nil:
		if err := v.checkSPIFFE(chain, d); err != nil {
			return false, err
		}
		validated = true
	case v.trust != nil:
		if err := v.trust.check(chain, d.chains, d); err != nil {
			return false, err
		}
		validated = true
	}
	named, err := v.checkNames(chain[0], d)
	if err != nil {
		return false, err
	}
	hashed, err := v.checkHashes(chain[0])
	if err != nil {
		return false, err
	}
	if validated = validated || named || hashed; !validated && !v.untrusted {
		return false, &verifyError{failedChain, "there is nothing to verify the certificate with"}
	}
	return validated, nil
}

// checkNames holds the names of a certificate to the configured matchers and to the demand. It reports whether there were any.
func (v *verifier) checkNames(x *x509.Certificate, d *demand) (checked bool, err error) {
	if len(d.sans) == 0 && d.dns == "" && len(v.sans) == 0 {
		return false, nil
	}
	names := sansOf(x)
	if len(d.sans) > 0 {
		if !slices.ContainsFunc(names, func(s san) bool { return sanListed(s, d.sans) }) {
			return false, &verifyError{failedSAN, fmt.Sprintf("verify SAN list, expected SANs: [%s], certificate SANs: [%s]",
				strings.Join(d.sans, ", "), listSANs(names))}
		}
	}
	ok := true
	switch {
	case d.dns != "" && len(d.sans) == 0:
		ok = slices.ContainsFunc(names, func(s san) bool {
			return s.kind == tlsv3.SubjectAltNameMatcher_DNS && dnsNameMatch(d.dns, s.value)
		})
	case len(v.sans) > 0:
		ok = slices.ContainsFunc(v.sans, func(m sanMatcher) bool { return slices.ContainsFunc(names, m.match) })
	}
	if !ok {
		return false, &verifyError{failedSAN, fmt.Sprintf("SAN matcher, certificate SANs are [%s]", listSANs(names))}
	}
	return true, nil
}

// sanListed reports whether a name is one of those wanted.
func sanListed(s san, wanted []string) bool {
	if s.value == "" {
		return false
	}
	if s.kind == tlsv3.SubjectAltNameMatcher_DNS {
		return slices.ContainsFunc(wanted, func(w string) bool { return dnsNameMatch(w, s.value) })
	}
	return slices.Contains(wanted, s.value)
}

// checkHashes holds a certificate to the pinned hashes, one of either kind being enough. It reports whether there were any.
func (v *verifier) checkHashes(x *x509.Certificate) (checked bool, err error) {
	if len(v.hashes)+len(v.spkis) == 0 {
		return false, nil
	}
	if len(v.hashes) > 0 && slices.Contains(v.hashes, sha256.Sum256(x.Raw)) {
		return true, nil
	}
	if len(v.spkis) > 0 && slices.Contains(v.spkis, sha256.Sum256(x.RawSubjectPublicKeyInfo)) {
		return true, nil
	}
	return false, &verifyError{failedHash, "cert hash and spki"}
}

// chainError puts the error of crypto/x509 into the words of BoringSSL.
func chainError(err error, chain []*x509.Certificate) *verifyError {
	depth, text := 0, err.Error()
	at := func(x *x509.Certificate) int {
		return max(0, slices.IndexFunc(chain, func(c *x509.Certificate) bool { return x != nil && c.Equal(x) }))
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		depth, text = len(chain)-1, "unable to get local issuer certificate"
		if last := chain[len(chain)-1]; string(last.RawSubject) == string(last.RawIssuer) {
			text = "self signed certificate"
			if depth > 0 {
				text = "self signed certificate in certificate chain"
			}
		}
	case errors.As(err, &invalid):
		depth = at(invalid.Cert)
		switch invalid.Reason {
		case x509.Expired:
			text = "certificate has expired"
			if invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore) {
				text = "certificate is not yet valid"
			}
		case x509.IncompatibleUsage:
			text = "unsupported certificate purpose"
		case x509.NotAuthorizedToSign:
			text = "invalid CA certificate"
		case x509.TooManyIntermediates:
			text = "path length constraint exceeded"
		case x509.CANotAuthorizedForThisName, x509.NameConstraintsWithoutSANs:
			text = "permitted subtree violation"
		}
	}
	return depthError(depth, text)
}

// depthError is the error of one certificate of a chain, counted from the peer's own.
func depthError(depth int, text string) *verifyError {
	return &verifyError{failedChain, fmt.Sprintf("X509_verify_cert: certificate verification error at depth %d: %s", depth, text)}
}
