package conn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// selfSigned makes a certificate with a serial number and the extensions given.
func selfSigned(t testing.TB, serial *big.Int, subject []byte, extensions ...pkix.Extension) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, RawSubject: subject, ExtraExtensions: extensions,
		NotBefore: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func marshal(t testing.TB, v any, params string) []byte {
	t.Helper()
	der, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// tlv is a value of any tag.
func tlv(class, tag int, compound bool, value ...byte) asn1.RawValue {
	return asn1.RawValue{Class: class, Tag: tag, IsCompound: compound, Bytes: value}
}

func TestFactsOfACertificate(t *testing.T) {
	x := selfSigned(t, big.NewInt(0xabc), marshal(t, pkix.Name{CommonName: "client", Organization: []string{"Weft"}}.ToRDNSequence(), ""))
	sum256, sum1 := sha256.Sum256(x.Raw), sha1.Sum(x.Raw)
	f := NewCertificate(x).Facts()
	for name, c := range map[string][2]string{
		"subject": {f.Subject, "CN=client,O=Weft"}, "issuer": {f.Issuer, "CN=client,O=Weft"}, "common name": {f.CommonName, "client"},
		"serial": {f.Serial, "0abc"}, "SHA-256": {f.Fingerprint256, hex.EncodeToString(sum256[:])}, "SHA-1": {f.Fingerprint1, hex.EncodeToString(sum1[:])},
		"from": {f.NotBefore.Format(time.RFC3339), "2020-01-02T03:04:05Z"}, "to": {f.NotAfter.Format(time.RFC3339), "2040-01-02T03:04:05Z"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %q, want %q", name, c[0], c[1])
		}
	}
	if !strings.HasPrefix(f.PEM, "-----BEGIN%20CERTIFICATE-----%0A") || !strings.HasSuffix(f.PEM, "%0A-----END%20CERTIFICATE-----%0A") ||
		strings.ContainsAny(f.PEM, " +/=\n\"") {
		t.Errorf("PEM: %s", f.PEM)
	}
	text, err := url.PathUnescape(f.PEM)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode([]byte(text)); block == nil || !slices.Equal(block.Bytes, x.Raw) {
		t.Errorf("the PEM is not the certificate's: %s", text)
	}
	if again := NewCertificate(x); again.Facts() != again.Facts() {
		t.Error("the facts are made twice")
	}
}

func TestNoCertificateHasNoFacts(t *testing.T) {
	if c := NewCertificate(nil); c != nil || c.Facts().Subject != "" {
		t.Error("nil has facts")
	}
}

func TestSerialNumbersHaveWholeBytes(t *testing.T) {
	for _, c := range []struct {
		n    *big.Int
		want string
	}{{nil, "0"}, {big.NewInt(0), "0"}, {big.NewInt(10), "0a"}, {big.NewInt(255), "ff"}, {big.NewInt(256), "0100"}, {big.NewInt(-10), "-0a"}} {
		if got := serialText(c.n); got != c.want {
			t.Errorf("%v: %q, want %q", c.n, got, c.want)
		}
	}
}

func TestSubjectsPrintAsRFC2253(t *testing.T) {
	oid := func(text string) asn1.ObjectIdentifier {
		o, err := x509.ParseOID(text)
		if err != nil {
			t.Fatal(err)
		}
		var id asn1.ObjectIdentifier
		raw, _ := o.MarshalBinary()
		if _, err := asn1.Unmarshal(append([]byte{asn1.TagOID, byte(len(raw))}, raw...), &id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	at := func(id string, tag int, value string) attribute {
		return attribute{oid(id), tlv(asn1.ClassUniversal, tag, false, []byte(value)...)}
	}
	const u8, printable = asn1.TagUTF8String, asn1.TagPrintableString
	for _, c := range []struct {
		name string
		rdns [][]attribute // as in the certificate
		want string
	}{
		{"none", nil, ""},
		{"the last first", [][]attribute{{at("2.5.4.6", printable, "DE")}, {at("2.5.4.10", u8, "Weft")}, {at("2.5.4.3", u8, "a")}}, "CN=a,O=Weft,C=DE"},
		{"several in one", [][]attribute{{at("2.5.4.10", u8, "o")}, {at("2.5.4.3", u8, "x"), at("2.5.4.11", u8, "y")}}, "OU=y+CN=x,O=o"},
		{"specials", [][]attribute{{at("2.5.4.3", u8, `a,b+c"d\e<f>g;h=i`)}}, `CN=a\,b\+c\"d\\e\<f\>g\;h=i`},
		{"the ends", [][]attribute{{at("2.5.4.3", u8, " # ")}, {at("2.5.4.10", u8, "#a #")}, {at("2.5.4.11", u8, " ")}}, `OU=\ ,O=\#a #,CN=\ #\ `},
		{"line breaks", [][]attribute{{at("2.5.4.3", u8, "a\r\nx: y\x7f")}}, `CN=a\0D\0Ax: y\7F`},
		{"UTF-8", [][]attribute{{at("2.5.4.3", u8, "é")}}, `CN=\C3\A9`},
		{"Latin-1", [][]attribute{{at("2.5.4.3", asn1.TagT61String, "\xe9")}}, `CN=\C3\A9`},
		{"two bytes", [][]attribute{{at("2.5.4.3", asn1.TagBMPString, "\x00a\x00\xe9")}}, `CN=a\C3\A9`},
		{"four bytes", [][]attribute{{at("2.5.4.3", tagUniversalString, "\x00\x00\x00a")}}, `CN=a`},
		{"mail", [][]attribute{{at("1.2.840.113549.1.9.1", asn1.TagIA5String, "a@b.example")}}, "emailAddress=a@b.example"},
		{"short names", [][]attribute{{at("0.9.2342.19200300.100.1.25", asn1.TagIA5String, "com")}, {at("0.9.2342.19200300.100.1.1", u8, "u")}, {at("2.5.4.5", printable, "7")}, {at("2.5.4.8", u8, "s")}},
			"ST=s,serialNumber=7,UID=u,DC=com"},
		{"unknown attribute", [][]attribute{{at("1.2.3.4", printable, "ab")}}, "1.2.3.4=#13026162"},
		{"no string", [][]attribute{{at("2.5.4.3", asn1.TagOctetString, "\xab")}}, "CN=#0401AB"},
	} {
		sequence := []asn1.RawValue{}
		for _, set := range c.rdns {
			sequence = append(sequence, asn1.RawValue{FullBytes: rdn(t, set)})
		}
		if got := nameText(marshal(t, sequence, "")); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for _, bad := range []string{"", "x", "\x30\x03\x02\x01\x01", "\x30\x00x"} {
		if got := nameText([]byte(bad)); got != "" {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// rdn keeps the order of the attributes, which encoding/asn1 would sort.
func rdn(t testing.TB, set []attribute) []byte {
	t.Helper()
	var body []byte
	for _, a := range set {
		body = append(body, marshal(t, a, "")...)
	}
	return marshal(t, tlv(asn1.ClassUniversal, asn1.TagSet, true, body...), "")
}

// other is an otherName with a value of the given tag.
func other(t testing.TB, value asn1.RawValue) asn1.RawValue {
	t.Helper()
	body := marshal(t, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, "")
	inner := marshal(t, tlv(asn1.ClassContextSpecific, 0, true, marshal(t, value, "")...), "")
	return tlv(asn1.ClassContextSpecific, generalOther, true, append(body, inner...)...)
}

func TestAlternativeNamesOfEveryKind(t *testing.T) {
	name := func(tag int, value string) asn1.RawValue {
		return tlv(asn1.ClassContextSpecific, tag, false, []byte(value)...)
	}
	universal := func(tag int, value string) asn1.RawValue {
		return other(t, tlv(asn1.ClassUniversal, tag, false, []byte(value)...))
	}
	x := selfSigned(t, big.NewInt(1), nil, pkix.Extension{Id: subjectAltName, Value: marshal(t, []asn1.RawValue{
		name(generalURI, "spiffe://td/ns/a/sa/b"), name(generalDNS, "a.example"), name(generalURI, "http://EXAMPLE.com/%7Ea?b=c;d"),
		name(generalIP, "\x0a\x00\x00\x01"), name(generalEmail, "a@b.example"), name(generalDNS, "*.b.example"),
		name(generalIP, string(net.ParseIP("2001:db8::1"))),
		universal(asn1.TagUTF8String, "user@corp.example"), universal(asn1.TagBoolean, "\xff"), universal(asn1.TagBoolean, "\x00"),
		universal(asn1.TagInteger, "\x01\x00"), universal(asn1.TagInteger, "\xff\x7f"), universal(asn1.TagOID, "\x2a\x03\x04"),
		universal(asn1.TagBitString, "\x00ab"), universal(asn1.TagOctetString, "oct"), universal(asn1.TagBMPString, "\x00h\x00i"),
		universal(asn1.TagNull, ""), universal(asn1.TagIA5String, "ia5"),
		other(t, tlv(asn1.ClassUniversal, asn1.TagSequence, true, 5, 0)),
	}, "")})
	f := NewCertificate(x).Facts()
	for kind, c := range map[string][2][]string{
		"URI":   {f.URISANs, {"spiffe://td/ns/a/sa/b", "http://EXAMPLE.com/%7Ea?b=c;d"}},
		"DNS":   {f.DNSSANs, {"a.example", "*.b.example"}},
		"IP":    {f.IPSANs, {"10.0.0.1", "2001:db8::1"}},
		"email": {f.EmailSANs, {"a@b.example"}},
		"other": {f.OtherNames, {"user@corp.example", "true", "false", "256", "-129", "1.2.3.4", "ab", "oct", "hi", "", "ia5", "\x30\x02\x05\x00"}},
		"OIDs":  {f.OIDs, {"2.5.29.17"}},
	} {
		if !slices.Equal(c[0], c[1]) {
			t.Errorf("%s: %q, want %q", kind, c[0], c[1])
		}
	}
}

// TestFactsAreThoseOfOpenSSL compares with another implementation, whose printing of names is also that of BoringSSL.
func TestFactsAreThoseOfOpenSSL(t *testing.T) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	if version, err := exec.CommandContext(t.Context(), tool, "version").Output(); err != nil || !strings.HasPrefix(string(version), "OpenSSL 3") {
		t.Skipf("%s has other options (%v)", version, err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "cert.pem")
	openssl := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, args...)
		var failure strings.Builder
		cmd.Stderr = &failure
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, failure.String())
		}
		return string(out)
	}
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", filepath.Join(dir, "key.pem"), "-out", file,
		"-utf8", "-set_serial", "0x0a0b", "-days", "3",
		"-subj", `/C=DE/ST=Berlin/L=Köln/O=Sue, "Grabbit" and <Runn>;/OU=a+OU=b/DC=example/UID=u1/street= x /GN=#g/SN=s/emailAddress=a@b.example/serialNumber=7/CN=a=b\\c`,
		"-addext", "subjectAltName=URI:spiffe://td/ns/a/sa/b,DNS:a.example,IP:10.0.0.1,IP:2001:db8::1,email:a@b.example,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:user@corp.example")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	x, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	f := NewCertificate(x).Facts()
	show := func(args ...string) string {
		out := openssl(append([]string{"x509", "-noout", "-nameopt", "RFC2253", "-in", file}, args...)...)
		_, value, _ := strings.Cut(strings.TrimSuffix(out, "\n"), "=")
		return value
	}
	digits := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, ":", "")) }
	for name, c := range map[string][2]string{
		"subject": {f.Subject, show("-subject")}, "issuer": {f.Issuer, show("-issuer")}, "serial": {f.Serial, digits(show("-serial"))},
		"SHA-256": {f.Fingerprint256, digits(show("-fingerprint", "-sha256"))}, "SHA-1": {f.Fingerprint1, digits(show("-fingerprint", "-sha1"))},
		"URI": {strings.Join(f.URISANs, " "), "spiffe://td/ns/a/sa/b"}, "DNS": {strings.Join(f.DNSSANs, " "), "a.example"},
		"IP": {strings.Join(f.IPSANs, " "), "10.0.0.1 2001:db8::1"}, "email": {strings.Join(f.EmailSANs, " "), "a@b.example"},
		"UPN": {strings.Join(f.OtherNames, " "), "user@corp.example"},
	} {
		if c[0] != c[1] || c[0] == "" {
			t.Errorf("%s: %s, openssl says %s", name, c[0], c[1])
		}
	}
	if decoded, err := url.PathUnescape(f.PEM); err != nil || decoded != string(text) {
		t.Errorf("PEM: %q is not %q (%v)", decoded, text, err)
	}
}

func TestTheChainIsKept(t *testing.T) {
	leaf, ca := selfSigned(t, big.NewInt(1), nil), selfSigned(t, big.NewInt(2), nil)
	info := &TLS{Peer: NewCertificate(leaf), Chain: []*x509.Certificate{leaf, ca}}
	all := info.Certificates()
	if len(all) != 2 || all[0] != info.Peer || all[1].Facts().Serial != "02" || info.Certificates()[1] != all[1] {
		t.Errorf("chain: %v", all)
	}
	if got := info.ChainPEM(); got != all[0].Facts().PEM+all[1].Facts().PEM || got == "" {
		t.Errorf("PEM: %s", got)
	}
	for _, none := range []*TLS{nil, {}} {
		if none.Certificates() != nil || none.ChainPEM() != "" {
			t.Error("there is a chain")
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add([]byte("\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02\x61\x62"))
	f.Add([]byte("\x30\x0f\x82\x01a\xa0\x0a\x06\x02\x2a\x03\xa0\x04\x0c\x02\x61\x62"))
	f.Fuzz(func(t *testing.T, der []byte) {
		text := nameText(der)
		for i := range len(text) {
			if c := text[i]; c < ' ' || c >= 0x7f {
				t.Fatalf("%q of %x", text, der)
			}
		}
		var facts CertificateFacts
		facts.readNames(der)
	})
}
