package upstream

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/resource"
)

// typed is a cluster with HttpProtocolOptions.
func typed(options string) string {
	return static(`typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
		"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, `+options+"}}", spot("", "10.0.0.1"))
}

// A client is a codec that only says its name.
type client string

func (c client) Open(context.Context, *conn.Conn, protocol.Owner) (protocol.Session, error) {
	return nil, errors.New("opened by " + string(c))
}

// bilingual is a world whose codecs are clients.
func bilingual(t *testing.T) *world {
	w := newWorld(t)
	w.env.HTTP1 = func(HTTP1Options) protocol.Client { return client("h1") }
	w.env.HTTP2 = func(http2.ClientOptions) protocol.Client { return client("h2") }
	return w
}

func TestHTTP2Options(t *testing.T) {
	limits := http2.Options{MaxHeaders: 100, MaxHeaderBytes: 60 << 10}
	for _, tt := range []struct {
		name, cluster string
		version       protocol.Version
		follow        bool
		want          *http2.Options
	}{
		{"nothing", static("", spot("", "10.0.0.1")), protocol.HTTP11, false, nil},
		{"explicit http1", typed("explicit_http_config: {http_protocol_options: {}}"), protocol.HTTP11, false, nil},
		{"explicit http2", typed("explicit_http_config: {http2_protocol_options: {}}"), protocol.HTTP2, false, &limits},
		{"use downstream", typed("use_downstream_protocol_config: {}"), protocol.HTTP11, true, &limits},
		{"use downstream with options", typed("use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {allow_connect: true}}"),
			protocol.HTTP11, true, &http2.Options{MaxHeaders: 100, MaxHeaderBytes: 60 << 10, AllowConnect: true}},
		{"deprecated", static("http2_protocol_options: {max_concurrent_streams: 5}", spot("", "10.0.0.1")),
			protocol.HTTP2, false, &http2.Options{MaxHeaders: 100, MaxHeaderBytes: 60 << 10, MaxStreams: 5}},
		{"deprecated downstream", static("protocol_selection: USE_DOWNSTREAM_PROTOCOL", spot("", "10.0.0.1")), protocol.HTTP11, true, &limits},
		{"typed wins", strings.Replace(typed("explicit_http_config: {http_protocol_options: {}}"), "type: STATIC", "type: STATIC\nhttp2_protocol_options: {}", 1),
			protocol.HTTP11, false, nil},
		{"common", typed("explicit_http_config: {http2_protocol_options: {}}, common_http_protocol_options: {max_headers_count: 7, max_response_headers_kb: 8}"),
			protocol.HTTP2, false, &http2.Options{MaxHeaders: 7, MaxHeaderBytes: 8 << 10}},
		{"everything", typed(`explicit_http_config: {http2_protocol_options: {hpack_table_size: 1, max_concurrent_streams: 2, initial_stream_window_size: 65536,
			initial_connection_window_size: 65537, allow_connect: true, max_outbound_frames: 3, max_outbound_control_frames: 4,
			max_consecutive_inbound_frames_with_empty_payload: 5, max_inbound_priority_frames_per_stream: 6,
			max_inbound_window_update_frames_per_data_frame_sent: 7, stream_error_on_invalid_http_messaging: true,
			connection_keepalive: {interval: 30s, timeout: 5s, interval_jitter: {value: 3}, connection_idle_interval: 8s}}}`),
			protocol.HTTP2, false, &http2.Options{TableSize: 1, MaxStreams: 2, StreamWindow: 65536, ConnWindow: 65537, AllowConnect: true, MaxOutbound: 3,
				MaxOutboundControl: 4, MaxEmpty: 5, MaxPriority: 6, MaxWindowUpdates: 7, StreamErrors: true, PingInterval: 30 * time.Second,
				PingTimeout: 5 * time.Second, PingJitter: 3, PingIdleInterval: 8 * time.Second, MaxHeaders: 100, MaxHeaderBytes: 60 << 10}},
		{"zero is not unset", typed(`explicit_http_config: {http2_protocol_options: {hpack_table_size: 0, max_consecutive_inbound_frames_with_empty_payload: 0,
			max_inbound_priority_frames_per_stream: 0, stream_error_on_invalid_http_messaging: true,
			override_stream_error_on_invalid_http_message: false, connection_keepalive: {timeout: 1s}}}`),
			protocol.HTTP2, false, &http2.Options{TableSize: -1, MaxEmpty: -1, MaxPriority: -1, PingTimeout: time.Second, PingJitter: 15,
				MaxHeaders: 100, MaxHeaderBytes: 60 << 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := bilingual(t).compile(tt.cluster)
			defer c.Close()
			h := c.Config.HTTP
			if h.Version != tt.version || h.Follow != tt.follow || !reflect.DeepEqual(h.HTTP2, tt.want) {
				t.Errorf("%v, follow %v, %+v", h.Version, h.Follow, h.HTTP2)
			}
		})
	}
}

func TestHTTPOptionsAreRefused(t *testing.T) {
	for _, tt := range []struct{ cluster, want string }{
		{typed("auto_config: {http3_protocol_options: {}}"), "http3_protocol_options"},
		{typed("explicit_http_config: {http3_protocol_options: {}}"), "explicit_http_config.http3_protocol_options"},
		{typed("use_downstream_protocol_config: {http3_protocol_options: {}}"), "use_downstream_protocol_config.http3_protocol_options"},
		{typed("explicit_http_config: {}"), "explicit_http_config.protocol_config: value is required"},
		{typed("explicit_http_config: {http2_protocol_options: {connection_keepalive: {interval: 1s}}}"), "http2_protocol_options.connection_keepalive.timeout: value is required"},
		{typed("explicit_http_config: {http2_protocol_options: {connection_keepalive: {interval: 0.0001s, timeout: 1s}}}"), "connection_keepalive.interval"},
		{typed("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 0}}"), "max_concurrent_streams"},
		{typed("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 2147483648}}"), "max_concurrent_streams"},
		{typed("explicit_http_config: {http2_protocol_options: {initial_stream_window_size: 65534}}"), "initial_stream_window_size"},
		{typed("explicit_http_config: {http2_protocol_options: {initial_connection_window_size: 2147483648}}"), "initial_connection_window_size"},
		{typed("explicit_http_config: {http2_protocol_options: {allow_metadata: true}}"), "allow_metadata"},
		{typed("explicit_http_config: {http2_protocol_options: {custom_settings_parameters: [{identifier: 16, value: 1}]}}"), "custom_settings_parameters"},
		{typed("explicit_http_config: {http2_protocol_options: {max_header_field_size_kb: 64}}"), "max_header_field_size_kb"},
		{static("http2_protocol_options: {stream_reset_burst: 1}", spot("", "10.0.0.1")), "http2_protocol_options.stream_reset_burst"},
	} {
		w := bilingual(t)
		m := parse(t, tt.cluster)
		p := resource.NewProblems("")
		support, err := Support().Merge(resource.Core(), resource.Values())
		if err != nil {
			t.Fatal(err)
		}
		resource.Check(m, "cluster", support, protoregistry.GlobalTypes, p)
		if !p.HasErrors() {
			Compile(w.env, m, "cluster", p)
		}
		found := false
		for _, problem := range p.All() {
			found = found || strings.Contains(problem.String(), tt.want)
		}
		if !p.HasErrors() || !found {
			t.Errorf("%s: %v", tt.want, p.All())
		}
	}
}

func TestThePoolSpeaksTheVersionOfTheClusterOrTheRequest(t *testing.T) {
	for _, tt := range []struct{ options, plain, h1, h2 string }{
		{"explicit_http_config: {http_protocol_options: {}}", "h1", "h1", "h1"},
		{"explicit_http_config: {http2_protocol_options: {}}", "h2", "h2", "h2"},
		{"use_downstream_protocol_config: {http2_protocol_options: {}}", "h1", "h1", "h2"},
	} {
		bubble(t, func(t *testing.T, _ *world) {
			w := bilingual(t)
			w.serve("10.0.0.1:80", "")
			c := w.start(typed(tt.options))
			h, err := c.Pick(nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range []func() error{
				func() error { _, err := h.Pool().Acquire(t.Context(), 0, 0); return err },
				func() error { _, err := h.Acquire(t.Context(), &Demand{Protocol: "HTTP/1.1"}); return err },
				func() error { _, err := h.Acquire(t.Context(), &Demand{Protocol: "HTTP/2"}); return err },
			} {
				want := []string{tt.plain, tt.h1, tt.h2}[i]
				if err := got(); err == nil || !strings.Contains(err.Error(), "opened by "+want) {
					t.Errorf("%s: pool %d: %v, want %s", tt.options, i, err, want)
				}
			}
		})
	}
}

func TestBothPoolsOfAHostAreDrained(t *testing.T) {
	w := bilingual(t)
	c := w.start(typed("use_downstream_protocol_config: {}"))
	h := c.Hosts().All()[0]
	h.poolOf(h.version("HTTP/1.1"))
	if n := len(c.allPools()); n != 1 {
		t.Errorf("%d pools", n)
	}
	h.poolOf(h.version("HTTP/2"))
	if n := len(c.allPools()); n != 2 {
		t.Errorf("%d pools", n)
	}
	c.Drain(t.Context())
	for _, p := range c.allPools() {
		select {
		case <-p.Drained():
		default:
			t.Error("a pool is not drained")
		}
	}
}

func TestHTTP2CountsBelowTheCluster(t *testing.T) {
	w := bilingual(t)
	var got http2.ClientOptions
	w.env.HTTP2 = func(o http2.ClientOptions) protocol.Client { got = o; return client("h2") }
	c := w.start(typed("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 9}}"))
	c.Hosts().All()[0].Pool()
	if got.MaxStreams != 9 || got.Stats == nil {
		t.Fatalf("%+v", got)
	}
	got.Stats(0).RxReset.Inc()
	var out strings.Builder
	if err := w.store.WriteText(&out, stats.Query{}); err != nil {
		t.Fatal(err)
	}
	if want := "cluster.web.http2.rx_reset: 1\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in the statistics", want)
	}
}

func TestWithoutAnHTTP2ClientItIsRefused(t *testing.T) {
	w := newWorld(t)
	p := resource.NewProblems("")
	Compile(w.env, parse(t, typed("explicit_http_config: {http2_protocol_options: {}}")), "cluster", p)
	if !p.HasErrors() || !strings.Contains(p.All()[0].String(), "there is no HTTP/2 client") {
		t.Error(p.All())
	}
}
