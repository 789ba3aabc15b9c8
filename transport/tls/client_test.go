package tls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
)

// clientEnv is what the clients of a rig are made with: they count below a cluster.
func clientEnv(r *rig) *socket.Env {
	e := r.env()
	e.Stats = r.stats.Scope("cluster.test.")
	return e
}

// dialer compiles a client, which has to work.
func (r *rig) dialer(t testing.TB, m *tlsv3.UpstreamTlsContext) *client {
	t.Helper()
	c := newClient(clientEnv(r), m)
	if r.problems.HasErrors() {
		t.Fatal(r.problems.All())
	}
	return c
}

// counted is the value of a counter of the cluster's.
func (r *rig) counted(name string) int64 {
	n, _ := r.stats.Value("cluster.test.ssl." + name)
	return n
}

// An origin is a server of crypto/tls to which clients connect.
type origin struct {
	cfg *tls.Config
	ln  net.Listener
}

// greet starts a server that says "hi" to whoever finishes a handshake, and waits for the end of the connection.
func greet(t testing.TB, cfg *tls.Config) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{cfg: cfg, ln: ln}
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
			tc := tls.Server(nc, cfg)
			if err := tc.Handshake(); err == nil {
				_, _ = io.WriteString(tc, "hi")
			}
			_, _ = io.Copy(io.Discard, tc)
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return o
}

// reach makes a handshake with the server, reads what it says and closes the connection.
func (o *origin) reach(t testing.TB, c socket.Client, opt socket.Options) (*conn.Info, error) {
	t.Helper()
	nc, err := net.Dial("tcp", o.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	u := conn.New(nc)
	defer func() { _ = u.Close() }()
	if err := c.Handshake(u, opt); err != nil {
		return u.Info(), err
	}
	b, err := u.Peek(2)
	if err == nil && string(b) != "hi" {
		t.Errorf("the server says %q", b)
	}
	return u.Info(), err
}

// trusting is a context that verifies with a CA, and more.
func trusting(ca *issued, more func(*tlsv3.CertificateValidationContext)) *tlsv3.UpstreamTlsContext {
	v := &tlsv3.CertificateValidationContext{TrustedCa: inline(ca.pem())}
	if more != nil {
		more(v)
	}
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}}}
}

func TestClientVerifiesWhatIsConfigured(t *testing.T) {
	ca, other := authority(t, "ca"), authority(t, "other")
	server := issue(t, ca, wish{name: "web", dns: []string{"web.example.com"}, ip: "127.0.0.1"})
	named := func(name string) func(*tlsv3.CertificateValidationContext) {
		return func(v *tlsv3.CertificateValidationContext) {
			v.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exactly(name)}}
		}
	}
	auto := func(m *tlsv3.UpstreamTlsContext) *tlsv3.UpstreamTlsContext { m.AutoSniSanValidation = true; return m }
	for _, tt := range []struct {
		name     string
		m        *tlsv3.UpstreamTlsContext
		o        socket.Options
		verified bool
		counter  string // of what fails; "" for success
		reason   string
	}{
		{name: "no context verifies nothing", m: &tlsv3.UpstreamTlsContext{Sni: "else.example.org"}},
		{name: "the chain is verified, the SNI is not", m: trusting(ca, nil), o: socket.Options{SNI: "else.example.org"}, verified: true},
		{name: "unknown authority", m: trusting(other, nil), counter: "fail_verify_error",
			reason: "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: " +
				"certificate verification error at depth 0: unable to get local issuer certificate:TLS_error_end"},
		{name: "matcher", m: trusting(ca, named("web.example.com")), verified: true},
		{name: "matcher of another name", m: trusting(ca, named("db.example.com")), counter: "fail_verify_san",
			reason: "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher"},
		{name: "asked-for name", m: trusting(ca, nil), o: socket.Options{SANs: []string{"web.example.com"}}, verified: true},
		{name: "asked-for address", m: trusting(ca, nil), o: socket.Options{SANs: []string{"127.0.0.1"}}, verified: true},
		{name: "another name asked for", m: trusting(ca, nil), o: socket.Options{SANs: []string{"db.example.com"}}, counter: "fail_verify_san",
			reason: "CERTIFICATE_VERIFY_FAILED:verify cert failed: verify SAN list"},
		{name: "asked-for name without a context", m: &tlsv3.UpstreamTlsContext{}, o: socket.Options{SANs: []string{"db.example.com"}},
			counter: "fail_verify_san", reason: "verify SAN list"},
		{name: "auto_sni_san_validation", m: auto(trusting(ca, nil)), o: socket.Options{SNI: "web.example.com"}, verified: true},
		{name: "auto_sni_san_validation replaces matchers", m: auto(trusting(ca, named("db.example.com"))), o: socket.Options{SNI: "web.example.com"}, verified: true},
		{name: "auto_sni_san_validation of another name", m: auto(trusting(ca, nil)), o: socket.Options{SNI: "db.example.com"}, counter: "fail_verify_san", reason: "SAN"},
		{name: "auto_sni_san_validation without SNI", m: auto(trusting(ca, nil)), counter: "fail_verify_san", reason: "there is no SNI"},
		{name: "accept untrusted", m: trusting(other, func(v *tlsv3.CertificateValidationContext) {
			v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			info, err := greet(t, &tls.Config{Certificates: []tls.Certificate{server.pair()}}).reach(t, r.dialer(t, tt.m), tt.o)
			if tt.counter != "" {
				if err == nil || !strings.Contains(info.TransportFailure, tt.reason) || r.counted(tt.counter) != 1 || info.TLS != nil {
					t.Errorf("%v, %q, %s %d", err, info.TransportFailure, tt.counter, r.counted(tt.counter))
				}
				return
			}
			if err != nil || info.TLS == nil || info.TLS.Verified != tt.verified || info.TransportFailure != "" {
				t.Fatalf("%v, %+v", err, info.TLS)
			}
			if info.TLS.Peer.Facts().CommonName != "web" || len(info.TLS.Chain) != 1 || info.TLS.Local != nil || info.TLS.Version != "TLSv1.2" {
				t.Errorf("%+v", info.TLS)
			}
			if r.counted("handshake") != 1 || r.counted("versions.TLSv1.2") != 1 {
				t.Errorf("ssl.handshake %d, ssl.versions.TLSv1.2 %d", r.counted("handshake"), r.counted("versions.TLSv1.2"))
			}
		})
	}
}

func TestClientAsksForTheName(t *testing.T) {
	ca := authority(t, "ca")
	server := issue(t, ca, wish{name: "web"})
	for _, tt := range []struct {
		name string
		m    *tlsv3.UpstreamTlsContext
		o    socket.Options
		want string
	}{
		{"none", &tlsv3.UpstreamTlsContext{}, socket.Options{HostName: "host"}, ""},
		{"configured", &tlsv3.UpstreamTlsContext{Sni: "conf"}, socket.Options{HostName: "host"}, "conf"},
		{"of the host", &tlsv3.UpstreamTlsContext{Sni: "conf", AutoHostSni: true}, socket.Options{HostName: "host"}, "host"},
		{"of a host without a name", &tlsv3.UpstreamTlsContext{Sni: "conf", AutoHostSni: true}, socket.Options{}, "conf"},
		{"of the request", &tlsv3.UpstreamTlsContext{Sni: "conf", AutoHostSni: true}, socket.Options{SNI: "req", HostName: "host"}, "req"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			o := greet(t, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				got = h.ServerName
				pair := server.pair()
				return &pair, nil
			}})
			info, err := o.reach(t, newRig(t).dialer(t, tt.m), tt.o)
			if err != nil || got != tt.want || info.TLS.SNI != tt.want {
				t.Errorf("%v, asked for %q, says %q, want %q", err, got, info.TLS.SNI, tt.want)
			}
		})
	}
}

func TestClientOffersProtocols(t *testing.T) {
	server := issue(t, authority(t, "ca"), wish{name: "web"})
	for _, tt := range []struct {
		name       string
		configured []string
		o          socket.Options
		want       string
		agreed     string
	}{
		{"nothing", nil, socket.Options{}, "[]", ""},
		{"fallback", nil, socket.Options{Fallback: []string{"h2", "http/1.1"}}, "[h2 http/1.1]", "h2"},
		{"configured", []string{"http/1.1"}, socket.Options{Fallback: []string{"h2"}}, "[http/1.1]", "http/1.1"},
		{"asked for", []string{"http/1.1"}, socket.Options{ALPN: []string{"h2"}, Fallback: []string{"x"}}, "[h2]", "h2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			cfg := &tls.Config{Certificates: []tls.Certificate{server.pair()}, NextProtos: []string{"h2", "http/1.1"}}
			cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				got = fmt.Sprint(h.SupportedProtos)
				return nil, nil
			}
			c := newRig(t).dialer(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: tt.configured}})
			info, err := greet(t, cfg).reach(t, c, tt.o)
			if err != nil || got != tt.want || info.TLS.ALPN != tt.agreed {
				t.Errorf("%v, offered %s, want %s; agreed on %q, want %q", err, got, tt.want, info.TLS.ALPN, tt.agreed)
			}
			if f := c.Features(); !f.Secure || f.PerPeer || fmt.Sprint(f.ALPN) != fmt.Sprint(tt.configured) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestClientShowsItsCertificate(t *testing.T) {
	ca, stranger := authority(t, "ca"), authority(t, "stranger")
	server, own := issue(t, ca, wish{name: "web"}), issue(t, ca, wish{name: "me"})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		m := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{own.message(t)},
			TlsParams: &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}}}
		cfg := &tls.Config{Certificates: []tls.Certificate{server.pair()}, MinVersion: version, MaxVersion: version,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
		r := newRig(t)
		info, err := greet(t, cfg).reach(t, r.dialer(t, m), socket.Options{})
		if err != nil || info.TLS.Local.Facts().CommonName != "me" {
			t.Errorf("%x: %v, %+v", version, err, info.TLS)
		}
		// A server that trusts another authority says so, with TLS 1.3 after the handshake.
		cfg = cfg.Clone()
		cfg.ClientCAs = stranger.pool()
		info, err = greet(t, cfg).reach(t, r.dialer(t, m), socket.Options{})
		if err == nil {
			t.Fatalf("%x: accepted", version)
		}
		reason := info.TransportFailure
		if version == tls.VersionTLS13 {
			reason = Reason(err)
		}
		if want := "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end"; reason != want &&
			!strings.Contains(reason, "SSLV3_ALERT_BAD_CERTIFICATE") {
			t.Errorf("%x: %q, want %q", version, reason, want)
		}
		// A server that does not ask is shown nothing.
		info, err = greet(t, &tls.Config{Certificates: []tls.Certificate{server.pair()}, MaxVersion: version}).reach(t, r.dialer(t, m), socket.Options{})
		if err != nil || info.TLS.Local != nil {
			t.Errorf("%x: %v, %+v", version, err, info.TLS)
		}
	}
}

func TestClientResumesSessions(t *testing.T) {
	ca := authority(t, "ca")
	server := issue(t, ca, wish{name: "web", dns: []string{"a.example.com", "b.example.com"}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		context := func() *tlsv3.UpstreamTlsContext {
			m := trusting(ca, nil)
			m.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
			return m
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{server.pair()}, MinVersion: version, MaxVersion: version}
		r := newRig(t)
		c, o, other := r.dialer(t, context()), greet(t, cfg), greet(t, cfg)
		for i, tt := range []struct {
			at      *origin
			opt     socket.Options
			resumed bool
		}{
			{o, socket.Options{SNI: "a.example.com"}, false},
			{o, socket.Options{SNI: "a.example.com"}, true},
			{o, socket.Options{SNI: "a.example.com"}, true},
			{o, socket.Options{SNI: "b.example.com"}, false}, // not for another name
			{o, socket.Options{SNI: "b.example.com"}, true},
			{other, socket.Options{SNI: "a.example.com"}, false}, // not for another host
			{o, socket.Options{SNI: "a.example.com", SANs: []string{"a.example.com"}}, false},
			{o, socket.Options{SNI: "a.example.com", SANs: []string{"a.example.com"}}, true},
			{o, socket.Options{SNI: "a.example.com", ALPN: []string{"h2"}}, false},
			{o, socket.Options{SNI: "a.example.com"}, true},
		} {
			info, err := tt.at.reach(t, c, tt.opt)
			if err != nil || info.TLS.Resumed != tt.resumed || !info.TLS.Verified || info.TLS.Peer.Facts().CommonName != "web" {
				t.Fatalf("%x, %d: %v, %+v", version, i, err, info.TLS)
			}
		}
		if n := r.counted("session_reused"); n != 5 {
			t.Errorf("ssl.session_reused is %d", n)
		}
		// Another context has sessions of its own.
		if info, err := o.reach(t, newRig(t).dialer(t, context()), socket.Options{SNI: "a.example.com"}); err != nil || info.TLS.Resumed {
			t.Errorf("%x: %v, %+v", version, err, info.TLS)
		}
		m := context()
		m.MaxSessionKeys = wrapperspb.UInt32(0)
		c = newRig(t).dialer(t, m)
		for range 2 {
			if info, err := o.reach(t, c, socket.Options{}); err != nil || info.TLS.Resumed {
				t.Errorf("%x, max_session_keys 0: %v, %+v", version, err, info.TLS)
			}
		}
	}
}

func TestRotationForgetsSessions(t *testing.T) {
	ca, next := authority(t, "ca"), authority(t, "next")
	server := issue(t, ca, wish{name: "web"})
	anchor := func(ca *issued) *tlsv3.Secret {
		return &tlsv3.Secret{Name: "trust", Type: &tlsv3.Secret_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(ca.pem())}}}
	}
	own := func(name string) *tlsv3.Secret {
		return &tlsv3.Secret{Name: "own", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: issue(t, ca, wish{name: name}).message(t)}}
	}
	r := newRig(t, anchor(ca), own("one"))
	c := r.dialer(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "own"}},
		ValidationContextType:          &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "trust"}},
	}})
	o := greet(t, &tls.Config{Certificates: []tls.Certificate{server.pair()}, ClientAuth: tls.RequireAnyClientCert})
	reach := func(resumed bool, local string) {
		t.Helper()
		info, err := o.reach(t, c, socket.Options{})
		if err != nil || info.TLS.Resumed != resumed || info.TLS.Local.Facts().CommonName != local {
			t.Fatalf("%v, %+v, %s", err, info.TLS, info.TLS.Local.Facts().CommonName)
		}
	}
	reach(false, "one")
	reach(true, "one")
	r.compile(t, own("two")).Publish()
	reach(false, "two")
	reach(true, "two")
	r.compile(t, anchor(next)).Publish()
	if info, err := o.reach(t, c, socket.Options{}); err == nil || !strings.Contains(info.TransportFailure, "CERTIFICATE_VERIFY_FAILED") {
		t.Errorf("the old authority counts: %v", err)
	}
	r.compile(t, anchor(ca)).Publish()
	reach(false, "two")
}

func TestSessionsAreBounded(t *testing.T) {
	s := &sessions{most: 2}
	state := func() *tls.ClientSessionState { return new(tls.ClientSessionState) }
	k := sessionKey{host: "h"}
	a, b, c := state(), state(), state()
	s.put(k, session{state: a})
	s.put(k, session{state: b})
	s.put(k, session{state: c, single: true})
	if got := s.get(k); got != c {
		t.Error("not the last one")
	}
	if s.get(k) != b || s.get(k) != b {
		t.Error("a session for once was given twice, or another one only once")
	}
	s.drop(k, b)
	s.drop(k, a)
	if s.get(k) != nil || len(s.byKey) != 0 {
		t.Error("more than two were kept")
	}
	for i := range 3 * mostServers {
		s.put(sessionKey{host: fmt.Sprint(i)}, session{state: a})
	}
	if n := len(s.byKey); n != mostServers {
		t.Errorf("sessions of %d servers", n)
	}
}

func TestClientFailures(t *testing.T) {
	ca := authority(t, "ca")
	server := issue(t, ca, wish{name: "web"})
	for _, tt := range []struct {
		name, want string
		cfg        *tls.Config
	}{
		{"version", "TLSV1_ALERT_PROTOCOL_VERSION", &tls.Config{Certificates: []tls.Certificate{server.pair()}, MinVersion: tls.VersionTLS13}},
		{"suite", "SSLV3_ALERT_HANDSHAKE_FAILURE", &tls.Config{Certificates: []tls.Certificate{server.pair()}, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			info, err := greet(t, tt.cfg).reach(t, r.dialer(t, &tlsv3.UpstreamTlsContext{}), socket.Options{})
			if err == nil || !strings.Contains(info.TransportFailure, tt.want) || r.counted("connection_error") != 1 {
				t.Errorf("%v, %q, ssl.connection_error %d", err, info.TransportFailure, r.counted("connection_error"))
			}
		})
	}
}

func TestClientHandshakeIsWoken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	u := conn.New(nc)
	defer func() { _ = u.Close() }()
	gone := errors.New("gone")
	go u.Wake(gone) // before or in the middle of it
	r := newRig(t)
	if err := r.dialer(t, &tlsv3.UpstreamTlsContext{}).Handshake(u, socket.Options{}); err != gone || u.Info().TransportFailure != "" {
		t.Errorf("%v, %q", err, u.Info().TransportFailure)
	}
}

func TestKeyUsageIsEnforced(t *testing.T) {
	for _, tt := range []struct {
		usage x509.KeyUsage
		suite uint16
		want  bool
	}{
		{0, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
		{x509.KeyUsageDigitalSignature, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
		{x509.KeyUsageKeyEncipherment, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, false},
		{x509.KeyUsageKeyEncipherment, tls.TLS_AES_128_GCM_SHA256, false},
		{x509.KeyUsageKeyEncipherment, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, true},
		{x509.KeyUsageDigitalSignature, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, false},
	} {
		if got := usable(&x509.Certificate{KeyUsage: tt.usage}, tt.suite); got != tt.want {
			t.Errorf("%v with %x: %v", tt.usage, tt.suite, got)
		}
	}
}

func TestClientConfigurationsThatAreRefused(t *testing.T) {
	own := issue(t, authority(t, "ca"), wish{name: "me"}).message(t)
	for _, tt := range []struct {
		want string
		m    *tlsv3.UpstreamTlsContext
	}{
		{"tls.common_tls_context.tls_certificates: Multiple TLS certificates are not supported for client contexts",
			&tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{own, own}}}},
		{"'auto_sni_san_validation' was configured without a validation context", &tlsv3.UpstreamTlsContext{AutoSniSanValidation: true}},
		{"SNI names longer than 255 bytes", &tlsv3.UpstreamTlsContext{Sni: strings.Repeat("a", 256)}},
	} {
		r := newRig(t)
		r.problems = resource.NewProblems("")
		newClient(clientEnv(r), tt.m)
		if all := r.problems.All(); len(all) != 1 || !strings.Contains(all[0].String(), tt.want) {
			t.Errorf("%v, want %s", all, tt.want)
		}
	}
}

func TestUpstreamFactory(t *testing.T) {
	if _, err := socket.NewRegistry(Downstream(), Upstream()); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	s, err := Upstream().NewClient(clientEnv(r), &tlsv3.UpstreamTlsContext{})
	if err != nil || s == nil || Upstream().NewServer != nil {
		t.Error(s, err)
	}
}
