package grpcjson

import "strings"

// paths finds the rule for a request's method and path. Where several templates match, a literal goes before "*", and "*" before "**",
// segment by segment from the left, as in Envoy. Immutable once built; looking up allocates nothing.
type paths struct {
	root    node
	verbs   map[string]bool // those that templates end with
	anyVerb bool            // what stands behind the last colon is a verb even if no template has it
}

// A node is what the segments up to a place of some templates have in common.
type node struct {
	literals map[string]*node
	one      *node // "*"
	rest     *node // "**"
	deep     bool  // this is a "**": it takes more segments than one
	rules    map[selector]*rule
}

// A selector is what tells rules of one path apart.
type selector struct{ method, verb string }

// add registers a rule. It reports false when there is one for the same requests already; then neither of them serves, as in Envoy.
func (p *paths) add(method string, t *template, r *rule) bool {
	if t.verb != "" {
		if p.verbs == nil {
			p.verbs = map[string]bool{}
		}
		p.verbs[t.verb] = true
	}
	n := &p.root
	for _, segment := range t.segments {
		n = n.child(segment)
	}
	s := selector{method, t.verb}
	if n.rules == nil {
		n.rules = map[selector]*rule{}
	}
	if _, twice := n.rules[s]; twice {
		n.rules[s] = nil
		return false
	}
	n.rules[s] = r
	return true
}

func (n *node) child(segment string) *node {
	switch segment {
	case "*":
		if n.one == nil {
			n.one = &node{}
		}
		return n.one
	case "**":
		if n.rest == nil {
			n.rest = &node{deep: true}
		}
		return n.rest
	}
	if n.literals == nil {
		n.literals = map[string]*node{}
	}
	c := n.literals[segment]
	if c == nil {
		c = &node{}
		n.literals[segment] = c
	}
	return c
}

// find returns the rule for a request, and its path without slash at the begin, slashes at the end and verb. path has no query. The
// rule is nil when there is none, or more than one.
func (p *paths) find(method, path string) (r *rule, trimmed string) {
	if path == "" || path[0] != '/' {
		return nil, ""
	}
	s := selector{method: method}
	if colon := strings.LastIndexByte(path, ':'); colon > strings.LastIndexByte(path, '/') {
		if verb := path[colon+1:]; p.anyVerb || p.verbs[verb] {
			s.verb, path = verb, path[:colon]
		}
	}
	trimmed = strings.TrimRight(path[1:], "/")
	r, _ = p.root.find(trimmed, s)
	return r, trimmed
}

// find looks for the rest of a path below n. The last segment of it is not empty, so the empty string is the end.
func (n *node) find(path string, s selector) (*rule, bool) {
	for path != "" {
		segment, tail, _ := strings.Cut(path, "/")
		if c := n.literals[segment]; c != nil {
			if r, ok := c.find(tail, s); ok {
				return r, true
			}
		}
		if n.deep {
			path = tail
			continue
		}
		if n.one != nil {
			if r, ok := n.one.find(tail, s); ok {
				return r, true
			}
		}
		if n.rest != nil {
			return n.rest.find(tail, s)
		}
		return nil, false
	}
	if r, ok := n.rule(s); ok || n.rest == nil {
		return r, ok
	}
	return n.rest.rule(s) // "**" takes no segment at all, too
}

func (n *node) rule(s selector) (*rule, bool) {
	r, ok := n.rules[s]
	if !ok {
		r, ok = n.rules[selector{"*", s.verb}]
	}
	return r, ok
}
