package match

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// A Query is a compiled QueryParameterMatcher (envoy.config.route.v3). As in Envoy the first parameter of a name counts, and
// nothing is percent-decoded.
type Query struct {
	name    string
	any     bool
	present bool
	value   String
}

// NewQuery compiles a QueryParameterMatcher.
func NewQuery(cfg *routev3.QueryParameterMatcher) (*Query, error) {
	if cfg.GetName() == "" {
		return nil, fmt.Errorf("name: must not be empty")
	}
	q := &Query{name: cfg.GetName(), present: true}
	switch m := cfg.GetQueryParameterMatchSpecifier().(type) {
	case nil:
		q.any = true
	case *routev3.QueryParameterMatcher_PresentMatch:
		q.any, q.present = true, m.PresentMatch
	case *routev3.QueryParameterMatcher_StringMatch:
		var err error
		if q.value, err = NewString(m.StringMatch); err != nil {
			return nil, fmt.Errorf("string_match: %w", err)
		}
	default:
		return nil, fmt.Errorf("this form of query parameter matcher is not supported")
	}
	return q, nil
}

// Match reports whether the query of a path (with "?") matches.
func (q *Query) Match(path string) bool {
	value, there := QueryParameter(path, q.name)
	if q.any {
		return there == q.present
	}
	return there && q.value.Match(value)
}

// String describes the condition, for people.
func (q *Query) String() string {
	switch {
	case q.any && q.present:
		return fmt.Sprintf("query parameter %q is present", q.name)
	case q.any:
		return fmt.Sprintf("query parameter %q is absent", q.name)
	}
	return fmt.Sprintf("query parameter %q %s", q.name, q.value.String())
}

// QueryParameter returns the first value of a parameter in the query of a path, as it was sent, and whether there is one. A
// parameter without "=" has the value "".
func QueryParameter(path, name string) (string, bool) {
	_, query, ok := strings.Cut(path, "?")
	for ok {
		var one string
		one, query, ok = strings.Cut(query, "&")
		if k, v, _ := strings.Cut(one, "="); k == name {
			return v, true
		}
	}
	return "", false
}
