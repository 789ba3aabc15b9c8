package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftproxy/weft/resource"
)

func TestReloadAppliesTheDifference(t *testing.T) {
	up := origin(t)
	r := start(t, config(front("a", 0, "/x 200 one", "/echo up"), front("b", 0, "/x 200 b"), cluster("up", up)))
	r.get("a", "/x", 200, "one")
	r.get("b", "/x", 200, "b")
	r.get("a", "/echo", 200, "GET /echo HTTP/1.1")
	removed := r.at.Listeners["b"][0]

	port, free := busyPort(t)
	free()
	r.configure(config(front("a", 0, "/x 200 two", "/echo second"), front("c", port, "/x 200 c"), cluster("second", up)))
	r.admin("POST", "/reload", 200, "")
	r.get("a", "/x", 200, "two")
	r.get("a", "/echo", 200, "GET /echo HTTP/1.1")
	r.expect("GET", fmt.Sprintf("http://127.0.0.1:%d/x", port), 200, "c")
	r.eventually("the removed listener closes", func() bool { status, _ := r.ask("GET", "http://"+removed+"/x"); return status == 0 })
	for name, want := range map[string]int{
		"server.reload_success": 1, "server.reload_failure": 0,
		"listener_manager.listener_added": 3, "listener_manager.listener_modified": 1, "listener_manager.listener_removed": 1,
		"listener_manager.total_listeners_active": 2, "cluster_manager.cluster_added": 2, "cluster_manager.cluster_removed": 1,
		"cluster_manager.active_clusters": 1,
	} {
		r.admin("GET", "/stats?filter=^"+name+"$", 200, fmt.Sprintf("%s: %d\n", name, want))
	}
	r.eventually("the removed cluster's statistics go", func() bool {
		_, body := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=cluster.up\\.")
		return body == ""
	})
	r.admin("GET", "/listeners", 200, "c::127.0.0.1:")
}

func TestAReloadWithAnErrorChangesNothing(t *testing.T) {
	r := start(t, config(front("a", 0, "/x 200 one")))
	busy, _ := busyPort(t)
	for name, test := range map[string]struct{ config, want string }{
		"syntax":           {"a: [", "weft.yaml:1:"},
		"unknown field":    {config(front("a", 0, "/x 200 two")) + "nodes: {}\n", "nodes"},
		"unknown cluster":  {config(front("a", 0, "/x 200 two"), strings.ReplaceAll(front("t", 0, "/ gone"), "prefix: /", "prefix: /")), "unknown cluster"},
		"port in use":      {config(front("a", 0, "/x 200 two"), front("busy", busy, "/x 200 busy"), cluster("new", 1)), `listener "busy"`},
		"duplicate":        {config(front("a", 0, "/x 200 two"), front("a", 0, "/x 200 two")), "duplicate"},
		"listener in part": {config(front("a", 0, "/x 200 two"), front("b", 0, "/x 99999 b")), "weft.yaml:"},
	} {
		t.Run(name, func(t *testing.T) {
			r.configure(test.config)
			r.admin("POST", "/reload", 400, test.want)
			r.get("a", "/x", 200, "one")
		})
	}
	_, body := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=^(cluster|listener)\\.")
	if listeners := strings.Count(body, ".downstream_cx_total: "); listeners != 1 || strings.Contains(body, "cluster.") {
		t.Errorf("what was refused has left statistics:\n%s", body)
	}
	r.configure(config(front("a", 0, "/x 200 two")))
	r.send(syscall.SIGHUP)
	r.eventually("a good file is taken again", func() bool { _, body := r.ask("GET", "http://"+r.at.Listeners["a"][0]+"/x"); return body == "two" })
}

func TestAListenerMovesToAnotherAddress(t *testing.T) {
	r := start(t, config(front("a", 0, "/x 200 one")))
	old := r.at.Listeners["a"][0]
	port, free := busyPort(t)
	free()
	r.configure(config(front("a", port, "/x 200 two")))
	r.admin("POST", "/reload", 200, "")
	r.expect("GET", fmt.Sprintf("http://127.0.0.1:%d/x", port), 200, "two")
	r.eventually("the old address closes", func() bool { status, _ := r.ask("GET", "http://"+old+"/x"); return status == 0 })
}

// A WebSocket and a download on an unchanged route survive any number of reloads.
func TestStreamsSurviveReloads(t *testing.T) {
	up := origin(t)
	text := func(i int) string {
		return config(front("a", 0, fmt.Sprintf("/x 200 v%d", i), "/ up"), cluster("up", up))
	}
	r := start(t, text(0))
	ws, err := net.Dial("tcp", r.at.Listeners["a"][0])
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if err := ws.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(ws, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n")
	in := bufio.NewReader(ws)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	const size = 64 << 20
	download, err := client().Get("http://" + r.at.Listeners["a"][0] + fmt.Sprintf("/bytes/%d", size))
	if err != nil {
		t.Fatal(err)
	}
	defer download.Body.Close()
	kept := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer kept.CloseIdleConnections()
	for i := 1; i <= 100; i++ {
		r.configure(text(i))
		r.admin("POST", "/reload", 200, "")
		resp, err := kept.Get("http://" + r.at.Listeners["a"][0] + "/x")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("v%d", i); err != nil || string(body) != want {
			t.Fatalf("after reload %d: %q, %v; want %q", i, body, err, want)
		}
		if _, err := ws.Write([]byte{0x81, 0x81, 0, 0, 0, 0, byte(i)}); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, 3)
		if _, err := io.ReadFull(in, frame); err != nil || frame[2] != byte(i) {
			t.Fatalf("WebSocket after reload %d: %v, %v", i, frame, err)
		}
		if _, err := io.CopyN(io.Discard, download.Body, size/128); err != nil {
			t.Fatalf("download after reload %d: %v", i, err)
		}
	}
	if n, err := io.Copy(io.Discard, download.Body); err != nil || n != size-100*(size/128) {
		t.Errorf("download: %d bytes more, %v", n, err)
	}
	if total, _ := r.ask("GET", "http://"+r.at.Admin+"/stats?filter=http.a.downstream_cx_total"); total != 200 {
		t.Error("no statistics")
	}
	r.admin("GET", "/stats?filter=http.a.downstream_cx_total", 200, "downstream_cx_total: 3\n")
}

func TestCompareFindsWhatDiffers(t *testing.T) {
	list := func(pairs ...any) (out []*resource.Resource) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, &resource.Resource{Key: resource.Key{Type: "x", Name: pairs[i].(string)}, Hash: uint64(pairs[i+1].(int))})
		}
		return out
	}
	added, modified, removed := compare(list("a", 1, "b", 1, "c", 1), list("a", 1, "b", 2, "d", 1))
	if fmt.Sprint(added, modified, removed) != "[d] [b] [c]" {
		t.Errorf("added %v, modified %v, removed %v", added, modified, removed)
	}
}
