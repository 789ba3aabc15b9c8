package match

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/message"
)

// A Cookie is a compiled CookieMatcher (envoy.config.route.v3). A missing cookie does not match; inverted, it does.
type Cookie struct {
	name   string
	value  String
	invert bool
}

// NewCookie compiles a CookieMatcher.
func NewCookie(cfg *routev3.CookieMatcher) (*Cookie, error) {
	if cfg.GetName() == "" {
		return nil, fmt.Errorf("name: must not be empty")
	}
	value, err := NewString(cfg.GetStringMatch())
	if err != nil {
		return nil, fmt.Errorf("string_match: %w", err)
	}
	return &Cookie{cfg.GetName(), value, cfg.GetInvertMatch()}, nil
}

// Match reports whether a request's header section matches.
func (c *Cookie) Match(h *message.Header) bool {
	value, there := CookieValue(h, c.name)
	return (there && c.value.Match(value)) != c.invert
}

// String describes the condition, for people.
func (c *Cookie) String() string {
	not := ""
	if c.invert {
		not = "not: "
	}
	return fmt.Sprintf("cookie %q %s%s", c.name, not, c.value.String())
}

// CookieValue returns the value of the first cookie of that name, without the quotes it may be in, and whether there is one.
func CookieValue(h *message.Header, name string) (string, bool) {
	for i := range h.Slots() {
		_, line, known, ok := h.At(i)
		if !ok || known != message.Cookie {
			continue
		}
		for more := true; more; {
			var pair string
			pair, line, more = strings.Cut(line, ";")
			k, v, isPair := strings.Cut(trim(pair), "=")
			if isPair && k == name {
				if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
					v = v[1 : len(v)-1]
				}
				return v, true
			}
		}
	}
	return "", false
}
