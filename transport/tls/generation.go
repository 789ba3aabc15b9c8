package tls

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"

	"github.com/weftproxy/weft/transport/secret"
)

// A generation is a server with the values that its secrets had at one moment. Immutable.
type generation struct {
	selector
	verifier *verifier // nil: clients are not asked for certificates
	required bool      // a client has to have a certificate
	keys     *secret.TicketKeys
	configs  [2][2]*tls.Config // by whether there is a protocol in common and whether secrets are logged; nil where that cannot be
}

// generation makes a new generation of the current values; nil while one has none.
func (s *Server) generation() *generation {
	g := &generation{selector: selector{policy: s.policy, fullScan: s.fullScan}}
	for _, slot := range s.common.pairs {
		pair := slot.Load()
		if pair == nil {
			return nil
		}
		g.all = append(g.all, newCertificate(slot, pair))
	}
	g.index()
	if v := s.common.validation; v != nil {
		if g.verifier = v.load(); g.verifier == nil {
			return nil
		}
	}
	keys := s.auto
	if s.ticketKeys != nil {
		if g.keys = s.ticketKeys.Load(); g.keys == nil {
			return nil
		}
		keys = configured(g.keys)
	}
	auth, pool := g.clientAuth(s.require)
	g.required = auth == tls.RequireAnyClientCert || auth == tls.RequireAndVerifyClientCert
	t := &tickets{keys: keys, context: newSessionContext(g.all, g.verifier, g.required), timeout: s.timeout}
	for noALPN := range 2 {
		for logged := range 2 {
			if noALPN == 1 && len(s.common.alpn) == 0 || logged == 1 && s.common.keyLog == nil {
				continue
			}
			c := s.common.config()
			c.GetCertificate, c.ClientAuth, c.ClientCAs = s.certificate, auth, pool
			if auth != tls.NoClientCert {
				c.VerifyConnection = g.verify
			}
			if c.SessionTicketsDisabled = s.ticketsOff; !s.ticketsOff {
				c.WrapSession, c.UnwrapSession = t.wrap, t.unwrap
			}
			if noALPN == 1 {
				c.NextProtos = nil
			}
			if logged == 1 {
				c.KeyLogWriter = s.common.keyLog
			}
			g.configs[noALPN][logged] = c
		}
	}
	return g
}

// clientAuth says whether clients are asked for certificates, and which authorities they are told of. Where crypto/tls can verify the chain
// by itself it does, since only so a client learns by the alert what is wrong.
func (g *generation) clientAuth(require bool) (tls.ClientAuthType, *x509.CertPool) {
	v := g.verifier
	if v == nil {
		if require {
			return tls.RequireAnyClientCert, nil
		}
		return tls.NoClientCert, nil
	}
	required := require || v.domains != nil || v.broken != nil || v.pinned() && !v.untrusted
	if !required && v.trust == nil && !v.untrusted {
		return tls.NoClientCert, nil
	}
	var pool *x509.CertPool
	if v.trust != nil && !v.of.Message.GetSuppressClientCaList() {
		pool = v.of.Pool
	}
	auth := tls.RequestClientCert
	if required {
		auth = tls.RequireAnyClientCert
	}
	if pool != nil && v.trust.plain() && !v.untrusted && v.broken == nil {
		if auth = tls.VerifyClientCertIfGiven; required {
			auth = tls.RequireAndVerifyClientCert
		}
	}
	return auth, pool
}

// verify implements tls.Config.VerifyConnection: it holds what the client has shown, now or when the session began, to the configuration.
// What lets pass anything is looked at once, after the handshake.
func (g *generation) verify(cs tls.ConnectionState) error {
	v := g.verifier
	if len(cs.PeerCertificates) == 0 || v != nil && v.untrusted && v.broken == nil {
		return nil
	}
	if v == nil {
		return &verifyError{failedChain, "there is nothing to verify the certificate with"}
	}
	d := demand{client: true, now: time.Now()}
	if !cs.DidResume {
		d.chains = cs.VerifiedChains
	}
	_, err := v.verify(cs.PeerCertificates, &d)
	return err
}

// verified reports whether the certificate that the client has shown in a handshake, which has succeeded, was validated.
func (g *generation) verified(cs *tls.ConnectionState) bool {
	v := g.verifier
	if len(cs.PeerCertificates) == 0 || v == nil {
		return false
	}
	if !v.untrusted {
		return true
	}
	ok, err := v.verify(cs.PeerCertificates, &demand{client: true, now: time.Now()})
	return ok && err == nil
}

// config is the configuration for a client that offers the given protocols. Where none of them is known the handshake goes on without one,
// as in BoringSSL; crypto/tls would end it.
func (g *generation) config(offered []string, logged bool) *tls.Config {
	noALPN, log := 0, 0
	if logged {
		log = 1
	}
	known := g.configs[0][log].NextProtos
	if len(known) > 0 && len(offered) > 0 && !slices.ContainsFunc(offered, func(p string) bool { return slices.Contains(known, p) }) {
		noALPN = 1
	}
	return g.configs[noALPN][log]
}
