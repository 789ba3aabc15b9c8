package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
	"golang.org/x/crypto/ocsp"
	"software.sslmate.com/src/go-pkcs12"
)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("test root")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issued(t *testing.T, a *Authority, r Request) *Pair {
	t.Helper()
	p, err := a.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestIssueHonoursTheRequest(t *testing.T) {
	a := authority(t)
	from := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	p := issued(t, a, Request{
		Name: "leaf", Org: "Weft", DNS: []string{"a.example", "*.b.example"}, IPs: []net.IP{net.IPv4(192, 0, 2, 1)},
		Emails: []string{"x@a.example"}, URIs: []string{"spiffe://a.example/ns/x"}, NotBefore: from, NotAfter: from.AddDate(0, 1, 0),
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, MustStaple: true,
	})
	c := p.Leaf
	if c.Subject.CommonName != "leaf" || c.Subject.Organization[0] != "Weft" || c.SerialNumber.Sign() <= 0 {
		t.Errorf("subject %v, serial number %v", c.Subject, c.SerialNumber)
	}
	if !slices.Equal(c.DNSNames, []string{"a.example", "*.b.example"}) || len(c.IPAddresses) != 1 || len(c.EmailAddresses) != 1 ||
		len(c.URIs) != 1 || c.URIs[0].String() != "spiffe://a.example/ns/x" {
		t.Errorf("names %v %v %v %v", c.DNSNames, c.IPAddresses, c.EmailAddresses, c.URIs)
	}
	if !c.NotBefore.Equal(from) || !c.NotAfter.Equal(from.AddDate(0, 1, 0)) {
		t.Errorf("valid from %v to %v", c.NotBefore, c.NotAfter)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || c.IsCA {
		t.Errorf("usages %v, authority %v", c.ExtKeyUsage, c.IsCA)
	}
	if !slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "1.3.6.1.5.5.7.1.24" }) {
		t.Error("no TLS feature extension")
	}
	if _, err := a.Issue(Request{URIs: []string{"://"}}); err == nil {
		t.Error("a URI that is none is taken")
	}
}

func TestKinds(t *testing.T) {
	a := authority(t)
	own, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		request Request
		is      func(key any) bool
	}{
		"default": {Request{}, func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve == elliptic.P256() }},
		"curve": {Request{Curve: elliptic.P521()}, func(k any) bool {
			e, ok := k.(*ecdsa.PrivateKey)
			return ok && e.Curve == elliptic.P521()
		}},
		"RSA":     {Request{RSA: 2048}, func(k any) bool { e, ok := k.(*rsa.PrivateKey); return ok && e.N.BitLen() == 2048 }},
		"Ed25519": {Request{Ed: true}, func(k any) bool { _, ok := k.(ed25519.PrivateKey); return ok }},
		"own":     {Request{Key: own}, func(k any) bool { return k == own }},
	} {
		p := issued(t, a, c.request)
		if !c.is(p.Key) {
			t.Errorf("%s: key is a %T", name, p.Key)
		}
		if _, err := p.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// connect makes a connection between the two and returns what the client says of it.
func connect(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	left, right := net.Pipe()
	defer left.Close()
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		defer right.Close()
		_ = tls.Server(right, server).Handshake() // the client's error is looked at
	}()
	err := tls.Client(left, client).Handshake()
	left.Close()
	<-done
	return err
}

func TestChainsVerify(t *testing.T) {
	root := authority(t)
	middle, err := root.Intermediate("middle")
	if err != nil {
		t.Fatal(err)
	}
	low, err := middle.Intermediate("low")
	if err != nil {
		t.Fatal(err)
	}
	p := issued(t, low, Request{DNS: []string{"a.example"}})
	if len(p.Chain) != 2 || p.Chain[0].Subject.CommonName != "low" || p.Chain[1].Subject.CommonName != "middle" {
		t.Fatalf("chain of %d certificates", len(p.Chain))
	}
	server := &tls.Config{Certificates: []tls.Certificate{p.TLS()}}
	if err := connect(t, server, &tls.Config{RootCAs: root.Pool(), ServerName: "a.example"}); err != nil {
		t.Error(err)
	}
	for what, client := range map[string]*tls.Config{
		"another authority": {RootCAs: authority(t).Pool(), ServerName: "a.example"},
		"another name":      {RootCAs: root.Pool(), ServerName: "b.example"},
	} {
		if connect(t, server, client) == nil {
			t.Errorf("%s is good as well", what)
		}
	}
	self, err := SelfSigned(Request{DNS: []string{"a.example"}})
	if err != nil || self.Leaf.CheckSignature(self.Leaf.SignatureAlgorithm, self.Leaf.RawTBSCertificate, self.Leaf.Signature) != nil {
		t.Errorf("not signed by itself: %v", err)
	}
}

func TestFilesCanBeReadBack(t *testing.T) {
	middle, err := authority(t).Intermediate("middle")
	if err != nil {
		t.Fatal(err)
	}
	p := issued(t, middle, Request{Name: "leaf"})
	cert, key, err := p.Write(t.TempDir(), "leaf")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := tls.LoadX509KeyPair(cert, key); err != nil || len(c.Certificate) != 2 {
		t.Errorf("%d certificates, %v", len(c.Certificate), err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	text, err := p.EncryptedKeyPEM("secret")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(text)
	if got, err := pkcs8.ParsePKCS8PrivateKeyECDSA(b.Bytes, []byte("secret")); err != nil || !got.Equal(p.Key) {
		t.Errorf("encrypted key: %v", err)
	}
	if _, err := pkcs8.ParsePKCS8PrivateKey(b.Bytes, []byte("wrong")); err == nil {
		t.Error("any password opens the key")
	}
	archive, err := p.PKCS12("secret")
	if err != nil {
		t.Fatal(err)
	}
	k, leaf, chain, err := pkcs12.DecodeChain(archive, "secret")
	if err != nil || !leaf.Equal(p.Leaf) || len(chain) != 1 || !p.Key.(*ecdsa.PrivateKey).Equal(k.(*ecdsa.PrivateKey)) {
		t.Errorf("PKCS #12: %v", err)
	}
}

func TestRevocation(t *testing.T) {
	a := authority(t)
	p := issued(t, a, Request{Name: "leaf"})
	text, err := a.CRL(p.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(text)
	list, err := x509.ParseRevocationList(b.Bytes)
	if err != nil || list.CheckSignatureFrom(a.Certificate()) != nil || !list.NextUpdate.After(time.Now()) {
		t.Fatalf("list %v, %v", list, err)
	}
	if e := list.RevokedCertificateEntries; len(e) != 1 || e[0].SerialNumber.Cmp(p.Leaf.SerialNumber) != 0 {
		t.Errorf("revoked: %v", e)
	}
	now := time.Now().Truncate(time.Second)
	for _, status := range []int{ocsp.Good, ocsp.Revoked, ocsp.Unknown} {
		der, err := a.OCSP(p.Leaf, status, now, now.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		r, err := ocsp.ParseResponseForCert(der, p.Leaf, a.Certificate())
		if err != nil || r.Status != status || !r.NextUpdate.Equal(now.Add(time.Hour)) {
			t.Errorf("response %+v, %v; want status %d", r, err, status)
		}
	}
}
