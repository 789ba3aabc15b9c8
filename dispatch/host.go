package dispatch

import (
	"strconv"
	"strings"

	"github.com/weftproxy/weft/conn"
)

// hostRules say how the authority is normalized before routing sees it.
type hostRules struct {
	stripAnyPort      bool
	stripMatchingPort bool
	stripTrailingDot  bool
}

// apply returns the normalized authority, a part of the given one where it can be.
func (r *hostRules) apply(authority string, info *conn.Info, connect bool) string {
	host, port := splitPort(authority)
	if port != "" && !connect && (r.stripAnyPort || r.stripMatchingPort && port == strconv.Itoa(int(info.Local.Port()))) {
		authority, port = host, ""
	}
	if r.stripTrailingDot && strings.HasSuffix(host, ".") {
		host = host[:len(host)-1]
		if port == "" {
			return host
		}
		return host + ":" + port
	}
	return authority
}

// splitPort splits host:port; port is "" when there is none or it is not a number.
func splitPort(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority, ""
	}
	if strings.IndexByte(authority[:i], ':') >= 0 && authority[0] != '[' {
		return authority, "" // a bare IPv6 address
	}
	for _, c := range []byte(authority[i+1:]) {
		if c < '0' || c > '9' {
			return authority, ""
		}
	}
	return authority[:i], authority[i+1:]
}
