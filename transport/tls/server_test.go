package tls

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/conn"
)

func TestHandshakeTellsWhatWasAgreedOn(t *testing.T) {
	cert := issue(t, nil, wish{name: "cert", dns: []string{"example.com"}})
	s, r := serve(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: []string{"h2", "http/1.1"}}}, cert)
	for _, c := range []struct {
		max     uint16
		version string
		cipher  string
	}{
		{tls.VersionTLS13, "TLSv1.3", "TLS_AES_128_GCM_SHA256"},
		{tls.VersionTLS12, "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"},
	} {
		cfg := anyone()
		cfg.ServerName, cfg.MaxVersion, cfg.NextProtos = "Example.com", c.max, []string{"http/1.1", "h2"}
		o := shake(t, s, cfg).ok(t)
		got := o.info.TLS
		if got.Version != c.version || got.Cipher != c.cipher || got.Curve != "X25519" || got.ALPN != "h2" || got.SNI != "example.com" ||
			got.Resumed || got.Verified || got.Peer != nil || got.Chain != nil {
			t.Errorf("%s: %+v", c.version, got)
		}
		if got.Local.Facts().CommonName != "cert" || o.info.ServerName != "example.com" || o.info.TransportFailure != "" {
			t.Errorf("%s: local %v, server name %q, failure %q", c.version, got.Local.Facts(), o.info.ServerName, o.info.TransportFailure)
		}
	}
	for name, want := range map[string]int64{"handshake": 2, "no_certificate": 2, "session_reused": 0, "connection_error": 0,
		"ciphers.TLS_AES_128_GCM_SHA256": 1, "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256": 1, "curves.X25519": 2, "versions.TLSv1.2": 1,
		"versions.TLSv1.3": 1, "certificate.unnamed_cert_e3b0c442.expiration_unix_time_seconds": cert.x509.NotAfter.Unix()} {
		if n := r.count(name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
}

func TestVersions(t *testing.T) {
	const old = tlsv3.TlsParameters_TLSv1_0
	ciphers := []string{"ECDHE-ECDSA-AES128-SHA"}
	for _, c := range []struct {
		name     string
		params   *tlsv3.TlsParameters
		min, max uint16 // of the client
		want     uint16 // 0: none
		why      string
	}{
		{"newest by default", nil, tls.VersionTLS10, tls.VersionTLS13, tls.VersionTLS13, ""},
		{"1.2 by default", nil, tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS12, ""},
		{"nothing older by default", nil, tls.VersionTLS10, tls.VersionTLS11, 0, "|268435696:SSL routines:OPENSSL_internal:UNSUPPORTED_PROTOCOL:"},
		{"1.1 if asked for", &tlsv3.TlsParameters{TlsMinimumProtocolVersion: old, CipherSuites: ciphers}, tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS11, ""},
		{"1.0 if asked for", &tlsv3.TlsParameters{TlsMinimumProtocolVersion: old, CipherSuites: ciphers}, tls.VersionTLS10, tls.VersionTLS10, tls.VersionTLS10, ""},
		{"1.0 has no suite by default", &tlsv3.TlsParameters{TlsMinimumProtocolVersion: old}, tls.VersionTLS10, tls.VersionTLS10, 0, "NO_SHARED_CIPHER"},
		{"at most 1.2", &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}, tls.VersionTLS10, tls.VersionTLS13, tls.VersionTLS12, ""},
		{"1.3 only", &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}, tls.VersionTLS10, tls.VersionTLS12, 0, "UNSUPPORTED_PROTOCOL"},
	} {
		s, r := serve(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsParams: c.params}}, issue(t, nil, wish{name: "c"}))
		cfg := anyone()
		cfg.MinVersion, cfg.MaxVersion = c.min, c.max
		cfg.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		o := shake(t, s, cfg)
		if c.want != 0 {
			if o.ok(t); o.client.Version != c.want {
				t.Errorf("%s: %x, want %x", c.name, o.client.Version, c.want)
			}
			continue
		}
		if o.err == nil || o.theirs == nil || !strings.Contains(o.info.TransportFailure, c.why) || !strings.HasPrefix(o.info.TransportFailure, "TLS_error:|") ||
			!strings.HasSuffix(o.info.TransportFailure, ":TLS_error_end") || r.count("connection_error") != 1 || r.count("handshake") != 0 {
			t.Errorf("%s: %v, %v, %q", c.name, o.err, o.theirs, o.info.TransportFailure)
		}
	}
}

func TestSuitesAndCurves(t *testing.T) {
	for _, c := range []struct {
		name   string
		params *tlsv3.TlsParameters
		suites []uint16 // of the client
		curves []tls.CurveID
		cipher string // "": no handshake
		curve  string
	}{
		{"no CBC by default", nil, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}, nil, "", ""},
		{"AES-256 by default", nil, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, nil, "ECDHE-ECDSA-AES256-GCM-SHA384", "X25519"},
		{"ChaCha20 by default", nil, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, nil, "ECDHE-ECDSA-CHACHA20-POLY1305", "X25519"},
		{"a group", &tlsv3.TlsParameters{CipherSuites: []string{"[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-ECDSA-AES256-GCM-SHA384]"}}, nil, nil, "ECDHE-ECDSA-AES256-GCM-SHA384", "X25519"},
		{"only those configured", &tlsv3.TlsParameters{CipherSuites: []string{"ECDHE-ECDSA-AES256-GCM-SHA384"}}, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, nil, "", ""},
		{"P-256 by default", nil, nil, []tls.CurveID{tls.CurveP256}, "ECDHE-ECDSA-AES128-GCM-SHA256", "P-256"},
		{"no P-521 by default", nil, nil, []tls.CurveID{tls.CurveP521}, "", ""},
		{"P-521 configured", &tlsv3.TlsParameters{EcdhCurves: []string{"P-521", "P-256"}}, nil, []tls.CurveID{tls.CurveP521, tls.CurveP256}, "ECDHE-ECDSA-AES128-GCM-SHA256", "P-256"},
	} {
		s, _ := serve(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsParams: c.params}}, issue(t, nil, wish{name: "c"}))
		cfg := anyone()
		cfg.MaxVersion, cfg.CipherSuites, cfg.CurvePreferences = tls.VersionTLS12, c.suites, c.curves
		o := shake(t, s, cfg)
		if c.cipher == "" {
			if o.err == nil || !strings.Contains(o.info.TransportFailure, "NO_SHARED_CIPHER") {
				t.Errorf("%s: %v %q", c.name, o.err, o.info.TransportFailure)
			}
			continue
		}
		if o.err != nil || o.info.TLS.Cipher != c.cipher || o.info.TLS.Curve != c.curve {
			t.Errorf("%s: %v, %+v", c.name, o.err, o.info.TLS)
		}
	}
	s, _ := serve(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{EcdhCurves: []string{"X25519MLKEM768"}}}}, issue(t, nil, wish{name: "c"}))
	if o := shake(t, s, anyone()).ok(t); o.info.TLS.Curve != "X25519MLKEM768" {
		t.Errorf("post-quantum: %s", o.info.TLS.Curve)
	}
}

func TestALPN(t *testing.T) {
	for _, c := range []struct {
		mine, theirs []string
		want         string
	}{
		{[]string{"h2", "http/1.1"}, []string{"http/1.1", "h2"}, "h2"},
		{[]string{"h2,http/1.1"}, []string{"http/1.1"}, "http/1.1"},
		{[]string{"h2"}, []string{"foo"}, ""},
		{[]string{"h2"}, nil, ""},
		{nil, []string{"h2"}, ""},
	} {
		s, _ := serve(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: c.mine}}, issue(t, nil, wish{name: "c"}))
		cfg := anyone()
		cfg.NextProtos = c.theirs
		if o := shake(t, s, cfg).ok(t); o.info.TLS.ALPN != c.want || o.client.NegotiatedProtocol != c.want {
			t.Errorf("%q with %q: %q", c.mine, c.theirs, o.info.TLS.ALPN)
		}
	}
}

func TestAClientHelloMayComeByteByByte(t *testing.T) {
	s, _ := serve(t, &tlsv3.DownstreamTlsContext{}, issue(t, nil, wish{name: "c"}))
	here, there := sockets(t)
	done := make(chan error, 1)
	go func() {
		c := conn.New(here)
		if _, err := c.Peek(3); err != nil { // as an inspector does: the layer begins with what is buffered
			done <- err
			return
		}
		done <- s.Handshake(c)
	}()
	tc := tls.Client(&dribble{Conn: there}, anyone())
	if err := tc.Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotTLSIsRefused(t *testing.T) {
	s, r := serve(t, &tlsv3.DownstreamTlsContext{}, issue(t, nil, wish{name: "c"}))
	for sent, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n":    "TLS_error:|268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end",
		"SSH-2.0-OpenSSH_9.9\r\n\r": "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
		"":                          "",
		"\x16\x03\x01":              "",
	} {
		here, there := sockets(t)
		if _, err := io.WriteString(there, sent); err != nil {
			t.Fatal(err)
		}
		_ = there.(interface{ CloseWrite() error }).CloseWrite()
		c := conn.New(here)
		if err := s.Handshake(c); err == nil || c.Info().TransportFailure != want || c.Layered() {
			t.Errorf("%q: %v, %q, want %q", sent, err, c.Info().TransportFailure, want)
		}
	}
	if n := r.count("connection_error"); n != 2 {
		t.Errorf("connection_error is %d", n)
	}
}

func TestAWokenHandshakeReturnsTheCause(t *testing.T) {
	s, r := serve(t, &tlsv3.DownstreamTlsContext{}, issue(t, nil, wish{name: "c"}))
	here, _ := sockets(t)
	c := conn.New(here)
	cause := errors.New("enough")
	c.Wake(cause)
	if err := s.Handshake(c); !errors.Is(err, cause) || c.Info().TransportFailure != "" || r.count("connection_error") != 0 {
		t.Errorf("got %v, %q", err, c.Info().TransportFailure)
	}
}
