package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftproxy/weft/builtin"
)

func TestSIGTERMLetsRequestsFinish(t *testing.T) {
	r := start(t, config(front("a", 0, "/ up"), cluster("up", origin(t))))
	at := "http://" + r.at.Listeners["a"][0]
	kept := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer kept.CloseIdleConnections()
	slow, err := kept.Get(at + "/bytes/50000000")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	idle, err := net.Dial("tcp", r.at.Listeners["a"][0])
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, err := io.WriteString(idle, "GET /status/200 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	r.send(syscall.SIGTERM)
	if err := idle.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, idle); err != nil {
		t.Errorf("the idle connection was not closed: %v", err)
	}
	r.eventually("nothing new is accepted", func() bool { status, _ := r.ask("GET", at+"/"); return status == 0 })
	r.admin("GET", "/ready", 503, "DRAINING")
	if n, err := io.Copy(io.Discard, slow.Body); err != nil || n != 50000000 {
		t.Errorf("the response under way: %d bytes, %v", n, err)
	}
	r.wait()
	if log := r.log.String(); !strings.Contains(log, "all connections are gone") {
		t.Errorf("log: %s", log)
	}
}

func TestTheDrainTimeBoundsTheWait(t *testing.T) {
	r := start(t, config(front("a", 0, "/ up"), cluster("up", origin(t))), func(o *Options) { o.DrainTime = 50 * time.Millisecond })
	resp, err := client().Get("http://" + r.at.Listeners["a"][0] + "/sse")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r.admin("POST", "/quitquitquit", 200, "OK")
	r.wait()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the cut-off stream looks complete")
	}
	if log := r.log.String(); !strings.Contains(log, "did not end in time") {
		t.Errorf("log: %s", log)
	}
}

func TestASecondSignalDoesNotWait(t *testing.T) {
	r := start(t, config(front("a", 0, "/ up"), cluster("up", origin(t))), func(o *Options) { o.DrainTime = time.Hour })
	resp, err := client().Get("http://" + r.at.Listeners["a"][0] + "/sse")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r.send(syscall.SIGTERM)
	r.admin("GET", "/ready", 503, "DRAINING")
	r.send(syscall.SIGINT)
	r.wait()
}

func TestInitializationCanBeInterrupted(t *testing.T) {
	// a cluster whose first health check takes forever is not ready before the init timeout
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	path := filepath.Join(t.TempDir(), "weft.yaml")
	text := config(front("a", 0, "/ up"), cluster("up", ln.Addr().(*net.TCPAddr).Port)+`    health_checks:
    - {timeout: 60s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /}}
`)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	signals, ended, log := make(chan os.Signal), make(chan error, 1), &lockedBuffer{}
	go func() { // ends with the signal
		ended <- Run(context.Background(), Options{
			ConfigPath: path, Extensions: builtin.Extensions(), Stderr: log, Stdout: log, Signals: signals, initTimeout: time.Hour,
			Started: func(Addresses) { t.Error("started without its cluster") },
		})
	}()
	select {
	case signals <- syscall.SIGTERM:
	case <-time.After(patience):
		t.Fatal("nobody takes the signal")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run: %v\n%s", err, log)
		}
	case <-time.After(patience):
		t.Fatalf("does not end\n%s", log)
	}
}

func TestAClusterThatIsNotReadyDoesNotStopTheStart(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := start(t, config(front("a", 0, "/x 200 x"), cluster("late", ln.Addr().(*net.TCPAddr).Port)+`    health_checks:
    - {timeout: 60s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /}}
`), func(o *Options) { o.initTimeout = 50 * time.Millisecond })
	r.get("a", "/x", 200, "x")
	if log := r.log.String(); !strings.Contains(log, "clusters=late") {
		t.Errorf("the log does not name the cluster: %s", log)
	}
}

func TestDrainListenersByHand(t *testing.T) {
	r := start(t, config(front("a", 0, "/x 200 x")))
	r.admin("POST", "/drain_listeners", 200, "OK")
	r.eventually("the listener closes", func() bool { status, _ := r.ask("GET", "http://"+r.at.Listeners["a"][0]+"/x"); return status == 0 })
	r.admin("GET", "/stats?filter=listener_stopped", 200, "listener_manager.listener_stopped: 1\n")
}

func TestGracefulDrainKeepsAcceptingForItsTime(t *testing.T) {
	r := start(t, config(front("a", 0, "/x 200 x")), func(o *Options) { o.DrainTime, o.DrainStrategy = 300*time.Millisecond, DrainImmediate })
	r.admin("POST", "/drain_listeners?graceful", 200, "OK")
	resp, err := http.Get("http://" + r.at.Listeners["a"][0] + "/x")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !resp.Close {
		t.Error("a response while draining does not close its connection")
	}
	r.eventually("the listener closes", func() bool { status, _ := r.ask("GET", "http://"+r.at.Listeners["a"][0]+"/x"); return status == 0 })
}

func TestTheAdminPageShowsTheProcess(t *testing.T) {
	r := start(t, config(front("a", 0, "/ up"), cluster("up", origin(t)))+`
node: {id: n1, cluster: c1}
layered_runtime: {layers: [{name: base, static_layer: {my: {key: 7}}}, {name: admin, admin_layer: {}}]}
`, func(o *Options) { o.ServiceNode, o.Version = "n2", "1/2/3/4/5" })
	r.get("a", "/status/503", 503, "")
	for _, test := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/ready", 200, "LIVE"},
		{"GET", "/server_info", 200, `"version": "1/2/3/4/5"`},
		{"GET", "/server_info", 200, `"id": "n2"`},
		{"GET", "/listeners", 200, "a::" + r.at.Listeners["a"][0] + "\n"},
		{"GET", "/clusters", 200, "up::default_priority::max_connections::1024\n"},
		{"GET", "/clusters", 200, "::rq_total::1\n"},
		{"GET", "/config_dump", 200, `"a-routes"`},
		{"GET", "/config_dump?include_eds", 200, `"static_endpoint_configs"`},
		{"GET", "/runtime", 200, `"my.key"`},
		{"POST", "/runtime_modify?my.key=8", 200, "OK"},
		{"GET", "/runtime", 200, `"final_value": "8"`},
		{"POST", "/logging?upstream=debug", 200, "upstream: debug"},
		{"GET", "/stats?filter=^server.live", 200, "server.live: 1\n"},
		{"GET", "/stats?filter=^server.memory_allocated", 200, "server.memory_allocated: "},
		{"GET", "/stats/prometheus", 200, "envoy_server_live{} 1"},
		{"POST", "/healthcheck/fail", 200, "OK"},
		{"GET", "/ready", 503, "DRAINING"},
		{"GET", "/stats?filter=^server.live", 200, "server.live: 0\n"},
		{"POST", "/healthcheck/ok", 200, "OK"},
		{"GET", "/ready", 200, "LIVE"},
		{"GET", "/explain?url=http://x/", 200, "up"},
		{"GET", "/failures", 200, ""},
		{"POST", "/reopen_logs", 200, ""},
	} {
		r.admin(test.method, test.path, test.status, test.want)
	}
}

func TestAddressesAreToldAndWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admin.txt")
	r := start(t, config(front("a", 0, "/x 200 x")), func(o *Options) { o.AdminAddressPath = file })
	text, err := os.ReadFile(file)
	if err != nil || string(text) != r.at.Admin || !strings.HasPrefix(r.at.Admin, "127.0.0.1:") {
		t.Errorf("%s holds %q (%v), want %q", file, text, err, r.at.Admin)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		`--mode "x"`:                     {Mode: "x"},
		`--drain-strategy "x"`:           {DrainStrategy: "x"},
		`--local-address-ip-version "x"`: {LocalAddressIPVersion: "x"},
		`log level "x"`:                  {LogLevel: "x"},
		"must not be negative":           {Concurrency: -1},
	} {
		if _, err := o.withDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %s", o, err, want)
		}
	}
	o, err := Options{DrainNow: true}.withDefaults()
	if err != nil || o.DrainTime != 0 {
		t.Errorf("--drain-time-s 0: %v, %v", o.DrainTime, err)
	}
	if o, _ := (Options{LogFormatEscaped: true, LogFormat: "%l %v"}).withDefaults(); o.LogFormat != "%l %_" {
		t.Errorf("--log-format-escaped: %q", o.LogFormat)
	}
}
