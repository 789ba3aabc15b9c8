package format

import (
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe"
)

// A handshake picks what a TLS handshake established; nil: the connection has none.
type handshake func(e *observe.Entry) *conn.TLS

func downstreamTLS(e *observe.Entry) *conn.TLS {
	if e.Conn == nil {
		return nil
	}
	return e.Conn.TLS
}

func upstreamTLS(e *observe.Entry) *conn.TLS {
	if e.Record == nil {
		return nil
	}
	return e.Record.UpstreamTLS
}

// tlsOperators print what the handshakes with the client and with the upstream established. Immutable.
var tlsOperators = merge(bothSides("DOWNSTREAM_", downstreamTLS), bothSides("UPSTREAM_", upstreamTLS), map[string]definition{
	"DOWNSTREAM_PEER_CERT_V_START":           clock(certStart(downstreamTLS), time.UTC),
	"DOWNSTREAM_PEER_CERT_V_END":             clock(certEnd(downstreamTLS), time.UTC),
	"UPSTREAM_PEER_CERT_V_START":             clock(certStart(upstreamTLS), time.UTC),
	"UPSTREAM_PEER_CERT_V_END":               clock(certEnd(upstreamTLS), time.UTC),
	"DOWNSTREAM_PEER_SERIAL":                 peerFact(downstreamTLS, func(f *conn.CertificateFacts) string { return f.Serial }),
	"DOWNSTREAM_PEER_FINGERPRINT_256":        peerFact(downstreamTLS, func(f *conn.CertificateFacts) string { return f.Fingerprint256 }),
	"DOWNSTREAM_PEER_FINGERPRINT_1":          peerFact(downstreamTLS, func(f *conn.CertificateFacts) string { return f.Fingerprint1 }),
	"DOWNSTREAM_PEER_EMAIL_SAN":              peerList(downstreamTLS, func(f *conn.CertificateFacts) []string { return f.EmailSANs }),
	"DOWNSTREAM_PEER_OTHERNAME_SAN":          peerList(downstreamTLS, func(f *conn.CertificateFacts) []string { return f.OtherNames }),
	"DOWNSTREAM_LOCAL_EMAIL_SAN":             localList(downstreamTLS, func(f *conn.CertificateFacts) []string { return f.EmailSANs }),
	"DOWNSTREAM_LOCAL_OTHERNAME_SAN":         localList(downstreamTLS, func(f *conn.CertificateFacts) []string { return f.OtherNames }),
	"DOWNSTREAM_PEER_CHAIN_SERIALS":          chain(func(f *conn.CertificateFacts) string { return f.Serial }),
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256": chain(func(f *conn.CertificateFacts) string { return f.Fingerprint256 }),
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1":   chain(func(f *conn.CertificateFacts) string { return f.Fingerprint1 }),
	"UPSTREAM_SERVER_NAME":                   tlsText(upstreamTLS, func(t *conn.TLS) string { return t.SNI }),
	"TLS_JA3_FINGERPRINT":                    connText(func(c *conn.Info) string { return c.JA3 }),
	"TLS_JA4_FINGERPRINT":                    connText(func(c *conn.Info) string { return c.JA4 }),
})

// bothSides defines the operators that exist for the connection from the client and for the one to the upstream.
func bothSides(prefix string, of handshake) map[string]definition {
	all := map[string]definition{
		"TLS_VERSION":    tlsText(of, func(t *conn.TLS) string { return t.Version }),
		"TLS_CIPHER":     tlsText(of, func(t *conn.TLS) string { return t.Cipher }),
		"TLS_GROUP":      tlsText(of, func(t *conn.TLS) string { return t.Curve }),
		"TLS_SESSION_ID": tlsText(of, func(t *conn.TLS) string { return t.SessionID }),
		"PEER_SUBJECT":   peerFact(of, func(f *conn.CertificateFacts) string { return f.Subject }),
		"PEER_ISSUER":    peerFact(of, func(f *conn.CertificateFacts) string { return f.Issuer }),
		"PEER_CERT":      peerFact(of, func(f *conn.CertificateFacts) string { return f.PEM }),
		"PEER_URI_SAN":   peerList(of, func(f *conn.CertificateFacts) []string { return f.URISANs }),
		"PEER_DNS_SAN":   peerList(of, func(f *conn.CertificateFacts) []string { return f.DNSSANs }),
		"PEER_IP_SAN":    peerList(of, func(f *conn.CertificateFacts) []string { return f.IPSANs }),
		"LOCAL_SUBJECT":  tlsText(of, func(t *conn.TLS) string { return t.Local.Facts().Subject }),
		"LOCAL_URI_SAN":  localList(of, func(f *conn.CertificateFacts) []string { return f.URISANs }),
		"LOCAL_DNS_SAN":  localList(of, func(f *conn.CertificateFacts) []string { return f.DNSSANs }),
		"LOCAL_IP_SAN":   localList(of, func(f *conn.CertificateFacts) []string { return f.IPSANs }),
	}
	named := make(map[string]definition, len(all))
	for name, d := range all {
		named[prefix+name] = d
	}
	return named
}

func tlsText(of handshake, get func(t *conn.TLS) string) definition {
	return definition{noArgs, func(command, Options) (*operator, error) {
		return &operator{run: runText, peer: true, get: func(e *observe.Entry) string {
			t := of(e)
			if t == nil {
				return ""
			}
			return get(t)
		}}, nil
	}}
}

func peerFact(of handshake, get func(f *conn.CertificateFacts) string) definition {
	return tlsText(of, func(t *conn.TLS) string { return get(t.Peer.Facts()) })
}

func peerList(of handshake, get func(f *conn.CertificateFacts) []string) definition {
	return tlsList(of, func(t *conn.TLS) []string { return get(t.Peer.Facts()) })
}

func localList(of handshake, get func(f *conn.CertificateFacts) []string) definition {
	return tlsList(of, func(t *conn.TLS) []string { return get(t.Local.Facts()) })
}

// tlsList defines an operator that prints a list with commas in between.
func tlsList(of handshake, get func(t *conn.TLS) []string) definition {
	run := func(_ *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
		t := of(e)
		if t == nil {
			return dst, false
		}
		all := get(t)
		for i, v := range all {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, v...)
		}
		return dst, len(all) > 0
	}
	return definition{noArgs, func(command, Options) (*operator, error) { return &operator{run: run, peer: true}, nil }}
}

// chain defines an operator that prints a fact of every certificate that the client sent, its own first.
func chain(get func(f *conn.CertificateFacts) string) definition {
	run := func(_ *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
		all := downstreamTLS(e).Certificates()
		for i, c := range all {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, get(c.Facts())...)
		}
		return dst, len(all) > 0
	}
	return definition{noArgs, func(command, Options) (*operator, error) { return &operator{run: run, peer: true}, nil }}
}

func certStart(of handshake) instant {
	return func(e *observe.Entry) time.Time {
		if t := of(e); t != nil {
			return t.Peer.Facts().NotBefore
		}
		return time.Time{}
	}
}

func certEnd(of handshake) instant {
	return func(e *observe.Entry) time.Time {
		if t := of(e); t != nil {
			return t.Peer.Facts().NotAfter
		}
		return time.Time{}
	}
}
