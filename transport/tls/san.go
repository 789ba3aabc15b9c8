package tls

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftproxy/weft/match"
)

// A san is one subject alternative name, as text. (RFC 5280 section 4.2.1.6)
type san struct {
	kind  tlsv3.SubjectAltNameMatcher_SanType
	value string
	oid   string // of an otherName
}

// sansOf reads the names of a certificate. Of what it cannot read there is no name.
func sansOf(x *x509.Certificate) []san {
	var names []san
	for i := range x.Extensions {
		if !x.Extensions[i].Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var all asn1.RawValue
		if rest, err := asn1.Unmarshal(x.Extensions[i].Value, &all); err != nil || len(rest) > 0 || all.Tag != asn1.TagSequence {
			return nil
		}
		for rest := all.Bytes; len(rest) > 0; {
			var v asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &v); err != nil {
				return nil
			}
			if s, ok := sanOf(v); ok {
				names = append(names, s)
			}
		}
	}
	return names
}

// sanOf reads one GeneralName.
func sanOf(v asn1.RawValue) (san, bool) {
	if v.Class != asn1.ClassContextSpecific {
		return san{}, false
	}
	switch v.Tag {
	case 0:
		return otherName(v.Bytes)
	case 1:
		return san{kind: tlsv3.SubjectAltNameMatcher_EMAIL, value: string(v.Bytes)}, true
	case 2:
		return san{kind: tlsv3.SubjectAltNameMatcher_DNS, value: string(v.Bytes)}, true
	case 6:
		return san{kind: tlsv3.SubjectAltNameMatcher_URI, value: string(v.Bytes)}, true
	case 7:
		ip, ok := netip.AddrFromSlice(v.Bytes)
		return san{kind: tlsv3.SubjectAltNameMatcher_IP_ADDRESS, value: ip.String()}, ok
	}
	return san{}, false
}

// otherName reads the type and the value of an otherName.
func otherName(b []byte) (san, bool) {
	var id asn1.ObjectIdentifier
	var outer, v asn1.RawValue
	rest, err := asn1.Unmarshal(b, &id)
	if err != nil {
		return san{}, false
	}
	if _, err = asn1.Unmarshal(rest, &outer); err != nil || outer.Class != asn1.ClassContextSpecific || outer.Tag != 0 {
		return san{}, false
	}
	if _, err = asn1.Unmarshal(outer.Bytes, &v); err != nil || v.Class != asn1.ClassUniversal {
		return san{}, false
	}
	text, ok := asn1Text(v)
	return san{kind: tlsv3.SubjectAltNameMatcher_OTHER_NAME, oid: id.String(), value: text}, ok
}

// asn1Text is a value as SubjectAltNameMatcher compares it.
func asn1Text(v asn1.RawValue) (string, bool) {
	switch v.Tag {
	case asn1.TagOID:
		var id asn1.ObjectIdentifier
		_, err := asn1.Unmarshal(v.FullBytes, &id)
		return id.String(), err == nil
	case asn1.TagBoolean:
		var b bool
		_, err := asn1.Unmarshal(v.FullBytes, &b)
		return strconv.FormatBool(b), err == nil
	case asn1.TagInteger:
		var n *big.Int
		_, err := asn1.Unmarshal(v.FullBytes, &n)
		return fmt.Sprint(n), err == nil
	case asn1.TagEnum:
		var n asn1.Enumerated
		_, err := asn1.Unmarshal(v.FullBytes, &n)
		return strconv.Itoa(int(n)), err == nil
	case asn1.TagNull:
		return "", true
	case asn1.TagSequence, asn1.TagSet:
		return "", false
	case asn1.TagBMPString:
		var s string
		_, err := asn1.Unmarshal(v.FullBytes, &s)
		return s, err == nil
	}
	return string(v.Bytes), true
}

// A sanMatcher is a SubjectAltNameMatcher, compiled. Immutable.
type sanMatcher struct {
	kind tlsv3.SubjectAltNameMatcher_SanType
	oid  string // of an OTHER_NAME
	dns  string // a DNS name that has to be matched exactly; "" where text decides
	text match.String
}

// newSANMatchers compiles the matchers of a validation context: the typed ones, or else the deprecated ones, which are for every type of
// name.
func newSANMatchers(m *tlsv3.CertificateValidationContext) ([]sanMatcher, error) {
	var all []sanMatcher
	for _, t := range m.GetMatchTypedSubjectAltNames() {
		s, err := newSANMatcher(t.GetSanType(), t.GetOid(), t.GetMatcher())
		if err != nil {
			return nil, fmt.Errorf("match_typed_subject_alt_names: %w", err)
		}
		all = append(all, s)
	}
	if len(all) > 0 {
		return all, nil
	}
	for _, t := range m.GetMatchSubjectAltNames() {
		for _, kind := range []tlsv3.SubjectAltNameMatcher_SanType{tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI,
			tlsv3.SubjectAltNameMatcher_EMAIL, tlsv3.SubjectAltNameMatcher_IP_ADDRESS} {
			s, err := newSANMatcher(kind, "", t)
			if err != nil {
				return nil, fmt.Errorf("match_subject_alt_names: %w", err)
			}
			all = append(all, s)
		}
	}
	return all, nil
}

func newSANMatcher(kind tlsv3.SubjectAltNameMatcher_SanType, oid string, m *matcherv3.StringMatcher) (sanMatcher, error) {
	text, err := match.NewString(m)
	if err != nil {
		return sanMatcher{}, err
	}
	s := sanMatcher{kind: kind, text: text}
	if _, exact := m.GetMatchPattern().(*matcherv3.StringMatcher_Exact); exact && kind == tlsv3.SubjectAltNameMatcher_DNS {
		s.dns = m.GetExact()
	}
	if kind == tlsv3.SubjectAltNameMatcher_OTHER_NAME {
		if s.oid = oid; !validOID(oid) {
			return sanMatcher{}, fmt.Errorf("oid %q: an OTHER_NAME needs its type, like 1.3.6.1.4.1.311.20.2.3", oid)
		}
	}
	return s, nil
}

func validOID(s string) bool {
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 31); err != nil {
			return false
		}
	}
	return len(parts) > 1
}

func (m *sanMatcher) match(s san) bool {
	switch {
	case m.kind != s.kind || m.oid != s.oid:
		return false
	case m.dns != "":
		return dnsNameMatch(m.dns, s.value)
	}
	return m.text.Match(s.value)
}

// dnsNameMatch reports whether a certificate's name, which may have one wildcard in its first label, stands for name.
// (RFC 6125 section 6.4.3)
func dnsNameMatch(name, pattern string) bool {
	if match.EqualFold(name, pattern) {
		return true
	}
	label, rest, ok := strings.Cut(name, ".")
	wild, tail, wildOK := strings.Cut(pattern, ".")
	if !ok || !wildOK || strings.Count(pattern, "*") != 1 || !match.EqualFold(rest, tail) {
		return false
	}
	before, after, ok := strings.Cut(match.LowerASCII(wild), "*")
	label = match.LowerASCII(label)
	if !ok || label == "" {
		return false
	}
	if before+after == "" {
		return true
	}
	if strings.HasPrefix(label, "xn--") {
		return false // part of an A-label means nothing
	}
	return len(label) >= len(before)+len(after) && strings.HasPrefix(label, before) && strings.HasSuffix(label, after)
}

// mostListed bounds what an error says of a certificate's names, of which a peer may send very many. In bytes.
const mostListed = 1 << 10

// listSANs is how Envoy's errors name a certificate's names, as far as there is room.
func listSANs(names []san) string {
	var b strings.Builder
	for i := range names {
		if b.Len()+len(names[i].value) > mostListed {
			b.WriteString("...")
			break
		}
		b.WriteString(names[i].value)
		if i+1 < len(names) {
			b.WriteString(", ")
		}
	}
	return b.String()
}
