package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/weftproxy/weft/resource"
)

func TestDrainListeners(t *testing.T) {
	for query, want := range map[string]string{
		"":                                "false false false",
		"?graceful":                       "true false false",
		"?graceful=false":                 "true false false", // the parameter's presence counts, as in Envoy
		"?inboundonly":                    "false true false",
		"?graceful&skip_exit&inboundonly": "true true true",
		"?skip_exit":                      "",
	} {
		got := ""
		s := State{Drain: func(graceful, inboundOnly, skipExit bool) { got = fmt.Sprint(graceful, inboundOnly, skipExit) }}
		code, body := post(t, s, "/drain_listeners"+query)
		if got != want || (code == http.StatusOK) != (want != "") {
			t.Errorf("%s: %d %q, drained with %q, want %q", query, code, body, got, want)
		}
		if want == "" && (code != http.StatusBadRequest || body != "skip_exit requires graceful\n") {
			t.Errorf("%s: %d %q", query, code, body)
		}
	}
}

func TestReload(t *testing.T) {
	broken := resource.Problem{Resource: `cluster "a"`, Path: "lb_policy", Message: "not supported\x1b[31m", File: "bootstrap.yaml", Line: 3}
	mild := resource.Problem{Severity: resource.Warning, Path: "admin.profile_path", Message: "has no effect"}
	for _, tc := range []struct {
		name     string
		problems []resource.Problem
		err      error
		code     int
		body     string
	}{
		{"clean", nil, nil, 200, "OK\n"},
		{"warning", []resource.Problem{mild}, nil, 200, "warning: admin.profile_path: has no effect\nOK\n"},
		{"problem", []resource.Problem{mild, broken}, nil, 400, "nothing was changed:\nwarning: admin.profile_path: has no effect\n" +
			"bootstrap.yaml:3: error: cluster \"a\": lb_policy: not supported\\x1b[31m\n"},
		{"error", nil, errors.New("open bootstrap.yaml: no such file"), 400, "nothing was changed:\nopen bootstrap.yaml: no such file\n"},
	} {
		s := State{Reload: func(context.Context) ([]resource.Problem, error) { return tc.problems, tc.err }}
		if code, body := post(t, s, "/reload"); code != tc.code || body != tc.body {
			t.Errorf("%s: %d %q, want %d %q", tc.name, code, body, tc.code, tc.body)
		}
	}
}

func TestLogging(t *testing.T) {
	for _, tc := range []struct {
		query string
		code  int
		want  map[string]string
	}{
		{"", 200, map[string]string{"http": "info", "upstream": "info"}},
		{"?level=debug", 200, map[string]string{"http": "debug", "upstream": "debug"}},
		{"?level=warn&paths=", 200, map[string]string{"http": "warning", "upstream": "warning"}},
		{"?upstream=trace", 200, map[string]string{"http": "info", "upstream": "trace"}},
		{"?paths=http:error,%20upstream:off", 200, map[string]string{"http": "error", "upstream": "off"}},
		{"?paths=http:error,nobody:off", 400, map[string]string{"http": "info", "upstream": "info"}},
		{"?paths=http", 400, map[string]string{"http": "info", "upstream": "info"}},
		{"?level=loud", 400, map[string]string{"http": "info", "upstream": "info"}},
		{"?http=debug&upstream=debug", 400, map[string]string{"http": "info", "upstream": "info"}},
	} {
		levels := map[string]string{"http": "info", "upstream": "info"}
		s := State{
			Loggers:  func() []Logger { return []Logger{{"http", levels["http"]}, {"upstream", levels["upstream"]}} },
			SetLevel: func(logger, level string) error { levels[logger] = level; return nil },
		}
		code, body := post(t, s, "/logging"+tc.query)
		if code != tc.code || fmt.Sprint(levels) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %d, levels %v, want %d %v", tc.query, code, levels, tc.code, tc.want)
		}
		list := fmt.Sprintf("active loggers:\n  http: %s\n  upstream: %s\n\n", tc.want["http"], tc.want["upstream"])
		if code == 200 && body != list {
			t.Errorf("%s: %q, want %q", tc.query, body, list)
		}
	}
	s := State{Loggers: func() []Logger { return nil }, SetLevel: func(string, string) error { return nil }}
	_, body := post(t, s, "/logging?x=debug")
	golden(t, "logging_error", body)
}

func TestRuntime(t *testing.T) {
	s := State{Layers: func() []RuntimeLayer {
		return []RuntimeLayer{{"base", map[string]string{"a": "1", "b": "2"}}, {"admin", map[string]string{"b": "3", "c": "<4>"}}}
	}}
	_, body := get(t, s, "/runtime")
	golden(t, "runtime", body)
}

func TestRuntimeModify(t *testing.T) {
	var got map[string]string
	set := func(m map[string]string) error { got = m; return nil }
	if code, body := post(t, State{SetRuntime: set}, "/runtime_modify?a=1&b="); code != 200 || body != "OK\n" || fmt.Sprint(got) != "map[a:1 b:]" {
		t.Errorf("%d %q %v", code, body, got)
	}
	if code, _ := post(t, State{SetRuntime: set}, "/runtime_modify"); code != http.StatusBadRequest {
		t.Errorf("without parameters: %d", code)
	}
	fail := func(map[string]string) error { return errors.New("No admin layer specified") }
	if code, body := post(t, State{SetRuntime: fail}, "/runtime_modify?a=1"); code != http.StatusServiceUnavailable || body != "No admin layer specified" {
		t.Errorf("%d %q", code, body)
	}
}
