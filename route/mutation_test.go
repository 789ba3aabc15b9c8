package route

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

func TestHeaderValuesTellWhoTheClientIs(t *testing.T) {
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("spiffe://td/a\r\nx-admin: true")}})
	if err != nil {
		t.Fatal(err)
	}
	subject, err := asn1.Marshal(pkix.Name{CommonName: "a\nb"}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{RawSubject: subject, Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}}
	r := get("a", "/")
	e := &observe.Entry{Request: r, Local: "two\r\nlines", Record: &observe.Record{},
		Conn: &conn.Info{JA4: "t13d", TLS: &conn.TLS{Version: "TLSv1.3", Peer: conn.NewCertificate(cert)}}}
	for value, want := range map[string]string{
		"%DOWNSTREAM_PEER_URI_SAN%":                        `spiffe://td/a\x0d\x0ax-admin: true`,
		"%DOWNSTREAM_PEER_SUBJECT%":                        `CN=a\0Ab`,
		"%DOWNSTREAM_TLS_VERSION%/%DOWNSTREAM_TLS_CIPHER%": "TLSv1.3/",
		"%TLS_JA4_FINGERPRINT%":                            "t13d",
		"%LOCAL_REPLY_BODY%":                               `two\x0d\x0alines`,
		"%DOWNSTREAM_PEER_DNS_SAN%":                        "",
	} {
		p := resource.NewProblems("")
		m := CompileMutations(format.Options{}, []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-client", Value: value}}}, nil, "request_headers_to_add", p)
		if p.HasErrors() {
			t.Errorf("%s: %v", value, p.All())
			continue
		}
		r.Header.Del("x-client")
		m.Apply(&r.Header, e)
		if got := r.Header.Get("x-client"); got != want || r.Header.Has("x-client") != (want != "") {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}
