package tls

import (
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
)

// A supply is a rig whose secrets the test delivers.
type supply struct {
	*rig
	hub *subscription.Hub
	cs  *corev3.ConfigSource
}

func newSupply() *supply {
	s := &supply{hub: subscription.New(subscription.Options{}), cs: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}}
	s.rig = &rig{store: secret.NewStore(secret.Options{Hub: s.hub}), stats: stats.NewStore(stats.Options{}), problems: resource.NewProblems("test")}
	s.view = s.store.View()
	return s
}

func (s *supply) ref(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: s.cs}
}

// pair is a context with a certificate that is delivered.
func (s *supply) pair(name string) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{s.ref(name)}}
}

// hold makes wanted what was named, until the test ends.
func (s *supply) hold(t testing.TB) {
	t.Helper()
	all := s.view.Watches()
	for _, w := range all {
		w.Hold()
	}
	t.Cleanup(func() {
		for _, w := range all {
			w.Release()
		}
	})
	s.view = s.view.Fresh()
}

// send delivers a secret; it returns what is wrong with it.
func (s *supply) send(t testing.TB, m *tlsv3.Secret) string {
	t.Helper()
	r, err := resource.New(resource.Key{Type: resource.Secret, Name: m.GetName()}, m, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	problems, asked := s.hub.Deliver(subscription.NewSource(s.cs), r)
	if !asked {
		t.Fatalf("nobody wants %q", m.GetName())
	}
	for _, p := range problems {
		return p.Error()
	}
	return ""
}

// give delivers a secret that has to be taken.
func (s *supply) give(t testing.TB, m *tlsv3.Secret) {
	t.Helper()
	if problem := s.send(t, m); problem != "" {
		t.Fatal(problem)
	}
}

func TestAServerWithoutItsSecretsClosesConnections(t *testing.T) {
	r := newSupply()
	common := r.pair("cert")
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: r.ref("ca")}
	s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: common,
		SessionTicketKeysType: &tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig{SessionTicketKeysSdsSecretConfig: r.ref("keys")}})
	r.hold(t)
	given := []*tlsv3.Secret{
		named("cert", issue(t, nil, wish{name: "one"}).message(t)),
		named("ca", &tlsv3.CertificateValidationContext{TrustedCa: inline(authority(t, "root").pem())}),
		named("keys", &tlsv3.TlsSessionTicketKeys{Keys: ticketKeys(t, 1)}),
	}
	for i, m := range given {
		o := shake(t, s, anyone())
		if !errors.Is(o.err, errNotReady) || o.theirs == nil || o.info.TransportFailure != "TLS error: Secret is not supplied by SDS" {
			t.Fatalf("with %d secrets: %v, %q", i, o.err, o.info.TransportFailure)
		}
		if n := r.value("server_ssl_socket_factory.downstream_context_secrets_not_ready"); n != int64(i+1) {
			t.Errorf("counted %d, want %d", n, i+1)
		}
		r.give(t, m)
	}
	if o := shake(t, s, anyone()).ok(t); o.shown() != "one" {
		t.Errorf("shown %q", o.shown())
	}
	if n := r.value("server_ssl_socket_factory.ssl_context_update_by_sds"); n != 3 || r.count("connection_error") != 0 {
		t.Errorf("%d updates, %d errors", n, r.count("connection_error"))
	}
	r.give(t, named("cert", issue(t, nil, wish{name: "two"}).message(t)))
	if o := shake(t, s, anyone()).ok(t); o.shown() != "two" || r.value("server_ssl_socket_factory.ssl_context_update_by_sds") != 4 {
		t.Errorf("shown %q", o.shown())
	}
	if r.value("ssl.certificate.cert.expiration_unix_time_seconds") == 0 {
		t.Error("nobody knows when it expires")
	}
}

func TestAClientWithoutItsSecretsConnectsToNobody(t *testing.T) {
	ca := authority(t, "root")
	at := greet(t, &tls.Config{Certificates: []tls.Certificate{issue(t, ca, wish{name: "s", dns: []string{"s.example.com"}}).pair()}})
	r := newSupply()
	c := r.dialer(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{
					{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exactly("s.example.com")}}},
				ValidationContextSdsSecretConfig: r.ref("ca"),
			}}}})
	r.hold(t)
	counted := func(name string) int64 {
		n, _ := r.stats.Value("cluster.test.client_ssl_socket_factory." + name)
		return n
	}
	info, err := at.reach(t, c, socket.Options{})
	if !errors.Is(err, errNotReady) || info.TransportFailure != "TLS error: Secret is not supplied by SDS" || counted("upstream_context_secrets_not_ready") != 1 {
		t.Errorf("%v, %q, %d", err, info.TransportFailure, counted("upstream_context_secrets_not_ready"))
	}
	r.give(t, named("ca", &tlsv3.CertificateValidationContext{TrustedCa: inline(ca.pem())}))
	if info, err = at.reach(t, c, socket.Options{}); err != nil || !info.TLS.Verified || counted("ssl_context_update_by_sds") != 1 {
		t.Errorf("%v, %d updates", err, counted("ssl_context_update_by_sds"))
	}
	r.give(t, named("ca", &tlsv3.CertificateValidationContext{TrustedCa: inline(authority(t, "other").pem())}))
	if _, err = at.reach(t, c, socket.Options{}); err == nil {
		t.Error("the old authority is still trusted")
	}
}

func TestVersionsThatDoNotFitAServerAreRefused(t *testing.T) {
	r := newSupply()
	common := r.pair("cert")
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: r.ref("ca")}
	s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(true),
		OcspStaplePolicy: tlsv3.DownstreamTlsContext_MUST_STAPLE})
	r.hold(t)
	broken := &tlsv3.CertificateValidationContext{TrustedCa: inline(authority(t, "root").pem()), VerifyCertificateHash: []string{"zz"}}
	for _, tt := range []struct {
		m    *tlsv3.Secret
		want string
	}{
		{named("cert", issue(t, nil, wish{name: "c"}).message(t)), "Required OCSP response is missing"},
		{named("ca", &tlsv3.CertificateValidationContext{}), "nothing to verify client certificates with"},
		{named("ca", broken), "Invalid hex-encoded SHA-256"},
	} {
		if got := r.send(t, tt.m); !strings.Contains(got, tt.want) {
			t.Errorf("problem %q, want %q", got, tt.want)
		}
	}
	if s.common.pairs[0].Load() != nil || s.common.validation.slot.Load() != nil {
		t.Error("one of them is in force")
	}
}

func TestTwoListenersShareASecret(t *testing.T) {
	r := newSupply()
	keys := &tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig{SessionTicketKeysSdsSecretConfig: r.ref("keys")}
	one := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: r.pair("cert"), SessionTicketKeysType: keys})
	two := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: r.pair("cert"), SessionTicketKeysType: keys})
	r.hold(t)
	r.give(t, named("keys", &tlsv3.TlsSessionTicketKeys{Keys: ticketKeys(t, 1)}))
	for _, name := range []string{"a", "b"} {
		cert := issue(t, nil, wish{name: name, dns: []string{"example.com"}})
		r.give(t, named("cert", cert.message(t)))
		cfg := returning(both[1], cert)
		again(t, name+": the first", one, cfg, false)
		again(t, name+": at the other listener", two, cfg, true)
	}
}

// A thousand rotations while clients come: each is shown one of the certificates with its key, and nobody fails.
func TestRotationUnderHandshakes(t *testing.T) {
	const rotations, clients, most = 1000, 4, 100
	r := newSupply()
	s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: r.pair("cert")})
	r.hold(t)
	var all []*tlsv3.Secret
	for _, name := range []string{"one", "two", "three"} {
		all = append(all, named("cert", issue(t, nil, wish{name: name}).message(t)))
	}
	r.give(t, all[0])
	var wg sync.WaitGroup
	var over atomic.Bool
	seen := make([]map[string]int, clients)
	for i := range clients {
		seen[i] = map[string]int{}
		wg.Go(func() { // ends after the last rotation, or before
			for n := 0; n == 0 || n < most && !over.Load(); n++ {
				o := shake(t, s, anyone())
				if o.err != nil || o.theirs != nil {
					t.Errorf("server: %v, client: %v", o.err, o.theirs)
					return
				}
				seen[i][o.shown()]++
			}
		})
	}
	for i := 1; i <= rotations; i++ {
		r.give(t, all[i%len(all)])
	}
	over.Store(true)
	wg.Wait()
	for _, names := range seen {
		if len(names) == 0 || names[""] > 0 {
			t.Errorf("shown: %v", names)
		}
	}
	if o := shake(t, s, anyone()).ok(t); o.shown() != []string{"one", "two", "three"}[rotations%len(all)] {
		t.Errorf("shown %q at the end", o.shown())
	}
	if n := r.value("server_ssl_socket_factory.ssl_context_update_by_sds"); n != rotations+1 {
		t.Errorf("%d updates, want %d", n, rotations+1)
	}
}
