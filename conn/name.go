package conn

import (
	"encoding/asn1"
	"encoding/hex"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// attributeNames are the short names of attributes that BoringSSL knows, by their OIDs. Others print as OID and hex. Immutable.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description", "2.5.4.14": "searchGuide",
	"2.5.4.15": "businessCategory", "2.5.4.16": "postalAddress", "2.5.4.17": "postalCode", "2.5.4.18": "postOfficeBox",
	"2.5.4.19": "physicalDeliveryOfficeName",
	"2.5.4.20": "telephoneNumber", "2.5.4.31": "member", "2.5.4.32": "owner", "2.5.4.33": "roleOccupant", "2.5.4.34": "seeAlso",
	"2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.45": "x500UniqueIdentifier",
	"2.5.4.46": "dnQualifier", "2.5.4.49": "distinguishedName", "2.5.4.50": "uniqueMember", "2.5.4.51": "houseIdentifier",
	"2.5.4.54": "dmdName", "2.5.4.65": "pseudonym", "2.5.4.72": "role",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.3": "mail", "0.9.2342.19200300.100.1.4": "info",
	"0.9.2342.19200300.100.1.9": "host", "0.9.2342.19200300.100.1.10": "manager", "0.9.2342.19200300.100.1.25": "DC",
	"0.9.2342.19200300.100.1.37": "associatedDomain", "0.9.2342.19200300.100.1.41": "mobileTelephoneNumber",
	"1.2.840.113549.1.9.1": "emailAddress", "1.2.840.113549.1.9.2": "unstructuredName", "1.2.840.113549.1.9.7": "challengePassword",
	"1.2.840.113549.1.9.8": "unstructuredAddress",
}

// nameText prints a DER name as BoringSSL does with XN_FLAG_RFC2253: the last attribute first, "+" between those of one relative name, and
// ASCII only. It is "" for what is no name.
func nameText(der []byte) string {
	var sequence []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for i := len(sequence) - 1; i >= 0; i-- {
		var set []attribute
		if _, err := asn1.UnmarshalWithParams(sequence[i].FullBytes, &set, "set"); err != nil {
			return ""
		}
		for j := len(set) - 1; j >= 0; j-- {
			switch {
			case b.Len() == 0:
			case j == len(set)-1:
				b.WriteByte(',')
			default:
				b.WriteByte('+')
			}
			set[j].print(&b)
		}
	}
	return b.String()
}

// An attribute is an AttributeTypeAndValue (RFC 5280 section 4.1.2.4).
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

func (a *attribute) print(b *strings.Builder) {
	oid := a.Type.String()
	name := attributeNames[oid]
	text, ok := stringValue(&a.Value)
	if name == "" {
		name, ok = oid, false
	}
	b.WriteString(name)
	b.WriteByte('=')
	if !ok {
		b.WriteByte('#')
		b.WriteString(strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
		return
	}
	printEscaped(b, text)
}

// printEscaped escapes what RFC 2253 section 2.4 says, control characters, and the bytes of what is not ASCII.
func printEscaped(b *strings.Builder, text string) {
	const digits = "0123456789ABCDEF"
	for i := range len(text) {
		c := text[i]
		switch {
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == ' ' || c == '#'), i == len(text)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			b.WriteByte('\\')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		default:
			b.WriteByte(c)
		}
	}
}

// Tags of string types that encoding/asn1 has no name for (X.680 section 8.4).
const (
	tagVisibleString   = 26
	tagUniversalString = 28
)

// stringValue returns a string of any of ASN.1's types in UTF-8. ok is false for what is none.
func stringValue(v *asn1.RawValue) (text string, ok bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String:
		return string(v.Bytes), utf8.Valid(v.Bytes)
	case asn1.TagBMPString:
		return fromUTF16(v.Bytes)
	case tagUniversalString:
		return fromUTF32(v.Bytes)
	case asn1.TagNumericString, asn1.TagPrintableString, asn1.TagT61String, asn1.TagIA5String, asn1.TagUTCTime, asn1.TagGeneralizedTime,
		tagVisibleString:
		return fromLatin1(v.Bytes), true
	}
	return "", false
}

func fromLatin1(p []byte) string {
	var b strings.Builder
	for _, c := range p {
		b.WriteRune(rune(c))
	}
	return b.String()
}

func fromUTF16(p []byte) (string, bool) {
	if len(p)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(p)/2)
	for i := range units {
		units[i] = uint16(p[2*i])<<8 | uint16(p[2*i+1])
	}
	return string(utf16.Decode(units)), true
}

func fromUTF32(p []byte) (string, bool) {
	if len(p)%4 != 0 {
		return "", false
	}
	var b strings.Builder
	for ; len(p) > 0; p = p[4:] {
		b.WriteRune(rune(uint32(p[0])<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3]))) //nolint:gosec // WriteRune replaces what is none
	}
	return b.String(), true
}
