package match

import (
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// A Path is a compiled PathMatcher (envoy.type.matcher.v3): a String matched against a path without its query and fragment.
type Path struct{ String }

// NewPath compiles a PathMatcher.
func NewPath(cfg *matcherv3.PathMatcher) (Path, error) {
	s, err := NewString(cfg.GetPath())
	return Path{s}, err
}

// Match reports whether the path of a request matches; its query and fragment are left out.
func (m *Path) Match(path string) bool { return m.String.Match(BarePath(path)) }

// BarePath returns a path without its query and fragment.
func BarePath(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}
