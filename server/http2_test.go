package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// askIn sends a request in HTTP/1.1 or HTTP/2, on a connection of its own, and returns the status and the body; 0 when there is no answer.
func askIn(t *testing.T, url string, http2 bool) (int, string) {
	t.Helper()
	var p http.Protocols
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{Protocols: &p}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Timeout: patience, Transport: transport}).Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	if (resp.ProtoMajor == 2) != http2 {
		t.Errorf("%s: answered in %s", url, resp.Proto)
	}
	return resp.StatusCode, string(body)
}

// speaking makes a front's connection manager take only one version.
func speaking(codec, front string) string {
	return strings.Replace(front, "          stat_prefix:", "          codec_type: "+codec+"\n          stat_prefix:", 1)
}

// upstreamIn makes a cluster speak what the options say.
func upstreamIn(options, cluster string) string {
	return cluster + `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        ` + options + "\n"
}

// portOf is the port of a listener.
func (r *running) portOf(listener string) int {
	r.t.Helper()
	a, err := net.ResolveTCPAddr("tcp", r.at.Listeners[listener][0])
	if err != nil {
		r.t.Fatal(err)
	}
	return a.Port
}

func TestCodecTypesTakeWhatTheySay(t *testing.T) {
	r := start(t, config(front("auto", 0, "/x 200 ok"), speaking("HTTP1", front("one", 0, "/x 200 ok")), speaking("HTTP2", front("two", 0, "/x 200 ok"))))
	for _, tt := range []struct {
		listener string
		http2    bool
		want     int
	}{{"auto", false, 200}, {"auto", true, 200}, {"one", false, 200}, {"one", true, 0}, {"two", false, 0}, {"two", true, 200}} {
		status, body := askIn(t, "http://"+r.at.Listeners[tt.listener][0]+"/x", tt.http2)
		if status != tt.want || status == 200 && body != "ok" {
			t.Errorf("%+v: %d %s", tt, status, body)
		}
	}
	for name, want := range map[string]int{
		"http.auto.downstream_cx_total": 2, "http.auto.downstream_cx_http1_total": 1, "http.auto.downstream_cx_http2_total": 1,
		"http.auto.downstream_rq_http1_total": 1, "http.auto.downstream_rq_http2_total": 1,
		"http.one.downstream_cx_http2_total": 0, "http.two.downstream_cx_http2_total": 2, "http.two.downstream_rq_http2_total": 1,
	} {
		r.admin("GET", "/stats?filter=^"+name+"$", 200, fmt.Sprintf("%s: %d\n", name, want))
	}
	for _, gauge := range []string{"http1", "http2"} {
		r.eventually("connections are counted out", func() bool {
			_, body := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=^http.auto.downstream_cx_"+gauge+"_active$")
			return strings.Contains(body, ": 0\n")
		})
	}
}

func TestHTTP2GoesUpstream(t *testing.T) {
	up := start(t, config(speaking("HTTP2", front("o", 0, "/x 200 upstream"))))
	r := start(t, config(front("a", 0, "/ up"), upstreamIn("explicit_http_config: {http2_protocol_options: {}}", cluster("up", up.portOf("o")))))
	for _, http2 := range []bool{false, true} {
		if status, body := askIn(t, "http://"+r.at.Listeners["a"][0]+"/x", http2); status != 200 || body != "upstream" {
			t.Errorf("HTTP/2 %v: %d %s", http2, status, body)
		}
	}
	if _, body := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=^cluster.up.upstream_cx_http2_total$"); !strings.HasPrefix(body, "cluster.up.upstream_cx_http2_total: ") || strings.HasSuffix(body, ": 0\n") {
		t.Errorf("no connection is counted as HTTP/2: %q", body)
	}
	r.admin("GET", "/stats?filter=^cluster.up.upstream_cx_http1_total$", 200, "cluster.up.upstream_cx_http1_total: 0\n")
	r.admin("GET", "/stats?filter=^cluster.up.http2.rx_reset$", 200, "cluster.up.http2.rx_reset: 0\n")
}

func TestInspectedProtocolChoosesTheFilterChain(t *testing.T) {
	inspected := front("a", 0, "/x 200 two")
	first := strings.Index(inspected, "    - filters:")
	other := strings.Replace(inspected[first:], "inline_string: two", "inline_string: one", 1)
	inspected = inspected[:first] + "    - filter_chain_match: {application_protocols: [h2c]}\n" + strings.Replace(inspected[first:], "    - filters:", "      filters:", 1) + other +
		`    listener_filters:
    - name: inspector
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}
`
	r := start(t, config(inspected))
	for http2, want := range map[bool]string{false: "one", true: "two"} {
		if status, body := askIn(t, "http://"+r.at.Listeners["a"][0]+"/x", http2); status != 200 || body != want {
			t.Errorf("HTTP/2 %v: %d %s", http2, status, body)
		}
	}
	r.admin("GET", "/stats?filter=^http_inspector.http2_found$", 200, "http_inspector.http2_found: 1\n")
	r.admin("GET", "/stats?filter=^http_inspector.http11_found$", 200, "http_inspector.http11_found: 1\n")
}

func TestAPrefaceThatStopsIsClosed(t *testing.T) {
	r := start(t, config(strings.Replace(front("a", 0, "/x 200 ok"), "          stat_prefix:", "          request_headers_timeout: 0.05s\n          stat_prefix:", 1)))
	c, err := net.Dial("tcp", r.at.Listeners["a"][0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "PRI * HT"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("got %q, %v", b, err)
	}
	r.eventually("it is counted", func() bool {
		_, body := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=^http.a.downstream_rq_header_timeout$")
		return strings.Contains(body, ": 1\n")
	})
}
