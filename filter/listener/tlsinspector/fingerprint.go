package tlsinspector

import (
	"crypto/md5" //nolint:gosec // JA3 is defined with it; nothing is protected by it
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
)

// grease reports whether a value is one of those that clients send for nothing but to keep servers tolerant (RFC 8701). Fingerprints
// leave them out, since they change from one connection to the next.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// values returns those of a list of two bytes each, without GREASE.
func values(list []byte) []uint16 {
	var all []uint16
	for r := reader(list); ; {
		v, ok := r.uint16()
		if !ok {
			return all
		}
		if !grease(v) {
			all = append(all, v)
		}
	}
}

// kinds returns the types of the extensions in their order, without GREASE.
func (h *hello) kinds() []uint16 {
	var all []uint16
	for rest := h.extensions; len(rest) > 0; {
		kind, _, ok := rest.extension()
		if !ok {
			break
		}
		if !grease(kind) {
			all = append(all, kind)
		}
	}
	return all
}

// list returns the values of an extension that is a list of them, with the length of the list in size bytes.
func (h *hello) list(kind uint16, size int) []byte {
	content, _ := h.find(kind)
	list, _ := content.vector(size)
	return list
}

// ja3Text is what JA3 is the hash of: the version, ciphers, extensions, groups and point formats in decimal, in the client's order
// (github.com/salesforce/ja3).
func (h *hello) ja3Text() []byte {
	b := strconv.AppendUint(nil, uint64(h.version), 10)
	for _, list := range [][]uint16{values(h.ciphers), h.kinds(), values(h.list(extSupportedGroups, 2))} {
		b = appendDecimals(append(b, ','), list)
	}
	var formats []uint16
	for _, v := range h.list(extPointFormats, 1) {
		formats = append(formats, uint16(v))
	}
	return appendDecimals(append(b, ','), formats)
}

func appendDecimals(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// ja3 returns the JA3 fingerprint, 32 hex digits.
func (h *hello) ja3() string {
	sum := md5.Sum(h.ja3Text()) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// ja4 returns the JA4 fingerprint of a client over TCP (FoxIO's technical details of JA4).
func (h *hello) ja4() string {
	ciphers, kinds := values(h.ciphers), h.kinds()
	sni := byte('i')
	if _, ok := h.find(extServerName); ok {
		sni = 'd'
	}
	head := fmt.Sprintf("t%s%c%02d%02d%s", h.ja4Version(), sni, min(len(ciphers), 99), min(len(kinds), 99), h.ja4Protocol())
	return head + "_" + hash12(appendHex(nil, sorted(ciphers))) + "_" + hash12(h.ja4Extensions(kinds))
}

// ja4Version is the highest version that the client offers.
func (h *hello) ja4Version() string {
	highest := uint16(0)
	for _, v := range values(h.list(extSupportedVersions, 1)) {
		highest = max(highest, v)
	}
	if highest == 0 {
		highest = h.version
	}
	switch highest {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	}
	return "00"
}

// ja4Protocol is the first and the last character of the first application protocol, or of its hex form.
func (h *hello) ja4Protocol() string {
	if len(h.alpn) == 0 {
		return "00"
	}
	name := h.alpn[1 : 1+int(h.alpn[0])]
	first, last := name[0], name[len(name)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		const digits = "0123456789abcdef"
		first, last = digits[first>>4], digits[last&0xf]
	}
	return string([]byte{first, last})
}

func alphanumeric(ch byte) bool {
	return 'a' <= ch && ch <= 'z' || 'A' <= ch && ch <= 'Z' || '0' <= ch && ch <= '9'
}

// ja4Extensions is what the third part is the hash of: the extensions in order of their numbers without server name and protocols, then the
// signature algorithms in the client's order.
func (h *hello) ja4Extensions(kinds []uint16) []byte {
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(v uint16) bool { return v == extServerName || v == extALPN })
	b := appendHex(nil, sorted(kinds))
	if len(b) == 0 {
		return nil
	}
	if algorithms := values(h.list(extSignatureAlgorithms, 2)); len(algorithms) > 0 {
		b = appendHex(append(b, '_'), algorithms)
	}
	return b
}

func sorted(list []uint16) []uint16 {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

func appendHex(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%04x", v)
	}
	return b
}

// hash12 is the beginning of a hash as 12 hex digits; zeros of nothing.
func hash12(text []byte) string {
	if len(text) == 0 {
		return "000000000000"
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
