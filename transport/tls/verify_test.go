package tls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// mutual returns a server that verifies clients.
func mutual(t testing.TB, require bool, v *tlsv3.CertificateValidationContext) (*Server, *rig) {
	t.Helper()
	return serve(t, &tlsv3.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(require), CommonTlsContext: &tlsv3.CommonTlsContext{
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}}}, issue(t, nil, wish{name: "server"}))
}

// as is a client's configuration with a certificate, which it shows whatever the server says of authorities.
func as(c *issued) *tls.Config {
	cfg := anyone()
	if c != nil {
		pair := c.pair()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return cfg
}

func hashOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// A trial is a client's certificate and what becomes of it.
type trial struct {
	name     string
	v        *tlsv3.CertificateValidationContext
	require  bool
	cert     *issued
	verified bool
	counter  string // that counts why it is refused; "" if it is not
	why      string // in the failure
	alert    string // that the client gets
}

func (c *trial) run(t *testing.T) {
	t.Helper()
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s, r := mutual(t, c.require, proto.CloneOf(c.v))
		cfg := as(c.cert)
		cfg.MaxVersion = max
		o := shake(t, s, cfg)
		if c.counter == "" {
			if o.ok(t); o.info.TLS.Verified != c.verified {
				t.Errorf("%s: verified is %v", c.name, o.info.TLS.Verified)
			}
			if asked := o.info.TLS.Peer != nil; asked && o.info.TLS.Peer.Facts().CommonName != c.cert.x509.Subject.CommonName {
				t.Errorf("%s: the peer is %q", c.name, o.info.TLS.Peer.Facts().CommonName)
			}
			continue
		}
		if o.err == nil || o.info.TLS != nil || o.theirs == nil || !strings.Contains(o.theirs.Error(), c.alert) || !strings.Contains(o.info.TransportFailure, c.why) {
			t.Errorf("%s, %x: server %v, %q; client %v", c.name, max, o.err, o.info.TransportFailure, o.theirs)
		}
		if n, also := r.count(c.counter), r.count("connection_error"); n != 1 || also != 0 || r.count("handshake") != 0 {
			t.Errorf("%s: %s is %d, connection_error %d", c.name, c.counter, n, also)
		}
	}
}

func TestClientsAreVerified(t *testing.T) {
	root, strange := authority(t, "root"), authority(t, "strange")
	sub := issue(t, root, wish{name: "sub", ca: true})
	good := issue(t, root, wish{name: "good", dns: []string{"good.test"}})
	below := issue(t, sub, wish{name: "below"})
	foreign := issue(t, strange, wish{name: "foreign"})
	self := issue(t, nil, wish{name: "self"})
	past := issue(t, root, wish{name: "past", to: time.Now().Add(-time.Minute)})
	future := issue(t, root, wish{name: "future", from: time.Now().Add(time.Minute)})
	server := issue(t, root, wish{name: "a server", usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca := func(edit func(*tlsv3.CertificateValidationContext)) *tlsv3.CertificateValidationContext {
		v := &tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem())}
		if edit != nil {
			edit(v)
		}
		return v
	}
	type ctx = tlsv3.CertificateValidationContext
	lenient := func(v *ctx) { v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED }
	depth := func(n uint32) func(*ctx) { return func(v *ctx) { v.MaxVerifyDepth = wrapperspb.UInt32(n) } }
	hash := func(c *issued) func(*ctx) {
		return func(v *ctx) {
			v.VerifyCertificateHash = []string{strings.Repeat("00", 32), hex.EncodeToString(hashOf(c.x509.Raw))}
		}
	}
	spki := func(c *issued) func(*ctx) {
		return func(v *ctx) {
			v.VerifyCertificateSpki = []string{base64.StdEncoding.EncodeToString(hashOf(c.x509.RawSubjectPublicKeyInfo))}
		}
	}
	quiet := func(v *ctx) { v.SuppressClientCaList = true }
	const badChain = "X509_verify_cert: certificate verification error at depth "
	const verifyFailed = "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "
	for _, c := range []trial{
		{"good", ca(nil), true, good, true, "", "", ""},
		{"with an intermediate", ca(nil), true, below, true, "", "", ""},
		{"none, and that is allowed", ca(nil), false, nil, false, "", "", ""},
		{"none", ca(nil), true, nil, false, "fail_verify_no_cert", "|268435655:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:", ""},
		{"foreign", ca(nil), true, foreign, false, "fail_verify_error", verifyFailed + badChain + "0: unable to get local issuer certificate", "unknown certificate authority"},
		{"foreign where none is needed", ca(nil), false, foreign, false, "fail_verify_error", verifyFailed, "unknown certificate authority"},
		{"signed by itself", ca(nil), true, self, false, "fail_verify_error", badChain + "0: self signed certificate", "unknown certificate authority"},
		{"expired", ca(nil), true, past, false, "fail_verify_error", badChain + "0: certificate has expired", "expired certificate"},
		{"not yet valid", ca(nil), true, future, false, "fail_verify_error", badChain + "0: certificate is not yet valid", "expired certificate"},
		{"expired is allowed", ca(func(v *ctx) { v.AllowExpiredCertificate = true }), true, past, true, "", "", ""},
		{"foreign where expired is allowed", ca(func(v *ctx) { v.AllowExpiredCertificate = true }), true, foreign, false, "fail_verify_error", "unable to get local issuer", "bad certificate"},
		{"for servers only", ca(nil), true, server, false, "fail_verify_error", badChain + "0: unsupported certificate purpose", "bad certificate"},
		{"untrusted is accepted", ca(lenient), true, foreign, false, "", "", ""},
		{"trusted where untrusted is accepted", ca(lenient), true, good, true, "", "", ""},
		{"anything where untrusted is accepted", &ctx{TrustChainVerification: tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED}, false, self, false, "", "", ""},
		{"deep enough", ca(depth(2)), true, below, true, "", "", ""},
		{"not deep enough", ca(depth(1)), true, below, false, "fail_verify_error", badChain + "2: certificate chain too long", "bad certificate"},
		{"depth of one", ca(depth(1)), true, good, true, "", "", ""},
		{"authorities are not told", ca(quiet), true, good, true, "", "", ""},
		{"foreign where authorities are not told", ca(quiet), true, foreign, false, "fail_verify_error", "unable to get local issuer", "bad certificate"},
		{"an intermediate is trusted", &ctx{TrustedCa: inline(sub.pem())}, true, below, true, "", "", ""},
		{"pinned by hash", ca(hash(good)), false, good, true, "", "", ""},
		{"pinned by hash, another", ca(hash(good)), false, below, false, "fail_verify_cert_hash", verifyFailed + "cert hash and spki", "bad certificate"},
		{"pinned by hash without a CA", &ctx{VerifyCertificateHash: []string{strings.ToUpper(hex.EncodeToString(hashOf(self.x509.Raw)))}}, false, self, true, "", "", ""},
		{"pinned by hash, none", ca(hash(good)), false, nil, false, "fail_verify_no_cert", "PEER_DID_NOT_RETURN_A_CERTIFICATE", ""},
		{"pinned by key", ca(spki(good)), false, good, true, "", "", ""},
		{"pinned by key, another", ca(spki(good)), false, below, false, "fail_verify_cert_hash", "cert hash and spki", "bad certificate"},
		{"pinned by either", ca(func(v *ctx) { hash(below)(v); spki(good)(v) }), false, good, true, "", "", ""},
		{"pinned, but foreign", ca(hash(foreign)), false, foreign, false, "fail_verify_error", "unable to get local issuer", "unknown certificate authority"},
		{"an empty context asks for nothing", &ctx{}, false, good, false, "", "", ""},
	} {
		c.run(t)
	}
}

func TestHashesMayHaveColons(t *testing.T) {
	self := issue(t, nil, wish{name: "self"})
	var parts []string
	for _, b := range hashOf(self.x509.Raw) {
		parts = append(parts, hex.EncodeToString([]byte{b}))
	}
	s, _ := mutual(t, true, &tlsv3.CertificateValidationContext{VerifyCertificateHash: []string{strings.Join(parts, ":")}})
	if o := shake(t, s, as(self)).ok(t); !o.info.TLS.Verified {
		t.Error("not verified")
	}
}

// otherNames is a SAN extension with otherNames of the given type.
func otherNames(t testing.TB, oid asn1.ObjectIdentifier, values ...any) pkix.Extension {
	t.Helper()
	marshal := func(v any, params string) []byte {
		b, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var all []byte
	for _, v := range values {
		inner := []byte{asn1.TagNull, 0}
		if s, ok := v.(string); ok {
			inner = marshal(s, "utf8")
		} else if v != nil {
			inner = marshal(v, "")
		}
		name := append(marshal(oid, ""), marshal(asn1.RawValue{Class: 2, IsCompound: true, Bytes: inner}, "")...)
		all = append(all, marshal(asn1.RawValue{Class: 2, IsCompound: true, Bytes: name}, "")...)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: marshal(asn1.RawValue{Tag: 16, IsCompound: true, Bytes: all}, "")}
}

func TestNamesAreMatched(t *testing.T) {
	root := authority(t, "root")
	upn := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
	names := issue(t, root, wish{name: "cn.test", dns: []string{"a.example.com", "*.wild.test", "b*.part.test"}, email: []string{"me@example.com"},
		uri: "spiffe://cluster.local/ns/default/sa/client", ip: "192.0.2.7"})
	v6 := issue(t, root, wish{ip: "2001:db8::1"})
	other := issue(t, root, wish{extra: []pkix.Extension{otherNames(t, upn, "me@corp", 42, true, asn1.ObjectIdentifier{1, 2, 3}, nil)}})
	const (
		dns, uri, email = tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI, tlsv3.SubjectAltNameMatcher_EMAIL
		ip, otherName   = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, tlsv3.SubjectAltNameMatcher_OTHER_NAME
	)
	prefix := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
	}
	suffix := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}, IgnoreCase: true}
	}
	contains := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: s}}
	}
	regex := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: s}}}
	}
	for _, c := range []struct {
		kind tlsv3.SubjectAltNameMatcher_SanType
		m    *matcherv3.StringMatcher
		oid  string
		cert *issued
		ok   bool
	}{
		{dns, exactly("a.example.com"), "", names, true},
		{dns, exactly("A.Example.COM"), "", names, true},
		{dns, exactly("b.example.com"), "", names, false},
		{dns, exactly("cn.test"), "", names, false},
		{dns, exactly("x.wild.test"), "", names, true},
		{dns, exactly("wild.test"), "", names, false},
		{dns, exactly("x.y.wild.test"), "", names, false},
		{dns, exactly("*.wild.test"), "", names, true},
		{dns, exactly("bar.part.test"), "", names, true},
		{dns, exactly("car.part.test"), "", names, false},
		{dns, prefix("a."), "", names, true},
		{dns, prefix("x.wild"), "", names, false},
		{dns, suffix("EXAMPLE.COM"), "", names, true},
		{dns, contains("ample"), "", names, true},
		{dns, regex(`[a-z]\.example\.com`), "", names, true},
		{dns, regex(`example`), "", names, false},
		{dns, exactly("spiffe://cluster.local/ns/default/sa/client"), "", names, false},
		{uri, exactly("spiffe://cluster.local/ns/default/sa/client"), "", names, true},
		{uri, exactly("spiffe://cluster.local/ns/default/sa/other"), "", names, false},
		{uri, prefix("spiffe://cluster.local/"), "", names, true},
		{uri, prefix("spiffe://cluster.local.evil/"), "", names, false},
		{email, exactly("me@example.com"), "", names, true},
		{email, exactly("you@example.com"), "", names, false},
		{ip, exactly("192.0.2.7"), "", names, true},
		{ip, exactly("192.0.2.8"), "", names, false},
		{ip, exactly("2001:db8::1"), "", v6, true},
		{otherName, exactly("me@corp"), upn.String(), other, true},
		{otherName, exactly("me@corp"), "1.2.3.4", other, false},
		{otherName, exactly("42"), upn.String(), other, true},
		{otherName, exactly("true"), upn.String(), other, true},
		{otherName, exactly("1.2.3"), upn.String(), other, true},
		{otherName, exactly(""), upn.String(), other, true},
		{otherName, exactly("me@corp"), upn.String(), names, false},
	} {
		one := trial{name: c.kind.String() + " " + c.m.String(), cert: c.cert, verified: true, v: &tlsv3.CertificateValidationContext{
			TrustedCa: inline(root.pem()), MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{
				{SanType: dns, Matcher: exactly("nobody.test")}, {SanType: c.kind, Matcher: c.m, Oid: c.oid}}}}
		if !c.ok {
			one.counter, one.why, one.alert = "fail_verify_san", "verify cert failed: SAN matcher, certificate SANs are [", "bad certificate"
		}
		one.run(t)
	}
	for value, ok := range map[string]bool{"a.example.com": true, "me@example.com": true, "192.0.2.7": true, "nobody": false} {
		one := trial{name: "deprecated " + value, cert: names, verified: true, v: &tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem()),
			MatchSubjectAltNames: []*matcherv3.StringMatcher{exactly(value)}}}
		if !ok {
			one.counter, one.why = "fail_verify_san", "SANs are [a.example.com, *.wild.test, b*.part.test, me@example.com, 192.0.2.7, spiffe://cluster.local/ns/default/sa/client]"
		}
		one.run(t)
	}
}

func TestRevocation(t *testing.T) {
	root := authority(t, "root")
	sub := issue(t, root, wish{name: "sub", ca: true, serial: 50})
	fake := issue(t, nil, wish{name: "root", ca: true})
	one, two := issue(t, sub, wish{name: "one", serial: 1}), issue(t, sub, wish{name: "two", serial: 2})
	direct := issue(t, root, wish{name: "direct", serial: 3})
	critical := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{48, 0}}}
	rootList, subList := root.revoke(t, time.Hour, nil), sub.revoke(t, time.Hour, nil, 1, 99)
	for _, c := range []struct {
		name string
		crl  string
		leaf bool
		cert *issued
		why  string // "": accepted
	}{
		{"revoked", rootList + subList, false, one, "depth 0: certificate revoked"},
		{"not revoked", rootList + subList, false, two, ""},
		{"the issuer is revoked", root.revoke(t, time.Hour, nil, 50) + subList, false, two, "depth 1: certificate revoked"},
		{"the issuer is revoked, leaves count", root.revoke(t, time.Hour, nil, 50) + subList, true, two, ""},
		{"no list of the issuer's", rootList, false, two, "depth 0: unable to get certificate CRL"},
		{"no list of the issuer's issuer", subList, false, two, "depth 1: unable to get certificate CRL"},
		{"no list of the issuer's issuer, leaves count", subList, true, two, ""},
		{"revoked, leaves count", subList, true, one, "depth 0: certificate revoked"},
		{"expired list", root.revoke(t, -time.Hour, nil), false, direct, "depth 0: CRL has expired"},
		{"a list signed by somebody else", fake.revoke(t, time.Hour, nil), false, direct, "depth 0: CRL signature failure"},
		{"a list of some certificates only", root.revoke(t, time.Hour, critical), false, direct, "depth 0: Different CRL scope"},
		{"one of two lists", root.revoke(t, time.Hour, nil) + root.revoke(t, time.Hour, nil, 3), false, direct, "depth 0: certificate revoked"},
		{"two lists", root.revoke(t, time.Hour, nil) + root.revoke(t, time.Hour, nil, 4), false, direct, ""},
	} {
		for _, expired := range []bool{false, true} {
			one := trial{name: c.name, cert: c.cert, verified: true, v: &tlsv3.CertificateValidationContext{TrustedCa: inline(root.pem()), Crl: inline(c.crl),
				OnlyVerifyLeafCertCrl: c.leaf, AllowExpiredCertificate: expired}}
			if c.why != "" && !(expired && strings.Contains(c.why, "expired")) {
				one.counter, one.why, one.alert = "fail_verify_error", c.why, "bad certificate"
			}
			one.run(t)
		}
	}
}

func TestSPIFFEIgnoresNoRestriction(t *testing.T) {
	root := authority(t, "root")
	cfg, err := anypb.New(&tlsv3.SPIFFECertValidatorConfig{TrustDomains: []*tlsv3.SPIFFECertValidatorConfig_TrustDomain{
		{Name: "a.test", TrustBundle: inline(root.pem())}}})
	if err != nil {
		t.Fatal(err)
	}
	for field, m := range map[string]*tlsv3.CertificateValidationContext{
		"verify_certificate_hash": {VerifyCertificateHash: []string{strings.Repeat("00", 32)}},
		"verify_certificate_spki": {VerifyCertificateSpki: []string{strings.Repeat("A", 43) + "="}},
		"max_verify_depth":        {MaxVerifyDepth: wrapperspb.UInt32(1)},
		"crl":                     {Crl: inline(root.revoke(t, time.Hour, nil, 1))},
		"match_typed_subject_alt_names": {MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{
			{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exactly("a.test")}}},
	} {
		m.CustomValidatorConfig = &corev3.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: cfg}
		r := newRig(t)
		env := r.env()
		_, _ = NewServer(env, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificates:       []*tlsv3.TlsCertificate{issue(t, nil, wish{name: "server"}).message(t)},
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: m}}})
		if text := fmt.Sprint(env.Problems.All()); !strings.Contains(text, field+": the SPIFFE validator") {
			t.Errorf("%s: %s", field, text)
		}
	}
}

func TestSPIFFE(t *testing.T) {
	a, b := authority(t, "a"), authority(t, "b")
	cfg, err := anypb.New(&tlsv3.SPIFFECertValidatorConfig{TrustDomains: []*tlsv3.SPIFFECertValidatorConfig_TrustDomain{
		{Name: "a.test", TrustBundle: inline(a.pem())}, {Name: "b.test", TrustBundle: inline(b.pem())}}})
	if err != nil {
		t.Fatal(err)
	}
	v := &tlsv3.CertificateValidationContext{CustomValidatorConfig: &corev3.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: cfg}}
	matching := proto.CloneOf(v)
	matching.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{
		{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exactly("a.test")}, {SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: exactly("spiffe://a.test/one")}}
	expired := proto.CloneOf(v)
	expired.AllowExpiredCertificate = true
	id := func(by *issued, uri string) *issued {
		return issue(t, by, wish{name: "svid", uri: uri, dns: []string{"a.test"}})
	}
	// b's authority is trusted for b.test, and not for what else it writes into a certificate.
	two, err := asn1.Marshal([]asn1.RawValue{{Class: 2, Tag: 6, Bytes: []byte("spiffe://b.test/one")}, {Class: 2, Tag: 6, Bytes: []byte("spiffe://a.test/one")}})
	if err != nil {
		t.Fatal(err)
	}
	both := issue(t, b, wish{name: "svid", extra: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: two}}})
	old := issue(t, a, wish{name: "svid", uri: "spiffe://a.test/one", to: time.Now().Add(-time.Minute)})
	for _, c := range []trial{
		{"of one domain", v, false, id(a, "spiffe://a.test/one"), true, "", "", ""},
		{"of the other", v, false, id(b, "spiffe://b.test/one"), true, "", "", ""},
		{"signed by the wrong one", v, false, id(a, "spiffe://b.test/one"), false, "fail_verify_error", "unable to get local issuer", "bad certificate"},
		{"of an unknown one", v, false, id(a, "spiffe://c.test/one"), false, "fail_verify_error", "verify cert failed: no trust bundle store", "bad certificate"},
		{"without an ID", v, false, id(a, "https://a.test/one"), false, "fail_verify_error", "no trust bundle store", "bad certificate"},
		{"without a path", v, false, id(a, "spiffe://a.test"), false, "fail_verify_error", "no trust bundle store", "bad certificate"},
		{"a CA", v, false, issue(t, a, wish{name: "ca", uri: "spiffe://a.test/one", ca: true}), false, "fail_verify_error", "cert precheck", "bad certificate"},
		{"none", v, false, nil, false, "fail_verify_no_cert", "", ""},
		{"matched", matching, false, id(a, "spiffe://a.test/one"), true, "", "", ""},
		{"not matched", matching, false, id(a, "spiffe://a.test/two"), false, "fail_verify_san", "SAN matcher", "bad certificate"},
		{"of two domains", v, false, both, false, "fail_verify_error", "more than one URI SAN", "bad certificate"},
		{"of two domains, matched", matching, false, both, false, "fail_verify_error", "more than one URI SAN", "bad certificate"},
		{"expired", v, false, old, false, "fail_verify_error", "certificate has expired", "bad certificate"},
		{"expired is allowed", expired, false, old, true, "", "", ""},
	} {
		c.run(t)
	}
}
