package admin

import (
	"fmt"
	"html"
	"net/http"
	"slices"
	"strings"
)

// A command is one endpoint.
type command struct {
	path   string
	help   string
	params []param
	post   bool // changes something: only POST
	free   bool // takes parameters of any name, so that no form can be offered
	group  group
	run    func(*Server, *call)
}

// A param is a query parameter, for help and forms.
type param struct {
	kind    paramKind
	name    string
	help    string
	choices []string
}

type paramKind uint8

const (
	textParam paramKind = iota
	flagParam           // present or not, whatever the value
	choiceParam
)

// A group is a section of the home page.
type group uint8

const (
	status group = iota
	traffic
	configuration
	statistics
	debugging
	changes
	groupCount
)

// String is the section's title.
func (g group) String() string {
	return [...]string{"Status", "Traffic", "Configuration", "Statistics", "Debugging", "Changes (POST)"}[g]
}

// commands lists every endpoint but those below /debug/pprof/, in order of path.
func commands() []command {
	all := slices.Concat(statusCommands(), statsCommands(), trafficCommands(), configCommands(), debugCommands(), changeCommands())
	slices.SortFunc(all, func(a, b command) int { return strings.Compare(a.path, b.path) })
	return all
}

func statusCommands() []command {
	return []command{
		{path: "/", help: "Admin home page", group: status, run: (*Server).home},
		{path: "/help", help: "print out list of admin commands", group: status, run: (*Server).help},
		{path: "/ready", help: "print server state, return 200 if LIVE, otherwise return 503", group: status, run: (*Server).ready},
		{path: "/server_info", help: "print server version/status information", group: status, run: (*Server).serverInfo},
		{path: "/hot_restart_version", help: "print the hot restart compatibility version", group: status, run: (*Server).hotRestartVersion},
		{path: "/memory", help: "print current allocation/heap usage", group: status, run: (*Server).memory},
		{path: "/certs", help: "print certs on machine", group: status, run: (*Server).certs},
		{path: "/listeners", help: "print listener info", group: status, run: (*Server).listeners, params: []param{formats("text", "json")}},
		{path: "/clusters", help: "upstream cluster status", group: status, run: (*Server).clusters, params: []param{
			formats("text", "json"),
			{kind: textParam, name: "filter", help: "Regular expression (Google re2) for filtering clusters by name"},
		}},
	}
}

func formats(choices ...string) param {
	return param{kind: choiceParam, name: "format", help: "File format to use", choices: choices}
}

func statsCommands() []command {
	used := param{kind: flagParam, name: "usedonly", help: "Only include stats that have been written by system since restart"}
	filter := param{kind: textParam, name: "filter", help: "Regular expression (Google re2) for filtering stats"}
	texts := param{kind: flagParam, name: "text_readouts", help: "Render text_readouts as new gauges with value 0 (increases Prometheus data size)"}
	return []command{
		{path: "/stats", help: "print server stats", group: statistics, run: (*Server).stats, params: []param{
			used, filter, formats("text", "json", "prometheus", "html"),
			{kind: choiceParam, name: "type", help: "Stat types to include.", choices: []string{"All", "Counters", "Histograms", "Gauges", "TextReadouts"}},
			{kind: choiceParam, name: "histogram_buckets", help: "Histogram bucket display mode", choices: []string{"", "cumulative", "disjoint", "detailed", "summary"}},
			{kind: flagParam, name: "pretty", help: "Indent JSON"},
			texts,
		}},
		{path: "/stats/prometheus", help: "print server stats in prometheus format", group: statistics, run: (*Server).prometheus, params: []param{
			used, texts, filter,
			{kind: choiceParam, name: "histogram_buckets", help: "Histogram bucket display mode", choices: []string{"cumulative", "summary"}},
		}},
	}
}

func trafficCommands() []command {
	limit := param{kind: textParam, name: "limit", help: "At most so many lines, 1000 by default"}
	return []command{
		{path: "/exchanges", help: "print the exchanges under way, the oldest first", group: traffic, run: (*Server).exchanges,
			params: []param{formats("text", "json"), limit}},
		{path: "/failures", help: "print the last failed exchanges, the newest first: what decided, where, why", group: traffic, run: (*Server).failures,
			params: []param{
				formats("text", "json"), limit,
				{kind: textParam, name: "flag", help: "Only those with this response flag, such as UF"},
				{kind: textParam, name: "status", help: "Only those answered with this status, such as 503 or 5xx"},
				{kind: textParam, name: "cluster", help: "Only those of this upstream cluster"},
			}},
		{path: "/explain", help: "print which listener, route, cluster and hosts a request would take and why", group: traffic, run: (*Server).explain,
			params: []param{
				{kind: textParam, name: "url", help: "URL of the request, such as http://shop.example:10000/cart"},
				{kind: textParam, name: "method", help: "Method of the request, GET by default"},
				{kind: textParam, name: "header", help: "A header field as name:value; may be repeated"},
				{kind: textParam, name: "listener", help: "Name of the listener; by default the one the URL's port belongs to"},
				{kind: textParam, name: "remote", help: "Address of the client, 127.0.0.1 by default"},
				{kind: textParam, name: "sni", help: "Server name a client of an https URL asks for, the URL's host by default"},
				{kind: textParam, name: "alpn", help: "Protocols it offers, comma separated, h2,http/1.1 by default"},
				formats("text", "json"),
			}},
	}
}

func configCommands() []command {
	return []command{
		{path: "/config_dump", help: "dump current configuration", group: configuration, run: (*Server).configDump, params: []param{
			{kind: textParam, name: "resource", help: "The resource to dump: a repeated field of one of the dumps, such as dynamic_active_clusters"},
			{kind: textParam, name: "mask", help: "The fields to show, as a FieldMask; with resource it applies to every element"},
			{kind: textParam, name: "name_regex", help: "Only configurations whose whole name matches the regular expression"},
			{kind: flagParam, name: "include_eds", help: "Include the endpoints of clusters"},
		}},
		{path: "/init_dump", help: "dump what initialization waits for", group: configuration, run: (*Server).initDump, params: []param{
			{kind: textParam, name: "mask", help: "The component to dump: listener"},
		}},
		{path: "/xds", help: "print the streams to control planes: what each has asked for, what it got, when, and what was rejected and why",
			group: configuration, run: (*Server).xds, params: []param{formats("text", "json")}},
		{path: clientStatusPath, help: "the client status discovery service (CSDS): POST a ClientStatusRequest as JSON, or call it by gRPC",
			group: configuration, run: (*Server).clientStatus},
		{path: "/runtime", help: "print runtime values", group: configuration, run: (*Server).runtime},
	}
}

func debugCommands() []command {
	return []command{
		{path: "/contention", help: "dump mutex contention", group: debugging, run: (*Server).contention},
		{path: "/heap_dump", help: "dump current heap profile, for pprof", group: debugging, run: (*Server).heapDump},
		{path: "/debug/pprof/", help: "profiles of the process: heap, goroutine, profile, trace, mutex, block", group: debugging, run: (*Server).pprofIndex},
	}
}

func changeCommands() []command {
	enable := param{kind: choiceParam, name: "enable", help: "enables the profiler", choices: []string{"y", "n"}}
	return []command{
		{path: "/cpuprofiler", help: "enable/disable the CPU profiler: see /debug/pprof/profile", group: changes, post: true, run: (*Server).noProfiler, params: []param{enable}},
		{path: "/heapprofiler", help: "enable/disable the heap profiler: see /debug/pprof/heap", group: changes, post: true, run: (*Server).noProfiler, params: []param{enable}},
		{path: "/healthcheck/fail", help: "cause the server to fail health checks", group: changes, post: true, run: (*Server).healthFail},
		{path: "/healthcheck/ok", help: "cause the server to pass health checks", group: changes, post: true, run: (*Server).healthOK},
		{path: "/logging", help: "query/change logging levels", group: changes, post: true, run: (*Server).logging, params: []param{
			{kind: textParam, name: "paths", help: "Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>."},
			{kind: choiceParam, name: "level", help: "desired logging level, this will change all loggers's level", choices: append([]string{""}, levels()...)},
		}},
		{path: "/quitquitquit", help: "exit the server", group: changes, post: true, run: (*Server).quit},
		{path: "/reload", help: "read the configuration again and apply what changed", group: changes, post: true, run: (*Server).reload},
		{path: "/reopen_logs", help: "reopen access logs", group: changes, post: true, run: (*Server).reopenLogs},
		{path: "/reset_counters", help: "reset all counters to zero", group: changes, post: true, run: (*Server).resetCounters},
		{path: "/runtime_modify", group: changes, post: true, free: true, run: (*Server).runtimeModify,
			help: "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an empty string as the " +
				"value. Values of other layers can be overridden but not deleted. E.g. ?key1=value1&key2=value2..."},
		{path: "/drain_listeners", help: "drain listeners", group: changes, post: true, run: (*Server).drainListeners, params: []param{
			{kind: flagParam, name: "graceful", help: "When draining listeners, enter a graceful drain period prior to closing listeners."},
			{kind: flagParam, name: "skip_exit", help: "When draining listeners, do not exit after the drain period. This must be used with graceful"},
			{kind: flagParam, name: "inboundonly", help: "Drains all inbound listeners, by their traffic_direction."},
		}},
	}
}

// serve finds the command of a request and runs it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r}
	if s.state.Allow != nil && !s.state.Allow(r.URL.Path) {
		c.text(http.StatusForbidden, "access to this path is not allowed\n")
		return
	}
	cmd, ok := s.byPath[r.URL.Path]
	if !ok {
		if profile(w, r) {
			return
		}
		c.text(http.StatusNotFound, "invalid path. "+s.helpText())
		return
	}
	if cmd.post {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			c.text(http.StatusMethodNotAllowed, fmt.Sprintf("Method %s not allowed, POST required.", html.EscapeString(r.Method)))
			return
		}
		if err := s.origin.Check(r); err != nil {
			c.text(http.StatusForbidden, "a page of another origin may not change anything here\n")
			return
		}
	}
	if !c.parse() {
		return
	}
	cmd.run(s, c)
}

func (s *Server) help(c *call) { c.text(http.StatusOK, s.helpText()) }

// helpText is Envoy's list of commands.
func (s *Server) helpText() string {
	var b strings.Builder
	b.WriteString("admin commands are:\n")
	for i := range s.commands {
		cmd := &s.commands[i]
		method := ""
		if cmd.post {
			method = " (POST)"
		}
		fmt.Fprintf(&b, "  %s%s: %s\n", cmd.path, method, cmd.help)
		for _, p := range cmd.params {
			fmt.Fprintf(&b, "      %s: %s", p.name, p.help)
			if p.kind == choiceParam {
				fmt.Fprintf(&b, "; One of (%s)", strings.Join(p.choices, ", "))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
