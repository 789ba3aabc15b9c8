package kit

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
)

// HTTP is a configuration with one listener, "main", and a connection manager, of which only what matters is written. Each part is
// YAML, with the placeholders of Lab.Expand.
type HTTP struct {
	Listener     string   // further fields of the listener
	Manager      string   // further fields of the connection manager; its stat_prefix is "main"
	Routes       string   // a list of routes for the domain "*"; "": everything to the first upstream
	VirtualHosts string   // a list of virtual hosts, instead of Routes
	Table        string   // further fields of the route configuration
	Clusters     string   // a list of clusters; "": one for each upstream, of its name
	Upstreams    []string // for Clusters; nil: "a"
	Top          string   // further fields of the bootstrap
}

// YAML is the whole bootstrap. It has an admin page, and an access log "main" with Envoy's default format unless Manager has one.
func (h HTTP) YAML() string {
	if h.Upstreams == nil {
		h.Upstreams = []string{"a"}
	}
	var b strings.Builder
	part := func(indent int, text string) {
		for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
			b.WriteString(strings.TrimRight(strings.Repeat(" ", indent)+line, " ") + "\n")
		}
	}
	part(0, "{{admin}}\n"+h.Top+"\nstatic_resources:\n  listeners:\n  - name: main\n    address: {{listen \"main\"}}")
	part(4, h.Listener+"\nfilter_chains:\n- filters:\n  - name: hcm\n    typed_config:")
	const hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	part(10, `"@type": type.googleapis.com/`+hcm+"\nstat_prefix: main\n"+h.Manager)
	if !strings.Contains(h.Manager, "access_log:") {
		part(10, `access_log: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {{log "main"}}}}]`)
	}
	part(10, "http_filters:\n- name: router\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}")
	if !strings.Contains(h.Manager, "route_config:") {
		part(10, "route_config:\n  name: local")
		part(12, h.Table+"\nvirtual_hosts:")
		part(12, h.virtualHosts())
	}
	part(2, "clusters:\n"+h.clusters())
	return b.String()
}

func (h HTTP) virtualHosts() string {
	if h.VirtualHosts != "" {
		return h.VirtualHosts
	}
	routes := h.Routes
	if routes == "" {
		routes = "- {match: {prefix: /}, route: {cluster: " + h.Upstreams[0] + "}}"
	}
	return "- name: all\n  domains: [\"*\"]\n  routes:\n  " + strings.ReplaceAll(routes, "\n", "\n  ")
}

func (h HTTP) clusters() string {
	if h.Clusters != "" {
		return h.Clusters
	}
	var b strings.Builder
	for _, name := range h.Upstreams {
		fmt.Fprintf(&b, "- {name: %s, connect_timeout: 5s, {{hosts %q %q}}, {{codec %q}}}\n", name, name, name, name)
	}
	return b.String()
}

// Expand replaces the placeholders in a configuration:
//
//	{{listen "main"}}       the address a listener binds to
//	{{upstream "a"}}        the address of an upstream, which comes into being
//	{{host "a"}} {{port "a"}}  its parts
//	{{hosts "c" "a" "b"}}   load_assignment of cluster c with these upstreams
//	{{codec "a"}}           the protocol options of a cluster whose hosts speak what origin a does; nothing for HTTP/1
//	{{codec "a" "o: 1"}}    the same, with these fields of Http2ProtocolOptions, or Http1ProtocolOptions
//	{{log "main"}}          the path of an access log that Lab.Log reads
//	{{file "x"}}            the path of a file in the lab's directory
//	{{admin}}               the admin page
func (l *Lab) Expand(text string) (string, error) {
	t, err := template.New("config").Option("missingkey=error").Funcs(template.FuncMap{
		"listen":   func(name string) string { return socketAddress(l.listenAddr(name)) },
		"upstream": func(name string) string { return socketAddress(l.addrOf(name)) },
		"host":     func(name string) string { h, _ := splitAddr(l.addrOf(name)); return h },
		"port":     func(name string) string { _, p := splitAddr(l.addrOf(name)); return p },
		"hosts":    l.loadAssignment,
		"codec":    l.codec,
		"log":      func(name string) string { return filepath.Join(l.dir, name+".log") },
		"file":     func(name string) string { return filepath.Join(l.dir, name) },
		"admin":    func() string { return "admin: {address: " + socketAddress(l.listenAddr("admin")) + "}" },
	}).Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, nil); err != nil {
		return "", err
	}
	return b.String(), nil
}

func (l *Lab) loadAssignment(cluster string, upstreams ...string) string {
	var hosts []string
	for _, name := range upstreams {
		hosts = append(hosts, "{endpoint: {address: "+socketAddress(l.addrOf(name))+"}}")
	}
	return fmt.Sprintf("load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [%s]}]}", cluster, strings.Join(hosts, ", "))
}

// codec ends with what may follow a comma, so that it can be empty.
func (l *Lab) codec(origin string, fields ...string) string {
	o := l.origins[origin]
	if len(fields) == 0 && (o == nil || o.Proto == HTTP1) {
		return ""
	}
	name := "http_protocol_options"
	if o != nil && o.Proto == HTTP2 {
		name = "http2_protocol_options"
	}
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return fmt.Sprintf(`typed_extension_protocol_options: {%s: {"@type": type.googleapis.com/%s, explicit_http_config: {%s: {%s}}}}`,
		options, options, name, strings.Join(fields, ", "))
}

func socketAddress(addr string) string {
	host, port := splitAddr(addr)
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
}

func splitAddr(addr string) (host, port string) {
	i := strings.LastIndexByte(addr, ':')
	return addr[:i], addr[i+1:]
}
