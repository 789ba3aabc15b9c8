//go:build interop

package interop

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/weftproxy/weft/test/certs"
)

// An identity is files of a certificate and its key.
type identity struct {
	*certs.Pair
	cert, key string
}

// papers are the certificates of the tests.
type papers struct {
	t        *testing.T
	dir      string
	root     *certs.Authority
	ca       string // file of root
	stranger *certs.Authority
	site     identity // a.example, ECDSA, with a staple
	rsa      identity // a.example, RSA
	wild     identity // *.b.example
	local    identity // 127.0.0.1 and localhost
	user     identity // a client of root's
	revoked  identity // another one, which crl names
	foreign  identity // a client of stranger's
	staple   string   // file of site's OCSP response
	crl      string   // file of root's CRL
}

func newPapers(t *testing.T) *papers {
	t.Helper()
	p := &papers{t: t, dir: t.TempDir()}
	var err error
	if p.root, err = certs.NewAuthority("root of the tests"); err != nil {
		t.Fatal(err)
	}
	if p.stranger, err = certs.NewAuthority("a stranger"); err != nil {
		t.Fatal(err)
	}
	p.ca = p.file("ca.pem", p.root.PEM())
	p.site = p.issue(p.root, "site", certs.Request{Name: "a.example", DNS: []string{"a.example"}})
	p.rsa = p.issue(p.root, "rsa", certs.Request{Name: "a.example", DNS: []string{"a.example"}, RSA: 2048})
	p.wild = p.issue(p.root, "wild", certs.Request{Name: "wild", DNS: []string{"*.b.example"}})
	p.local = p.issue(p.root, "local", certs.Request{Name: "local", DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	p.user = p.issue(p.root, "user", certs.Request{Name: "user", Org: "Weft", URIs: []string{"spiffe://cluster.local/ns/x/sa/user"}})
	p.revoked = p.issue(p.root, "revoked", certs.Request{Name: "revoked", URIs: []string{"spiffe://cluster.local/ns/x/sa/user"}})
	p.foreign = p.issue(p.stranger, "foreign", certs.Request{Name: "foreign", URIs: []string{"spiffe://cluster.local/ns/x/sa/user"}})
	now := time.Now()
	staple, err := p.root.OCSP(p.site.Leaf, ocsp.Good, now.Add(-time.Hour), now.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	p.staple = p.file("staple.der", staple)
	crl, err := p.root.CRL(p.revoked.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	p.crl = p.file("crl.pem", crl)
	return p
}

func (p *papers) issue(by *certs.Authority, name string, r certs.Request) identity {
	p.t.Helper()
	pair, err := by.Issue(r)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, key, err := pair.Write(p.dir, name)
	if err != nil {
		p.t.Fatal(err)
	}
	return identity{pair, cert, key}
}

func (p *papers) file(name string, b []byte) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// yaml is the certificate for a configuration.
func (i identity) yaml(more ...string) string {
	return fmt.Sprintf("{certificate_chain: {filename: %s}, private_key: {filename: %s}%s}", i.cert, i.key, strings.Join(more, ""))
}

// downstreamSocket is a listener's transport socket. common are fields of the common context, own of the downstream's.
func downstreamSocket(common, own string) string {
	return fmt.Sprintf(`{name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, `+
		`%scommon_tls_context: {%s}}}`, own, common)
}

// upstreamSocket is a cluster's.
func upstreamSocket(common, own string) string {
	return fmt.Sprintf(`{name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, `+
		`%scommon_tls_context: {%s}}}`, own, common)
}

// site is a listener with all certificates, ALPN and a staple.
func (p *papers) siteSocket(params string) string {
	return downstreamSocket(fmt.Sprintf(`tls_certificates: [%s, %s, %s], alpn_protocols: [h2, http/1.1]%s`,
		p.site.yaml(", ocsp_staple: {filename: "+p.staple+"}"), p.rsa.yaml(), p.wild.yaml(), params), "")
}

// mutual is a listener that requires a client certificate of root's that is not revoked and is spiffe://cluster.local/….
func (p *papers) mutualSocket() string {
	return downstreamSocket(fmt.Sprintf(`tls_certificates: [%s], alpn_protocols: [h2, http/1.1], validation_context: {trusted_ca: {filename: %s}, `+
		`crl: {filename: %s}, match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://cluster.local/"}}]}`, p.site.yaml(), p.ca, p.crl),
		"require_client_certificate: true, ")
}

// localSocket is a listener for clients that ask for 127.0.0.1 or localhost. If clients is a file, they need a certificate of its authorities.
func (p *papers) localSocket(clients string) string {
	common, own := fmt.Sprintf(`tls_certificates: [%s], alpn_protocols: [h2, http/1.1]`, p.local.yaml()), ""
	if clients != "" {
		common, own = common+fmt.Sprintf(`, validation_context: {trusted_ca: {filename: %s}}`, clients), "require_client_certificate: true, "
	}
	return downstreamSocket(common, own)
}

// toLocal is a cluster's, of servers that are 127.0.0.1.
func (p *papers) toLocal() string {
	return upstreamSocket(fmt.Sprintf("validation_context: {trusted_ca: {filename: %s}, match_typed_subject_alt_names: [{san_type: IP_ADDRESS, "+
		"matcher: {exact: 127.0.0.1}}]}, tls_params: {tls_maximum_protocol_version: TLSv1_3}", p.ca), "")
}

// openssl runs openssl s_client, which asks for / in HTTP/1.1, and returns all it prints.
func openssl(t *testing.T, addr string, args ...string) (string, error) {
	t.Helper()
	request := "GET /hello HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
	return runWith(t, request, tool(t, "openssl"), append([]string{"s_client", "-connect", addr, "-ign_eof"}, args...)...)
}

// TestTLSServesOpenSSL has the rows of what clients can be, as openssl sees them.
func TestTLSServesOpenSSL(t *testing.T) {
	p := newPapers(t)
	up := serve(t, origin())
	w := startWeft(t, up, setup{socket: p.siteSocket("")})
	old := startWeft(t, up, setup{socket: p.siteSocket(", tls_params: {tls_maximum_protocol_version: TLSv1_2}")})
	for _, c := range []struct {
		name, addr string
		args       []string
		want       []string // parts of what openssl prints
	}{
		{"TLS 1.3", w.addr, []string{"-tls1_3"}, []string{"New, TLSv1.3", "HTTP/1.1 200 OK"}},
		{"TLS 1.2", w.addr, []string{"-tls1_2"}, []string{"New, TLSv1.2", "HTTP/1.1 200 OK", "Secure Renegotiation IS supported"}},
		{"at most TLS 1.2", old.addr, nil, []string{"New, TLSv1.2", "HTTP/1.1 200 OK"}},
		{"ECDSA by choice", w.addr, []string{"-servername", "a.example"}, []string{"a.example", "Peer signature type: ECDSA", "Verification: OK"}},
		{"RSA by ability, TLS 1.3", w.addr, []string{"-tls1_3", "-servername", "a.example", "-sigalgs", "rsa_pss_rsae_sha256:RSA+SHA256"}, []string{"Peer signature type: RSA-PSS", "Verification: OK"}},
		{"RSA by ability, TLS 1.2", w.addr, []string{"-tls1_2", "-servername", "a.example", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}, []string{"Cipher is ECDHE-RSA-AES128-GCM-SHA256", "Verification: OK"}},
		{"SNI, wildcard", w.addr, []string{"-servername", "x.b.example"}, []string{"CN = wild", "Verification: OK"}},
		{"SNI, deeper than the wildcard", w.addr, []string{"-servername", "x.y.b.example"}, []string{"CN = a.example"}},
		{"SNI, mismatch: the first", w.addr, []string{"-servername", "nobody.example"}, []string{"CN = a.example"}},
		{"no SNI: the first", w.addr, []string{"-noservername"}, []string{"CN = a.example"}},
		{"ALPN http/1.1", w.addr, []string{"-alpn", "http/1.1"}, []string{"ALPN protocol: http/1.1", "HTTP/1.1 200 OK"}},
		{"ALPN h2 first", w.addr, []string{"-alpn", "http/1.1,h2"}, []string{"ALPN protocol: h2"}},
		{"ALPN unknown", w.addr, []string{"-alpn", "acme"}, []string{"No ALPN negotiated", "HTTP/1.1 200 OK"}},
		{"staple", w.addr, []string{"-servername", "a.example", "-status"}, []string{"OCSP Response Status: successful", "Cert Status: good"}},
		{"no staple of another certificate", w.addr, []string{"-servername", "x.b.example", "-status"}, []string{"OCSP response: no response sent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := openssl(t, c.addr, append([]string{"-CAfile", p.ca}, c.args...)...)
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q; %v, openssl prints\n%s", want, err, tail(out))
				}
			}
		})
	}
}

// TestTLSResumes resumes a session of another connection with each version.
func TestTLSResumes(t *testing.T) {
	p := newPapers(t)
	w := startWeft(t, serve(t, origin()), setup{socket: p.siteSocket("")})
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		session := filepath.Join(t.TempDir(), "session")
		if out, err := openssl(t, w.addr, version, "-CAfile", p.ca, "-servername", "a.example", "-sess_out", session); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := openssl(t, w.addr, version, "-CAfile", p.ca, "-servername", "a.example", "-sess_in", session)
		if err != nil || !strings.Contains(out, "Reused, TLSv1.") || !strings.Contains(out, "200 OK") {
			t.Errorf("%s: %v, openssl prints\n%s", version, err, tail(out))
		}
	}
	w.becomes("listener."+strings.ReplaceAll(w.addr, ":", "_")+".ssl.session_reused", 2)
}

// TestTLSRefuses has what may not work, and what both sides are told.
func TestTLSRefuses(t *testing.T) {
	p := newPapers(t)
	w := startWeft(t, serve(t, origin()), setup{socket: p.mutualSocket()})
	plain := startWeft(t, serve(t, origin()), setup{socket: p.siteSocket("")})
	with := func(i identity) []string { return []string{"-cert", i.cert, "-key", i.key} }
	other := p.issue(p.root, "other", certs.Request{Name: "other", URIs: []string{"spiffe://elsewhere/x"}})
	server := p.issue(p.root, "server", certs.Request{Name: "s", URIs: []string{"spiffe://cluster.local/x"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	expired := p.issue(p.root, "expired", certs.Request{Name: "e", URIs: []string{"spiffe://cluster.local/x"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	for _, c := range []struct {
		name string
		w    *weft
		args []string
		ok   bool
		stat string // of the listener, below ssl.
		log  string // part of the access log
	}{
		{"a client certificate", w, with(p.user), true, "handshake", ""},
		{"none", w, nil, false, "fail_verify_no_cert", "connection TLS_error:"},
		{"of a stranger", w, with(p.foreign), false, "fail_verify_error", "connection TLS_error:"},
		{"revoked", w, with(p.revoked), false, "fail_verify_error", "revoked"},
		{"with another SAN", w, with(other), false, "fail_verify_san", "connection TLS_error:"},
		{"for servers only", w, with(server), false, "fail_verify_error", "connection TLS_error:"},
		{"expired", w, with(expired), false, "fail_verify_error", "expired"},
		{"TLS 1.1", plain, []string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, false, "connection_error", "connection TLS_error:"},
		{"a cipher that is not offered", plain, []string{"-tls1_2", "-cipher", "AES128-SHA"}, false, "connection_error", "connection TLS_error:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stat := "listener." + strings.ReplaceAll(c.w.addr, ":", "_") + ".ssl." + c.stat
			before, logged := c.w.stat(stat), len(c.w.out.String())
			out, err := openssl(t, c.w.addr, append([]string{"-CAfile", p.ca}, c.args...)...)
			if served := strings.Contains(out, "200 OK"); served != c.ok {
				t.Errorf("served: %v; %v, openssl prints\n%s", served, err, tail(out))
			}
			if !c.ok && !strings.Contains(out+fmt.Sprint(err), "alert") {
				t.Errorf("no alert; %v, openssl prints\n%s", err, tail(out))
			}
			c.w.becomes(stat, before+1)
			c.w.eventually(func() error {
				if got := c.w.out.String()[logged:]; !strings.Contains(got, c.log) {
					return fmt.Errorf("no %q in the log %q", c.log, got)
				}
				return nil
			})
		})
	}
}

// TestTLSServesCurl is curl, with HTTP/1.1 and HTTP/2.
func TestTLSServesCurl(t *testing.T) {
	p := newPapers(t)
	w := startWeft(t, serve(t, origin()), setup{socket: p.mutualSocket()})
	at := []string{"--cacert", p.ca, "--connect-to", "a.example:443:" + w.addr, "-w", "%{http_version} %{http_code}", "-o", "/dev/null"}
	user := []string{"--cert", p.user.cert, "--key", p.user.key}
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"HTTP/2 by ALPN", "2 200", user},
		{"HTTP/1.1", "1.1 200", append([]string{"--http1.1"}, user...)},
		{"TLS 1.2", "2 200", append([]string{"--tls-max", "1.2"}, user...)},
		{"upload", "2 200", append([]string{"-F", "f=@" + p.ca, "-o", "/dev/null"}, user...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := curl(t, append(append(at, c.args...), "https://a.example/a")...); got != c.want {
				t.Errorf("curl prints %q, want %q", got, c.want)
			}
		})
	}
	if out, err := run(t, patience, tool(t, "curl"), append(at, "-sS", "https://a.example/a")...); err == nil {
		t.Errorf("without a certificate curl prints %q", out)
	}
}

// TestTLSToOpenSSL has openssl s_server as the upstream.
func TestTLSToOpenSSL(t *testing.T) {
	p := newPapers(t)
	trust := func(san string) string {
		return fmt.Sprintf("validation_context: {trusted_ca: {filename: %s}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: %s}}]}", p.ca, san)
	}
	for _, c := range []struct {
		name   string
		server []string
		socket string
		status string
		reason string // in UPSTREAM_TRANSPORT_FAILURE_REASON
	}{
		{"TLS 1.3", []string{"-tls1_3"}, upstreamSocket(trust("a.example")+", tls_params: {tls_maximum_protocol_version: TLSv1_3}", "sni: a.example, "), "200", ""},
		{"TLS 1.3 without being asked for", []string{"-tls1_3"}, upstreamSocket(trust("a.example"), "sni: a.example, "), "503", "TLSV1_ALERT_PROTOCOL_VERSION"},
		{"TLS 1.2", []string{"-tls1_2"}, upstreamSocket(trust("a.example"), "sni: a.example, "), "200", ""},
		{"RSA", []string{"-cert", p.rsa.cert, "-key", p.rsa.key}, upstreamSocket(trust("a.example"), "sni: a.example, "), "200", ""},
		{"not validated", []string{"-cert", p.foreign.cert, "-key", p.foreign.key}, upstreamSocket("", ""), "200", ""},
		{"a client certificate", []string{"-Verify", "1", "-verify_return_error", "-CAfile", p.ca},
			upstreamSocket(trust("a.example")+", tls_certificates: ["+p.user.yaml()+"]", "sni: a.example, "), "200", ""},
		{"none where one is required", []string{"-Verify", "1", "-verify_return_error", "-CAfile", p.ca}, upstreamSocket(trust("a.example"), "sni: a.example, "), "503", "TLS_error:"},
		{"SAN mismatch", nil, upstreamSocket(trust("other.example"), "sni: a.example, "), "503", "TLS_error:"},
		{"a stranger's", []string{"-cert", p.foreign.cert, "-key", p.foreign.key}, upstreamSocket(trust("a.example"), ""), "503", "TLS_error:"},
		{"no common version", []string{"-tls1_2"}, upstreamSocket(trust("a.example")+", tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}", ""), "503", "TLS_error:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := freeAddr(t)
			s := start(t, tool(t, "openssl"), append([]string{"s_server", "-accept", addr, "-www", "-cert", p.site.cert, "-key", p.site.key}, c.server...)...)
			s.ready(addr)
			w := startWeft(t, addr, setup{upSocket: c.socket})
			got := curl(t, "-i", "http://"+w.addr+"/")
			if !strings.HasPrefix(got, "HTTP/1.1 "+c.status) {
				t.Errorf("curl prints %q", tail(got))
			}
			w.eventually(func() error {
				if c.reason != "" && !strings.Contains(w.out.String(), c.reason) {
					return fmt.Errorf("no %q in the log", c.reason)
				}
				return nil
			})
		})
	}
}

// certificateHash is what verify_certificate_hash takes.
func certificateHash(i identity) string {
	hash := sha256.Sum256(i.Leaf.Raw)
	return hex.EncodeToString(hash[:])
}
