package tls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
)

// A client is an UpstreamTlsContext. Safe for concurrent use.
type client struct {
	*common
	sni      string
	hostSNI  bool // auto_host_sni
	checkSNI bool // auto_sni_san_validation
	sessions int  // max_session_keys
	state    atomic.Pointer[clientState]
}

// A clientState is what a client makes of the present values of its secrets. Immutable but for the sessions.
type clientState struct {
	pair     *secret.KeyPair    // nil: no certificate
	of       *secret.Validation // nil: no validation context
	verifier *verifier          // of it; nil: the server is not verified
	sessions *sessions          // nil: none are kept
}

// Upstream is the transport socket of clusters.
func Upstream() socket.Factory {
	return socket.Factory{
		Name: name, Config: &tlsv3.UpstreamTlsContext{}, Support: Support,
		NewClient: func(env *socket.Env, cfg proto.Message) (socket.Client, error) {
			return newClient(env, cfg.(*tlsv3.UpstreamTlsContext)), nil
		},
	}
}

// newClient compiles an UpstreamTlsContext. What is wrong is reported to env.Problems.
func newClient(env *socket.Env, m *tlsv3.UpstreamTlsContext) *client {
	p, at := env.Problems, env.Path.Field("common_tls_context")
	t := m.GetCommonTlsContext()
	c := &client{sni: m.GetSni(), hostSNI: m.GetAutoHostSni(), checkSNI: m.GetAutoSniSanValidation(), sessions: 1}
	if v := m.GetMaxSessionKeys(); v != nil {
		c.sessions = int(min(v.GetValue(), mostSessions))
	}
	if len(m.GetSni()) > 255 {
		p.Errorf(env.Path.Field("sni"), "", "SNI names longer than 255 bytes are not supported")
	}
	switch {
	case len(t.GetTlsCertificates()) > 1:
		p.Errorf(at.Field("tls_certificates"), "leave one", "Multiple TLS certificates are not supported for client contexts")
	case len(t.GetTlsCertificateSdsSecretConfigs()) > 1:
		p.Errorf(at.Field("tls_certificate_sds_secret_configs"), "leave one", "Multiple TLS certificates are not supported for client contexts")
	}
	c.common = compileCommon(env, t, fit{client: true}, at)
	if c.checkSNI && t.GetValidationContextType() == nil {
		p.Errorf(env.Path.Field("auto_sni_san_validation"), "give common_tls_context a validation_context with a trusted_ca",
			"'auto_sni_san_validation' was configured without a validation context")
	}
	c.meters.expirations(c.pairs)
	return c
}

// Features implements socket.Client.
func (c *client) Features() socket.Features { return socket.Features{Secure: true, ALPN: c.alpn} }

// Handshake implements socket.Client. What the configuration does not ask for is not verified: without a validation context nothing is, and
// names are only where it has matchers, with auto_sni_san_validation, and where o asks for some.
func (c *client) Handshake(u *conn.Conn, o socket.Options) error {
	info := u.Info()
	a := attempt{c: c, sni: c.serverName(o), sans: o.SANs}
	tc, err := a.run(u, c.protocols(o))
	if err != nil {
		if cause := u.Woken(); cause != nil {
			return cause
		}
		info.TransportFailure = c.meters.failed(u.Lane, err)
		return err
	}
	cs := tc.ConnectionState()
	c.meters.succeeded(u.Lane, &cs)
	var local *conn.Certificate
	if a.shown || cs.DidResume && a.state.pair != nil {
		local = a.state.pair.Facts
	}
	info.TLS = describe(&cs, local, a.verified)
	info.TLS.SNI = strings.ToLower(a.sni)
	l := layer{tc}
	l.Rest()
	u.SetLayer(l)
	return nil
}

// serverName returns the name to ask the server for.
func (c *client) serverName(o socket.Options) string {
	switch {
	case o.SNI != "":
		return o.SNI
	case c.hostSNI && o.HostName != "":
		return o.HostName
	}
	return c.sni
}

// protocols returns what to offer to the server.
func (c *client) protocols(o socket.Options) []string {
	switch {
	case o.ALPN != nil:
		return o.ALPN
	case len(c.alpn) > 0:
		return c.alpn
	}
	return o.Fallback
}

// load returns the state for the present values of the secrets. Sessions of earlier values are forgotten: they stand for certificates that
// are no longer shown, and for verifications under other rules.
func (c *client) load() (*clientState, error) {
	var pair *secret.KeyPair
	if len(c.pairs) > 0 {
		if pair = c.pairs[0].Load(); pair == nil {
			return nil, errNotReady
		}
	}
	var vf *verifier
	var of *secret.Validation
	if c.validation != nil {
		if vf = c.validation.load(); vf == nil {
			return nil, errNotReady
		}
		if of = vf.of; !vf.verifies() {
			vf = nil
		}
	}
	for {
		old := c.state.Load()
		if old != nil && old.pair == pair && old.of == of {
			return old, nil
		}
		next := &clientState{pair: pair, of: of, verifier: vf}
		if c.sessions > 0 {
			next.sessions = &sessions{most: c.sessions}
		}
		if c.state.CompareAndSwap(old, next) {
			if old != nil && old.pair != pair {
				c.meters.expirations(c.pairs)
			}
			return next, nil
		}
	}
}

// An attempt is one handshake.
type attempt struct {
	c        *client
	state    *clientState
	sni      string
	sans     []string
	shown    bool // the server was shown the certificate
	verified bool // the server's certificate was validated
}

// run makes the handshake.
func (a *attempt) run(u *conn.Conn, alpn []string) (*tls.Conn, error) {
	var err error
	if a.state, err = a.c.load(); err != nil {
		return nil, err
	}
	cfg := a.c.config()
	cfg.InsecureSkipVerify = true // verify does it, for resumed sessions as well
	cfg.VerifyConnection = a.verify
	cfg.ServerName, cfg.NextProtos = a.sni, alpn
	if a.state.pair != nil {
		cfg.GetClientCertificate = a.show
	}
	if a.c.keyLog.wants(u.Info()) {
		cfg.KeyLogWriter = a.c.keyLog
	}
	var keeper *keeper
	if a.state.sessions != nil {
		keeper = a.state.sessions.keeper(sessionKey{
			sni: a.sni, names: strings.Join(a.sans, ","), alpn: strings.Join(alpn, ","), host: u.RemoteAddr().String(),
		})
		cfg.ClientSessionCache = keeper
	}
	tc := tls.Client(u.Wire(), cfg)
	if err := tc.Handshake(); err != nil {
		return nil, err
	}
	if keeper != nil {
		keeper.over.Store(true)
	}
	return tc, nil
}

// show returns the certificate for a server that asks for one. Which authorities the server names does not matter, as in Envoy.
func (a *attempt) show(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	a.shown = true
	return &a.state.pair.Certificate, nil
}

// errKeyUsage is why a certificate is refused whose keyUsage forbids what it was used for, in BoringSSL's words.
var errKeyUsage = errors.New("KEY_USAGE_BIT_INCORRECT")

// verify holds the server's certificate to the present rules.
func (a *attempt) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("tls: the server has no certificate")
	}
	if !cs.DidResume && !usable(cs.PeerCertificates[0], cs.CipherSuite) {
		return errKeyUsage
	}
	vf, dns := a.state.verifier, ""
	if a.c.checkSNI {
		if dns = a.sni; dns == "" {
			return &verifyError{failedSAN, "auto_sni_san_validation: there is no SNI"}
		}
	}
	if vf == nil {
		if len(a.sans) == 0 && dns == "" {
			return nil
		}
		vf = &noTrust
	}
	validated, err := vf.verify(cs.PeerCertificates, &demand{sans: a.sans, dns: dns, now: time.Now()})
	a.verified = validated
	return err
}

// noTrust verifies the names that are asked for and nothing else. Immutable.
var noTrust verifier

// usable reports whether a certificate's keyUsage, where it has one, allows what a suite does with its key: to sign, or with the RSA key
// exchange to encrypt. (RFC 5280 section 4.2.1.3)
func usable(x *x509.Certificate, suite uint16) bool {
	if x.KeyUsage == 0 {
		return true
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if s.ID == suite && strings.HasPrefix(s.Name, "TLS_RSA_") {
			return x.KeyUsage&x509.KeyUsageKeyEncipherment != 0
		}
	}
	return x.KeyUsage&x509.KeyUsageDigitalSignature != 0
}

// Reason says what Envoy would of an error that TLS has ended a connection with after its handshake, "" where TLS is not why.
func Reason(err error) string { return explain(err).text }
