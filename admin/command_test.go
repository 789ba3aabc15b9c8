package admin

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
)

// whole is a state in which every command that changes something calls done.
func whole(done func(string)) State {
	return State{
		FailHealth: func(failed bool) { done(map[bool]string{true: "fail", false: "ok"}[failed]) },
		Quit:       func() { done("quit") },
		ReopenLogs: func() { done("reopen") },
		SetRuntime: func(map[string]string) error { done("runtime"); return nil },
		Loggers:    func() []Logger { return []Logger{{"http", "info"}} },
		SetLevel:   func(string, string) error { done("level"); return nil },
		Drain:      func(bool, bool, bool) { done("drain") },
	}
}

func TestChangesNeedPost(t *testing.T) {
	targets := map[string]string{
		"/healthcheck/fail": "fail", "/healthcheck/ok": "ok", "/quitquitquit": "quit", "/reopen_logs": "reopen",
		"/runtime_modify?a=b": "runtime", "/logging?level=debug": "level", "/drain_listeners": "drain",
	}
	for target, want := range targets {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
			var did []string
			resp := do(t, whole(func(s string) { did = append(did, s) }), method, target, "")
			code, body := readAll(t, resp)
			if code != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "POST" || len(did) > 0 {
				t.Errorf("%s %s: %d, Allow %q, did %v", method, target, code, resp.Header.Get("Allow"), did)
			}
			if text := "Method " + method + " not allowed, POST required."; body != text {
				t.Errorf("%s %s: %q, want %q", method, target, body, text)
			}
		}
		var did []string
		code, body := post(t, whole(func(s string) { did = append(did, s) }), target)
		if code != http.StatusOK || !slices.Equal(did, []string{want}) {
			t.Errorf("POST %s: %d %q, did %v, want %s", target, code, body, did, want)
		}
	}
}

func TestEveryChangeIsMarked(t *testing.T) {
	for _, cmd := range commands() {
		if cmd.post != (cmd.group == changes) {
			t.Errorf("%s: post %v in group %v", cmd.path, cmd.post, cmd.group)
		}
	}
}

func TestPostFromAnotherOriginIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"a tool", nil, 200},
		{"the page itself", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:9901"}, 200},
		{"the page itself in an old browser", []string{"Origin", "http://127.0.0.1:9901"}, 200},
		{"typed by the user", []string{"Sec-Fetch-Site", "none"}, 200},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"a neighbour", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:8080"}, 403},
		{"another site in an old browser", []string{"Origin", "https://evil.example"}, 403},
		{"another port in an old browser", []string{"Origin", "http://127.0.0.1:8080"}, 403},
		{"a sandboxed page", []string{"Origin", "null"}, 403},
	} {
		quit := 0
		resp := do(t, State{Quit: func() { quit++ }}, http.MethodPost, "/quitquitquit", "", tc.headers...)
		if resp.StatusCode != tc.want || (quit == 1) != (tc.want == 200) {
			t.Errorf("%s: status %d, quit %d times, want %d", tc.name, resp.StatusCode, quit, tc.want)
		}
	}
}

func TestHeadersOfEveryResponse(t *testing.T) {
	for _, target := range []string{"/", "/stats", "/ready", "/nowhere", "/quitquitquit", "/config_dump", "/debug/pprof/cmdline"} {
		h := do(t, State{}, http.MethodGet, target, "").Header
		if h.Get("Cache-Control") != "no-cache, max-age=0" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Type") == "" {
			t.Errorf("%s: %v", target, h)
		}
	}
}

func TestUnknownPathListsTheCommands(t *testing.T) {
	code, body := get(t, State{}, "/nowhere?<script>")
	if code != http.StatusNotFound || !strings.HasPrefix(body, "invalid path. admin commands are:\n  /: Admin home page\n") {
		t.Fatalf("%d %.200q", code, body)
	}
	if strings.Contains(body, "script") {
		t.Error("the request is repeated")
	}
	_, help := get(t, State{}, "/help")
	if "invalid path. "+help != body {
		t.Error("/help is not the same list")
	}
	for _, line := range []string{
		"  /quitquitquit (POST): exit the server\n", "      format: File format to use; One of (text, json)\n",
		"  /stats/prometheus: print server stats in prometheus format\n", "      usedonly: Only include stats",
	} {
		if !strings.Contains(help, line) {
			t.Errorf("no line %q in\n%s", line, help)
		}
	}
}

func TestAllowPaths(t *testing.T) {
	s := State{Allow: func(path string) bool { return path == "/ready" }}
	for target, want := range map[string]int{"/ready": 200, "/ready?x": 200, "/stats": 403, "/": 403, "/nowhere": 403, "/debug/pprof/cmdline": 403} {
		if code, _ := get(t, s, target); code != want {
			t.Errorf("%s: %d, want %d", target, code, want)
		}
	}
}

func TestParametersComeFromTheQueryOrElseTheForm(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, tc := range []struct {
		name, target, kind, body string
		want                     map[string]string
	}{
		{"query", "/runtime_modify?a=1&b=%20x&a=2", form, "c=3", map[string]string{"a": "1", "b": " x"}},
		{"form", "/runtime_modify", form + "; charset=utf-8", "c=3+4&d=%2B", map[string]string{"c": "3 4", "d": "+"}},
		{"plus in a query stays", "/runtime_modify?a=x.+", form, "", map[string]string{"a": "x.+"}},
		{"bad escape stays", "/runtime_modify?a=%zz", form, "", map[string]string{"a": "%zz"}},
		{"not a form", "/runtime_modify", "text/plain", "c=3", nil},
	} {
		var got map[string]string
		s := State{SetRuntime: func(m map[string]string) error { got = m; return nil }}
		do(t, s, http.MethodPost, tc.target, tc.body, "Content-Type", tc.kind)
		if len(got) != len(tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		for k, v := range tc.want {
			if got[k] != v {
				t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
			}
		}
	}
}

func TestBodyIsBounded(t *testing.T) {
	called := false
	s := State{SetRuntime: func(map[string]string) error { called = true; return nil }}
	resp := do(t, s, http.MethodPost, "/runtime_modify", "a="+strings.Repeat("x", maxBody), "Content-Type", "application/x-www-form-urlencoded")
	if resp.StatusCode != http.StatusRequestEntityTooLarge || called {
		t.Errorf("status %d, called %v", resp.StatusCode, called)
	}
}

func TestRequestsAreCountedAndLogged(t *testing.T) {
	var entries []*observe.Entry
	s := State{Stats: stats.NewStore(stats.Options{}), AccessLog: func(e *observe.Entry) { entries = append(entries, e) }}
	do(t, s, http.MethodGet, "/nowhere?a=b", "", "User-Agent", "probe")
	if len(entries) != 1 {
		t.Fatalf("%d entries", len(entries))
	}
	e := entries[0]
	if e.Record.Status != 404 || e.Request.Path != "/nowhere?a=b" || e.Request.Header.Get("user-agent") != "probe" ||
		e.Record.BytesOut == 0 || e.Record.Protocol != "HTTP/1.1" || e.Request.Authority != "127.0.0.1:9901" || !e.Conn.Remote.IsValid() {
		t.Errorf("entry %+v %+v", e.Record, e.Request)
	}
	for name, want := range map[string]int64{"http.admin.downstream_rq_total": 1, "http.admin.downstream_rq_4xx": 1, "http.admin.downstream_rq_active": 0} {
		if n, ok := s.Stats.Value(name); !ok || n != want {
			t.Errorf("%s = %d, %v; want %d", name, n, ok, want)
		}
	}
}

func TestMissingPartsAreSaidToBeMissing(t *testing.T) {
	for _, target := range []string{"/healthcheck/fail", "/quitquitquit", "/reopen_logs", "/drain_listeners", "/reload", "/logging", "/cpuprofiler?enable=y"} {
		if code, _ := post(t, State{}, target); code != http.StatusNotImplemented {
			t.Errorf("%s: %d", target, code)
		}
	}
	for _, target := range []string{"/exchanges", "/failures", "/explain?url=http://a/"} {
		if code, _ := get(t, State{}, target); code != http.StatusNotImplemented {
			t.Errorf("%s: %d", target, code)
		}
	}
	for _, target := range []string{"/", "/clusters", "/clusters?format=json", "/listeners", "/listeners?format=json", "/config_dump", "/certs", "/init_dump",
		"/runtime", "/memory", "/contention", "/server_info", "/ready", "/hot_restart_version", "/stats", "/stats/prometheus"} {
		if code, body := get(t, State{}, target); code != http.StatusOK {
			t.Errorf("%s: %d %s", target, code, body)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("/stats", "filter=a.+&usedonly&format=json")
	f.Add("/config_dump", "resource=static_clusters&mask=cluster.name,last_updated&name_regex=w.*")
	f.Add("/config_dump", "mask=bootstrap.node,,.a&include_eds")
	f.Add("/failures", "status=5xx&flag=UF&limit=3")
	f.Add("/explain", "url=%zz&header=a:b")
	f.Add("/clusters", "filter=%28%3F%3Ai&format=text")
	server := New(State{Stats: someStats(), Clusters: someClusters, Dump: someDump, Failures: someFailures()}).Handler()
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery = path, query
		if strings.HasPrefix(path, pprofPrefix) {
			t.Skip("not ours, and slow")
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Fatalf("%s?%s: %d %s", path, query, w.Code, w.Body)
		}
		if kind := w.Header().Get("Content-Type"); path != "/" && strings.Contains(kind, "html") || kind == "" {
			t.Fatalf("%s?%s: content type %q", path, query, kind)
		}
		if strings.ContainsAny(w.Body.String(), "\x00\x1b\x7f") && path != "/heap_dump" {
			t.Fatalf("%s?%s: control characters in %q", path, query, w.Body)
		}
	})
}
