package xfcc

import "strings"

// An Element is what one proxy says of its client. Strings are of whoever made it.
type Element struct {
	By         []string // URI SANs of the proxy's own certificate
	Hash       string   // SHA-256 of the client's certificate, lower case hex
	Cert       string   // the client's certificate in PEM, URL-encoded
	Chain      string   // its chain with the certificate first, in the same form
	Subject    string   // RFC 2253, in which every quote and backslash has a backslash before it
	HasSubject bool     // the element says what the subject is, be it nothing
	URI        []string // URI SANs of the client's certificate
	HasURI     bool     // the element says what they are, be it none
	DNS        []string // DNS SANs of the client's certificate
}

// Append appends the element in Envoy's order. Values that could be taken for more than one are quoted, which Envoy does with Cert,
// Chain and Subject only, and what is no visible ASCII character is percent-encoded.
func (e *Element) Append(dst []byte) []byte {
	start := len(dst)
	dst = appendAll(dst, start, "By=", e.By)
	if e.Hash != "" {
		dst = appendValue(appendKey(dst, start, "Hash="), e.Hash)
	}
	if e.Cert != "" {
		dst = appendQuoted(appendKey(dst, start, "Cert="), e.Cert)
	}
	if e.Chain != "" {
		dst = appendQuoted(appendKey(dst, start, "Chain="), e.Chain)
	}
	if e.HasSubject {
		dst = append(appendKey(dst, start, "Subject="), '"')
		dst = append(appendVisible(dst, e.Subject), '"') // RFC 2253 has escaped its quotes
	}
	if e.HasURI && len(e.URI) == 0 {
		dst = appendKey(dst, start, "URI=")
	}
	dst = appendAll(dst, start, "URI=", e.URI)
	return appendAll(dst, start, "DNS=", e.DNS)
}

func appendAll(dst []byte, start int, key string, values []string) []byte {
	for _, v := range values {
		dst = appendValue(appendKey(dst, start, key), v)
	}
	return dst
}

func appendKey(dst []byte, start int, key string) []byte {
	if len(dst) > start {
		dst = append(dst, ';')
	}
	return append(dst, key...)
}

func appendValue(dst []byte, v string) []byte {
	if strings.ContainsAny(v, ",;\"\\") || strings.HasPrefix(v, " ") || strings.HasSuffix(v, " ") {
		return appendQuoted(dst, v)
	}
	return appendVisible(dst, v)
}

// appendQuoted appends v between quotes, with a backslash before what would end it.
func appendQuoted(dst []byte, v string) []byte {
	return append(appendEscaped(append(dst, '"'), v), '"')
}

func appendEscaped(dst []byte, v string) []byte {
	for {
		i := strings.IndexAny(v, `"\`)
		if i < 0 {
			return appendVisible(dst, v)
		}
		dst = append(appendVisible(dst, v[:i]), '\\', v[i])
		v = v[i+1:]
	}
}

// appendVisible appends v with nothing in it that could end a header field.
func appendVisible(dst []byte, v string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(v) {
		if c := v[i]; c < ' ' || c >= 0x7f {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
			continue
		}
		dst = append(dst, v[i])
	}
	return dst
}
