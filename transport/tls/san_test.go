package tls

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"
)

func TestWildcards(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		ok            bool
	}{
		{"a.test", "a.test", true}, {"A.test", "a.TEST", true}, {"a.test", "b.test", false}, {"", "", true},
		{"a.b.test", "*.b.test", true}, {"b.test", "*.b.test", false}, {"c.a.b.test", "*.b.test", false}, {".b.test", "*.b.test", false},
		{"foo.test", "f*.test", true}, {"foo.test", "*o.test", true}, {"foo.test", "f*o.test", true}, {"fo.test", "f*o.test", true},
		{"f.test", "f*f.test", false}, {"bar.test", "f*.test", false}, {"a.test", "*.*", false}, {"a.b.test", "a.*.test", false},
		{"test", "*", false}, {"xn--a.test", "*.test", true}, {"xn--a.test", "x*.test", false}, {"a.b.test", "*a.b*.test", false},
	} {
		if got := dnsNameMatch(c.name, c.pattern); got != c.ok {
			t.Errorf("%q with %q: %v", c.name, c.pattern, got)
		}
	}
}

func FuzzSANs(f *testing.F) {
	c := issue(f, nil, wish{dns: []string{"a.test"}, uri: "spiffe://a/b", ip: "192.0.2.1", email: []string{"a@b"}})
	for _, e := range c.x509.Extensions {
		f.Add(e.Value)
	}
	f.Add(otherNames(f, asn1.ObjectIdentifier{1, 2, 3}, "x", 1, true, nil).Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: b}}}
		for _, s := range sansOf(x) {
			if s.kind == 0 || (s.oid != "") != (s.kind == 5) || len(s.value) > 4*len(b)+40 {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestNoNameIsNoName(t *testing.T) {
	chain := []*x509.Certificate{issue(t, nil, wish{dns: []string{"a.example", ""}, email: []string{""}}).x509}
	if ok, err := noTrust.verify(chain, &demand{sans: []string{""}}); ok || err == nil {
		t.Error("a certificate is good for nobody in particular")
	}
}

func TestErrorsListNotEveryName(t *testing.T) {
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("name-%d.example", i))
	}
	chain := []*x509.Certificate{issue(t, nil, wish{dns: names}).x509}
	_, err := noTrust.verify(chain, &demand{sans: []string{"other.example"}})
	if err == nil || len(err.Error()) > mostListed+200 || !strings.Contains(err.Error(), "name-0.example, name-1.example, ") ||
		!strings.HasSuffix(err.Error(), ", ...]") {
		t.Error(err)
	}
}
