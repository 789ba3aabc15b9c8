package tls

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/transport/secret"
)

// both are the versions whose sessions differ.
var both = []uint16{tls.VersionTLS12, tls.VersionTLS13} // immutable

// returning is a client that remembers its sessions.
func returning(version uint16, cert *issued) *tls.Config {
	cfg := as(cert)
	cfg.ServerName, cfg.MaxVersion, cfg.ClientSessionCache = "example.com", version, tls.NewLRUClientSessionCache(0)
	return cfg
}

// again expects a handshake that continues a session, or one that does not.
func again(t *testing.T, what string, s *Server, cfg *tls.Config, resumed bool) outcome {
	t.Helper()
	o := shake(t, s, cfg).ok(t)
	if o.info.TLS.Resumed != resumed || o.client.DidResume != resumed {
		t.Errorf("%s, %x: resumed is %v (client: %v)", what, cfg.MaxVersion, o.info.TLS.Resumed, o.client.DidResume)
	}
	return o
}

// ticketKeys makes n keys.
func ticketKeys(t *testing.T, n int) []*corev3.DataSource {
	t.Helper()
	keys := make([]*corev3.DataSource, n)
	for i := range keys {
		b := make([]byte, 80)
		_, _ = rand.Read(b)
		keys[i] = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	return keys
}

func named(name string, m any) *tlsv3.Secret {
	s := &tlsv3.Secret{Name: name}
	switch m := m.(type) {
	case *tlsv3.TlsCertificate:
		s.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: m}
	case *tlsv3.CertificateValidationContext:
		s.Type = &tlsv3.Secret_ValidationContext{ValidationContext: m}
	case *tlsv3.TlsSessionTicketKeys:
		s.Type = &tlsv3.Secret_SessionTicketKeys{SessionTicketKeys: m}
	}
	return s
}

func TestSessionsAreResumed(t *testing.T) {
	for _, v := range both {
		cert := issue(t, nil, wish{name: "server"})
		s, r := serve(t, &tlsv3.DownstreamTlsContext{}, cert)
		cfg := returning(v, nil)
		again(t, "first", s, cfg, false)
		for range 3 {
			again(t, "next", s, cfg, true)
		}
		other, _ := serve(t, &tlsv3.DownstreamTlsContext{}, cert)
		again(t, "elsewhere", other, cfg, false)
		if r.count("session_reused") != 3 || r.count("handshake") != 4 {
			t.Errorf("session_reused is %d", r.count("session_reused"))
		}
		off, _ := serve(t, &tlsv3.DownstreamTlsContext{SessionTicketKeysType: &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
			DisableStatelessSessionResumption: true}}, cert)
		cfg = returning(v, nil)
		again(t, "disabled", off, cfg, false)
		again(t, "disabled", off, cfg, false)
	}
}

func TestSessionsOutliveARenewedCertificate(t *testing.T) {
	for _, v := range both {
		r := newRig(t, named("cert", issue(t, nil, wish{name: "old", dns: []string{"example.com"}}).message(t)))
		s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "cert"}}}})
		cfg := returning(v, nil)
		again(t, "first", s, cfg, false)
		before := s.current.Load()
		r.compile(t, named("cert", issue(t, nil, wish{name: "new", dns: []string{"example.com"}}).message(t))).Publish()
		again(t, "renewed", s, cfg, true)
		if s.current.Load() == before {
			t.Error("the new certificate was not seen")
		}
		r.compile(t, named("cert", issue(t, nil, wish{name: "new", dns: []string{"other.test"}}).message(t))).Publish()
		again(t, "another name", s, cfg, false)
	}
}

func TestTicketKeysRotate(t *testing.T) {
	cert := issue(t, nil, wish{name: "server"})
	keys := ticketKeys(t, 3)
	for _, v := range both {
		r := newRig(t, named("keys", &tlsv3.TlsSessionTicketKeys{Keys: keys[:1]}))
		s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{cert.message(t)}},
			SessionTicketKeysType: &tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig{
				SessionTicketKeysSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "keys"}}})
		cfg, idle := returning(v, nil), returning(v, nil)
		again(t, "first", s, cfg, false)
		again(t, "first", s, idle, false)
		r.compile(t, named("keys", &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{keys[1], keys[0]}})).Publish()
		again(t, "with the old key", s, cfg, true)
		same, _ := serve(t, &tlsv3.DownstreamTlsContext{SessionTicketKeysType: &tlsv3.DownstreamTlsContext_SessionTicketKeys{
			SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: keys[1:2]}}}, cert)
		again(t, "elsewhere, with the new key", same, cfg, true)
		r.compile(t, named("keys", &tlsv3.TlsSessionTicketKeys{Keys: keys[2:]})).Publish()
		again(t, "with a key that is gone", s, idle, false)
	}
}

func TestResumedClientsAreHeldToThePresentValidation(t *testing.T) {
	root, next := authority(t, "root"), authority(t, "next")
	client := issue(t, root, wish{name: "client", dns: []string{"client.test"}, serial: 7})
	type ctx = tlsv3.CertificateValidationContext
	san := func(name string) []*tlsv3.SubjectAltNameMatcher {
		return []*tlsv3.SubjectAltNameMatcher{{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exactly(name)}}
	}
	for _, c := range []struct {
		name    string
		to      *ctx
		refused string // "": accepted
		resumed bool
	}{
		{"the same", &ctx{TrustedCa: inline(root.pem())}, "", true},
		{"more authorities", &ctx{TrustedCa: inline(root.pem() + next.pem())}, "", false},
		{"another authority", &ctx{TrustedCa: inline(next.pem())}, "fail_verify_error", false},
		{"its name", &ctx{TrustedCa: inline(root.pem()), MatchTypedSubjectAltNames: san("client.test")}, "", false},
		{"another name", &ctx{TrustedCa: inline(root.pem()), MatchTypedSubjectAltNames: san("nobody.test")}, "fail_verify_san", false},
		{"another hash", &ctx{TrustedCa: inline(root.pem()), VerifyCertificateHash: []string{strings.Repeat("ab", 32)}}, "fail_verify_cert_hash", false},
		{"revoked", &ctx{TrustedCa: inline(root.pem()), Crl: inline(root.revoke(t, time.Hour, nil, 7))}, "fail_verify_error", false},
	} {
		for _, v := range both {
			r := newRig(t, named("ca", &ctx{TrustedCa: inline(root.pem())}))
			s := r.server(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificates: []*tlsv3.TlsCertificate{issue(t, nil, wish{name: "server"}).message(t)},
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
					ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ca"}}}})
			cfg := returning(v, client)
			again(t, "first", s, cfg, false)
			if o := again(t, "resumed", s, cfg, true); !o.info.TLS.Verified || o.info.TLS.Peer.Facts().CommonName != "client" {
				t.Errorf("%s: resumed: %+v", c.name, o.info.TLS)
			}
			r.compile(t, named("ca", c.to)).Publish()
			if c.refused == "" {
				again(t, c.name, s, cfg, c.resumed)
				continue
			}
			if o := shake(t, s, cfg); o.err == nil || o.theirs == nil || r.count(c.refused) != 1 {
				t.Errorf("%s, %x: %v, %v, %s is %d", c.name, v, o.err, o.theirs, c.refused, r.count(c.refused))
			}
		}
	}
}

func TestASessionOfAnotherContextIsNotResumed(t *testing.T) {
	root := authority(t, "root")
	cert, client := issue(t, nil, wish{name: "server"}), issue(t, root, wish{name: "client"})
	keys := &tlsv3.DownstreamTlsContext_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: ticketKeys(t, 1)}}
	open := &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
		TrustChainVerification: tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED}}
	closed := &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem())}}
	for _, v := range both {
		from, _ := serve(t, &tlsv3.DownstreamTlsContext{SessionTicketKeysType: keys, CommonTlsContext: &tlsv3.CommonTlsContext{ValidationContextType: open}}, cert)
		to, _ := serve(t, &tlsv3.DownstreamTlsContext{SessionTicketKeysType: keys, CommonTlsContext: &tlsv3.CommonTlsContext{ValidationContextType: closed}}, cert)
		cfg := returning(v, client)
		again(t, "first", from, cfg, false)
		again(t, "there", from, cfg, true)
		if o := again(t, "here", to, cfg, false); !o.info.TLS.Verified {
			t.Error("not verified")
		}
	}
}

func TestASessionWithAnotherServerIsNotResumed(t *testing.T) {
	keys := &tlsv3.DownstreamTlsContext_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: ticketKeys(t, 1)}}
	for _, w := range [][2]wish{
		{{dns: []string{"a.example"}}, {dns: []string{"b.example"}}},
		{{uri: "spiffe://td/a"}, {uri: "spiffe://td/b"}},
		{{name: "same", uri: "spiffe://td/a"}, {name: "same", uri: "spiffe://td/b"}},
		{{ip: "10.0.0.1"}, {ip: "10.0.0.2"}},
		{{}, {}}, // nobody in particular
	} {
		for _, v := range both {
			from, _ := serve(t, &tlsv3.DownstreamTlsContext{SessionTicketKeysType: keys}, issue(t, nil, w[0]))
			to, _ := serve(t, &tlsv3.DownstreamTlsContext{SessionTicketKeysType: keys}, issue(t, nil, w[1]))
			cfg := returning(v, issue(t, nil, wish{name: "client"}))
			again(t, "first", from, cfg, false)
			again(t, "there", from, cfg, true)
			again(t, fmt.Sprint("another server ", w), to, cfg, false)
		}
	}
}

func TestTicketsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[time.Duration]time.Duration{0: 2 * time.Hour, 500 * time.Millisecond: 2 * time.Hour, time.Minute: time.Minute} {
			keys := &tickets{keys: &tls.Config{MinVersion: tls.VersionTLS12}, timeout: timeoutOf(&tlsv3.DownstreamTlsContext{SessionTimeout: durationpb.New(given)})}
			if keys.timeout != want {
				t.Fatalf("%v is %v", given, keys.timeout)
			}
			state := sessionState(t)
			b, err := keys.wrap(tls.ConnectionState{}, state)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(want - time.Second)
			if ss, err := keys.unwrap(b, tls.ConnectionState{}); ss == nil || err != nil {
				t.Errorf("before its time: %v, %v", ss, err)
			}
			time.Sleep(2 * time.Second)
			if ss, err := keys.unwrap(b, tls.ConnectionState{}); ss != nil || err != nil {
				t.Errorf("after its time: %v, %v", ss, err)
			}
		}
	})
	if d := timeoutOf(&tlsv3.DownstreamTlsContext{}); d != 24*time.Hour {
		t.Errorf("without one: %v", d)
	}
}

// sessionState is the encoding of a session of a server in TLS 1.3, parsed.
func sessionState(t testing.TB) *tls.SessionState {
	t.Helper()
	var b bytes.Buffer
	b.Write([]byte{3, 4, 1, 0x13, 1})                // version, server, suite
	b.Write([]byte{0, 0, 0, 0, 0x65, 0, 0, 0})       // created
	b.Write([]byte{1, 7})                            // secret
	b.Write([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}) // nothing more; extended master secret; no early data; no certificates
	ss, err := tls.ParseSessionState(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return ss
}

func TestGarbageIsNoTicket(t *testing.T) {
	keys := &tickets{keys: configured(&secret.TicketKeys{Keys: [][32]byte{{1}}}), timeout: time.Hour}
	b, err := keys.wrap(tls.ConnectionState{}, sessionState(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		broken := bytes.Clone(b)
		broken[i] ^= 1
		if ss, err := keys.unwrap(broken, tls.ConnectionState{}); ss != nil || err != nil {
			t.Fatalf("byte %d: %v, %v", i, ss, err)
		}
	}
	bare, err := keys.keys.EncryptTicket(tls.ConnectionState{}, sessionState(t))
	if err != nil {
		t.Fatal(err)
	}
	if ss, err := keys.unwrap(bare, tls.ConnectionState{}); ss != nil || err != nil {
		t.Errorf("a ticket without a context: %v, %v", ss, err)
	}
}
