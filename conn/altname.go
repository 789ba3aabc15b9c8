package conn

import (
	"encoding/asn1"
	"math/big"
	"net/netip"
)

// subjectAltName is the OID of the extension (RFC 5280 section 4.2.1.6). Immutable.
var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// Tags of a GeneralName.
const (
	generalOther = 0
	generalEmail = 1
	generalDNS   = 2
	generalURI   = 6
	generalIP    = 7
)

// readNames reads a subjectAltName extension. It takes the names byte by byte: crypto/x509 turns a URI into a URL, whose text may differ.
func (f *CertificateFacts) readNames(der []byte) {
	var names []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &names); err != nil {
		return
	}
	for i := range names {
		n := &names[i]
		if n.Class != asn1.ClassContextSpecific {
			continue
		}
		switch n.Tag {
		case generalOther:
			f.OtherNames = append(f.OtherNames, otherName(n.FullBytes))
		case generalEmail:
			f.EmailSANs = append(f.EmailSANs, string(n.Bytes))
		case generalDNS:
			f.DNSSANs = append(f.DNSSANs, string(n.Bytes))
		case generalURI:
			f.URISANs = append(f.URISANs, string(n.Bytes))
		case generalIP:
			if a, ok := netip.AddrFromSlice(n.Bytes); ok {
				f.IPSANs = append(f.IPSANs, a.String())
			}
		}
	}
}

// otherName prints the value of an otherName as Envoy does; "" where it has no text.
func otherName(der []byte) string {
	var name struct {
		Type    asn1.ObjectIdentifier
		Wrapper asn1.RawValue
	}
	var v asn1.RawValue
	if _, err := asn1.UnmarshalWithParams(der, &name, "tag:0"); err != nil {
		return ""
	}
	if _, err := asn1.Unmarshal(name.Wrapper.Bytes, &v); err != nil || v.Class != asn1.ClassUniversal {
		return ""
	}
	switch v.Tag {
	case asn1.TagBoolean:
		if len(v.Bytes) == 1 && v.Bytes[0] != 0 {
			return "true"
		}
		return "false"
	case asn1.TagInteger, asn1.TagEnum:
		return integerText(v.Bytes)
	case asn1.TagOID:
		var oid asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(v.FullBytes, &oid); err != nil {
			return ""
		}
		return oid.String()
	case asn1.TagBitString:
		if len(v.Bytes) == 0 {
			return ""
		}
		return string(v.Bytes[1:]) // without the count of unused bits
	case asn1.TagBMPString, tagUniversalString:
		text, _ := stringValue(&v)
		return text
	case asn1.TagSequence, asn1.TagSet:
		return string(v.FullBytes)
	case asn1.TagNull:
		return ""
	}
	return string(v.Bytes)
}

// integerText prints a two's complement number of any length (X.690 section 8.3) in decimal.
func integerText(p []byte) string {
	n := new(big.Int).SetBytes(p)
	if len(p) > 0 && p[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(p))*8))
	}
	return n.String()
}
