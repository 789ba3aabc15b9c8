package tls

import (
	"crypto/tls"
	"slices"
)

// A suite is a cipher suite of TLS 1.2 and before, by OpenSSL's name.
type suite struct {
	id   uint16
	name string
}

// suites are those that crypto/tls has and Envoy may be configured with. Immutable.
var suites = [...]suite{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"},
	// Up to here: the default, which is Envoy's.
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256"},
}

// defaultSuites is how many of suites are on where the configuration names none.
const defaultSuites = 6

// suites13 are those of TLS 1.3, which cannot be configured. Immutable.
var suites13 = [...]suite{
	{tls.TLS_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"},
	{tls.TLS_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"},
	{tls.TLS_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"},
}

// suiteIndex is the place of a suite in the tables, those of TLS 1.3 first; -1 of an unknown one.
func suiteIndex(id uint16) int {
	is := func(s suite) bool { return s.id == id }
	if i := slices.IndexFunc(suites13[:], is); i >= 0 {
		return i
	}
	if i := slices.IndexFunc(suites[:], is); i >= 0 {
		return len(suites13) + i
	}
	return -1
}

// suiteName is OpenSSL's name of a suite.
func suiteName(id uint16) string {
	i := suiteIndex(id)
	switch {
	case i < 0:
		return tls.CipherSuiteName(id)
	case i < len(suites13):
		return suites13[i].name
	}
	return suites[i-len(suites13)].name
}

// suiteByName finds a configurable suite by OpenSSL's name or the standard one.
func suiteByName(name string) (uint16, bool) {
	for _, s := range suites {
		if s.name == name || tls.CipherSuiteName(s.id) == name {
			return s.id, true
		}
	}
	return 0, false
}

// A curve is a key exchange by Envoy's name.
type curve struct {
	id   tls.CurveID
	name string
}

// curves are the key exchanges that may be configured. Immutable.
var curves = [...]curve{
	{tls.X25519, "X25519"}, {tls.CurveP256, "P-256"}, {tls.CurveP384, "P-384"}, {tls.CurveP521, "P-521"},
	{tls.X25519MLKEM768, "X25519MLKEM768"},
}

// defaultCurves is how many of curves are on where the configuration names none, as in Envoy.
const defaultCurves = 2

// curveIndex is the place of a curve in the table; -1 of an unknown one and of none.
func curveIndex(id tls.CurveID) int {
	return slices.IndexFunc(curves[:], func(c curve) bool { return c.id == id })
}

// curveByName finds a curve by Envoy's name or OpenSSL's.
func curveByName(name string) (tls.CurveID, bool) {
	switch name {
	case "prime256v1", "secp256r1":
		name = "P-256"
	case "secp384r1":
		name = "P-384"
	case "secp521r1":
		name = "P-521"
	case "x25519":
		name = "X25519"
	}
	for _, c := range curves {
		if c.name == name {
			return c.id, true
		}
	}
	return 0, false
}

// versions are the versions of the protocol with their names. Immutable.
var versions = [...]struct {
	id   uint16
	name string
}{{tls.VersionTLS10, "TLSv1"}, {tls.VersionTLS11, "TLSv1.1"}, {tls.VersionTLS12, "TLSv1.2"}, {tls.VersionTLS13, "TLSv1.3"}}

// versionIndex is the place of a version in the table; -1 of an unknown one.
func versionIndex(id uint16) int {
	if id < tls.VersionTLS10 || id > tls.VersionTLS13 {
		return -1
	}
	return int(id - tls.VersionTLS10)
}
