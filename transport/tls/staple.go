package tls

import (
	"crypto/tls"
	"slices"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// A stapling is what becomes of the OCSP response of a certificate in one handshake.
type stapling uint8

const (
	notAsked   stapling = iota // the client does not know OCSP
	staple                     // it is sent
	withoutOne                 // there is none, or none that is in time, and that is allowed
	forbidden                  // the certificate must not be shown without one
)

// extensionStatusRequest says in a ClientHello that the client knows OCSP. (RFC 6066 section 8)
const extensionStatusRequest = 5

// asksForStaple reports whether the client knows OCSP.
func asksForStaple(hello *tls.ClientHelloInfo) bool {
	return slices.Contains(hello.Extensions, extensionStatusRequest)
}

// stapling decides about a certificate's response under a policy (ocsp_staple_policy), as Envoy does: what the client does not ask for is
// never missing.
func (c *certificate) stapling(policy tlsv3.DownstreamTlsContext_OcspStaplePolicy, asked bool) stapling {
	if !asked {
		return notAsked
	}
	if c.stapled != nil && time.Now().Before(c.pair.StapleEnds) { // one that does not say when it ends has ended
		return staple
	}
	switch {
	case c.pair.MustStaple, policy == tlsv3.DownstreamTlsContext_MUST_STAPLE,
		policy == tlsv3.DownstreamTlsContext_STRICT_STAPLING && c.stapled != nil:
		return forbidden
	}
	return withoutOne
}

// count counts what was decided.
func (s stapling) count(st *Counters) {
	if s != notAsked {
		st.OCSPStapleRequests.Inc()
	}
	switch s {
	case staple:
		st.OCSPStapleResponses.Inc()
	case withoutOne:
		st.OCSPStapleOmitted.Inc()
	case forbidden:
		st.OCSPStapleFailed.Inc()
	case notAsked:
	}
}
