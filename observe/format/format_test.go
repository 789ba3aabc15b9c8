package format

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

const ms = int64(time.Millisecond)

// entry is an exchange in which everything happened.
func entry() *observe.Entry {
	req := &message.Request{Method: "POST", Scheme: "https", Authority: "example.com:8443", Path: "/new?b=2&a=1%202&a=3", Upgrade: "websocket"}
	req.Header.Add("User-Agent", "curl/8")
	req.Header.Add("X-Forwarded-For", "10.0.35.28")
	req.Header.Add("X-Request-Id", "cc21d9b0")
	req.Header.Add("x-envoy-original-path", "/old?q")
	req.Header.Add("X-Evil", "a\r\nb\x00c\td\x7f")
	req.Header.Add("content-type", "application/grpc+proto")
	resp := &message.Response{Status: 204}
	resp.Header.Add("X-Envoy-Upstream-Service-Time", "100")
	resp.Header.Add("grpc-status", "3")
	trailer := &message.Header{}
	trailer.Add("X-Sum", "7")
	return &observe.Entry{
		Request: req, Response: resp, Trailer: trailer, Local: "no\nroute", Type: observe.DownstreamEnd,
		Conn: &conn.Info{ID: 9, Chain: "main", ServerName: "a_b.example/\n", Local: netip.MustParseAddrPort("10.0.0.1:80"),
			DirectLocal: netip.MustParseAddrPort("10.0.0.2:81"), Remote: netip.MustParseAddrPort("[2001:db8::1]:82"),
			DirectRemote: netip.MustParseAddrPort("10.0.0.4:83"), Metadata: map[string]map[string]string{"pp": {"k": "v"}},
			JA3: "ja3", JA4: "ja4", TLS: tlsOf("down")},
		Metadata: observe.RouteMetadata{
			Route:   map[string]map[string]any{"r": {"k": "route"}},
			Cluster: map[string]map[string]any{"c": {"k": "cluster"}},
			Host:    map[string]map[string]any{"h": {"k": "host"}},
		},
		Record: &observe.Record{
			Began: time.Date(2016, 4, 15, 20, 17, 3, 310234567, time.UTC), Start: 1000 * ms, Protocol: "HTTP/1.1", Status: 204,
			Flags: observe.UF | observe.URX, Details: "via upstream\tx", Terminate: "term", Route: "r1", VirtualHost: "vh", VirtualCluster: "vc",
			Cluster: "c1", ClusterAlt: "alt", UpstreamHost: netip.MustParseAddrPort("10.0.2.1:80"), UpstreamName: "up.example:80",
			UpstreamLocal: netip.MustParseAddrPort("10.0.2.9:4444"), UpstreamProtocol: "HTTP/2", UpstreamFailure: "TLS error: x", UpstreamTLS: tlsOf("up"),
			DownstreamFailure: "bad thing", UpstreamConnID: 77, Attempts: 2, RequestDone: 1005 * ms, UpstreamBegan: 1006 * ms, UpstreamSent: 1010 * ms,
			UpstreamFirst: 1100 * ms, UpstreamDone: 1200 * ms, FirstSent: 1101 * ms, Done: 1226*ms + 1500, BytesIn: 154, BytesOut: 1, HeadIn: 2, HeadOut: 3,
			WireIn: 4, WireOut: 5, UpstreamWireIn: 8, UpstreamWireOut: 9, UpstreamHeadIn: 10, UpstreamHeadOut: 11, RequestID: "req-id",
			Metadata: map[string]map[string]any{"com.test.my_filter": {"test_key": "foo", "n": 1.5,
				"test_object": map[string]any{"inner_key": "bar", "list": []any{true, nil, float64(3)}}}},
			FilterState: map[string]string{"fs": "va\"l"},
		},
	}
}

func TestOperatorsPrintWhatEnvoyPrints(t *testing.T) {
	for _, c := range []struct{ format, full, empty string }{
		{"plain %% text", "plain % text", "plain % text"},
		{"%REQ(:METHOD)% %REQ(:path)% %REQ(Host)% %REQ(:SCHEME)%", "POST /new?b=2&a=1%202&a=3 example.com:8443 https", "- - - -"},
		{"%REQ(USER-AGENT)%|%REQ(X-NONE)%|%REQ(X-NONE?user-agent)%|%REQ(USER-AGENT):3%", "curl/8|-|curl/8|cur", "-|-|-|-"},
		{"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/old?q", "-"},
		{"%REQ(X-EVIL)%", `a\x0d\x0ab\x00c` + "\t" + `d\x7f`, "-"},
		{"%REQUEST_HEADER(upgrade)%", "websocket", "-"},
		{"%RESP(:STATUS)% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% %TRAILER(x-sum)%", "204 100 7", "- - -"},
		{"%REQ_WITHOUT_QUERY(:PATH)% %REQ_WITHOUT_QUERY(x-envoy-original-path)%", "/new /old", "- -"},
		{"%QUERY_PARAM(a)% %QUERY_PARAM(b):1% %QUERY_PARAM(c)%", "1 2 2 -", "- - -"},
		{"%PATH% %PATH(NQ)% %PATH(NQ:PATH)% %PATH(WQ:ORIG):3%", "/old?q /old /new /ol", "- - - -"},
		{"%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", "InvalidArgument INVALID_ARGUMENT 3 3", "- - - -"},
		{"%RESPONSE_HEADERS_BYTES% %RESPONSE_TRAILERS_BYTES%", "54 6", "0 0"},
		{"%RESPONSE_CODE% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_CONNECTION_ID% %CONNECTION_ID%", "204 154 1 2 77 9", "0 0 0 0 0 0"},
		{"%UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_HEADER_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_SENT%", "8 9 10 11", "0 0 0 0"},
		{"%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% %DOWNSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_SENT%", "4 5 2 3", "0 0 0 0"},
		{"%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "226 5 10 100 126", "- - - - -"},
		{"%COMMON_DURATION(DS_RX_BEG:US_RX_BEG)% %COMMON_DURATION(US_TX_BEG:US_TX_END:us)% %COMMON_DURATION(DS_TX_BEG:DS_TX_END:ns)%", "100 4000 125001500", "- - -"},
		{"%COMMON_DURATION(US_RX_END:DS_RX_END)%", "-", "-"},
		{"%START_TIME% %START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2016-04-15T20:17:03.310Z 2016/04/15T20:17:03+0000 1460751423", "- -"},
		{"%START_TIME(%s.%3f)% %START_TIME(%f|%6f|%E3S|%E*S|%Ez|%%)%", "1460751423.310 310234567|310234|03.310|03.310234567|+00:00|%", "- -"},
		{"%START_TIME(%a %A %b %B %j %e %I %p %y %D %F %T %R %C %G %g %V %U %W %u %w %k %l %Z %c)%",
			"Fri Friday Apr April 106 15 08 PM 16 04/15/16 2016-04-15 20:17:03 20:17 20 2016 16 15 15 15 5 5 20  8 UTC Fri Apr 15 20:17:03 2016", "-"},
		{"%PROTOCOL% %UPSTREAM_PROTOCOL% %ROUTE_NAME% %VIRTUAL_HOST_NAME% %VIRTUAL_CLUSTER_NAME%", "HTTP/1.1 HTTP/2 r1 vh vc", "- - - - -"},
		{"%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %STREAM_ID% %CONNECTION_TERMINATION_DETAILS%", "alt c1 req-id term", "- - - -"},
		{"%RESPONSE_CODE_DETAILS% %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "via_upstream_x via upstream\tx", "- -"},
		{"%UPSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%", "TLS_error:_x bad_thing", "- -"},
		{"%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% [%CUSTOM_FLAGS%]", "UF,URX UpstreamConnectionFailure,UpstreamRetryLimitExceeded []", "- - []"},
		{"%UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "10.0.2.1:80 up.example:80 up.example", "- - -"},
		{"%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%", "10.0.2.9:4444 10.0.2.9 4444", "- - -"},
		{"%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%", "10.0.2.1:80 10.0.2.1 80", "- - -"},
		{"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_LOCAL_PORT%", "10.0.0.1:80 10.0.0.2 81", "- - -"},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%", "[2001:db8::1]:82 2001:db8::1 82", "- - -"},
		{"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME%", "10.0.0.4:83 main a_b.example__", "- - -"},
		{"%HOSTNAME% %ENVIRONMENT(HOME)% %ENVIRONMENT(HOME):2% %ENVIRONMENT(NONE)%", "node /root /r -", "node /root /r -"},
		{"%LOCAL_REPLY_BODY% %ACCESS_LOG_TYPE%", "no\nroute DownstreamEnd", " NotSet"},
		{"%DYNAMIC_METADATA(com.test.my_filter:test_key)% %DYNAMIC_METADATA(com.test.my_filter:test_object:inner_key)% %DYNAMIC_METADATA(com.test.my_filter:n)%", "foo bar 1.5", "- - -"},
		{"%DYNAMIC_METADATA(com.test.my_filter:test_object)% %DYNAMIC_METADATA(com.test.my_filter:test_object):9%",
			`{"inner_key":"bar","list":[true,null,3]} {"inner_k`, "- -"},
		{"%DYNAMIC_METADATA(none)% %DYNAMIC_METADATA(com.test.my_filter:none)% %DYNAMIC_METADATA(com.test.my_filter:test_key:x)% %DYNAMIC_METADATA(pp:k)%", "- - - v", "- - - -"},
		{"%CLUSTER_METADATA(c:k)% %UPSTREAM_METADATA(h:k)% %UPSTREAM_METADATA([\"h\",\"k\"])%", "cluster host host", "- - -"},
		{"%METADATA(ROUTE:r:k)% %METADATA(CLUSTER:c:k)% %METADATA(UPSTREAM_HOST:h:k)% %METADATA(DYNAMIC:com.test.my_filter:test_key)%", "route cluster host foo", "- - - -"},
		{"%FILTER_STATE(fs:PLAIN)% %FILTER_STATE(fs)% %FILTER_STATE(fs:TYPED):4% %PER_REQUEST_STATE(fs)%", `va"l "va\"l" "va\ va"l`, "- - - -"},
	} {
		f, err := Compile(c.format, options())
		if err != nil {
			t.Errorf("Compile(%q): %v", c.format, err)
			continue
		}
		if got := string(f.Append(nil, entry())); got != c.full {
			t.Errorf("%s\n got %q\nwant %q", c.format, got, c.full)
		}
		for _, e := range []*observe.Entry{{}, {Record: &observe.Record{}, Conn: &conn.Info{}, Request: &message.Request{}, Response: &message.Response{}}} {
			got := string(f.Append(nil, e))
			if strings.Contains(c.format, "DURATION") || strings.Contains(c.format, "_BYTES%") {
				continue // below
			}
			if got != c.empty {
				t.Errorf("%s of an empty entry\n got %q\nwant %q", c.format, got, c.empty)
			}
		}
	}
}

func options() Options {
	env := map[string]string{"HOME": "/root"}
	return Options{Hostname: "node", Getenv: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
}

func TestDefaultFormatIsEnvoys(t *testing.T) {
	f, err := Compile(DefaultHTTP, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := `[2016-04-15T20:17:03.310Z] "POST /old?q HTTP/1.1" 204 UF,URX 154 1 226 100 "10.0.35.28" "curl/8" "cc21d9b0" "example.com:8443" "10.0.2.1:80"` + "\n"
	if got := string(f.Append(nil, entry())); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOmitEmptyPrintsNothing(t *testing.T) {
	f, err := Compile("[%REQ(x-none)%|%ROUTE_NAME%]", Options{OmitEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, &observe.Entry{})); got != "[|]" {
		t.Errorf("got %q", got)
	}
}

func TestUnixAndInferredAddresses(t *testing.T) {
	e := &observe.Entry{Conn: &conn.Info{LocalPath: "/run/a.sock", Remote: netip.MustParseAddrPort("1.2.3.4:5")},
		Record: &observe.Record{UpstreamPath: "/run/b.sock", Remote: netip.MustParseAddrPort("9.9.9.9:0")}}
	f, err := Compile("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT% %UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %DOWNSTREAM_REMOTE_ADDRESS%", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(f.Append(nil, e)), "/run/a.sock - /run/b.sock /run/b.sock 9.9.9.9:0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUniqueIDDiffersEachTime(t *testing.T) {
	f, err := Compile("%UNIQUE_ID%", Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, b := string(f.Append(nil, entry())), string(f.Append(nil, entry()))
	if a == b || len(a) != 36 || a[14] != '4' || !strings.ContainsRune("89ab", rune(a[19])) {
		t.Errorf("got %q and %q", a, b)
	}
	if got := string(appendUUID(nil, 0, ^uint64(0))); got != "00000000-0000-4000-bfff-ffffffffffff" {
		t.Errorf("appendUUID: %q", got)
	}
}

func TestCompileErrorsNameOperatorAndPosition(t *testing.T) {
	for format, want := range map[string]string{
		"a %FOO%":                        "position 2: operator FOO: there is no such operator",
		"%TRACE_ID%":                     "position 0: operator TRACE_ID: not supported: there is no tracing yet",
		"100% sure":                      "position 3: a percent sign that begins no operator",
		"%":                              "position 0: a percent sign",
		"%REQ":                           "operator REQ: no closing percent sign",
		"%REQ(a":                         "operator REQ: no closing parenthesis",
		"%REQ(a)":                        "operator REQ: no closing parenthesis",
		"%REQ(a):x%":                     "operator REQ: no closing parenthesis",
		"%REQ%":                          "needs parameters",
		"%REQ()%":                        "needs parameters",
		"%REQ(?b)%":                      "empty header name",
		"%REQ(a?b?c)%":                   "one alternative",
		"%REQ(a\nb)%":                    "line break",
		"%PROTOCOL(x)%":                  "does not take any parameters",
		"%PROTOCOL:3%":                   "does not allow a length",
		"%START_TIME(%n)%":               "line break",
		"%START_TIME(%Q)%":               `unknown "%Q"`,
		"%START_TIME(%3)%":               "ends within",
		"%COMMON_DURATION(DS_RX_BEG)%":   "START:END",
		"%COMMON_DURATION(A:DS_RX_END)%": `"A" is not measured`,
		"%COMMON_DURATION(DS_RX_BEG:DS_RX_END:h)%": "ms, us or ns",
		"%GRPC_STATUS(X)%":                         "CAMEL_STRING",
		"%PATH(X)%":                                "WQ or NQ",
		"%PATH(NQ:X)%":                             "ORIG",
		"%METADATA(LISTENER:a)%":                   `"LISTENER" is not supported`,
		"%DYNAMIC_METADATA(:a)%":                   "namespace is missing",
		"%FILTER_STATE(a:FIELD:b)%":                "use PLAIN",
		"%FILTER_STATE(a:X)%":                      "PLAIN or TYPED",
		"%FILTER_STATE(:PLAIN)%":                   "key is missing",
		"%UPSTREAM_METADATA([1])%":                 "JSON list",
	} {
		_, err := Compile(format, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%q) = %v, want %q", format, err, want)
		}
	}
}

func TestEveryRefusalNamesAnOperatorThatIsNotDefined(t *testing.T) {
	accepted, rejected := Operators()
	for _, name := range accepted {
		if _, both := rejected[name]; both {
			t.Errorf("%s is accepted and refused", name)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	f, err := Compile(DefaultHTTP+"%RESPONSE_CODE_DETAILS% %COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)% %DOWNSTREAM_REMOTE_ADDRESS% %REQ(X-EVIL)% %RESP(:STATUS)%", Options{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := CompileJSON(object(t, `{"a":"%START_TIME%","b":{"c":"%REQ(X-EVIL)%","d":"%RESPONSE_CODE%"},"e":"%UPSTREAM_HOST% %ROUTE_NAME%"}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, buf := entry(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = j.Append(f.Append(buf[:0], e), e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFromProto(t *testing.T) {
	file := options()
	file.ReadFile = func(name string) ([]byte, error) { return []byte("%PROTOCOL% of " + name), nil }
	for name, c := range map[string]struct {
		cfg         *corev3.SubstitutionFormatString
		o           Options
		out, ctype  string
		wantFailure string
	}{
		"text":   {cfg: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormat{TextFormat: "%PROTOCOL%"}}, out: "HTTP/1.1", ctype: "text/plain"},
		"type":   {cfg: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormat{TextFormat: "x"}, ContentType: "text/html"}, out: "x", ctype: "text/html"},
		"inline": {cfg: source(&corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "%REQ(x-none)%"}}), out: "", ctype: "text/plain"},
		"env":    {cfg: source(&corev3.DataSource{Specifier: &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: "HOME"}}), o: file, out: "/root", ctype: "text/plain"},
		"file":   {cfg: source(&corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "f"}}), o: file, out: "HTTP/1.1 of f", ctype: "text/plain"},
		"nofile": {cfg: source(&corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "f"}}), wantFailure: "text_format_source: filename"},
		"json": {cfg: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: object(t, `{"p":"%PROTOCOL%"}`)}},
			out: "{\"p\":\"HTTP/1.1\"}\n", ctype: "application/json"},
		"bad":  {cfg: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: object(t, `{"p":["%X%"]}`)}}, wantFailure: "json_format: p: [0]: format string, position 0: operator X"},
		"none": {cfg: &corev3.SubstitutionFormatString{}, wantFailure: "a format is required"},
	} {
		s, err := FromProto(c.cfg, c.o)
		if c.wantFailure != "" {
			if err == nil || !strings.Contains(err.Error(), c.wantFailure) {
				t.Errorf("%s: %v, want %q", name, err, c.wantFailure)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff([2]string{c.out, c.ctype}, [2]string{string(s.Append(nil, entry())), s.ContentType}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func source(d *corev3.DataSource) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: d}, OmitEmptyValues: true}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{DefaultHTTP, "%START_TIME(%Y/%m/%dT%H:%M:%S%z %s.%3f %E*S)%", "%REQ(a?b):3%%%", "%DYNAMIC_METADATA(a:b:c):9%",
		"%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "%FILTER_STATE(a:PLAIN)%", "%PATH(NQ:ORIG)%", "100%", "%REQ((a))%", "%ENVIRONMENT(%)%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Compile(s, options())
		if err != nil {
			return
		}
		c.Append(nil, &observe.Entry{})
		line := c.Append(nil, entry())
		if !strings.Contains(s, "LOCAL_REPLY_BODY") && strings.Count(string(line), "\n") > strings.Count(s, "\n") {
			t.Errorf("%q forged a line: %q", s, line)
		}
	})
}
