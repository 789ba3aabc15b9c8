package rbac

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

func TestSupport(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

// engine compiles rules from JSON.
func engine(t testing.TB, http bool, text string) *Engine {
	t.Helper()
	var cfg rbacv3.RBAC
	if err := protojson.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	compile := CompileNetwork
	if http {
		compile = CompileHTTP
	}
	e, err := compile(&cfg)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return e
}

// inPolicy puts a permission or a principal into a policy of its own.
func inPolicy(action, kind, one string) string {
	permission, principal := `{"any": true}`, `{"any": true}`
	if kind == "permission" {
		permission = one
	} else {
		principal = one
	}
	return fmt.Sprintf(`{"action": %q, "policies": {"p": {"permissions": [%s], "principals": [%s]}}}`, action, permission, principal)
}

func in(one, field string) string { return fmt.Sprintf(`{%q: %s}`, field, one) }

// names of the forms that a permission and a principal have in common.
var forms = map[string]struct{ not, and, or, list string }{
	"permission": {"not_rule", "and_rules", "or_rules", "rules"},
	"principal":  {"not_id", "and_ids", "or_ids", "ids"},
}

// expect checks what a rule says by what engines that allow, deny and log do with it: alone, inverted, and nested.
func expect(t *testing.T, http bool, kind, one string, s Subject, want verdict) {
	t.Helper()
	f := forms[kind]
	list := func(elements string) string { return fmt.Sprintf(`{%q: [%s]}`, f.list, elements) }
	const other = `{"any": true}`
	none := in(other, f.not)
	for _, c := range []struct {
		name, rule string
		want       verdict
	}{
		{"alone", one, want},
		{"inverted", in(one, f.not), want.not()},
		{"inverted twice", in(in(one, f.not), f.not), want},
		{"and yes", in(list(other+","+one), f.and), want},
		{"and no", in(list(one+","+none), f.and), no},
		{"or no", in(list(none+","+one), f.or), want},
		{"or yes", in(list(one+","+other), f.or), yes},
		{"not and", in(in(list(other+","+one), f.and), f.not), want.not()},
		{"not or not", in(in(list(none+","+in(one, f.not)), f.or), f.not), want},
	} {
		for action, allowed := range map[string]bool{"ALLOW": c.want == yes, "DENY": c.want == no, "LOG": true} {
			d := engine(t, http, inPolicy(action, kind, c.rule)).Decide(&s)
			matched := c.want == yes || c.want == unknown && action != "ALLOW"
			if d.Allowed != allowed || (d.Policy == 0) != matched {
				t.Errorf("%s, %s, %s: %+v, want allowed %v, matched %v", c.rule, c.name, action, d, allowed, matched)
			}
		}
	}
}

// certificate returns one with names in it.
func certificate(t *testing.T, subject string, uris, dns, emails, ips []string) *conn.Certificate {
	t.Helper()
	x := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: subject}, DNSNames: dns, EmailAddresses: emails}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		x.URIs = append(x.URIs, parsed)
	}
	for _, ip := range ips {
		x.IPAddresses = append(x.IPAddresses, net.ParseIP(ip))
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if x, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return conn.NewCertificate(x)
}

// plain is a TCP connection without TLS.
func plain() *conn.Info {
	return &conn.Info{
		Network: "tcp", Local: netip.MustParseAddrPort("10.0.0.1:8443"), Remote: netip.MustParseAddrPort("192.168.1.2:4000"),
		DirectRemote: netip.MustParseAddrPort("172.16.0.9:5000"), DirectLocal: netip.MustParseAddrPort("10.0.0.1:15006"),
	}
}

func secure(peer *conn.Certificate, verified bool) *conn.Info {
	c := plain()
	c.TLS, c.ServerName = &conn.TLS{Peer: peer, Verified: verified}, "a.example.com"
	return c
}

func TestRulesAboutConnections(t *testing.T) {
	v6, mapped, unix := plain(), plain(), plain()
	v6.Local, v6.Remote = netip.MustParseAddrPort("[2001:db8::1]:443"), netip.MustParseAddrPort("[2001:db8::2]:1")
	mapped.Remote = netip.MustParseAddrPort("[::ffff:192.168.1.2]:1")
	unix.Network, unix.LocalPath = "unix", "/run/x"
	unix.Local, unix.Remote, unix.DirectRemote = netip.AddrPort{}, netip.AddrPort{}, netip.AddrPort{}
	peer := certificate(t, "leaf", []string{"spiffe://td/ns/a/sa/b", "spiffe://td/two"}, []string{"a.example.com", "*.wild.example.com"},
		[]string{"x@example.com"}, []string{"10.1.2.3"})
	bare := certificate(t, "leaf", nil, nil, nil, nil)
	sni := secure(nil, false)
	sni.ServerName, sni.TLS.SNI = "", "late.example.com"
	tagged := plain()
	tagged.Metadata = map[string]map[string]string{"ns": {"k": "v"}}
	mtls := func(san string) string {
		return `{"custom": {"name": "m", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config", ` + san + `}}}`
	}
	san := func(kind, matcher string) string {
		return mtls(`"san_matcher": {"san_type": "` + kind + `", "matcher": ` + matcher + `}`)
	}
	for _, tc := range []struct {
		kind, rule string
		conn       *conn.Info
		want       verdict
	}{
		{"permission", `{"any": true}`, plain(), yes},
		{"permission", `{"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 24}}`, plain(), yes},
		{"permission", `{"destination_ip": {"address_prefix": "10.0.1.0", "prefix_len": 24}}`, plain(), no},
		{"permission", `{"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}`, v6, no},
		{"permission", `{"destination_ip": {"address_prefix": "2001:db8::", "prefix_len": 32}}`, v6, yes},
		{"permission", `{"destination_ip": {"address_prefix": "0.0.0.0", "prefix_len": 0}}`, unix, unknown},
		{"permission", `{"destination_port": 8443}`, plain(), yes},
		{"permission", `{"destination_port": 15006}`, plain(), no},
		{"permission", `{"destination_port": 8443}`, unix, unknown},
		{"permission", `{"destination_port_range": {"start": 8443, "end": 8444}}`, plain(), yes},
		{"permission", `{"destination_port_range": {"start": 8442, "end": 8443}}`, plain(), no},
		{"permission", `{"destination_port_range": {"start": 0, "end": 65536}}`, unix, unknown},
		{"permission", `{"requested_server_name": {"exact": "a.example.com"}}`, secure(nil, false), yes},
		{"permission", `{"requested_server_name": {"suffix": ".example.org"}}`, secure(nil, false), no},
		{"permission", `{"requested_server_name": {"exact": "a.example.com"}}`, plain(), no},
		{"permission", `{"requested_server_name": {"safe_regex": {"regex": ".*"}}}`, plain(), yes},
		{"permission", `{"requested_server_name": {"exact": "late.example.com"}}`, sni, yes},
		{"permission", `{"metadata": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}}`, tagged, yes},
		{"permission", `{"metadata": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}}`, plain(), no},
		{"permission", `{"metadata": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}, "invert": true}}`, plain(), yes},
		{"permission", `{"sourced_metadata": {"metadata_matcher": {"filter": "ns", "path": [{"key": "k"}], "value": {"present_match": true}}}}`, tagged, yes},

		{"principal", `{"any": true}`, unix, yes},
		{"principal", `{"authenticated": {}}`, plain(), no},
		{"principal", `{"authenticated": {}}`, secure(nil, false), yes},
		{"principal", `{"authenticated": {"principal_name": {"safe_regex": {"regex": ".*"}}}}`, plain(), no},
		{"principal", `{"authenticated": {"principal_name": {"prefix": "spiffe://td/ns/a/"}}}`, secure(peer, true), yes},
		{"principal", `{"authenticated": {"principal_name": {"exact": "spiffe://td/two"}}}`, secure(peer, true), yes},
		{"principal", `{"authenticated": {"principal_name": {"exact": "a.example.com"}}}`, secure(peer, true), yes},
		{"principal", `{"authenticated": {"principal_name": {"exact": "CN=leaf"}}}`, secure(bare, true), yes},
		{"principal", `{"authenticated": {"principal_name": {"exact": "leaf"}}}`, secure(bare, true), no},
		{"principal", `{"authenticated": {"principal_name": {"exact": "spiffe://td/other"}}}`, secure(peer, true), no},
		{"principal", `{"authenticated": {"principal_name": {"exact": "CN=leaf"}}}`, secure(nil, false), no},
		{"principal", mtls(`"any_validated_client_certificate": true`), secure(bare, true), yes},
		{"principal", mtls(`"any_validated_client_certificate": true`), secure(bare, false), no},
		{"principal", mtls(`"any_validated_client_certificate": true`), secure(nil, true), no},
		{"principal", mtls(`"any_validated_client_certificate": true`), plain(), no},
		{"principal", san("URI", `{"prefix": "spiffe://td/"}`), secure(peer, true), yes},
		{"principal", san("URI", `{"prefix": "spiffe://td/"}`), secure(peer, false), no},
		{"principal", san("URI", `{"prefix": "spiffe://td/"}`), plain(), no},
		{"principal", san("DNS", `{"exact": "A.example.com"}`), secure(peer, true), yes},
		{"principal", san("DNS", `{"exact": "b.wild.example.com"}`), secure(peer, true), yes},
		{"principal", san("DNS", `{"exact": "b.c.wild.example.com"}`), secure(peer, true), no},
		{"principal", san("DNS", `{"exact": "wild.example.com"}`), secure(peer, true), no},
		{"principal", san("DNS", `{"suffix": ".wild.example.com"}`), secure(peer, true), yes},
		{"principal", san("EMAIL", `{"exact": "x@example.com"}`), secure(peer, true), yes},
		{"principal", san("IP_ADDRESS", `{"exact": "10.1.2.3"}`), secure(peer, true), yes},
		{"principal", san("IP_ADDRESS", `{"exact": "10.1.2.3"}`), secure(bare, true), no},
		{"principal", `{"source_ip": {"address_prefix": "192.168.0.0", "prefix_len": 16}}`, plain(), yes},
		{"principal", `{"source_ip": {"address_prefix": "172.16.0.0", "prefix_len": 16}}`, plain(), no},
		{"principal", `{"source_ip": {"address_prefix": "192.168.1.2", "prefix_len": 32}}`, mapped, yes},
		{"principal", `{"source_ip": {"address_prefix": "192.168.0.0", "prefix_len": 16}}`, unix, unknown},
		{"principal", `{"direct_remote_ip": {"address_prefix": "172.16.0.0", "prefix_len": 16}}`, plain(), yes},
		{"principal", `{"direct_remote_ip": {"address_prefix": "192.168.0.0", "prefix_len": 16}}`, plain(), no},
		{"principal", `{"direct_remote_ip": {"address_prefix": "::", "prefix_len": 0}}`, unix, unknown},
		{"principal", `{"remote_ip": {"address_prefix": "192.168.1.2", "prefix_len": 32}}`, plain(), yes},
		{"principal", `{"remote_ip": {"address_prefix": "192.168.1.3", "prefix_len": 32}}`, plain(), no},
		{"principal", `{"remote_ip": {"address_prefix": "192.168.1.3", "prefix_len": 32}}`, unix, unknown},
		{"principal", `{"metadata": {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}}`, tagged, yes},
		{"principal", `{"sourced_metadata": {"metadata_matcher": {"filter": "ns", "path": [{"key": "x"}], "value": {"present_match": true}}}}`, tagged, no},
	} {
		for _, http := range []bool{false, true} {
			s := Subject{Conn: tc.conn}
			if http {
				s.Request = &message.Request{Method: "GET", Path: "/"}
			}
			expect(t, http, tc.kind, tc.rule, s, tc.want)
		}
	}
}

func TestRulesAboutRequests(t *testing.T) {
	const template = `{"uri_template": {"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "/b/*/c/**"}}}`
	get := func(path string, fields ...string) Subject {
		q := &message.Request{Method: "GET", Authority: "a.example.com", Path: path, Body: message.NoBody}
		for i := 0; i < len(fields); i += 2 {
			q.Header.Add(fields[i], fields[i+1])
		}
		return Subject{Conn: plain(), Request: q}
	}
	with := func(change func(*Subject)) Subject {
		s := get("/")
		change(&s)
		return s
	}
	connect := get("")
	connect.Request.Method = "CONNECT"
	forwarded := with(func(s *Subject) { s.Remote = netip.MustParseAddr("203.0.113.7") })
	dynamic := with(func(s *Subject) {
		s.Metadata = map[string]map[string]any{"jwt": {"payload": map[string]any{"groups": []any{"x", "admin"}}}}
		s.Route = map[string]map[string]any{"route": {"k": true}}
	})
	state := func(v string) Subject { return with(func(s *Subject) { s.State = map[string]string{"key": v} }) }
	const groups = `{"filter": "jwt", "path": [{"key": "payload"}, {"key": "groups"}], "value": {"or_match": {"value_matchers": [{"list_match": {"one_of": {"string_match": {"exact": "admin"}}}}, {"string_match": {"exact": "admin"}}]}}}`
	const routed = `{"metadata_source": "ROUTE", "metadata_matcher": {"filter": "route", "path": [{"key": "k"}], "value": {"bool_match": true}}}`
	both := []struct {
		rule string
		s    Subject
		want verdict
	}{
		{`{"header": {"name": ":method", "string_match": {"exact": "GET"}}}`, get("/"), yes},
		{`{"header": {"name": ":method", "string_match": {"exact": "GET"}}}`, connect, no},
		{`{"header": {"name": "x", "string_match": {"exact": "1"}}}`, get("/", "X", "1"), yes},
		{`{"header": {"name": "x", "string_match": {"exact": "1"}}}`, get("/"), no},
		{`{"header": {"name": "x", "string_match": {"exact": "1"}}}`, get("/", "x", "1", "x", "2"), no},
		{`{"header": {"name": "x", "string_match": {"exact": "1,2"}}}`, get("/", "x", "1", "x", "2"), yes},
		{`{"header": {"name": "x", "string_match": {"contains": "2"}}}`, get("/", "x", "1", "x", "2"), yes},
		{`{"header": {"name": "x", "string_match": {"exact": "1"}, "invert_match": true}}`, get("/", "x", "2"), yes},
		{`{"header": {"name": "x", "string_match": {"exact": "1"}, "invert_match": true}}`, get("/"), no},
		{`{"header": {"name": "x", "present_match": true}}`, get("/", "x", ""), yes},
		{`{"header": {"name": "x", "present_match": false}}`, get("/"), yes},
		{`{"header": {"name": "x", "range_match": {"start": 1, "end": 5}}}`, get("/", "x", "4"), yes},
		{`{"header": {"name": "x", "range_match": {"start": 1, "end": 5}}}`, get("/", "x", "four"), no},
		{`{"header": {"name": ":authority", "string_match": {"prefix": "A.", "ignore_case": true}}}`, get("/"), yes},
		{`{"header": {"name": ":path", "string_match": {"exact": "/a?q"}}}`, get("/a?q"), yes},
		{`{"url_path": {"path": {"exact": "/a"}}}`, get("/a?q=/b#c"), yes},
		{`{"url_path": {"path": {"prefix": "/b"}}}`, get("/a?q=/b"), no},
		{`{"url_path": {"path": {"prefix": ""}}}`, connect, no},
		{`{"metadata": ` + groups + `}`, dynamic, yes},
		{`{"metadata": ` + groups + `}`, get("/"), no},
		{`{"sourced_metadata": {"metadata_matcher": ` + groups + `}}`, dynamic, yes},
		{`{"sourced_metadata": ` + routed + `}`, dynamic, yes},
		{`{"sourced_metadata": ` + routed + `}`, get("/"), no},
	}
	for _, tc := range both {
		expect(t, true, "permission", tc.rule, tc.s, tc.want)
		expect(t, true, "principal", tc.rule, tc.s, tc.want)
	}
	for path, want := range map[string]verdict{"/b/x/c/d?e": yes, "/b/x/y/c/d": no, "": no} {
		expect(t, true, "permission", template, get(path), want)
	}
	for _, tc := range []struct {
		rule string
		s    Subject
		want verdict
	}{
		{`{"remote_ip": {"address_prefix": "203.0.113.0", "prefix_len": 24}}`, forwarded, yes},
		{`{"remote_ip": {"address_prefix": "192.168.0.0", "prefix_len": 16}}`, forwarded, no},
		{`{"source_ip": {"address_prefix": "192.168.0.0", "prefix_len": 16}}`, forwarded, yes},
		{`{"direct_remote_ip": {"address_prefix": "203.0.113.0", "prefix_len": 24}}`, forwarded, no},
		{`{"filter_state": {"key": "key", "string_match": {"prefix": "v"}}}`, state("value"), yes},
		{`{"filter_state": {"key": "key", "string_match": {"prefix": "x"}}}`, state("value"), no},
		{`{"filter_state": {"key": "other", "string_match": {"prefix": ""}}}`, state("value"), unknown},
		{`{"filter_state": {"key": "key", "address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}}`, state("10.1.1.1"), yes},
		{`{"filter_state": {"key": "key", "address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}}`, state("10.1.1.1:80"), yes},
		{`{"filter_state": {"key": "key", "address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "invert_match": true}}}`, state("10.1.1.1"), no},
		{`{"filter_state": {"key": "key", "address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "invert_match": true}}}`, state("value"), unknown},
	} {
		expect(t, true, "principal", tc.rule, tc.s, tc.want)
	}
}
