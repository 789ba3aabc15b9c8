//go:build interop

package interop

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/test/certs"
)

// scanTime is how long testssl may take; it takes about a minute where nothing else runs.
const scanTime = 5 * time.Minute

// siteFindings are what testssl says of the certificate, the name and the answers, none of which are Weft's.
var siteFindings = map[string]string{
	"cert_revocation": "the certificate names neither a revocation list nor a responder",
	"DNS_CAArecord":   "127.0.0.1 has no name",
}

// tlsFindings are those that crypto/tls makes, with what they say.
var tlsFindings = map[string]string{
	"TLS_session_ticket": "valid for 604800 seconds (>daily)", // a ticket of TLS 1.3 says so; Weft takes it for session_timeout only
}

// A finding is one of testssl's.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Finding  string `json:"finding"`
}

// startProxy runs weft proxy with a certificate and nothing but defaults, until the test ends, and returns its address.
func startProxy(t *testing.T, p *papers, i identity) string {
	t.Helper()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("strict-transport-security", "max-age=31536000")
		h.Set("content-security-policy", "default-src 'self'")
		h.Set("x-frame-options", "DENY")
		h.Set("x-content-type-options", "nosniff")
		fmt.Fprintln(w, "hello")
	}))
	addr := freeAddr(t)
	start(t, binary, "proxy", "--from", addr, "--cert", i.cert, "--key", i.key, "--to", "http://"+up, "--drain-time-s", "1").ready(addr)
	return addr
}

// short is a certificate with no more days to live than a browser takes.
func (p *papers) short(name string, rsa int) identity {
	return p.issue(p.root, name, certs.Request{Name: "localhost", DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, RSA: rsa,
		NotAfter: time.Now().AddDate(0, 0, 89)})
}

// TestScannersFindNoWeakness has testssl.sh and sslscan look at the listener of weft proxy, with both kinds of keys.
func TestScannersFindNoWeakness(t *testing.T) {
	p := newPapers(t)
	ecdsa, rsa := startProxy(t, p, p.short("ecdsa", 0)), startProxy(t, p, p.short("keys", 2048))
	t.Run("testssl", func(t *testing.T) {
		testssl(t, p, rsa, nil, "cert_chain_of_trust", "heartbleed", "secure_renego", "BREACH", "LUCKY13", "ROBOT")
	})
	t.Run("testssl, ECDSA", func(t *testing.T) { // without the vulnerabilities, which take most of the time
		testssl(t, p, ecdsa, []string{"-p", "-s", "-f", "-P", "-S"}, "cert_chain_of_trust")
	})
	t.Run("sslscan", func(t *testing.T) { sslscan(t, rsa) })
	t.Run("sslscan, ECDSA", func(t *testing.T) { sslscan(t, ecdsa) })
}

// testssl fails the test for every finding of testssl.sh above INFO that is of Weft's making, and for what it has not looked for.
func testssl(t *testing.T, p *papers, addr string, args []string, wanted ...string) {
	path := debian(t, "testssl.sh", "testssl", "testssl.sh")
	file := filepath.Join(t.TempDir(), "findings.json")
	args = append([]string{"--quiet", "--color", "0", "--warnings", "off", "--add-ca", p.ca, "--jsonfile", file}, args...)
	out, failed := run(t, scanTime, path, append(args, addr)...) // the exit code counts findings, as the file does
	var findings []finding
	if err := json.Unmarshal(read(t, file), &findings); err != nil {
		t.Fatal(err, failed, tail(out))
	}
	seen := make(map[string]string)
	for _, f := range findings {
		seen[f.ID] = f.Finding
		if f.Severity == "OK" || f.Severity == "INFO" || siteFindings[f.ID] != "" || tlsFindings[f.ID] == f.Finding {
			continue
		}
		t.Errorf("%s %s: %s", f.Severity, f.ID, f.Finding)
	}
	for _, id := range append(wanted, "TLS1_3", "TLS1_2", "ALPN", "scanTime") {
		if seen[id] == "" {
			t.Errorf("testssl has not looked for %s", id)
		}
	}
	t.Logf("%d findings\n%s", len(findings), tail(out))
}

// A scan is sslscan's report.
type scan struct {
	Protocols []struct {
		Type    string `xml:"type,attr"`
		Version string `xml:"version,attr"`
		Enabled bool   `xml:"enabled,attr"`
	} `xml:"ssltest>protocol"`
	Fallback *struct {
		Supported bool `xml:"supported,attr"`
	} `xml:"ssltest>fallback"`
	Renegotiation struct {
		Supported bool `xml:"supported,attr"`
	} `xml:"ssltest>renegotiation"`
	Compression struct {
		Supported bool `xml:"supported,attr"`
	} `xml:"ssltest>compression"`
	Heartbleed []struct {
		Vulnerable bool `xml:"vulnerable,attr"`
	} `xml:"ssltest>heartbleed"`
	Ciphers []struct {
		Version  string `xml:"sslversion,attr"`
		Name     string `xml:"cipher,attr"`
		Bits     int    `xml:"bits,attr"`
		Strength string `xml:"strength,attr"`
	} `xml:"ssltest>cipher"`
}

// sslscan fails the test for what sslscan would print in red or yellow.
func sslscan(t *testing.T, addr string) {
	file := filepath.Join(t.TempDir(), "scan.xml")
	out, err := run(t, patience, debian(t, "sslscan", "sslscan"), "--no-colour", "--xml="+file, addr)
	if err != nil {
		t.Fatal(err)
	}
	var s scan
	if err := xml.Unmarshal(read(t, file), &s); err != nil {
		t.Fatal(err)
	}
	var enabled []string
	for _, p := range s.Protocols {
		if p.Enabled {
			enabled = append(enabled, p.Type+p.Version)
		}
	}
	if got := strings.Join(enabled, " "); got != "tls1.2 tls1.3" {
		t.Errorf("protocols %s", got)
	}
	for _, c := range s.Ciphers {
		if c.Bits < 128 || c.Strength != "strong" && c.Strength != "acceptable" {
			t.Errorf("%s %s: %d bits, %s", c.Version, c.Name, c.Bits, c.Strength)
		}
		if c.Version == "TLSv1.2" && !strings.HasPrefix(c.Name, "ECDHE-") {
			t.Errorf("%s has no forward secrecy", c.Name)
		}
	}
	for _, h := range s.Heartbleed {
		if h.Vulnerable {
			t.Error("Heartbleed")
		}
	}
	if s.Renegotiation.Supported || s.Compression.Supported || len(s.Ciphers) < 6 || len(s.Heartbleed) == 0 {
		t.Errorf("sslscan prints\n%s", out)
	}
	t.Log(out)
}
