package server

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
)

// An alsOrigin is an access log service.
type alsOrigin struct {
	servicev3.UnimplementedAccessLogServiceServer
	mu   sync.Mutex
	node string
	http []*datav3.HTTPAccessLogEntry
	tcp  []*datav3.TCPAccessLogEntry
}

func (o *alsOrigin) StreamAccessLogs(s servicev3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return s.SendAndClose(&servicev3.StreamAccessLogsResponse{})
		}
		o.mu.Lock()
		if n := m.GetIdentifier().GetNode(); n != nil {
			o.node = n.GetId()
		}
		o.http = append(o.http, m.GetHttpLogs().GetLogEntry()...)
		o.tcp = append(o.tcp, m.GetTcpLogs().GetLogEntry()...)
		o.mu.Unlock()
	}
}

// alsService starts an access log service and returns the cluster of it.
func alsService(t *testing.T) (*alsOrigin, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o, g := &alsOrigin{}, grpc.NewServer()
	servicev3.RegisterAccessLogServiceServer(g, o)
	done := make(chan error, 1)
	go func() { done <- g.Serve(ln) }() // ends with Stop
	t.Cleanup(func() {
		g.Stop()
		<-done
	})
	return o, cluster("als", ln.Addr().(*net.TCPAddr).Port) + `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`
}

// alsLog is an access_log that goes there.
func alsLog(kind, name, interval string) string {
	return fmt.Sprintf(`
          access_log:
          - name: als
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.%sGrpcAccessLogConfig
              common_config:
                log_name: %s
                transport_api_version: V3
                buffer_flush_interval: %s
                grpc_service: {envoy_grpc: {cluster_name: als}}
`, kind, name, interval)
}

// tunnel is a TCP listener that goes to a cluster.
func tunnel(name, to, more string) string {
	return fmt.Sprintf(`  - name: %[1]s
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: %[1]s
          cluster: %[2]s%[3]s`, name, to, more)
}

// Entries of requests and connections go to the service when they are old enough, and at the latest when the process ends.
func TestAccessLogsGoToAService(t *testing.T) {
	for _, interval := range []string{"0.01s", "3600s"} {
		t.Run(interval, func(t *testing.T) {
			service, als := alsService(t)
			web := strings.Replace(front("web", 0, "/direct 203 hello", "/ app"), "          stat_prefix: web\n",
				"          stat_prefix: web"+alsLog("Http", "web", interval), 1)
			r := start(t, config(web, tunnel("raw", "app", alsLog("Tcp", "raw", interval)), cluster("app", origin(t)), als),
				func(o *Options) { o.ServiceNode = "me" })
			r.get("web", "/direct", 203, "hello")
			r.get("raw", "/", 200, "")
			if interval == "0.01s" {
				r.eventually("entries arrive", func() bool {
					service.mu.Lock()
					defer service.mu.Unlock()
					return len(service.http) == 1 && len(service.tcp) == 1
				})
			}
			r.stop()
			service.mu.Lock()
			defer service.mu.Unlock()
			if len(service.http) != 1 || len(service.tcp) != 1 || service.node != "me" {
				t.Fatalf("node %q, %d and %d entries", service.node, len(service.http), len(service.tcp))
			}
			h, c := service.http[0], service.tcp[0]
			if h.GetResponse().GetResponseCode().GetValue() != 203 || h.GetRequest().GetPath() != "/direct" ||
				h.GetRequest().GetScheme() != "http" ||
				h.GetRequest().GetRequestId() == "" || h.GetCommonProperties().GetStreamId() != h.GetRequest().GetRequestId() ||
				h.GetCommonProperties().GetIntermediateLogEntry() || h.GetProtocolVersion() != datav3.HTTPAccessLogEntry_HTTP11 {
				t.Errorf("HTTP: %v", h)
			}
			if c.GetCommonProperties().GetUpstreamCluster() != "app" || c.GetConnectionProperties().GetReceivedBytes() == 0 ||
				c.GetConnectionProperties().GetSentBytes() == 0 || c.GetCommonProperties().GetIntermediateLogEntry() ||
				c.GetCommonProperties().GetAccessLogType() != datav3.AccessLogType_TcpConnectionEnd {
				t.Errorf("TCP: %v", c)
			}
		})
	}
}

// A cluster that nobody knows costs entries, not the configuration.
func TestAccessLogsWithoutTheirService(t *testing.T) {
	web := strings.Replace(front("web", 0, "/direct 203 hello"), "          stat_prefix: web\n",
		"          stat_prefix: web"+alsLog("Http", "web", "0.01s"), 1)
	r := start(t, config(web))
	r.get("web", "/direct", 203, "hello")
	r.eventually("a warning", func() bool { return strings.Contains(r.log.String(), `unknown cluster`) })
	r.admin("GET", "/stats?filter=grpc_access_log", 200, "access_logs.grpc_access_log.logs_written: 1")
}
