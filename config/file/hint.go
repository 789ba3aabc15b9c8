package file

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldHint says what was meant by a name that is not a field of d, or "".
func fieldHint(name string, d protoreflect.MessageDescriptor) string {
	if hint := oldFieldHint(name, d); hint != "" {
		return hint
	}
	names := make([]string, 0, d.Fields().Len())
	for i := range d.Fields().Len() {
		names = append(names, string(d.Fields().Get(i).Name()))
	}
	if near := nearest(strings.ToLower(name), names); near != "" {
		return "did you mean " + near + "?"
	}
	return ""
}

// oldFieldHint knows the fields that ended with Envoy's v2 API and what took their place.
func oldFieldHint(name string, d protoreflect.MessageDescriptor) string {
	if strings.HasPrefix(name, "hidden_envoy_deprecated_") {
		return "this field of Envoy's v2 API is gone; see the v3 field that replaced " + strings.TrimPrefix(name, "hidden_envoy_deprecated_")
	}
	if name == "@type" {
		return "@type belongs to a typed_config or another google.protobuf.Any"
	}
	replaced := ""
	switch name {
	case "config":
		replaced = "typed_config"
	case "hosts":
		replaced = "load_assignment"
	case "tls_context":
		replaced = "transport_socket"
	case "regex":
		replaced = "safe_regex"
	case "regex_match":
		replaced = "safe_regex_match"
	case "exact_match", "prefix_match", "suffix_match", "contains_match", "safe_regex_match":
		replaced = "string_match"
	case "per_filter_config":
		replaced = "typed_per_filter_config"
	case "extension_protocol_options":
		replaced = "typed_extension_protocol_options"
	case "runtime":
		replaced = "layered_runtime"
	case "cluster_hosts":
		replaced = "load_assignment"
	}
	if replaced == "" || d.Fields().ByName(protoreflect.Name(replaced)) == nil {
		return ""
	}
	hint := "this field ended with Envoy's v2 API; use " + replaced
	if replaced == "typed_config" {
		hint += `, with "@type": type.googleapis.com/... first`
	}
	return hint
}

// enumHint names the value that was meant, or all of them when there are few.
func enumHint(upper string, e protoreflect.EnumDescriptor) string {
	var names []string
	for i := range e.Values().Len() {
		names = append(names, string(e.Values().Get(i).Name()))
	}
	if near := nearest(upper, names); near != "" {
		return "did you mean " + near + "?"
	}
	if len(names) <= 12 {
		return "one of " + strings.Join(names, ", ")
	}
	return ""
}

// nearest is the name that takes the fewest edits to reach, if they are few for its length; the first of equals.
func nearest(to string, names []string) string {
	const longest = 100
	if len(to) > longest {
		return ""
	}
	best, least := "", 0
	for _, name := range names {
		if n := edits(to, name); n <= max(1, min(len(to), len(name))/3) && (best == "" || n < least) {
			best, least = name, n
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
