package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weftproxy/weft/config/quick"
	"github.com/weftproxy/weft/internal/demo"
)

// patience bounds every wait of a script.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weft": main})
}

// TestScripts runs the command line as users do: the scripts start the real program.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values[heldKey{}] = map[string]*http.Response{}
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ports": ports, "occupy": occupy, "origin": origin, "subst": subst, "request": request, "signal": sendSignal, "hold": hold, "held": held,
			"appears": appears,
		},
	})
}

// condition knows [demo]: the fixed ports of the embedded configuration are free.
func condition(name string) (bool, error) {
	if name != "demo" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	for _, at := range []string{quick.DefaultListen, quick.DefaultAdmin} {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			return false, nil
		}
		if err := ln.Close(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// ports NAME...: sets each variable to a free port.
func ports(ts *testscript.TestScript, _ bool, names []string) {
	var open []net.Listener // all at once, so that they differ
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		open = append(open, ln)
		ts.Setenv(name, portOf(ln))
	}
	for _, ln := range open {
		ts.Check(ln.Close())
	}
}

func portOf(ln net.Listener) string { return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port) }

// occupy NAME: sets the variable to a port on which something else listens.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = ln.Close() })
	ts.Setenv(args[0], portOf(ln))
}

// origin NAME: starts a demo upstream and sets the variable to its port.
func origin(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s := demo.Start(ln, nil)
	ts.Defer(func() { _ = s.Close() })
	ts.Setenv(args[0], portOf(ln))
}

// subst FILE...: replaces the variables in files, $PORT and the like.
func subst(ts *testscript.TestScript, _ bool, files []string) {
	for _, f := range files {
		text := os.Expand(ts.ReadFile(f), func(name string) string {
			if v := ts.Getenv(name); v != "" {
				return v
			}
			return "$" + name
		})
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(text), 0o644))
	}
}

// request [-X METHOD] STATUS URL [TEXT]: asks again and again until the answer has the status and the text; `! request URL`
// until nothing answers. @FILE in the URL stands for what the file holds.
func request(ts *testscript.TestScript, neg bool, args []string) {
	method := http.MethodGet
	if args[0] == "-X" {
		method, args = args[1], args[2:]
	}
	status := 0
	if !neg {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		status, args = n, args[1:]
	}
	want := strings.Join(args[1:], " ")
	last := ""
	for range ticks() {
		url, ok := withFiles(ts, args[0])
		if !ok {
			last = "no file yet"
			continue
		}
		got, body, err := do(method, url)
		last = fmt.Sprintf("%d %v %.2000s", got, err, body)
		if neg && err != nil || !neg && got == status && strings.Contains(body, want) {
			return
		}
	}
	ts.Fatalf("%s %s: want %d %q; the last answer was %s", method, args[0], status, want, last)
}

// withFiles replaces @FILE at the beginning of a URL.
func withFiles(ts *testscript.TestScript, url string) (string, bool) {
	rest, ok := strings.CutPrefix(url, "http://@")
	if !ok {
		return url, true
	}
	name, path, _ := strings.Cut(rest, "/")
	text, err := os.ReadFile(ts.MkAbs(name))
	return "http://" + string(text) + "/" + path, err == nil && len(text) > 0
}

func do(method, url string) (int, string, error) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// appears FILE: waits until the file is there.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	for range ticks() {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s does not appear", args[0])
}

// ticks yields until patience ends.
func ticks() func(func(int) bool) {
	return func(yield func(int) bool) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range int(patience / (20 * time.Millisecond)) {
			if !yield(i) {
				return
			}
			<-tick.C
		}
	}
}

// signal NAME sends it to the processes in the background.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "USR1": syscall.SIGUSR1}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(sig))
	}
}

// heldKey is where a script's open response is kept.
type heldKey struct{}

// hold URL: opens a response, reads its first byte and keeps it open.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(args[0])
	ts.Check(err)
	ts.Defer(func() { _ = resp.Body.Close() })
	_, err = io.ReadFull(resp.Body, make([]byte, 1))
	ts.Check(err)
	openResponses(ts)[args[0]] = resp
}

// held URL BYTES: reads the response that hold has opened to its end, which must come after that many bytes; with ! it must
// break off before.
func held(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	n, err := io.Copy(io.Discard, openResponses(ts)[args[0]].Body)
	switch {
	case neg && err == nil:
		ts.Fatalf("%s came to its end", args[0])
	case !neg && (err != nil || n+1 != want):
		ts.Fatalf("%s: %d bytes, %v; want %d", args[0], n+1, err, want)
	}
}

func openResponses(ts *testscript.TestScript) map[string]*http.Response {
	return ts.Value(heldKey{}).(map[string]*http.Response)
}
