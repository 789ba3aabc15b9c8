package server

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/test/certs"
	"golang.org/x/crypto/ocsp"
)

// issue makes a certificate of an authority, and the authority.
func issue(t *testing.T, r certs.Request) (*certs.Pair, *certs.Authority) {
	t.Helper()
	a, err := certs.NewAuthority("root")
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return p, a
}

// withSecrets adds static secrets to a configuration: a certificate from the files that Pair.Write makes, perhaps with a staple, and the
// authority ca.pem.
func withSecrets(config, dir, more string) string {
	return config + fmt.Sprintf(`  secrets:
  - name: cert
    tls_certificate: {certificate_chain: {filename: %[1]s/x.crt}, private_key: {filename: %[1]s/x.crt.key}%[2]s}
  - name: ca
    validation_context: {trusted_ca: {filename: %[1]s/ca.pem}}
  - name: keys
    session_ticket_keys: {keys: [{inline_string: %[3]s}]}
`, dir, more, strings.Repeat("k", 80))
}

// serials is what /certs says of leaves and authorities.
func (r *running) serials() string {
	_, body := r.ask("GET", "http://"+r.at.Admin+"/certs")
	var all struct {
		Certificates []struct {
			CACert []struct {
				SerialNumber string `json:"serial_number"`
			} `json:"ca_cert"`
			CertChain []struct {
				SerialNumber string `json:"serial_number"`
			} `json:"cert_chain"`
		}
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		r.t.Fatalf("/certs: %v: %s", err, body)
	}
	var out []string
	for _, c := range all.Certificates {
		for _, x := range c.CACert {
			out = append(out, "ca:"+x.SerialNumber)
		}
		for _, x := range c.CertChain {
			out = append(out, "leaf:"+x.SerialNumber)
		}
	}
	return strings.Join(out, " ")
}

func TestSecretsOnTheAdminPage(t *testing.T) {
	dir := t.TempDir()
	from := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	ends := from.Add(10*day + 2*time.Hour)
	p, a := issue(t, certs.Request{
		Name: "x", DNS: []string{"x.example.com"}, URIs: []string{"spiffe://td/x"}, IPs: []net.IP{net.IPv4(10, 1, 2, 3)}, NotBefore: from, NotAfter: ends,
	})
	staple, err := a.OCSP(p.Leaf, ocsp.Good, from, ends)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"ca.pem": a.PEM(), "staple": staple} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := p.Write(dir, "x"); err != nil {
		t.Fatal(err)
	}
	key, err := p.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, withSecrets(config(front("a", 0, "/x 200 one")), dir, ", ocsp_staple: {filename: "+dir+"/staple}"))
	_, body := r.ask("GET", "http://"+r.at.Admin+"/certs")
	stamp := func(x time.Time) string { return x.Format(time.RFC3339) }
	caSerial, leafSerial := serial(a.Certificate().SerialNumber), serial(p.Leaf.SerialNumber)
	var got, want any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	authority := a.Certificate()
	caDays := int(time.Until(authority.NotAfter) / day)
	text := fmt.Sprintf(`{"certificates": [
		{"ca_cert": [], "cert_chain": [{"path": %q, "serial_number": %q,
			"subject_alt_names": [{"dns": "x.example.com"}, {"uri": "spiffe://td/x"}, {"ip_address": "10.1.2.3"}],
			"days_until_expiration": "10", "valid_from": %q, "expiration_time": %q, "ocsp_details": {"valid_from": %q, "expiration": %q}}]},
		{"ca_cert": [{"path": %q, "serial_number": %q, "subject_alt_names": [], "days_until_expiration": "%d", "valid_from": %q,
			"expiration_time": %q}], "cert_chain": []}]}`,
		dir+"/x.crt", leafSerial, stamp(from), stamp(ends), stamp(from), stamp(ends),
		dir+"/ca.pem", caSerial, caDays, stamp(authority.NotBefore.UTC()), stamp(authority.NotAfter.UTC()))
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if g, w := encode(t, got), encode(t, want); !bytes.Equal(g, w) {
		t.Errorf("/certs\n%s\nwant\n%s", g, w)
	}
	r.admin("GET", "/config_dump?resource=static_secrets", 200, `"name": "cert"`)
	_, dump := r.ask("GET", "http://"+r.at.Admin+"/config_dump")
	if strings.Contains(dump, strings.Repeat("k", 80)) || strings.Contains(dump, string(key)) || !strings.Contains(dump, "[redacted]") {
		t.Errorf("/config_dump shows keys, or nothing:\n%s", dump)
	}
	r.eventually("the gauge says when the first expires", func() bool {
		_, body := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=days_until_first_cert_expiring")
		return strings.Contains(body, ": 10\n")
	})
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSecretsFollowFilesAndReloads(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	var want []string
	for _, dir := range dirs {
		p, a := issue(t, certs.Request{Name: "x"})
		if _, _, err := p.Write(dir, "x"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "ca.pem"), a.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		want = append(want, "leaf:"+serial(p.Leaf.SerialNumber)+" ca:"+serial(a.Certificate().SerialNumber))
	}
	base := config(front("a", 0, "/x 200 one"))
	r := start(t, withSecrets(base, dirs[0], ""))
	is := func(want string) {
		t.Helper()
		if got := r.serials(); got != want {
			t.Errorf("certificates %q, want %q", got, want)
		}
	}
	is(want[0])
	r.configure(withSecrets(base, dirs[1], ""))
	r.admin("POST", "/reload", 200, "")
	if !strings.Contains(r.log.String(), "secrets +0 ~2 -0") {
		t.Errorf("what has changed is not logged:\n%s", r.log)
	}
	is(want[1])

	busy, _ := busyPort(t) // a reload that fails when the secrets are published already
	r.configure(withSecrets(config(front("a", 0, "/x 200 two"), front("busy", busy, "/x 200 busy")), dirs[0], ""))
	r.admin("POST", "/reload", 400, "busy")
	is(want[1])

	p, a := issue(t, certs.Request{Name: "y"})
	if _, _, err := p.Write(dirs[1], "x"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dirs[1], "ca.pem"), a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := "leaf:" + serial(p.Leaf.SerialNumber) + " ca:" + serial(a.Certificate().SerialNumber)
	r.eventually("the files that have changed are read", func() bool { return r.serials() == changed })
	r.admin("GET", "/stats?filter=^secret.reload_success$", 200, "secret.reload_success: ")
}

func TestProblemsOfSecretsHaveAPlace(t *testing.T) {
	expired, a := issue(t, certs.Request{Name: "x", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	text := withSecrets(config(front("a", 0, "/x 200 one")), dir, "")
	path := filepath.Join(dir, "weft.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	o := Options{ConfigPath: path, Extensions: builtin.Extensions(), Stdout: &out, Stderr: &problems}
	if err := Validate(o); err == nil || !strings.Contains(problems.String(), "static_resources.secrets[0].tls_certificate.certificate_chain: cannot be read") ||
		!strings.Contains(problems.String(), "weft.yaml:") || !strings.Contains(problems.String(), `secret "cert"`) {
		t.Errorf("%v\n%s", err, &problems)
	}
	if _, _, err := expired.Write(dir, "x"); err != nil {
		t.Fatal(err)
	}
	problems.Reset()
	if err := Validate(o); err == nil || !strings.Contains(problems.String(), "error: ") || !strings.Contains(problems.String(), "has expired") {
		t.Errorf("%v\n%s", err, &problems)
	}
}

// A shelf is a file that secrets are delivered by.
type shelf struct {
	t    *testing.T
	path string
}

// put replaces the file: the certificate "site", perhaps with the key of another one.
func (s shelf) put(p, key *certs.Pair) {
	s.t.Helper()
	secret, err := key.KeyPEM()
	if err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf(`resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: site
  tls_certificate: {certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}
`, p.PEM(), secret)
	if err := os.WriteFile(s.path+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		s.t.Fatal(err)
	}
}

// tls puts TLS before the listeners of a configuration, with the certificate from the shelf.
func (s shelf) tls(config string) string {
	return strings.ReplaceAll(config, "    - filters:\n", fmt.Sprintf(`    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - {name: site, sds_config: {initial_fetch_timeout: 0.2s, path_config_source: {path: %s}}}
      filters:
`, s.path))
}

// shown is the serial number of the certificate that a client is shown, "" if there is none.
func shown(t *testing.T, at string) (string, *tls.Conn) {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", at, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return "", nil
	}
	t.Cleanup(func() { _ = c.Close() })
	return serial(c.ConnectionState().PeerCertificates[0].SerialNumber), c
}

func TestSecretsThatAFileDelivers(t *testing.T) {
	one, _ := issue(t, certs.Request{Name: "one"})
	two, _ := issue(t, certs.Request{Name: "two"})
	s := shelf{t, filepath.Join(t.TempDir(), "sds.yaml")}
	if err := os.WriteFile(s.path, []byte("resources: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, s.tls(config(front("a", 0, "/x 200 one"))))
	at := r.at.Listeners["a"][0]
	if got, _ := shown(t, at); got != "" {
		t.Errorf("shown %q before there is one", got)
	}
	r.admin("GET", "/stats?filter=downstream_context_secrets_not_ready", 200, ": 1\n")

	s.put(one, one)
	first := serial(one.Leaf.SerialNumber)
	r.eventually("the first certificate is shown", func() bool { got, _ := shown(t, at); return got == first })
	_, open := shown(t, at)
	s.put(two, one)
	r.eventually("the wrong key is refused", func() bool {
		_, body := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=sds.site.update_rejected")
		return strings.Contains(body, "update_rejected") && !strings.Contains(body, ": 0\n")
	})
	if got, _ := shown(t, at); got != first || r.serials() != "leaf:"+first {
		t.Errorf("shown %q, /certs %q, want %q", got, r.serials(), first)
	}
	s.put(two, two)
	second := serial(two.Leaf.SerialNumber)
	r.eventually("the second certificate is shown", func() bool { got, _ := shown(t, at); return got == second })
	if got := r.serials(); got != "leaf:"+second {
		t.Errorf("/certs %q, want %q", got, second)
	}
	if open == nil {
		t.Fatal("no connection")
	}
	_ = open.SetDeadline(time.Now().Add(patience))
	if _, err := open.Write([]byte("GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(open); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("a connection from before: %v, %q", err, answer)
	}
}
