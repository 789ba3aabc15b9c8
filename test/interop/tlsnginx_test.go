//go:build interop

package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftproxy/weft/test/certs"
)

// nginxTells has nginx say what it knows of the connection, which it closes.
const nginxTells = `location /tells { keepalive_timeout 0;
      return 200 "$ssl_protocol $server_protocol $ssl_session_reused $ssl_client_verify '$ssl_server_name' $ssl_client_s_dn\n"; }`

// TestTLSToNginx has nginx as the upstream, asked twice.
func TestTLSToNginx(t *testing.T) {
	p := newPapers(t)
	trust := func(more string) string {
		return fmt.Sprintf("validation_context: {trusted_ca: {filename: %s}%s}", p.ca, more)
	}
	san := trust(", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: localhost}}]")
	revoked, err := p.root.CRL(p.local.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	crl := trust(", crl: {filename: " + p.file("local.crl", revoked) + "}")
	fine := trust(", crl: {filename: " + p.crl + "}")
	const newer = ", tls_params: {tls_maximum_protocol_version: TLSv1_3}"
	mine := ", tls_certificates: [" + p.user.yaml() + "]"
	asks := fmt.Sprintf("ssl_client_certificate %s; ssl_verify_client on;", p.ca)
	another := p.issue(p.root, "another", certs.Request{Name: "s", DNS: []string{"localhost"}})
	hash := func(i identity) string {
		return fmt.Sprintf("validation_context: {verify_certificate_hash: [%s]}", certificateHash(i))
	}
	stranger := fmt.Sprintf("validation_context: {trusted_ca: {filename: %s}}", p.file("stranger.pem", p.stranger.PEM()))
	other := trust(", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a.example}}]")
	const suites = ", tls_params: {cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256]}"
	const failed = "CERTIFICATE_VERIFY_FAILED"
	for _, c := range []struct {
		name     string
		server   string // directives
		common   string
		own      string
		upstream speaks
		want     []string // parts of the answers: the first, the second
		reason   string   // or of UPSTREAM_TRANSPORT_FAILURE_REASON
	}{
		{"TLS 1.2, resumed", "", san, "sni: localhost, ", http1,
			[]string{"TLSv1.2 HTTP/1.1 . NONE 'localhost'", "TLSv1.2 HTTP/1.1 r NONE 'localhost'"}, ""},
		{"TLS 1.3, resumed", "", san + newer, "sni: localhost, ", http1,
			[]string{"TLSv1.3 HTTP/1.1 . NONE 'localhost'", "TLSv1.3 HTTP/1.1 r NONE 'localhost'"}, ""},
		{"no sessions", "", san + newer, "sni: localhost, max_session_keys: 0, ", http1, []string{"TLSv1.3 HTTP/1.1 . ", "TLSv1.3 HTTP/1.1 . "}, ""},
		{"no SNI", "", san, "", http1, []string{"TLSv1.2 HTTP/1.1 . NONE ''"}, ""},
		{"HTTP/2", "", san + newer, "", http2, []string{"TLSv1.3 HTTP/2.0 . NONE"}, ""},
		{"HTTP/2 by ALPN", "", san + newer, "", byALPN, []string{"TLSv1.3 HTTP/2.0 . NONE"}, ""},
		{"HTTP/1.1 by ALPN", "", san + newer + ", alpn_protocols: [http/1.1]", "", http1, []string{"TLSv1.3 HTTP/1.1 . NONE"}, ""},
		{"a client certificate", asks, san + newer + mine, "", http1,
			[]string{"TLSv1.3 HTTP/1.1 . SUCCESS '' CN=user,O=Weft", "TLSv1.3 HTTP/1.1 r SUCCESS '' CN=user,O=Weft"}, ""},
		{"a client certificate, TLS 1.2", asks, san + mine, "", http2, []string{"TLSv1.2 HTTP/2.0 . SUCCESS '' CN=user,O=Weft"}, ""},
		{"none where one is required", asks, san + newer, "", http1, []string{"No required SSL certificate was sent"}, ""},
		{"not revoked", "", fine, "", http1, []string{"TLSv1.2"}, ""},
		{"revoked", "", crl, "", http1, nil, failed},
		{"another SAN", "", other, "", http1, nil, failed},
		{"a stranger's", "", stranger, "", http1, nil, failed},
		{"by the certificate's hash", "", hash(p.local), "", http1, []string{"TLSv1.2"}, ""},
		{"by another hash", "", hash(another), "", http1, nil, failed},
		{"a cipher nginx has not", "ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384;", san + suites, "", http1, nil, "ALERT_HANDSHAKE_FAILURE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startSecureNginx(t, p, "", "1.1", c.server, nginxTells)
			w := startWeft(t, n.tls, setup{upstream: c.upstream, upSocket: upstreamSocket(c.common, c.own)})
			for i, want := range c.want {
				if got := curl(t, w.url()+"/tells"); !strings.Contains(got, want) {
					t.Errorf("answer %d is %q, want %q in it", i, got, want)
				}
			}
			if c.reason == "" {
				return
			}
			if got := curl(t, "-i", w.url()+"/tells"); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, c.reason) {
				t.Errorf("curl prints %q, want %q in it", got, c.reason)
			}
			w.eventually(func() error {
				if !strings.Contains(w.out.String(), c.reason) {
					return fmt.Errorf("no %q in the log", c.reason)
				}
				return nil
			})
		})
	}
}
