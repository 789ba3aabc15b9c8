package tls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
)

// A Server is a DownstreamTlsContext. It implements socket.Server; safe for concurrent use.
type Server struct {
	common     *common
	require    bool                            // require_client_certificate
	ticketKeys *secret.Slot[secret.TicketKeys] // nil: keys of its own
	ticketsOff bool                            // no session is resumed
	timeout    time.Duration                   // session_timeout
	policy     tlsv3.DownstreamTlsContext_OcspStaplePolicy
	fullScan   bool

	base *tls.Config // finds the generation's
	auto *tls.Config // has the server's own ticket keys, which crypto/tls renews; they outlive the generations

	current atomic.Pointer[generation] // nil while a secret has no value
	looked  atomic.Int64               // scope.Now when all certificates were looked at, see fresh
	mu      sync.Mutex                 // making a generation
}

// How long tickets are good for where session_timeout says nothing, and where it says 0, which is as in BoringSSL.
const (
	defaultTimeout = 24 * time.Hour
	zeroTimeout    = 2 * time.Hour
)

// NewServer compiles a DownstreamTlsContext. What is wrong is reported to env.Problems.
func NewServer(env *socket.Env, m *tlsv3.DownstreamTlsContext) (*Server, error) {
	at, p := env.Path, env.Problems
	s := &Server{
		require:    m.GetRequireClientCertificate().GetValue(),
		ticketsOff: m.GetDisableStatelessSessionResumption(), timeout: timeoutOf(m),
		policy: m.GetOcspStaplePolicy(), fullScan: m.GetFullScanCertsOnSniMismatch().GetValue(),
		auto: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	s.common = compileCommon(env, m.GetCommonTlsContext(), fit{pair: s.checkStaple, validation: s.checkRequired}, at.Field("common_tls_context"))
	// Tickets are not its business: the generation's configurations wrap and unwrap them.
	s.base = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: s.config, SessionTicketsDisabled: true}
	switch k := m.GetSessionTicketKeysType().(type) {
	case *tlsv3.DownstreamTlsContext_SessionTicketKeys:
		s.ticketKeys = env.Secrets.TicketKeys(k.SessionTicketKeys, at.Field("session_ticket_keys"), p)
	case *tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig:
		s.ticketKeys = env.Secrets.NamedTicketKeys(k.SessionTicketKeysSdsSecretConfig, at.Field("session_ticket_keys_sds_secret_config"), p,
			secret.Use[secret.TicketKeys]{Changed: s.common.changed})
	}
	s.check(m, at, p)
	if p.HasErrors() {
		return nil, nil
	}
	s.renew(nil)
	return s, nil
}

// timeoutOf is how long a ticket is good for. Fractions of seconds are ignored, as in Envoy.
func timeoutOf(m *tlsv3.DownstreamTlsContext) time.Duration {
	t := m.GetSessionTimeout()
	if t == nil {
		return defaultTimeout
	}
	if d := t.AsDuration().Truncate(time.Second); d > 0 {
		return d
	}
	return zeroTimeout
}

// check reports what cannot work.
func (s *Server) check(m *tlsv3.DownstreamTlsContext, at resource.Path, p *resource.Problems) {
	common := m.GetCommonTlsContext()
	if len(common.GetTlsCertificates())+len(common.GetTlsCertificateSdsSecretConfigs()) == 0 {
		p.Errorf(at.Field("common_tls_context"), "give it tls_certificates or tls_certificate_sds_secret_configs",
			"No TLS certificates found for server context")
	}
	if s.require && common.GetValidationContextType() == nil {
		p.Errorf(at.Field("require_client_certificate"), "give common_tls_context a validation_context with a trusted_ca",
			"there is nothing to verify client certificates with")
	}
	if v := s.common.validation; v != nil && s.require {
		if vf := v.load(); vf != nil {
			s.checkRequired(vf, at.Field("require_client_certificate"), p)
		}
	}
	list := "tls_certificates"
	if len(common.GetTlsCertificates()) == 0 {
		list = "tls_certificate_sds_secret_configs"
	}
	for i, slot := range s.common.pairs {
		if pair := slot.Load(); pair != nil {
			s.checkStaple(pair, at.Field("common_tls_context").Field(list).Index(i), p)
		}
	}
}

// checkStaple reports that a certificate has no OCSP response and has to.
func (s *Server) checkStaple(pair *secret.KeyPair, at resource.Path, p *resource.Problems) {
	switch {
	case len(pair.Staple) > 0:
	case pair.MustStaple:
		p.Errorf(at, "give it an ocsp_staple", "OCSP response is required for must-staple certificate")
	case s.policy == tlsv3.DownstreamTlsContext_MUST_STAPLE:
		p.Errorf(at, "give it an ocsp_staple", "Required OCSP response is missing from TLS context")
	}
}

// checkRequired reports that there is nothing to verify certificates with, which clients have to have.
func (s *Server) checkRequired(vf *verifier, at resource.Path, p *resource.Problems) {
	if s.require && !vf.verifies() && !vf.untrusted {
		p.Errorf(at, "give the validation context a trusted_ca", "the validation context has nothing to verify client certificates with")
	}
}

// Handshake implements socket.Server.
func (s *Server) Handshake(c *conn.Conn) error {
	h := &handshake{server: s, lane: c.Lane, logged: s.common.keyLog.wants(c.Info())}
	tc, err := h.run(c)
	if err != nil {
		if cause := c.Woken(); cause != nil {
			return fmt.Errorf("TLS handshake: %w", cause)
		}
		c.Info().TransportFailure = s.common.meters.failed(c.Lane, err)
		return fmt.Errorf("TLS handshake: %w", err)
	}
	l := layer{tc}
	l.Rest()
	c.SetLayer(l)
	cs := tc.ConnectionState()
	s.common.meters.succeeded(c.Lane, &cs)
	info := c.Info()
	info.TLS = describe(&cs, h.local, h.generation.verified(&cs))
	if info.ServerName == "" {
		info.ServerName = info.TLS.SNI
	}
	return nil
}

// A handshake is one on its way. It is the context of crypto/tls's callbacks, which tell nothing else of the connection.
type handshake struct {
	server     *Server
	generation *generation
	lane       uint32
	logged     bool              // its secrets go to the key log
	local      *conn.Certificate // the one that was chosen
}

// run does the handshake.
func (h *handshake) run(c *conn.Conn) (*tls.Conn, error) {
	if h.generation = h.server.now(); h.generation == nil {
		return nil, errNotReady
	}
	tc := tls.Server(c.Wire(), h.server.base)
	return tc, tc.HandshakeContext(h)
}

// Deadline implements context.Context. A handshake is interrupted by waking its connection.
func (*handshake) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (*handshake) Done() <-chan struct{} { return nil }

// Err implements context.Context.
func (*handshake) Err() error { return nil }

// Value implements context.Context: the handshake itself, to whoever asks by its type.
func (h *handshake) Value(key any) any {
	if _, ok := key.(handshakeKey); ok {
		return h
	}
	return nil
}

// handshakeKey is what the callbacks ask the context for.
type handshakeKey struct{}

// handshakeOf is the handshake that a context came with.
func handshakeOf(ctx context.Context) *handshake { return ctx.Value(handshakeKey{}).(*handshake) }

// config implements tls.Config.GetConfigForClient.
func (*Server) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	h := handshakeOf(hello.Context())
	return h.generation.config(hello.SupportedProtos, h.logged), nil
}

// errStaple is why no certificate can be shown where the policy forbids each of them.
var errStaple = errors.New("tls: there is no certificate whose OCSP response is as ocsp_staple_policy demands")

// certificate implements tls.Config.GetCertificate.
func (s *Server) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	h := handshakeOf(hello.Context())
	c, st := h.generation.choose(hello)
	if c.slot.Load() != c.pair { // which fresh has not seen
		if g := s.renew(h.generation); g != nil {
			c, st = g.choose(hello)
		}
	}
	st.count(s.common.meters.lane(h.lane))
	h.local = c.pair.Facts
	switch st {
	case forbidden:
		return nil, errStaple
	case staple:
		return c.stapled, nil
	default:
		return c.plain, nil
	}
}

// now is the generation of the secrets' current values; nil while one has none.
func (s *Server) now() *generation {
	g := s.current.Load()
	if g != nil && s.fresh(g) {
		return g
	}
	return s.renew(g)
}

// Of more certificates than freshAll fresh looks at all only every freshEvery nanoseconds.
const (
	freshAll   = 64
	freshEvery = int64(100 * time.Millisecond)
)

// fresh reports whether the secrets still have the values of g. The certificate that is chosen is looked at in any case.
func (s *Server) fresh(g *generation) bool {
	if v := s.common.validation; v != nil && v.slot.Load() != g.verifier.of {
		return false
	}
	if s.ticketKeys != nil && s.ticketKeys.Load() != g.keys {
		return false
	}
	if len(g.all) > freshAll {
		last, now := s.looked.Load(), scope.Now()
		if now-last < freshEvery || !s.looked.CompareAndSwap(last, now) {
			return true
		}
	}
	for _, c := range g.all {
		if c.slot.Load() != c.pair {
			return false
		}
	}
	return true
}

// renew makes a new generation in the place of old, unless somebody else just did.
func (s *Server) renew(old *generation) *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.current.Load(); g != old {
		return g
	}
	g := s.generation()
	if g == nil {
		return nil
	}
	s.common.meters.expirations(s.common.pairs)
	s.current.Store(g)
	return g
}
