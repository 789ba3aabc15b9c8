package route

import (
	"fmt"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/match"
)

// A pathKind is a form of path_specifier.
type pathKind uint8

const (
	prefixPath pathKind = iota
	exactPath
	separatedPath // path_separated_prefix
	regexPath
	connectPath
)

// An entry is a route with its conditions.
type entry struct {
	route *exchange.Route
	kind  pathKind
	fold  bool   // case_sensitive: false
	next  int32  // the next entry of the same key; -1: none
	text  string // the prefix or path; lower case when fold
	regex *match.Regex
	rest  *conditions // nil: the path is all
}

// conditions are what a RouteMatch asks for besides the path.
type conditions struct {
	fraction *match.Fraction
	grpc     bool
	client   client
	headers  []*match.Header
	query    []*match.Query
	cookies  []*match.Cookie
}

// key is what a path must be, or begin with, for the entry to be a candidate.
func (e *entry) key() string {
	switch e.kind {
	case regexPath:
		return e.regex.Prefix()
	case connectPath:
		return ""
	}
	return e.text
}

// confirms completes what the index has established about the path.
func (e *entry) confirms(q *query) bool {
	switch e.kind {
	case exactPath, prefixPath:
		return q.path != ""
	case separatedPath:
		return q.path != "" && (len(q.path) == len(e.text) || q.path[len(e.text)] == '/')
	case regexPath:
		return q.path != "" && e.regex.Match(q.path)
	default:
		return q.r.Method == "CONNECT" || q.r.Upgrade == "connect-udp"
	}
}

// matchesPath is confirms without an index.
func (e *entry) matchesPath(q *query) bool {
	switch e.kind {
	case exactPath:
		if q.path != e.text && !(e.fold && match.EqualFold(q.path, e.text)) {
			return false
		}
	case prefixPath, separatedPath:
		n := len(e.text)
		if len(q.path) < n || q.path[:n] != e.text && !(e.fold && match.EqualFold(q.path[:n], e.text)) {
			return false
		}
	}
	return e.confirms(q)
}

// holds checks the conditions besides the path.
func (e *entry) holds(q *query) bool {
	c := e.rest
	if c == nil {
		return true
	}
	if c.fraction != nil && !c.fraction.Match(q.random) || c.grpc && !grpc.IsRequest(&q.r.Header) || c.client.failed(q.tls) != "" {
		return false
	}
	for _, h := range c.headers {
		if !h.MatchRequest(q.r) {
			return false
		}
	}
	for _, p := range c.query {
		if !p.Match(q.r.Path) {
			return false
		}
	}
	for _, k := range c.cookies {
		if !k.Match(&q.r.Header) {
			return false
		}
	}
	return true
}

// failed describes the first condition that does not hold; "" when all do.
func (e *entry) failed(q *query) string {
	if !e.matchesPath(q) {
		return "path: not " + e.describe()
	}
	c := e.rest
	if c == nil {
		return ""
	}
	if c.fraction != nil && !c.fraction.Match(q.random) {
		return "not " + c.fraction.String()
	}
	if c.grpc && !grpc.IsRequest(&q.r.Header) {
		return "not a gRPC request"
	}
	if why := c.client.failed(q.tls); why != "" {
		return why
	}
	for _, h := range c.headers {
		if !h.MatchRequest(q.r) {
			return "does not hold: " + h.String()
		}
	}
	for _, p := range c.query {
		if !p.Match(q.r.Path) {
			return "does not hold: " + p.String()
		}
	}
	for _, k := range c.cookies {
		if !k.Match(&q.r.Header) {
			return "does not hold: " + k.String()
		}
	}
	return ""
}

// describe says what the path must be, for people.
func (e *entry) describe() string {
	words := [...]string{"prefix", "path", "path_separated_prefix", "safe_regex", "connect_matcher"}
	if e.kind == connectPath {
		return words[e.kind]
	}
	text := e.text
	if e.kind == regexPath {
		text = e.regex.String()
	}
	out := fmt.Sprintf("%s %q", words[e.kind], text)
	if e.fold {
		out += " in any case"
	}
	return out
}
