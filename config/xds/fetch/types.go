package fetch

import (
	"fmt"
	"slices"
	"strings"
)

// A kind is a type of resources.
type kind struct {
	name     string // as users call it
	url      string // the type URL
	wildcard bool   // asked for without names, the server sends all there are
}

// kinds are the types in the order in which they are asked for and shown: what refers comes before what is referred to.
func kinds() []kind {
	const prefix = "type.googleapis.com/"
	return []kind{
		{"listeners", prefix + "envoy.config.listener.v3.Listener", true},
		{"clusters", prefix + "envoy.config.cluster.v3.Cluster", true},
		{"scoped-routes", prefix + "envoy.config.route.v3.ScopedRouteConfiguration", true},
		{"routes", prefix + "envoy.config.route.v3.RouteConfiguration", false},
		{"virtual-hosts", prefix + "envoy.config.route.v3.VirtualHost", false},
		{"endpoints", prefix + "envoy.config.endpoint.v3.ClusterLoadAssignment", false},
		{"secrets", prefix + "envoy.extensions.transport_sockets.tls.v3.Secret", false},
		{"extensions", prefix + "envoy.config.core.v3.TypedExtensionConfig", false},
		{"runtime", prefix + "envoy.service.runtime.v3.Runtime", false},
	}
}

// kindOf finds a type by its name, in singular or plural, its abbreviation (lds, rds ...), or its URL.
func kindOf(name string) (kind, error) {
	all := kinds()
	abbreviations := map[string]string{
		"lds": "listeners", "cds": "clusters", "rds": "routes", "eds": "endpoints", "sds": "secrets", "srds": "scoped-routes",
		"vhds": "virtual-hosts", "ecds": "extensions", "rtds": "runtime",
	}
	lower := strings.ToLower(name)
	if long := abbreviations[lower]; long != "" {
		lower = long
	}
	for _, k := range all {
		if lower == k.name || lower+"s" == k.name || name == k.url || name == k.url[strings.IndexByte(k.url, '/')+1:] {
			return k, nil
		}
	}
	if strings.Contains(name, "/") { // a type of which nothing is known but its URL
		return kind{name: name, url: name, wildcard: true}, nil
	}
	names := make([]string, len(all))
	for i, k := range all {
		names[i] = k.name
	}
	return kind{}, fmt.Errorf("unknown type %q: want %s or a type URL", name, strings.Join(names, ", "))
}

// order is where a type comes when answers are shown.
func order(url string) int {
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.url == url })
	if i < 0 {
		return len(kinds())
	}
	return i
}
