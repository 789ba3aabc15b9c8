package accesslog

import (
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

// overrides is a Runtime of a map.
type overrides map[string]string

func (o overrides) Lookup(key string) (string, bool) { v, ok := o[key]; return v, ok }

func compileFilter(t *testing.T, text string, rt Runtime) (Filter, error) {
	t.Helper()
	cfg := &accesslogv3.AccessLogFilter{}
	if err := protojson.Unmarshal([]byte(text), cfg); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return CompileFilter(cfg, rt)
}

func TestFilters(t *testing.T) {
	e := &observe.Entry{
		Type:    observe.DownstreamEnd,
		Request: &message.Request{Method: "GET", Path: "/x"}, Response: &message.Response{},
		Record: &observe.Record{Status: 503, Flags: observe.UF, Start: 1, Done: 1 + int64(250*time.Millisecond), RequestID: "0000000a-1111",
			Metadata: map[string]map[string]any{"ns": {"k": "v", "deep": map[string]any{"n": 3.0}}}},
	}
	e.Request.Header.Add("x-log", "yes")
	e.Response.Header.Add("grpc-status", "14")
	rt := overrides{"limit": "600", "share": "100", "bad": "x"}
	status := func(op string, v string) string {
		return `{"statusCodeFilter":{"comparison":{"op":"` + op + `","value":{"defaultValue":` + v + `}}}}`
	}
	for _, c := range []struct {
		filter string
		want   bool
	}{
		{status("GE", "500"), true}, {status("GE", "504"), false}, {status("LE", "503"), true}, {status("LE", "502"), false},
		{status("EQ", "503"), true}, {status("EQ", "200"), false}, {status("NE", "503"), false}, {status("NE", "200"), true},
		{`{"statusCodeFilter":{"comparison":{"op":"GE","value":{"defaultValue":500,"runtimeKey":"limit"}}}}`, false},
		{`{"statusCodeFilter":{"comparison":{"op":"GE","value":{"defaultValue":500,"runtimeKey":"bad"}}}}`, true},
		{`{"durationFilter":{"comparison":{"op":"GE","value":{"defaultValue":250}}}}`, true},
		{`{"durationFilter":{"comparison":{"op":"GE","value":{"defaultValue":251}}}}`, false},
		{`{"notHealthCheckFilter":{}}`, true},
		{`{"responseFlagFilter":{}}`, true}, {`{"responseFlagFilter":{"flags":["UH","UF"]}}`, true}, {`{"responseFlagFilter":{"flags":["UH"]}}`, false},
		{`{"headerFilter":{"header":{"name":"x-log","stringMatch":{"exact":"yes"}}}}`, true},
		{`{"headerFilter":{"header":{"name":"x-log","stringMatch":{"exact":"no"}}}}`, false},
		{`{"headerFilter":{"header":{"name":":path","stringMatch":{"prefix":"/x"}}}}`, true},
		{`{"grpcStatusFilter":{"statuses":["UNAVAILABLE"]}}`, true}, {`{"grpcStatusFilter":{"statuses":["OK"]}}`, false},
		{`{"grpcStatusFilter":{"statuses":["OK"],"exclude":true}}`, true},
		{`{"metadataFilter":{"matcher":{"filter":"ns","path":[{"key":"k"}],"value":{"stringMatch":{"exact":"v"}}}}}`, true},
		{`{"metadataFilter":{"matcher":{"filter":"ns","path":[{"key":"k"}],"value":{"stringMatch":{"exact":"w"}}}}}`, false},
		{`{"metadataFilter":{"matcher":{"filter":"ns","path":[{"key":"deep"},{"key":"n"}],"value":{"doubleMatch":{"exact":3}}}}}`, true},
		{`{"metadataFilter":{"matcher":{"filter":"ns","path":[{"key":"none"}],"value":{"presentMatch":true}}}}`, true},
		{`{"metadataFilter":{"matcher":{"filter":"ns","path":[{"key":"none"}],"value":{"presentMatch":true}},"matchIfKeyNotFound":false}}`, false},
		{`{"logTypeFilter":{"types":["DownstreamEnd"]}}`, true}, {`{"logTypeFilter":{"types":["TcpConnectionEnd"]}}`, false},
		{`{"logTypeFilter":{"types":["DownstreamEnd"],"exclude":true}}`, false},
		{`{"andFilter":{"filters":[` + status("GE", "500") + `,` + status("LE", "502") + `]}}`, false},
		{`{"andFilter":{"filters":[` + status("GE", "500") + `,` + status("LE", "503") + `]}}`, true},
		{`{"orFilter":{"filters":[` + status("GE", "504") + `,` + status("LE", "503") + `]}}`, true},
		{`{"orFilter":{"filters":[` + status("GE", "504") + `,` + status("LE", "502") + `]}}`, false},
		// The identifier's first digits are 10 of 100.
		{`{"runtimeFilter":{"runtimeKey":"none","percentSampled":{"numerator":11}}}`, true},
		{`{"runtimeFilter":{"runtimeKey":"none","percentSampled":{"numerator":10}}}`, false},
		{`{"runtimeFilter":{"runtimeKey":"share","percentSampled":{"numerator":0}}}`, true},
		{`{"runtimeFilter":{"runtimeKey":"none","percentSampled":{"numerator":11,"denominator":"MILLION"}}}`, true},
		{`{"runtimeFilter":{"runtimeKey":"none","percentSampled":{"numerator":100},"useIndependentRandomness":true}}`, true},
		{`{"runtimeFilter":{"runtimeKey":"none","percentSampled":{"numerator":0},"useIndependentRandomness":true}}`, false},
	} {
		f, err := compileFilter(t, c.filter, rt)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		if got := f.Match(e); got != c.want {
			t.Errorf("%s = %v", c.filter, got)
		}
		if n := testing.AllocsPerRun(10, func() { f.Match(e) }); n != 0 {
			t.Errorf("%s: %v allocations", c.filter, n)
		}
	}
	e.Record.HealthCheck = true
	if f, err := compileFilter(t, `{"notHealthCheckFilter":{}}`, nil); err != nil || f.Match(e) {
		t.Errorf("a health check passed, %v", err)
	}
}

func TestFilterErrorsNameTheField(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                     "a filter is required",
		`{"traceableFilter":{}}`: "not supported",
		`{"responseFlagFilter":{"flags":["UF","ZZ"]}}`:                                                                            `response_flag_filter.flags[1]: "ZZ"`,
		`{"headerFilter":{"header":{"name":"x","stringMatch":{"safeRegex":{"regex":"("}}}}}`:                                      "header_filter.header: string_match: safe_regex",
		`{"orFilter":{"filters":[{"notHealthCheckFilter":{}},{"andFilter":{"filters":[{}]}}]}}`:                                   "or_filter.filters[1]: and_filter.filters[0]: a filter is required",
		`{"metadataFilter":{"matcher":{"filter":"ns","path":[{"key":"k"}],"value":{"stringMatch":{"safeRegex":{"regex":"("}}}}}}`: "metadata_filter.matcher: value",
	} {
		if _, err := compileFilter(t, text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if f, err := CompileFilter(nil, nil); f != nil || err != nil {
		t.Errorf("no filter gives %v, %v", f, err)
	}
}
