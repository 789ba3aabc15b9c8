package dispatch

import (
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// A verdict is what path normalization wants done with a request.
type verdict uint8

const (
	proceed verdict = iota
	reject
	redirect // to the normalized path
)

// pathRules say how request paths are normalized before routing and filters see them.
type pathRules struct {
	normalize    bool
	mergeSlashes bool
	escaped      hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction
}

// apply normalizes the path part of a request target: fragment, escaped slashes, RFC 3986 dot segments, double slashes, in Envoy's
// order. It allocates only when something changes.
func (p *pathRules) apply(target string) (string, verdict) {
	if strings.IndexByte(target, '#') >= 0 {
		return target, reject
	}
	path, query := target, ""
	if i := strings.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	out, v := p.unescapeSlashes(path)
	if v == reject {
		return target, reject
	}
	if p.normalize {
		var ok bool
		if out, ok = normalizePath(out); !ok {
			return target, reject
		}
	}
	if p.mergeSlashes {
		out = mergeSlashes(out)
	}
	if len(out) == len(path) && out == path {
		return target, proceed
	}
	return out + query, v
}

func (p *pathRules) unescapeSlashes(path string) (string, verdict) {
	keep := p.escaped == hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT || p.escaped == hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	if keep || !hasEscapedSlash(path) {
		return path, proceed
	}
	if p.escaped == hcmv3.HttpConnectionManager_REJECT_REQUEST {
		return path, reject
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if c, ok := escapedSlash(path[i:]); ok {
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(path[i])
	}
	if p.escaped == hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT {
		return b.String(), redirect
	}
	return b.String(), proceed
}

func hasEscapedSlash(path string) bool {
	for i := strings.IndexByte(path, '%'); i >= 0 && i < len(path); i++ {
		if _, ok := escapedSlash(path[i:]); ok {
			return true
		}
	}
	return false
}

// escapedSlash recognizes %2F and %5C at the start of s.
func escapedSlash(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	switch {
	case s[1] == '2' && s[2]|0x20 == 'f':
		return '/', true
	case s[1] == '5' && s[2]|0x20 == 'c':
		return '\\', true
	}
	return 0, false
}

// normalizePath resolves dot segments, turns backslashes into slashes and decodes escaped unreserved characters (RFC 3986 sections
// 6.2.2.2 and 6.2.2.3). It reports false for a path that does not begin with a slash or escapes NUL.
func normalizePath(path string) (string, bool) {
	if path == "" || path[0] != '/' && path[0] != '\\' {
		return path, false
	}
	if isNormal(path) {
		return path, true
	}
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); {
		c, n := nextChar(path[i:])
		if n == 3 && c == 0 {
			return path, false
		}
		if c != '/' && c != '\\' || n == 3 {
			out = append(out, path[i:i+n]...)
			if n == 3 && unreserved(c) {
				out = append(out[:len(out)-3], c)
			}
			i += n
			continue
		}
		i = afterSlash(path, i, &out)
	}
	return string(out), true
}

// afterSlash handles a slash at path[i] with a dot segment behind it and returns where to go on.
func afterSlash(path string, i int, out *[]byte) int {
	dots, j := 0, i+1
	for j < len(path) {
		c, n := nextChar(path[j:])
		if c != '.' {
			break
		}
		dots++
		j += n
	}
	last := j == len(path)
	if dots == 0 || dots > 2 || !last && path[j] != '/' && path[j] != '\\' {
		*out = append(*out, '/')
		return i + 1
	}
	if dots == 2 {
		k := len(*out) - 1
		for k >= 0 && (*out)[k] != '/' {
			k--
		}
		*out = (*out)[:max(k, 0)]
	}
	if last {
		*out = append(*out, '/')
	}
	return j
}

// nextChar returns the character that s begins with, decoded when it is escaped, and the length of its spelling.
func nextChar(s string) (byte, int) {
	if s[0] == '%' && len(s) >= 3 {
		hi, ok1 := unhex(s[1])
		lo, ok2 := unhex(s[2])
		if ok1 && ok2 {
			return hi<<4 | lo, 3
		}
	}
	return s[0], 1
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// isNormal reports whether there is nothing to normalize: the usual case, decided in one pass.
func isNormal(path string) bool {
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '%', '\\':
			return false
		case '.':
			if i > 0 && path[i-1] == '/' {
				return false
			}
		}
	}
	return true
}

// mergeSlashes turns runs of slashes into one.
func mergeSlashes(path string) string {
	if !strings.Contains(path, "//") {
		return path
	}
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] == '/' && i > 0 && path[i-1] == '/' {
			continue
		}
		out = append(out, path[i])
	}
	return string(out)
}
