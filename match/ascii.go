package match

// lower returns the ASCII lower case of c.
func lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

// LowerASCII returns s in lower case, s itself when it is already. Only ASCII letters have case, as in Envoy.
func LowerASCII(s string) string {
	for i := range len(s) {
		if s[i]-'A' < 26 {
			return string(AppendLower(make([]byte, 0, len(s)), s))
		}
	}
	return s
}

// HasUpper reports whether s has an upper case ASCII letter.
func HasUpper(s string) bool {
	for i := range len(s) {
		if s[i]-'A' < 26 {
			return true
		}
	}
	return false
}

// AppendLower appends s in lower case.
func AppendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, lower(s[i]))
	}
	return dst
}

// EqualFold compares ignoring the case of ASCII letters.
func EqualFold(a, b string) bool { return len(a) == len(b) && hasPrefixFold(a, b) }

// hasPrefixFold is strings.HasPrefix ignoring the case of ASCII letters.
func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(s[i]) != lower(prefix[i]) {
			return false
		}
	}
	return true
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && hasPrefixFold(s[len(s)-len(suffix):], suffix)
}

func containsFold(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if hasPrefixFold(s[i:], part) {
			return true
		}
	}
	return false
}
