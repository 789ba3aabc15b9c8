package dispatch

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/netip"
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3" // a message of Support
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// named is a certificate with the SANs given, each of which begins with its tag: 6 for a URI, 2 for a DNS name.
func named(t testing.TB, name string, sans ...string) *x509.Certificate {
	t.Helper()
	der := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var names []asn1.RawValue
	for _, s := range sans {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: int(s[0] - '0'), Bytes: []byte(s[1:])})
	}
	return &x509.Certificate{Raw: []byte(name), SerialNumber: big.NewInt(1), RawSubject: der(pkix.Name{CommonName: name}.ToRDNSequence()),
		Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der(names)}}}
}

func TestForwardedClientCert(t *testing.T) {
	leaf := named(t, `a "client"`, "6spiffe://td/ns/a/sa/b", "6spiffe://second", "2a.example", "2b.example")
	bare := named(t, "bare")
	local := conn.NewCertificate(named(t, "proxy", "6spiffe://td/proxy", "6spiffe://td/other"))
	mutual := &conn.TLS{Peer: conn.NewCertificate(leaf), Chain: []*x509.Certificate{leaf, bare}, Local: local}
	unnamed := &conn.TLS{Peer: conn.NewCertificate(bare), Local: conn.NewCertificate(bare)}
	hash, bareHash := mutual.Peer.Facts().Fingerprint256, unnamed.Peer.Facts().Fingerprint256
	pem, barePEM := mutual.Peer.Facts().PEM, unnamed.Peer.Facts().PEM
	const by = "By=spiffe://td/proxy;By=spiffe://td/other;Hash="
	for _, c := range []struct {
		name, cfg string
		tls       *conn.TLS
		in        []string
		want      []string
	}{
		{"by default the header goes", `{}`, mutual, []string{"By=x"}, nil},
		{"SANITIZE", `{"forwardClientCertDetails": "SANITIZE"}`, mutual, []string{"By=x", "By=y"}, nil},
		{"FORWARD_ONLY", `{"forwardClientCertDetails": "FORWARD_ONLY"}`, mutual, []string{"By=x", "By=y"}, []string{"By=x", "By=y"}},
		{"FORWARD_ONLY without TLS", `{"forwardClientCertDetails": "FORWARD_ONLY"}`, nil, []string{"By=x"}, nil},
		{"FORWARD_ONLY without a client certificate", `{"forwardClientCertDetails": "FORWARD_ONLY"}`, &conn.TLS{Local: local}, []string{"By=x"}, nil},
		{"ALWAYS_FORWARD_ONLY", `{"forwardClientCertDetails": "ALWAYS_FORWARD_ONLY"}`, nil, []string{"By=x"}, []string{"By=x"}},
		{"ALWAYS_FORWARD_ONLY adds nothing", `{"forwardClientCertDetails": "ALWAYS_FORWARD_ONLY", "setCurrentClientCertDetails": {"uri": true}}`, mutual, nil, nil},
		{"APPEND_FORWARD", `{"forwardClientCertDetails": "APPEND_FORWARD"}`, mutual, []string{"By=x;Hash=y"}, []string{"By=x;Hash=y," + by + hash}},
		{"APPEND_FORWARD to several", `{"forwardClientCertDetails": "APPEND_FORWARD"}`, mutual, []string{"By=x", "By=y"}, []string{"By=x,By=y," + by + hash}},
		{"APPEND_FORWARD to nothing", `{"forwardClientCertDetails": "APPEND_FORWARD"}`, mutual, nil, []string{by + hash}},
		{"APPEND_FORWARD to an open quote", `{"forwardClientCertDetails": "APPEND_FORWARD"}`, mutual, []string{`By=x;URI="`}, []string{by + hash}},
		{"APPEND_FORWARD without TLS", `{"forwardClientCertDetails": "APPEND_FORWARD", "setCurrentClientCertDetails": {"uri": true}}`, nil, []string{"By=x"}, nil},
		{"APPEND_FORWARD without a client certificate", `{"forwardClientCertDetails": "APPEND_FORWARD"}`, &conn.TLS{Local: local}, []string{"By=x"}, nil},
		{"SANITIZE_SET", `{"forwardClientCertDetails": "SANITIZE_SET"}`, mutual, []string{"By=x", "By=y"}, []string{by + hash}},
		{"SANITIZE_SET without TLS", `{"forwardClientCertDetails": "SANITIZE_SET"}`, nil, []string{"By=x"}, nil},
		{"as Istio sets it", `{"forwardClientCertDetails": "SANITIZE_SET", "setCurrentClientCertDetails": {"subject": true, "uri": true, "dns": true}}`, mutual, nil,
			[]string{by + hash + `;Subject="CN=a \"client\"";URI=spiffe://td/ns/a/sa/b;URI=spiffe://second;DNS=a.example;DNS=b.example`}},
		{"everything", `{"forwardClientCertDetails": "SANITIZE_SET", "setCurrentClientCertDetails": {"dns": true, "uri": true, "subject": true, "chain": true, "cert": true}}`, mutual, nil,
			[]string{by + hash + `;Cert="` + pem + `";Chain="` + pem + barePEM + `";Subject="CN=a \"client\"";URI=spiffe://td/ns/a/sa/b;URI=spiffe://second;DNS=a.example;DNS=b.example`}},
		{"no names", `{"forwardClientCertDetails": "SANITIZE_SET", "setCurrentClientCertDetails": {"dns": true, "uri": true, "subject": false, "chain": true}}`, unnamed, nil,
			[]string{"Hash=" + bareHash + ";URI="}},
	} {
		var m hcmv3.HttpConnectionManager
		if err := protojson.Unmarshal([]byte(c.cfg), &m); err != nil {
			t.Fatal(err)
		}
		cert := compileClientCert(&m)
		var h message.Header
		h.Add("before", "1")
		for _, v := range c.in {
			h.Add("X-Forwarded-Client-Cert", v)
		}
		h.Add("after", "2")
		cert.apply(&h, c.tls)
		var got []string
		for v := range h.Values("x-forwarded-client-cert") {
			got = append(got, v)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got[i], c.want[i])
			}
		}
		if h.Get("before") != "1" || h.Get("after") != "2" || h.Len() != 2+len(c.want) {
			t.Errorf("%s: other fields changed", c.name)
		}
	}
}

func TestForwardedClientCertAllocatesNothing(t *testing.T) {
	leaf := named(t, "client", "6spiffe://td/ns/a/sa/b")
	info := &conn.TLS{Peer: conn.NewCertificate(leaf), Chain: []*x509.Certificate{leaf}, Local: conn.NewCertificate(leaf)}
	c := clientCert{mode: hcmv3.HttpConnectionManager_APPEND_FORWARD, cert: true, chain: true, subject: true, uris: true, dns: true}
	var h message.Header
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.AddKnown(message.XForwardedClientCert, "By=a")
		h.AddKnown(message.XForwardedClientCert, "By=b")
		c.apply(&h, info)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTheSchemeIsThatOfTheConnection(t *testing.T) {
	secure := &conn.Info{Network: "tcp", Remote: netip.MustParseAddrPort("203.0.113.7:1"), TLS: &conn.TLS{}}
	for _, c := range []struct {
		name  string
		cfg   Config
		proto string // as the client sent it
		want  string
	}{
		{"inside", Config{}, "", "https"},
		{"inside, told by another proxy", Config{}, "http", "http"},
		{"inside, told nonsense", Config{}, "ftp", "https"},
		{"at the edge", Config{UseRemoteAddress: true}, "http", "https"},
		{"at the edge behind a trusted proxy", Config{UseRemoteAddress: true, TrustedHops: 1}, "http", "http"},
	} {
		x := &exchange.Exchange{}
		req := &message.Request{Method: "GET", Path: "/", Authority: "a.example", Scheme: "http", Body: message.NoBody}
		if c.proto != "" {
			req.Header.Add("x-forwarded-proto", c.proto)
		}
		x.Begin(req, secure, nil)
		(&Dispatcher{cfg: &c.cfg}).sanitize(x, nil)
		if x.Request.Scheme != c.want {
			t.Errorf("%s: %s, want %s", c.name, x.Request.Scheme, c.want)
		}
	}
}

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}
