//go:build interop

package interop

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/weftproxy/weft/test/certs"
)

// goTLS connects as crypto/tls, asks for /hello in HTTP/1.1 unless HTTP/2 was agreed on, and returns what it knows of the connection.
func goTLS(addr string, c *tls.Config) (state tls.ConnectionState, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, c)
	if err != nil {
		return state, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return state, err
	}
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		return conn.ConnectionState(), http2Preface(conn)
	}
	if _, err := io.WriteString(conn, "GET /hello HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"); err != nil {
		return state, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return state, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || string(body) != "GET a.example /hello") {
		err = fmt.Errorf("%s, %q", resp.Status, body)
	}
	return conn.ConnectionState(), err
}

// http2Preface sends the preface with empty SETTINGS and waits for those of the server.
func http2Preface(conn net.Conn) error {
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return err
	}
	var head [9]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	if kind := head[3]; kind != 4 {
		return fmt.Errorf("the first frame is of type %d", kind)
	}
	return nil
}

// TestTLSServesGo has the rows of TestTLSServesOpenSSL, as crypto/tls sees them.
func TestTLSServesGo(t *testing.T) {
	p := newPapers(t)
	up := serve(t, origin())
	w := startWeft(t, up, setup{socket: p.siteSocket("")})
	old := startWeft(t, up, setup{socket: p.siteSocket(", tls_params: {tls_maximum_protocol_version: TLSv1_2}")})
	rsa := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for _, c := range []struct {
		name string
		addr string
		conf *tls.Config
		want string // what show tells
	}{
		{"TLS 1.3", w.addr, &tls.Config{}, "TLS 1.3 ECDSA site - good"},
		{"TLS 1.2", w.addr, &tls.Config{MaxVersion: tls.VersionTLS12}, "TLS 1.2 ECDSA site - good"},
		{"at most TLS 1.2", old.addr, &tls.Config{}, "TLS 1.2 ECDSA site - good"},
		{"RSA by ability", w.addr, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: rsa}, "TLS 1.2 RSA site - no staple"},
		{"SNI, wildcard", w.addr, &tls.Config{ServerName: "x.b.example"}, "TLS 1.3 ECDSA wild - no staple"},
		{"SNI, deeper than the wildcard", w.addr, &tls.Config{ServerName: "x.y.b.example"}, "x509: certificate is valid for a.example, not x.y.b.example"},
		{"SNI, mismatch", w.addr, &tls.Config{ServerName: "nobody.example"}, "x509: certificate is valid for a.example, not nobody.example"},
		{"ALPN http/1.1", w.addr, &tls.Config{NextProtos: []string{"http/1.1"}}, "TLS 1.3 ECDSA site http/1.1 good"},
		{"ALPN h2", w.addr, &tls.Config{NextProtos: []string{"http/1.1", "h2"}}, "TLS 1.3 ECDSA site h2 good"},
		{"ALPN unknown", w.addr, &tls.Config{NextProtos: []string{"acme"}}, "TLS 1.3 ECDSA site - good"},
		{"hybrid key exchange or not", w.addr, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.CurveP256}}, "TLS 1.3 ECDSA site - good"},
		{"a curve that is not offered", w.addr, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}, "remote error: tls: handshake failure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.conf.RootCAs = p.root.Pool()
			if c.conf.ServerName == "" {
				c.conf.ServerName = "a.example"
			}
			state, err := goTLS(c.addr, c.conf)
			got := p.show(state)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// show is what a client knows: version, kind of key, certificate, protocol and what the staple says.
func (p *papers) show(s tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	name, leaf := "site", s.PeerCertificates[0]
	if leaf.Subject.CommonName != "a.example" {
		name = leaf.Subject.CommonName
	}
	staple := "no staple"
	if len(s.OCSPResponse) > 0 {
		switch r, err := ocsp.ParseResponseForCert(s.OCSPResponse, leaf, p.root.Certificate()); {
		case err != nil:
			staple = err.Error()
		case r.Status == ocsp.Good:
			staple = "good"
		default:
			staple = fmt.Sprint("status ", r.Status)
		}
	}
	protocol := s.NegotiatedProtocol
	if protocol == "" {
		protocol = "-"
	}
	return fmt.Sprintf("%s %v %s %s %s", tls.VersionName(s.Version), leaf.PublicKeyAlgorithm, name, protocol, staple)
}

// TestTLSResumesGo resumes with each version, with a client certificate as well, which is looked at again.
func TestTLSResumesGo(t *testing.T) {
	p := newPapers(t)
	up := serve(t, origin())
	for name, socket := range map[string]string{"one-sided": p.siteSocket(""), "mutual": p.mutualSocket()} {
		w := startWeft(t, up, setup{socket: socket})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := &tls.Config{RootCAs: p.root.Pool(), ServerName: "a.example", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(0),
				Certificates: []tls.Certificate{p.user.TLS()}}
			for i, want := range []bool{false, true, true} {
				state, err := goTLS(w.addr, c)
				if err != nil || state.DidResume != want || state.Version != version {
					t.Errorf("%s, %s, connection %d: resumed %v, %v", name, tls.VersionName(version), i, state.DidResume, err)
				}
			}
		}
		w.becomes(w.ssl("session_reused"), 4)
	}
}

// ssl is the name of a counter of the listener.
func (w *weft) ssl(name string) string {
	return "listener." + strings.ReplaceAll(w.addr, ":", "_") + ".ssl." + name
}

// TestTLSRefusesGo has clients that may not talk to the listener, with each version, and what they are told.
func TestTLSRefusesGo(t *testing.T) {
	p := newPapers(t)
	w := startWeft(t, serve(t, origin()), setup{socket: p.mutualSocket()})
	other := p.issue(p.root, "other", certs.Request{Name: "other", URIs: []string{"spiffe://elsewhere/x"}})
	expired := p.issue(p.root, "expired", certs.Request{Name: "e", URIs: []string{"spiffe://cluster.local/x"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	server := p.issue(p.root, "server", certs.Request{Name: "s", URIs: []string{"spiffe://cluster.local/x"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	for _, c := range []struct {
		name string
		with *certs.Pair
		ok   bool
		stat string
	}{
		{"a client certificate", p.user.Pair, true, "handshake"},
		{"none", nil, false, "fail_verify_no_cert"},
		{"of a stranger", p.foreign.Pair, false, "fail_verify_error"},
		{"revoked", p.revoked.Pair, false, "fail_verify_error"},
		{"with another SAN", other.Pair, false, "fail_verify_san"},
		{"for servers only", server.Pair, false, "fail_verify_error"},
		{"expired", expired.Pair, false, "fail_verify_error"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(c.name+", "+tls.VersionName(version), func(t *testing.T) {
				conf := &tls.Config{RootCAs: p.root.Pool(), ServerName: "a.example", MaxVersion: version}
				if c.with != nil { // whatever the server says it takes
					conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						mine := c.with.TLS()
						return &mine, nil
					}
				}
				before := w.stat(w.ssl(c.stat))
				_, err := goTLS(w.addr, conf)
				if c.ok && err != nil || !c.ok && (err == nil || !strings.Contains(err.Error(), "remote error: tls: ")) {
					t.Errorf("the client sees %v", err)
				}
				w.becomes(w.ssl(c.stat), before+1)
			})
		}
	}
}
