package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/weftproxy/weft/observe/stats"
)

// start serves on a loopback port until the test ends.
func start(t *testing.T, s State) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(s).Serve(ctx, l) }() // ends with ctx; stop waits
	return l.Addr().String(), func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve does not end")
		}
	}
}

func TestServe(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		store := stats.NewStore(stats.Options{})
		address, stop := start(t, State{Stats: store})
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetUnencryptedHTTP2(http2)
		client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
		resp, err := client.Get("http://" + address + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != "LIVE\n" || (resp.ProtoMajor == 2) != http2 {
			t.Errorf("%q over %s", b, resp.Proto)
		}
		if n, _ := store.Value("http.admin.downstream_cx_active"); n != 1 {
			t.Errorf("%d connections", n)
		}
		transport.CloseIdleConnections()
		stop()
		for limit := time.Now().Add(5 * time.Second); ; runtime.Gosched() { // net/http tells of a close after it
			n, _ := store.Value("http.admin.downstream_cx_active")
			if n == 0 {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%d connections after the end", n)
			}
		}
	}
}

func TestServeEndsWithIdleConnections(t *testing.T) {
	address, stop := start(t, State{Stats: stats.NewStore(stats.Options{})})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(c, "GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Fatal(line, err)
	}
	stop()
}

func TestQuitIsAnsweredBeforeTheProcessGoes(t *testing.T) {
	release := make(chan struct{})
	address, stop := start(t, State{Stats: stats.NewStore(stats.Options{}), Quit: func() { <-release }})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(c, "POST /quitquitquit HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Error(line, err)
	}
	close(release)
	stop()
}

func TestServeReturnsTheListenersError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := New(State{Stats: stats.NewStore(stats.Options{})}).Serve(t.Context(), l); err == nil {
		t.Error("no error for a closed listener")
	}
}

func TestProfiles(t *testing.T) {
	for target, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap?debug=1": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 200, "/debug/pprof/nothing": 404,
		"/debug/pprof": 301, "/heap_dump": 200,
	} {
		if code, _ := get(t, State{}, target); code != want {
			t.Errorf("%s: %d, want %d", target, code, want)
		}
	}
}
