package tls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/crypto/ocsp"

	"github.com/weftproxy/weft/transport/secret"
)

const (
	lenient = tlsv3.DownstreamTlsContext_LENIENT_STAPLING
	strict  = tlsv3.DownstreamTlsContext_STRICT_STAPLING
	must    = tlsv3.DownstreamTlsContext_MUST_STAPLE
)

// response is an OCSP response about c that ends at a time.
func (c *issued) response(t testing.TB, ends time.Time) []byte {
	t.Helper()
	by := c.issuer
	der, err := ocsp.CreateResponse(by.x509, by.x509, ocsp.Response{Status: ocsp.Good, SerialNumber: c.x509.SerialNumber,
		ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: ends}, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// mustStaple is the TLS feature extension. (RFC 7633)
var mustStaple = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}} // immutable

func TestStaplingPolicies(t *testing.T) {
	root := authority(t, "root")
	later, earlier := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name   string
		policy tlsv3.DownstreamTlsContext_OcspStaplePolicy
		ends   time.Time // zero: no response
		must   bool
		want   string // the counter besides requests
	}{
		{"lenient", lenient, later, false, "ocsp_staple_responses"},
		{"lenient, expired", lenient, earlier, false, "ocsp_staple_omitted"},
		{"lenient, none", lenient, time.Time{}, false, "ocsp_staple_omitted"},
		{"lenient, expired, but the certificate wants one", lenient, earlier, true, "ocsp_staple_failed"},
		{"strict", strict, later, false, "ocsp_staple_responses"},
		{"strict, expired", strict, earlier, false, "ocsp_staple_failed"},
		{"strict, none", strict, time.Time{}, false, "ocsp_staple_omitted"},
		{"must", must, later, false, "ocsp_staple_responses"},
		{"must, expired", must, earlier, false, "ocsp_staple_failed"},
		{"the certificate wants one", strict, later, true, "ocsp_staple_responses"},
	} {
		w := wish{name: "server"}
		if c.must {
			w.extra = []pkix.Extension{mustStaple}
		}
		cert := issue(t, root, w)
		m := cert.message(t)
		var der []byte
		if !c.ends.IsZero() {
			der = cert.response(t, c.ends)
			m.OcspStaple = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: der}}
		}
		for _, v := range both {
			s, r := serve(t, &tlsv3.DownstreamTlsContext{OcspStaplePolicy: c.policy,
				CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{m}}})
			cfg := anyone()
			cfg.MaxVersion = v
			o := shake(t, s, cfg)
			if failed := c.want == "ocsp_staple_failed"; (o.err != nil) != failed || (o.theirs != nil) != failed {
				t.Errorf("%s, %x: %v, %v", c.name, v, o.err, o.theirs)
			}
			if stapled := c.want == "ocsp_staple_responses"; stapled != bytes.Equal(o.client.OCSPResponse, der) && der != nil {
				t.Errorf("%s, %x: the client got %d bytes", c.name, v, len(o.client.OCSPResponse))
			}
			for _, name := range []string{"ocsp_staple_responses", "ocsp_staple_omitted", "ocsp_staple_failed"} {
				if n := r.count(name); (n == 1) != (name == c.want) {
					t.Errorf("%s, %x: %s is %d", c.name, v, name, n)
				}
			}
			if r.count("ocsp_staple_requests") != 1 {
				t.Errorf("%s, %x: requests is %d", c.name, v, r.count("ocsp_staple_requests"))
			}
		}
	}
}

func TestStaplesAreForWhoAsks(t *testing.T) {
	pair := &secret.KeyPair{MustStaple: true}
	c := &certificate{pair: pair, stapled: &tls.Certificate{}}
	for _, policy := range []tlsv3.DownstreamTlsContext_OcspStaplePolicy{lenient, strict, must} {
		if st := c.stapling(policy, false); st != notAsked {
			t.Errorf("%v: %v", policy, st)
		}
	}
	if asksForStaple(&tls.ClientHelloInfo{Extensions: []uint16{0, 10}}) || !asksForStaple(&tls.ClientHelloInfo{Extensions: []uint16{0, 5}}) {
		t.Error("the extension is not told")
	}
}

func TestACertificateThatKeepsThePolicyIsPreferred(t *testing.T) {
	root := authority(t, "root")
	dns := []string{"example.com"}
	stale, rsa := issue(t, root, wish{name: "stale", dns: dns}), issue(t, root, wish{name: "rsa", dns: dns, rsa: true})
	old := stale.message(t)
	old.OcspStaple = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: stale.response(t, time.Now().Add(-time.Hour))}}
	for _, sni := range []string{"example.com", ""} {
		s, _ := serve(t, &tlsv3.DownstreamTlsContext{OcspStaplePolicy: strict,
			CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{old}}}, rsa)
		cfg := anyone()
		cfg.ServerName = sni
		if o := shake(t, s, cfg).ok(t); o.shown() != "rsa" {
			t.Errorf("%q: %s", sni, o.shown())
		}
	}
}
