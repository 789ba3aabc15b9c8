package tls

import (
	"crypto/tls"
	"strings"
	"sync/atomic"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
)

// A common is what a CommonTlsContext says, for both sides. Immutable.
type common struct {
	params
	pairs      []*secret.Slot[secret.KeyPair] // what may be shown to the peer; none: no certificate
	validation *validation                    // nil: peers are not verified, and clients not asked for a certificate
	alpn       []string
	keyLog     *keyLog // nil: none
	meters     *meters
}

// A fit is what one side wants of secrets. What is wrong is reported to p; so it is for versions that come later (SDS), which are refused.
type fit struct {
	client     bool
	pair       func(k *secret.KeyPair, at resource.Path, p *resource.Problems) // nil: any will do
	validation func(v *verifier, at resource.Path, p *resource.Problems)       // nil: any that works will do
}

// compileCommon reads a CommonTlsContext that stands at a place. What is wrong is reported to env.Problems; the result is of no use then.
func compileCommon(env *socket.Env, m *tlsv3.CommonTlsContext, fit fit, at resource.Path) *common {
	p := env.Problems
	c := &common{
		params: compileParams(m.GetTlsParams(), fit.client, at.Field("tls_params"), p),
		alpn:   compileALPN(m.GetAlpnProtocols(), at.Field("alpn_protocols"), p),
		keyLog: compileKeyLog(m.GetKeyLog(), env.Log, at.Field("key_log"), p),
		meters: newMeters(env.Stats, fit.client),
	}
	for i, t := range m.GetTlsCertificates() {
		if s := env.Secrets.KeyPair(t, at.Field("tls_certificates").Index(i), p); s != nil {
			c.pairs = append(c.pairs, s)
		}
	}
	if len(m.GetTlsCertificates()) == 0 { // else they are ignored, as in Envoy
		use := secret.Use[secret.KeyPair]{Fits: fit.pair, Changed: c.changed}
		for i, ref := range m.GetTlsCertificateSdsSecretConfigs() {
			if s := env.Secrets.NamedKeyPair(ref, at.Field("tls_certificate_sds_secret_configs").Index(i), p, use); s != nil {
				c.pairs = append(c.pairs, s)
			}
		}
	}
	c.validation = compileValidation(env, m, at, secret.Use[secret.Validation]{Fits: fit.validate, Changed: c.changed})
	return c
}

// validate is what both sides want of a validation context.
func (f fit) validate(v *secret.Validation, at resource.Path, p *resource.Problems) {
	vf := newVerifier(v)
	if vf.broken != nil {
		p.Errorf(at, "", "%v", vf.broken)
	} else if f.validation != nil {
		f.validation(vf, at, p)
	}
}

// changed notes that a source has delivered another version of a secret. New handshakes find out by themselves.
func (c *common) changed() {
	c.meters.updated()
	c.meters.expirations(c.pairs)
}

// compileALPN reads the protocols, several of which may stand in one entry, separated by commas.
func compileALPN(list []string, at resource.Path, p *resource.Problems) []string {
	var all []string
	for i, entry := range list {
		for name := range strings.SplitSeq(entry, ",") {
			if name == "" || len(name) > 255 {
				p.Errorf(at.Index(i), "1 to 255 bytes", "%q is not the name of a protocol", name)
				continue
			}
			all = append(all, name)
		}
	}
	return all
}

// config returns a new configuration of crypto/tls with what both sides have in common.
func (c *common) config() *tls.Config {
	return &tls.Config{
		MinVersion: c.min, MaxVersion: c.max, CipherSuites: c.suites, CurvePreferences: c.curves, NextProtos: c.alpn,
		DynamicRecordSizingDisabled: true, // what is written at once is as large as it should be already
	}
}

// A validation is a slot of secret.Validation with the verifier of its current value. Safe for concurrent use.
type validation struct {
	slot *secret.Slot[secret.Validation]
	made atomic.Pointer[verifier]
}

// compileValidation finds how peers are verified; nil where nothing is said about that.
func compileValidation(env *socket.Env, m *tlsv3.CommonTlsContext, at resource.Path, use secret.Use[secret.Validation]) *validation {
	v, p := &validation{}, env.Problems
	switch t := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		at = at.Field("validation_context")
		v.slot = env.Secrets.Validation(t.ValidationContext, at, p)
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		at = at.Field("validation_context_sds_secret_config")
		v.slot = env.Secrets.NamedValidation(t.ValidationContextSdsSecretConfig, at, p, use)
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		at = at.Field("combined_validation_context")
		v.slot = env.Secrets.CombinedValidation(t.CombinedValidationContext, at, p, use)
	}
	if v.slot == nil {
		return nil
	}
	if now := v.load(); now != nil && now.broken != nil {
		p.Errorf(at, "", "%v", now.broken)
	}
	return v
}

// load returns the verifier of the slot's current value, nil while there is none.
func (v *validation) load() *verifier {
	now := v.slot.Load()
	if now == nil {
		return nil
	}
	vf := v.made.Load()
	if vf == nil || vf.of != now {
		vf = newVerifier(now)
		v.made.Store(vf)
	}
	return vf
}

// describe is what others may know of a finished handshake.
func describe(cs *tls.ConnectionState, local *conn.Certificate, verified bool) *conn.TLS {
	t := &conn.TLS{
		Cipher: suiteName(cs.CipherSuite), Suite: cs.CipherSuite, ALPN: cs.NegotiatedProtocol, SNI: match.LowerASCII(cs.ServerName),
		Resumed: cs.DidResume, Verified: verified, Chain: cs.PeerCertificates, Local: local,
	}
	if i := versionIndex(cs.Version); i >= 0 {
		t.Version = versions[i].name
	}
	if i := curveIndex(cs.CurveID); i >= 0 {
		t.Curve = curves[i].name
	}
	if len(cs.PeerCertificates) > 0 {
		t.Peer = conn.NewCertificate(cs.PeerCertificates[0])
	}
	return t
}
