package secret

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
)

// spiffe is the trust that envoy.tls.cert_validator.spiffe is configured with; nil without.
type spiffe struct {
	m *tlsv3.SPIFFECertValidatorConfig
}

const spiffeField = resource.Path("custom_validator_config.typed_config")

// customValidator is the custom validator of a validation context, if it has one.
func customValidator(m *tlsv3.CertificateValidationContext) (*spiffe, error) {
	c := m.GetCustomValidatorConfig()
	if c == nil {
		return nil, nil
	}
	const only = "envoy.tls.cert_validator.spiffe is the only custom validator"
	if c.GetTypedConfig() == nil {
		return nil, faultf("custom_validator_config", only, "the custom validator %q has no typed_config", c.GetName())
	}
	decoded, err := resource.Decode(c.GetTypedConfig())
	if err != nil {
		return nil, faultf(spiffeField, only, "%v", err)
	}
	config, ok := decoded.(*tlsv3.SPIFFECertValidatorConfig)
	if !ok {
		return nil, faultf(spiffeField, only, "%s is not supported", decoded.ProtoReflect().Descriptor().FullName())
	}
	return &spiffe{config}, nil
}

// parts are the data sources of the trust bundles. A map of bundles takes precedence over single ones, as in Envoy.
func (s *spiffe) parts() []part {
	switch {
	case s == nil:
		return nil
	case s.m.GetTrustBundles() != nil:
		return []part{{spiffeField.Field("trust_bundles"), s.m.GetTrustBundles()}}
	}
	out := make([]part, len(s.m.GetTrustDomains()))
	for i, d := range s.m.GetTrustDomains() {
		src := d.GetTrustBundle()
		if src == nil {
			src = &corev3.DataSource{} // which cannot be read, and that is reported
		}
		out[i] = part{spiffeField.Field("trust_domains").Index(i).Field("trust_bundle"), src}
	}
	return out
}

// build reads the trust bundles into v.
func (s *spiffe) build(st *Store, v *Validation, in *inputs) error {
	if s == nil {
		return nil
	}
	v.Trust = map[string]*x509.CertPool{}
	v.Roots, v.Pool, v.CRLs = nil, nil, nil // this validator looks at its own bundles only
	if len(in.parts) > partsCommon {
		v.Source = in.parts[partsCommon].name()
	}
	if s.m.GetTrustBundles() != nil {
		return s.bundles(v, in.data[partsCommon])
	}
	if len(s.m.GetTrustDomains()) == 0 {
		return faultf(spiffeField.Field("trust_domains"), "", "there has to be at least one trust domain")
	}
	for i, d := range s.m.GetTrustDomains() {
		at := spiffeField.Field("trust_domains").Index(i)
		if d.GetWorkloadTrustDomain() != "" {
			return faultf(at.Field("workload_trust_domain"), "leave it out", "not supported")
		}
		if v.Trust[d.GetName()] != nil {
			return faultf(at.Field("name"), "", "Multiple trust bundles are given for one trust domain for %s", d.GetName())
		}
		p := in.parts[partsCommon+i]
		a, err := st.anchorsOf(in.data[partsCommon+i])
		if err == nil && len(a.certs) == 0 {
			err = noBlock(nil, "certificate")
		}
		if err != nil {
			return faultf(p.field, "it wants PEM: CERTIFICATE blocks", "Failed to load trusted CA certificate from %s: %v", p.name(), err)
		}
		v.Trust[d.GetName()] = a.pool
		v.Roots, v.CRLs = append(v.Roots, a.certs...), append(v.CRLs, a.crls...)
	}
	return nil
}

// bundleMap is a SPIFFE bundle map as JSON: the JWK sets of trust domains (SPIFFE Trust Domain and Bundle, section 4).
type bundleMap struct {
	Domains map[string]struct {
		Keys []struct {
			Use string   `json:"use"`
			X5C []string `json:"x5c"`
		} `json:"keys"`
	} `json:"trust_domains"`
}

// bundles reads a bundle map. Keys that are not for X.509 are passed over.
func (s *spiffe) bundles(v *Validation, text []byte) error {
	const hint = "it wants the JSON of a SPIFFE bundle map"
	at := spiffeField.Field("trust_bundles")
	var m bundleMap
	if err := json.Unmarshal(text, &m); err != nil {
		return faultf(at, hint, "invalid JSON found in SPIFFE bundle: %v", err)
	}
	if len(m.Domains) == 0 {
		return faultf(at, hint, "no trust domains found in SPIFFE bundle")
	}
	for _, domain := range slices.Sorted(maps.Keys(m.Domains)) {
		set := m.Domains[domain]
		pool, n := x509.NewCertPool(), 0
		for _, key := range set.Keys {
			if key.Use != "x509-svid" {
				continue
			}
			for _, text := range key.X5C {
				c, err := certificateBase64(text)
				if err != nil {
					return faultf(at, hint, "trust domain %q: invalid x509 certificate in x5c: %v", domain, err)
				}
				pool.AddCert(c)
				v.Roots, n = append(v.Roots, c), n+1
			}
		}
		if n == 0 {
			return faultf(at, hint, "trust domain %q has no certificates for x509-svid", domain)
		}
		v.Trust[domain] = pool
	}
	return nil
}

func certificateBase64(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("not base64: %w", err)
	}
	return x509.ParseCertificate(der)
}
