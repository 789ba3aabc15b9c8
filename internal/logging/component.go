package logging

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// module is what the import paths of our own packages begin with.
const module = "github.com/weftproxy/weft/"

// misc is the component of what belongs to no other.
const misc = "misc"

// loggers returns the components by name, with the packages that log under each; the longest matching prefix counts.
func loggers() map[string][]string {
	return map[string][]string{
		"admin":      {"admin"},
		"config":     {"config", "resource", "snapshot", "extension", "builtin"},
		"connection": {"conn", "transport"},
		"dns":        {"upstream/discovery"},
		"filter":     {"filter", "forward/tcp"},
		"hc":         {"upstream/health"},
		"http":       {"dispatch", "protocol", "protocol/http1"},
		"listener":   {"listener"},
		"main":       {"server", "cmd", "main"},
		misc:         {""},
		"pool":       {"upstream/pool"},
		"router":     {"route", "forward"},
		"secret":     {"transport/secret"},
		"stats":      {"observe"},
		"upstream":   {"upstream"},
	}
}

// silent are loggers of Envoy that nothing here logs under. Their levels may be set, so that start scripts carry over.
const silent = " alternate_protocols_cache assert aws backtrace basic_auth cache_filter client compression conn_handler connection_pool" +
	" credential_injector decompression dynamic_modules dubbo envoy_bug ext_authz ext_proc file forward_proxy geolocation golang grpc health_checker" +
	" happy_eyeballs http2 hystrix init io jwt key_value_store lua matcher mcp mongo multi_connection oauth2 path quic quic_stream" +
	" rate_limit_quota rbac redis rocketmq runtime tap testing thrift tracing udp wasm websocket "

// A component is one logger.
type component struct {
	name  string
	level level
}

// components is the table of all, sorted by name.
func components() []*component {
	var all []*component
	for name := range loggers() {
		all = append(all, &component{name: name})
	}
	slices.SortFunc(all, func(a, b *component) int { return strings.Compare(a.name, b.name) })
	return all
}

// A site is a place in the program that logs.
type site struct {
	component *component
	file      string // "server/process.go"
	function  string
	line      int
}

// site finds where pc is. The number of sites is the number of log calls in the program, so all are kept.
func (l *Log) site(pc uintptr) *site {
	if s, ok := l.sites.Load(pc); ok {
		return s.(*site)
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	pkg := packageOf(frame.Function)
	s := &site{component: l.component(pkg), file: frame.File[strings.LastIndexByte(frame.File, '/')+1:], function: frame.Function, line: frame.Line}
	if pkg != "" && pkg != "main" {
		s.file = pkg + "/" + s.file
	}
	l.sites.Store(pc, s)
	return s
}

// packageOf is the package of a function's full name, below our module.
func packageOf(function string) string {
	slash := strings.LastIndexByte(function, '/') + 1
	name, _, _ := strings.Cut(function[slash:], ".")
	return strings.TrimPrefix(function[:slash]+name, module)
}

// component is the one a package logs under.
func (l *Log) component(pkg string) *component {
	best, length := misc, -1
	for name, packages := range loggers() {
		for _, p := range packages {
			if (pkg == p || p == "" || strings.HasPrefix(pkg, p+"/")) && len(p) > length {
				best, length = name, len(p)
			}
		}
	}
	return l.find(best)
}

// find is the component of a name, nil if there is none.
func (l *Log) find(name string) *component {
	for _, c := range l.components {
		if c.name == name {
			return c
		}
	}
	return nil
}

// names lists the components for people.
func (l *Log) names() string {
	var all []string
	for _, c := range l.components {
		all = append(all, c.name)
	}
	return strings.Join(all, ", ")
}

// errUnknown says which components there are.
func (l *Log) errUnknown(name string) error {
	return fmt.Errorf("unknown component %q: the components are %s", name, l.names())
}
