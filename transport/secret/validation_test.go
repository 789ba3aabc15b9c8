package secret

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/certs"
)

// spiffeOf is the SPIFFE validator in a validation context.
func spiffeOf(m proto.Message) *tlsv3.CertificateValidationContext {
	return &tlsv3.CertificateValidationContext{CustomValidatorConfig: &corev3.TypedExtensionConfig{
		Name: "envoy.tls.cert_validator.spiffe", TypedConfig: must(anypb.New(m)),
	}}
}

func domain(name string, bundle *corev3.DataSource) *tlsv3.SPIFFECertValidatorConfig_TrustDomain {
	return &tlsv3.SPIFFECertValidatorConfig_TrustDomain{Name: name, TrustBundle: bundle}
}

// bundleJSON is a SPIFFE bundle map of one domain.
func bundleJSON(name string, a *certs.Authority) []byte {
	return fmt.Appendf(nil, `{"trust_domains": {%q: {"spiffe_sequence": 1, "keys": [{"use": "jwt-svid", "kid": "x"},
		{"use": "x509-svid", "kty": "EC", "x5c": [%q]}]}}}`, name, base64.StdEncoding.EncodeToString(a.Certificate().Raw))
}

func TestValidationContexts(t *testing.T) {
	a, b := ca(), ca()
	list, other := must(a.CRL(leaf().Leaf)), must(b.CRL())
	bundle := write(t, filepath.Join(t.TempDir(), "ca.pem"), slices.Concat(a.PEM(), b.PEM(), a.PEM()))
	for _, tt := range []struct {
		name                string
		m                   *tlsv3.CertificateValidationContext
		roots, crls, trusts int
		pool                bool
		source              string
	}{
		{"nothing", &tlsv3.CertificateValidationContext{}, 0, 0, 0, false, ""},
		{"one authority", &tlsv3.CertificateValidationContext{TrustedCa: text(a.PEM())}, 1, 0, 0, true, "<inline>"},
		{"two, one of them twice", &tlsv3.CertificateValidationContext{TrustedCa: file(bundle)}, 2, 0, 0, true, bundle},
		{"a list beside the authority", &tlsv3.CertificateValidationContext{TrustedCa: text(slices.Concat(a.PEM(), list))}, 1, 1, 0, true, "<inline>"},
		{"lists", &tlsv3.CertificateValidationContext{TrustedCa: text(slices.Concat(a.PEM(), b.PEM(), list)), Crl: text(slices.Concat(list, other))},
			2, 3, 0, true, "<inline>"},
		{"the system's", &tlsv3.CertificateValidationContext{SystemRootCerts: &tlsv3.CertificateValidationContext_SystemRootCerts{}},
			0, 0, 0, true, "<system>"},
		{"one's own before the system's", &tlsv3.CertificateValidationContext{
			TrustedCa: text(a.PEM()), SystemRootCerts: &tlsv3.CertificateValidationContext_SystemRootCerts{},
		}, 1, 0, 0, true, "<inline>"},
		{"SPIFFE", spiffeOf(&tlsv3.SPIFFECertValidatorConfig{TrustDomains: []*tlsv3.SPIFFECertValidatorConfig_TrustDomain{
			domain("a", text(slices.Concat(a.PEM(), list))), domain("b", file(bundle)),
		}}), 3, 1, 2, false, "<inline>"},
		{"a SPIFFE bundle map", spiffeOf(&tlsv3.SPIFFECertValidatorConfig{TrustBundles: text(bundleJSON("a", a))}), 1, 0, 1, false, "<inline>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &resource.Problems{}
			slot := NewStore(Options{}).View().Validation(tt.m, "v", p)
			if slot == nil || p.Len() > 0 {
				t.Fatalf("problems: %v", p.All())
			}
			v := slot.Load()
			if len(v.Roots) != tt.roots || len(v.CRLs) != tt.crls || len(v.Trust) != tt.trusts || (v.Pool != nil) != tt.pool || v.Source != tt.source {
				t.Errorf("%d roots, %d lists, %d trusts, pool %v, source %q", len(v.Roots), len(v.CRLs), len(v.Trust), v.Pool != nil, v.Source)
			}
			if !proto.Equal(v.Message, tt.m) {
				t.Error("another message")
			}
		})
	}
}

func TestValidationContextsAreRefused(t *testing.T) {
	a := ca()
	list := must(a.CRL())
	names := []*tlsv3.SubjectAltNameMatcher{{Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x"}}}}
	const validator = "v.custom_validator_config.typed_config"
	trusts := func(all ...*tlsv3.SPIFFECertValidatorConfig_TrustDomain) *tlsv3.CertificateValidationContext {
		return spiffeOf(&tlsv3.SPIFFECertValidatorConfig{TrustDomains: all})
	}
	bundles := func(json string) *tlsv3.CertificateValidationContext {
		return spiffeOf(&tlsv3.SPIFFECertValidatorConfig{TrustBundles: text([]byte(json))})
	}
	for _, tt := range []struct {
		name     string
		m        *tlsv3.CertificateValidationContext
		at, want string
	}{
		{"an empty source", &tlsv3.CertificateValidationContext{TrustedCa: &corev3.DataSource{}}, "v.trusted_ca", "the data source is empty"},
		{"a file that is not there", &tlsv3.CertificateValidationContext{TrustedCa: file("/nowhere/ca")}, "v.trusted_ca", "cannot be read"},
		{"garbage", &tlsv3.CertificateValidationContext{TrustedCa: text([]byte("x"))}, "v.trusted_ca",
			"Failed to load trusted CA certificates from <inline>: no PEM block"},
		{"nothing in it", &tlsv3.CertificateValidationContext{TrustedCa: text([]byte(" "))}, "v.trusted_ca", "it is empty"},
		{"cut short", &tlsv3.CertificateValidationContext{TrustedCa: text(slices.Concat(a.PEM(), a.PEM()[:60]))}, "v.trusted_ca", "cut short"},
		{"a list only", &tlsv3.CertificateValidationContext{TrustedCa: text(list)}, "v.trusted_ca", "it has revocation lists (X509 CRL) only"},
		{"OpenSSL's format", &tlsv3.CertificateValidationContext{TrustedCa: text([]byte("-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n"))},
			"v.trusted_ca", "OpenSSL's own format"},
		{"garbage for a list", &tlsv3.CertificateValidationContext{TrustedCa: text(a.PEM()), Crl: text([]byte("x"))}, "v.crl", "Failed to load CRL from <inline>"},
		{"an authority for a list", &tlsv3.CertificateValidationContext{TrustedCa: text(a.PEM()), Crl: text(a.PEM())}, "v.crl",
			"Failed to load CRL from <inline>: it has certificates only"},
		{"a list without authority", &tlsv3.CertificateValidationContext{Crl: text(list)}, "v", "Failed to load CRL from <inline> without trusted CA"},
		{"names without authority", &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: names}, "v", "without trusted CA is insecure"},
		{"expired ones without authority", &tlsv3.CertificateValidationContext{AllowExpiredCertificate: true}, "v", "always ignored without trusted CA"},
		{"a validator without configuration", &tlsv3.CertificateValidationContext{CustomValidatorConfig: &corev3.TypedExtensionConfig{Name: "x"}},
			"v.custom_validator_config", "no typed_config"},
		{"another validator", spiffeOf(&tlsv3.TlsParameters{}), validator, "TlsParameters is not supported"},
		{"no trust domain", trusts(), validator + ".trust_domains", "at least one"},
		{"no bundle", trusts(domain("a", nil)), validator + ".trust_domains[0].trust_bundle", "the data source is empty"},
		{"a bad bundle", trusts(domain("a", text(a.PEM())), domain("b", text([]byte("x")))), validator + ".trust_domains[1].trust_bundle", "no PEM block"},
		{"a domain twice", trusts(domain("a", text(a.PEM())), domain("a", text(a.PEM()))), validator + ".trust_domains[1].name", "one trust domain for a"},
		{"a workload's domain", trusts(&tlsv3.SPIFFECertValidatorConfig_TrustDomain{Name: "a", TrustBundle: text(a.PEM()), WorkloadTrustDomain: "b"}),
			validator + ".trust_domains[0].workload_trust_domain", "not supported"},
		{"a map that is no JSON", bundles("x"), validator + ".trust_bundles", "invalid JSON"},
		{"a map of nothing", bundles("{}"), validator + ".trust_bundles", "no trust domains"},
		{"a map without certificates", bundles(`{"trust_domains": {"a": {"keys": []}}}`), validator + ".trust_bundles", `"a" has no certificates`},
		{"a map with a bad certificate", bundles(`{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "x5c": ["AAAA"]}]}}}`),
			validator + ".trust_bundles", "invalid x509 certificate"},
		{"a map that is not base64", bundles(`{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "x5c": ["!"]}]}}}`),
			validator + ".trust_bundles", "not base64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &resource.Problems{}
			if NewStore(Options{}).View().Validation(tt.m, "v", p) != nil {
				t.Error("there is a slot")
			}
			wantProblem(t, p, tt.at, tt.want)
		})
	}
}

func TestEqualAuthoritiesAreReadOnce(t *testing.T) {
	s, a := NewStore(Options{}), ca()
	m := &tlsv3.CertificateValidationContext{TrustedCa: text(a.PEM())}
	one, two := s.View().Validation(m, "v", &resource.Problems{}), s.View().Validation(proto.CloneOf(m), "w", &resource.Problems{})
	if one.Load().Pool != two.Load().Pool {
		t.Error("the same content was read twice")
	}
}
