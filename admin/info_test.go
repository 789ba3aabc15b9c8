package admin

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestReady(t *testing.T) {
	for state, want := range map[adminv3.ServerInfo_State]string{
		adminv3.ServerInfo_LIVE: "200 LIVE\n", adminv3.ServerInfo_DRAINING: "503 DRAINING\n",
		adminv3.ServerInfo_PRE_INITIALIZING: "503 PRE_INITIALIZING\n", adminv3.ServerInfo_INITIALIZING: "503 INITIALIZING\n",
	} {
		code, body := get(t, State{Ready: func() adminv3.ServerInfo_State { return state }}, "/ready")
		if got := strconv.Itoa(code) + " " + body; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if code, body := get(t, State{}, "/ready"); code != 200 || body != "LIVE\n" {
		t.Errorf("without a state: %d %q", code, body)
	}
}

func TestServerInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := State{
			Ready: func() adminv3.ServerInfo_State { return adminv3.ServerInfo_INITIALIZING },
			Info: Info{
				Version: "abc/0.1.0/Clean/RELEASE/Go", HotRestartVersion: "11.104", Started: time.Now(), FirstStarted: time.Now().Add(-time.Hour),
				Options: &adminv3.CommandLineOptions{
					Concurrency: 2, ConfigPath: "/etc/envoy.yaml", LogLevel: "info", DrainTime: durationpb.New(600 * time.Second),
				},
				Node: &corev3.Node{Id: "node-1", Cluster: "web", UserAgentName: "weft"},
			},
		}
		time.Sleep(6*time.Second + 700*time.Millisecond) // synctest's clock
		resp := do(t, s, http.MethodGet, "/server_info", "")
		if resp.Header.Get("Content-Type") != "application/json" {
			t.Error(resp.Header)
		}
		_, body := readAll(t, resp)
		golden(t, "server_info", body)
		if _, body = get(t, s, "/hot_restart_version"); body != "11.104" {
			t.Errorf("hot restart version %q", body)
		}
	})
}

func TestListeners(t *testing.T) {
	s := State{Listeners: func() []Listener {
		return []Listener{
			{"ingress", []string{"127.0.0.1:10000", "[::1]:10000"}}, {"socket", []string{"/run/weft.sock"}}, {"odd\nname", []string{"0.0.0.0:80"}},
		}
	}}
	_, body := get(t, s, "/listeners")
	golden(t, "listeners", body)
	_, body = get(t, s, "/listeners?format=json")
	golden(t, "listeners_json", body)
}

func TestMemory(t *testing.T) {
	_, body := get(t, State{}, "/memory")
	var m map[string]string
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"allocated", "heap_size", "total_physical_bytes"} {
		if n, err := strconv.ParseUint(m[name], 10, 63); err != nil || n == 0 {
			t.Errorf("%s = %q in %s", name, m[name], body)
		}
	}
	for _, name := range []string{"pageheap_unmapped", "pageheap_free", "total_thread_cache"} {
		if _, ok := m[name]; !ok {
			t.Errorf("no %s in %s", name, body)
		}
	}
}

func TestCertsWithoutTLSAreAnEmptyList(t *testing.T) {
	if _, body := get(t, State{}, "/certs"); body != "{\n \"certificates\": []\n}" {
		t.Errorf("%q", body)
	}
}

func TestInitDump(t *testing.T) {
	s := State{Unready: func() []Unready {
		return []Unready{{"init manager ingress", []string{"RdsRouteConfigSubscription web"}}}
	}}
	_, body := get(t, s, "/init_dump")
	if !strings.Contains(body, `"target_names": [`) || !strings.Contains(body, "RdsRouteConfigSubscription web") {
		t.Error(body)
	}
	if _, masked := get(t, s, "/init_dump?mask=listener"); masked != body {
		t.Error(masked)
	}
	if _, other := get(t, s, "/init_dump?mask=cluster"); other != "{}" {
		t.Error(other)
	}
}
