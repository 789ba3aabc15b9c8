package route

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/weftproxy/weft/conn"
)

// clients are connections by what the client has shown.
func clients() map[string]*conn.Info {
	cert := conn.NewCertificate(&x509.Certificate{})
	return map[string]*conn.Info{
		"plain":     {},
		"anonymous": {TLS: &conn.TLS{}},
		"unchecked": {TLS: &conn.TLS{Peer: cert}},
		"validated": {TLS: &conn.TLS{Peer: cert, Verified: true}},
	}
}

func TestRoutesAreMatchedByTheClientsCertificate(t *testing.T) {
	for cond, want := range map[string]string{
		"{}":                                  "plain anonymous unchecked validated",
		"{presented: true}":                   "unchecked validated",
		"{presented: false}":                  "plain anonymous",
		"{validated: true}":                   "validated",
		"{validated: false}":                  "plain anonymous unchecked",
		"{presented: true, validated: false}": "unchecked",
		"{presented: false, validated: true}": "",
	} {
		table := compile(t, configOf(t, `
virtual_hosts: [{name: h, domains: ['*'], routes: [
  {name: r, match: {prefix: /, tls_context: `+cond+`}, route: {cluster: c}}, {name: other, match: {prefix: /}, route: {cluster: c}}]}]`))
		for name, info := range clients() {
			x := table.Explain(get("a", "/"), info, 0)
			matched := table.Match(get("a", "/"), info, 0).Name == "r"
			if matched != strings.Contains(want, name) || matched != (x.Route.Name == "r") {
				t.Errorf("%s of %s: %v, explained %+v", cond, name, matched, x)
			}
			if !matched && !strings.Contains(x.Tried[0].Failed, "tls_context: the client") {
				t.Errorf("%s of %s fails for %q", cond, name, x.Tried[0].Failed)
			}
		}
		if matched := table.Match(get("a", "/"), nil, 0).Name == "r"; matched != strings.Contains(want, "plain") {
			t.Errorf("%s of nobody: %v", cond, matched)
		}
	}
}

func TestMatchingTheClientsCertificateAllocatesNothing(t *testing.T) {
	table := compile(t, configOf(t, `
virtual_hosts: [{name: h, domains: ['*'], routes: [{name: r, match: {prefix: /, tls_context: {presented: true, validated: true}}, route: {cluster: c}}]}]`))
	r, info := get("a", "/"), clients()["validated"]
	if n := testing.AllocsPerRun(100, func() {
		if table.Match(r, info, 0).Name != "r" {
			t.Fatal("wrong route")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
