package tls

import (
	"encoding/hex"
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A door is a way in: how a server treats its clients' certificates.
type door struct {
	name    string
	require bool
	v       *tlsv3.CertificateValidationContext // nil: clients are not asked
}

// doors are such that some let in whom others do not.
func doors(t *testing.T, root, other, pinned *issued) []door {
	t.Helper()
	spiffe, err := anypb.New(&tlsv3.SPIFFECertValidatorConfig{TrustDomains: []*tlsv3.SPIFFECertValidatorConfig_TrustDomain{
		{Name: "td", TrustBundle: inline(root.pem())}}})
	if err != nil {
		t.Fatal(err)
	}
	ca := &tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem())}
	with := func(change func(m *tlsv3.CertificateValidationContext)) *tlsv3.CertificateValidationContext {
		m := proto.CloneOf(ca)
		change(m)
		return m
	}
	return []door{
		{"nobody is asked", false, nil},
		{"optional", false, ca},
		{"required", true, ca},
		{"of the other authority", true, &tlsv3.CertificateValidationContext{TrustedCa: inline(other.pem())}},
		{"named", true, with(func(m *tlsv3.CertificateValidationContext) {
			m.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: exactly("spiffe://td/good")}}
		})},
		{"pinned", false, with(func(m *tlsv3.CertificateValidationContext) {
			m.VerifyCertificateHash = []string{hex.EncodeToString(hashOf(pinned.x509.Raw))}
		})},
		{"not deep", true, with(func(m *tlsv3.CertificateValidationContext) { m.MaxVerifyDepth = wrapperspb.UInt32(0) })},
		{"anybody, if asked", false, with(func(m *tlsv3.CertificateValidationContext) {
			m.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		})},
		{"SPIFFE", false, &tlsv3.CertificateValidationContext{
			CustomValidatorConfig: &corev3.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: spiffe}}},
	}
}

// A session that began at one door opens no other: whoever returns with it is let in, and known, exactly as with a handshake from the
// beginning. The servers have their ticket keys and their certificate in common.
func TestASessionOpensNoOtherDoor(t *testing.T) {
	root, other := authority(t, "root"), authority(t, "other")
	good := issue(t, root, wish{name: "good", uri: "spiffe://td/good"})
	clients := []*issued{nil, good, issue(t, other, wish{name: "stranger", uri: "spiffe://td/good"})}
	cert, keys := issue(t, nil, wish{name: "server"}), ticketKeys(t, 1)
	all := doors(t, root, other, good)
	servers := make([]*Server, len(all))
	for i, d := range all {
		c := &tlsv3.CommonTlsContext{}
		if d.v != nil {
			c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: d.v}
		}
		servers[i], _ = serve(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: c, RequireClientCertificate: wrapperspb.Bool(d.require),
			SessionTicketKeysType: &tlsv3.DownstreamTlsContext_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: keys}}}, cert)
	}
	seen := func(o outcome) string {
		if o.err != nil || o.theirs != nil {
			return "refused"
		}
		return fmt.Sprintf("let in with %q, validated: %v", o.info.TLS.Peer.Facts().Subject, o.info.TLS.Verified)
	}
	resumed := 0
	for _, version := range both {
		for _, client := range clients {
			for to := range all {
				want := seen(shake(t, servers[to], returning(version, client)))
				for from := range all {
					cfg := returning(version, client)
					shake(t, servers[from], cfg)
					o := shake(t, servers[to], cfg)
					if got := seen(o); got != want {
						t.Errorf("%x, from %q to %q: %s, want %s", version, all[from].name, all[to].name, got, want)
					}
					if o.info.TLS != nil && o.info.TLS.Resumed {
						if resumed++; from != to {
							t.Errorf("%x: resumed from %q to %q", version, all[from].name, all[to].name)
						}
					}
				}
			}
		}
	}
	if resumed == 0 {
		t.Error("nothing was resumed")
	}
}
