package tls

import (
	"crypto/tls"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
)

// params are what a TlsParameters says, with the defaults. Immutable.
type params struct {
	min, max uint16
	suites   []uint16 // of TLS 1.2 and before
	curves   []tls.CurveID
}

// compileParams reads the versions, suites and curves. A client's default maximum is TLS 1.2, a server's TLS 1.3, as in Envoy.
func compileParams(m *tlsv3.TlsParameters, client bool, at resource.Path, p *resource.Problems) params {
	c := params{min: tls.VersionTLS12, max: tls.VersionTLS13}
	if client {
		c.max = tls.VersionTLS12
	}
	if v := m.GetTlsMinimumProtocolVersion(); v != tlsv3.TlsParameters_TLS_AUTO {
		c.min = version(v)
	}
	if v := m.GetTlsMaximumProtocolVersion(); v != tlsv3.TlsParameters_TLS_AUTO {
		c.max = version(v)
	} else {
		c.max = max(c.max, c.min) // TLS 1.3 as a client's minimum says enough
	}
	if c.min > c.max {
		p.Errorf(at.Field("tls_minimum_protocol_version"), "make it the maximum or less", "the minimum %s is above the maximum %s",
			versions[versionIndex(c.min)].name, versions[versionIndex(c.max)].name)
	}
	c.suites = compileSuites(m.GetCipherSuites(), at.Field("cipher_suites"), p)
	c.curves = compileCurves(m.GetEcdhCurves(), at.Field("ecdh_curves"), p)
	return c
}

// version is the number on the wire.
func version(v tlsv3.TlsParameters_TlsProtocol) uint16 {
	return tls.VersionTLS10 + uint16(v-tlsv3.TlsParameters_TLSv1_0)
}

// compileSuites reads names of suites, each of which may be a group of equals in brackets.
func compileSuites(names []string, at resource.Path, p *resource.Problems) []uint16 {
	var ids []uint16
	for i, entry := range names {
		for name := range strings.SplitSeq(entry, ":") {
			if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
				name = name[1 : len(name)-1]
			}
			for name := range strings.SplitSeq(name, "|") {
				id, ok := suiteByName(name)
				if !ok {
					p.Errorf(at.Index(i), suiteHint(name), "cipher suite %q is not supported", name)
				} else if !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
	}
	if len(names) == 0 {
		for _, s := range suites[:defaultSuites] {
			ids = append(ids, s.id)
		}
	}
	return ids
}

func suiteHint(name string) string {
	if slices.ContainsFunc(suites13[:], func(s suite) bool { return s.name == name }) {
		return "the suites of TLS 1.3 cannot be chosen: leave it out"
	}
	var known []string
	for _, s := range suites {
		known = append(known, s.name)
	}
	return "there are " + strings.Join(known, ", ")
}

func compileCurves(names []string, at resource.Path, p *resource.Problems) []tls.CurveID {
	var ids []tls.CurveID
	for i, entry := range names {
		for name := range strings.SplitSeq(entry, ":") {
			if id, ok := curveByName(name); ok {
				ids = append(ids, id)
			} else {
				p.Errorf(at.Index(i), "there are X25519, P-256, P-384, P-521, X25519MLKEM768", "curve %q is not supported", name)
			}
		}
	}
	if len(names) == 0 {
		for _, c := range curves[:defaultCurves] {
			ids = append(ids, c.id)
		}
	}
	return ids
}
