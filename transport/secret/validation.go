package secret

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
)

// The first parts of a CertificateValidationContext; those of a custom validator follow.
const (
	partCA = iota
	partCRL
	partsCommon
)

// validationPlan is how a validation context is made of its message.
func validationPlan(s *Store, m *tlsv3.CertificateValidationContext) func() plan[Validation] {
	pl := planValidation(s, m)
	return func() plan[Validation] { return pl }
}

// combinedPlan is how a validation context is made of defaults and the present content of another, as Envoy combines them: by
// the rules of merging protobuf messages.
func combinedPlan(s *Store, defaults *tlsv3.CertificateValidationContext, base *Slot[Validation]) func() plan[Validation] {
	return func() plan[Validation] {
		return planCombined(s, defaults, base.Load())
	}
}

// planCombined is the plan of defaults combined with a value, nil for none.
func planCombined(s *Store, defaults *tlsv3.CertificateValidationContext, with *Validation) plan[Validation] {
	m := &tlsv3.CertificateValidationContext{}
	if defaults != nil {
		proto.Merge(m, defaults)
	}
	if with != nil {
		proto.Merge(m, with.Message)
		if defaults.GetTrustedCa() == nil {
			m.TrustedCa = with.Message.GetTrustedCa() // not a copy for each of those who combine it
		}
	}
	pl := planValidation(s, m)
	all, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // fails for text that is not UTF-8, which was refused before
	salt := sha256.Sum256(all)
	pl.salt = salt[:]
	return pl
}

func planValidation(s *Store, m *tlsv3.CertificateValidationContext) plan[Validation] {
	custom, fail := customValidator(m)
	pl := plan[Validation]{parts: append([]part{
		partCA:  {"trusted_ca", m.GetTrustedCa()},
		partCRL: {"crl", m.GetCrl()},
	}, custom.parts()...)}
	if dir := m.GetWatchedDirectory().GetPath(); dir != "" {
		pl.dirs = []string{dir}
	}
	pl.build = func(in *inputs) (*Validation, error) {
		if fail != nil {
			return nil, fail
		}
		return s.buildValidation(m, custom, in)
	}
	return pl
}

func (s *Store) buildValidation(m *tlsv3.CertificateValidationContext, custom *spiffe, in *inputs) (*Validation, error) {
	v := &Validation{Message: m, Source: in.parts[partCA].name()}
	if m.GetTrustedCa() != nil {
		a, err := s.anchorsOf(in.data[partCA])
		if err == nil && len(a.certs) == 0 {
			err = errors.New("it has revocation lists (X509 CRL) only")
		}
		if err != nil {
			return nil, faultf("trusted_ca", "it wants PEM: CERTIFICATE blocks", "Failed to load trusted CA certificates from %s: %v", v.Source, err)
		}
		v.Roots, v.Pool, v.CRLs = a.certs, a.pool, a.crls
	} else if m.GetSystemRootCerts() != nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, faultf("system_root_certs", "use trusted_ca", "Failed to load the system's root certificates: %v", err)
		}
		v.Pool, v.Source = pool, "<system>"
	}
	if m.GetCrl() != nil {
		name := in.parts[partCRL].name()
		a, err := s.anchorsOf(in.data[partCRL])
		if err == nil && len(a.crls) == 0 {
			err = errors.New("it has certificates only: there is no revocation list in it")
		}
		if err != nil {
			return nil, faultf("crl", "it wants PEM: X509 CRL blocks", "Failed to load CRL from %s: %v", name, err)
		}
		v.CRLs = append(v.CRLs[:len(v.CRLs):len(v.CRLs)], a.crls...)
	}
	return v, custom.build(s, v, in)
}

// checkTrust reports what makes no sense in a validation context that is used without another, as Envoy does. It returns the slot, or nil.
func checkTrust(slot *Slot[Validation], at resource.Path, p *resource.Problems) *Slot[Validation] {
	if slot == nil {
		return nil
	}
	if v := slot.Load(); v != nil && !v.trusts(at, p) {
		return nil
	}
	return slot
}

// trusts reports what makes no sense in the validation context, which is used as it is.
func (v *Validation) trusts(at resource.Path, p *resource.Problems) bool {
	if v.Pool != nil || v.Trust != nil {
		return true
	}
	const hint = "give it a trusted_ca"
	switch m := v.Message; {
	case m.GetCrl() != nil:
		p.Errorf(at, hint, "Failed to load CRL from %s without trusted CA", part{src: m.GetCrl()}.name())
	case len(m.GetMatchTypedSubjectAltNames()) > 0 || len(m.GetMatchSubjectAltNames()) > 0:
		p.Errorf(at, hint, "SAN-based verification of peer certificates without trusted CA is insecure and not allowed")
	case m.GetAllowExpiredCertificate():
		p.Errorf(at, hint, "Certificate validity period is always ignored without trusted CA")
	default:
		return true
	}
	return false
}
