package stats

import "strings"

// A Tag is a dimension of a series: it becomes a Prometheus label. Name is Envoy's ("envoy.cluster_name"). Where Value stands as
// a part of the prefix or name it tags, the Prometheus metric name leaves that part out.
type Tag struct{ Name, Value string }

// cleanName is name as Envoy writes it in a stat: no colons, no NUL.
func cleanName(name string) string {
	if !strings.ContainsAny(name, ":\x00") {
		return name
	}
	return strings.NewReplacer("://", "_", ":/", "_", ":", "_", "\x00", "_").Replace(name)
}

// cleanPrefix is prefix cleaned and with the dot at its end.
func cleanPrefix(prefix string) string {
	prefix = cleanName(prefix)
	if prefix != "" && prefix[len(prefix)-1] != '.' {
		prefix += "."
	}
	return prefix
}

// cleanTags copies tags; a value that the name holds in its cleaned spelling is spelled that way, as if it had been
// extracted from the name.
func cleanTags(name string, tags []Tag) []Tag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]Tag, len(tags))
	copy(out, tags)
	for i := range out {
		if v := cleanName(out[i].Value); v != out[i].Value && findPart(name, v) >= 0 {
			out[i].Value = v
		}
	}
	return out
}

// withoutTags is name without the parts that are values of tags.
func withoutTags(name string, tags []Tag) string {
	for _, t := range tags {
		at := findPart(name, t.Value)
		if at < 0 {
			continue
		}
		before, after := name[:at], strings.TrimPrefix(name[at+len(t.Value):], ".")
		if after == "" && !strings.HasSuffix(name, ".") {
			before = strings.TrimSuffix(before, ".")
		}
		if after == "" {
			name = before
		} else {
			name = before + after
		}
	}
	return name
}

// findPart is where value last stands in name between dots (or an end), -1 if nowhere. The last, because the first
// could be the keyword before it: cluster "cluster" has the prefix "cluster.cluster.".
func findPart(name, value string) int {
	if value == "" {
		return -1
	}
	for end := len(name); ; {
		at := strings.LastIndex(name[:end], value)
		if at < 0 {
			return -1
		}
		stop := at + len(value)
		if (at == 0 || name[at-1] == '.') && (stop == len(name) || name[stop] == '.') {
			return at
		}
		end = stop - 1
	}
}

// splitStatus takes the response code (..._rq_503) or class (..._rq_5xx) off the end of a name, as the tag it is in Envoy
// (envoy.response_code, envoy.response_code_class) and the metric name that is left: "..._rq" or "..._rq_xx". Names without
// one come back as they are.
func splitStatus(name string) (metric string, tags []Tag) {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	end := len(name) - 3
	if end < len("_rq_") || name[end-len("_rq_"):end] != "_rq_" || !digit(name[end]) {
		return name, nil
	}
	switch tail := name[end:]; {
	case tail[1:] == "xx":
		return name[:end] + "xx", []Tag{{"envoy.response_code_class", tail[:1]}}
	case digit(tail[1]) && digit(tail[2]):
		return name[:end-1], []Tag{{"envoy.response_code", tail}}
	}
	return name, nil
}
