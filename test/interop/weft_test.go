//go:build interop

package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// A setup is what a test wants of Weft. The zero value is a listener whose every request goes to one cluster.
type setup struct {
	proxyProtocol bool   // the listener expects the PROXY protocol
	connect       bool   // CONNECT is terminated: its bytes go to the upstream
	edge          bool   // the peer is the client: use_remote_address
	faithful      bool   // paths are not normalized, any method is allowed, the upstream says 100
	codec         string // of the listener, AUTO if empty
	upstream      speaks
	filters       string // HTTP filters before the router, one after the other
	socket        string // transport socket of the listener, plain if empty
	upSocket      string // transport socket of the cluster, plain if empty
	logAll        bool   // successes, too
}

// rawSocket is the transport socket without TLS.
const rawSocket = `{name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}`

// speaks says which protocol the upstream speaks.
type speaks int

const (
	http1    speaks = iota
	http2           // with prior knowledge
	whatever        // what the downstream speaks
	byALPN          // what it says in the handshake
)

// protocolOptions are the cluster's for each.
func (s speaks) protocolOptions() string {
	switch s {
	case http2:
		return `explicit_http_config: {http2_protocol_options: {allow_connect: true}}`
	case byALPN:
		return `auto_config: {http_protocol_options: {}, http2_protocol_options: {}}`
	case whatever:
		return `use_downstream_protocol_config: {http_protocol_options: {enable_trailers: true}, http2_protocol_options: {allow_connect: true}}`
	default:
		return `explicit_http_config: {http_protocol_options: {enable_trailers: true}}`
	}
}

const grpcWebFilter = `- name: envoy.filters.http.grpc_web
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}`

// A weft is a running Weft.
type weft struct {
	*process
	addr, admin string
	secure      bool // the listener speaks TLS
}

// url is that of the listener, without a path.
func (w *weft) url() string {
	if w.secure {
		return "https://" + w.addr
	}
	return "http://" + w.addr
}

const bootstrap = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN_PORT}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: MAIN_PORT}}
    listener_filters: [LISTENER_FILTERS]
    access_log:
    - name: envoy.access_loggers.stdout
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
        log_format: {text_format_source: {inline_string: "connection %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"}}
    filter_chains:
    - transport_socket: DOWN_SOCKET
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          codec_type: CODEC
          use_remote_address: EDGE
          normalize_path: NORMALIZE
          proxy_100_continue: FAITHFUL
          http_protocol_options: {accept_http_10: true, default_host_for_http_10: default.example, enable_trailers: true, allow_custom_methods: FAITHFUL}
          http2_protocol_options: {allow_connect: true}
          upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT, enabled: CONNECT_ENABLED}]
          access_log:
          - name: envoy.access_loggers.stdout
            filter: {status_code_filter: {comparison: {op: GE, value: {default_value: LOG_FROM, runtime_key: log}}}}
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {text_format_source: {inline_string: "LOG_FORMAT\n"}}
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {connect_matcher: {}}
                route: {cluster: up, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, enabled: CONNECT_ENABLED, connect_config: {}}]}
              - match: {prefix: /}
                route: {cluster: up, timeout: 0s}
          http_filters:
          HTTP_FILTERS
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: up
    connect_timeout: 2s
    transport_socket: UP_SOCKET
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        PROTOCOL_OPTIONS
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UP_PORT}}}
`

// logFormat is how Weft tells about failures.
const logFormat = "[%START_TIME%] %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% " +
	"%UPSTREAM_TRANSPORT_FAILURE_REASON% received=%BYTES_RECEIVED% sent=%BYTES_SENT% after=%DURATION% ms"

const proxyProtocolFilter = `{name: envoy.filters.listener.proxy_protocol,
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}}`

// startWeft runs Weft in front of an upstream until the test ends.
func startWeft(t *testing.T, upstream string, s setup) *weft {
	t.Helper()
	w := &weft{addr: freeAddr(t), admin: freeAddr(t), secure: s.socket != ""}
	if s.codec == "" {
		s.codec = "AUTO"
	}
	if s.socket == "" {
		s.socket = rawSocket
	}
	if s.upSocket == "" {
		s.upSocket = rawSocket
	}
	logFrom := "500"
	if s.logAll {
		logFrom = "100"
	}
	filters := ""
	if s.proxyProtocol {
		filters = proxyProtocolFilter
	}
	config := strings.NewReplacer("ADMIN_PORT", port(w.admin), "MAIN_PORT", port(w.addr), "UP_PORT", port(upstream),
		"LISTENER_FILTERS", filters, "DOWN_SOCKET", s.socket, "UP_SOCKET", s.upSocket, "LOG_FROM", logFrom, "NORMALIZE", strconv.FormatBool(!s.faithful), "FAITHFUL", strconv.FormatBool(s.faithful),
		"CODEC", s.codec, "LOG_FORMAT", logFormat, "PROTOCOL_OPTIONS", s.upstream.protocolOptions(), "HTTP_FILTERS", s.filters,
		"EDGE", strconv.FormatBool(s.edge), "CONNECT_ENABLED", strconv.FormatBool(s.connect)).Replace(bootstrap)
	w.process = start(t, binary, "-c", write(t, "weft.yaml", config), "--drain-time-s", "1", "--file-flush-interval-msec", "20")
	w.ready(w.addr, w.admin)
	return w
}

// port is the port of an address.
func port(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err) // the addresses are ours
	}
	return p
}

// stat is the value of a counter or gauge, 0 if there is none of that name yet.
func (w *weft) stat(name string) int64 {
	w.t.Helper()
	resp, err := http.Get("http://" + w.admin + "/stats")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				w.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// becomes waits until a counter or gauge has a value.
func (w *weft) becomes(name string, want int64) {
	w.t.Helper()
	w.eventually(func() error {
		if got := w.stat(name); got != want {
			return fmt.Errorf("%s is %d, want %d", name, got, want)
		}
		return nil
	})
}
