//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that is not measured.
const patience = 30 * time.Second

// binary is the program, built once by TestMain unless the environment names one.
var binary string

const binaryVariable = "WEFT_INTEROP_BINARY"

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if len(os.Args) > 2 && os.Args[1] == shimArg {
			return shim(os.Args[2:])
		}
		if os.Getenv(inNetwork) != "" {
			if err := loopbackUp(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		dir, err := os.MkdirTemp("", "weft-interop")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
		if binary = os.Getenv(binaryVariable); binary != "" {
			return m.Run()
		}
		binary = filepath.Join(dir, "weft")
		if out, err := exec.Command("go", buildArgs(binary)...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// buildArgs are go's for building Weft: with the race detector where the tests have it.
func buildArgs(out string) []string {
	args := []string{"build"}
	if raceEnabled {
		args = append(args, "-race")
	}
	return append(args, "-o", out, "github.com/weftproxy/weft/cmd/weft")
}

// A process is a running peer, or Weft.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
	err  error         // read after done
}

// output is what a process writes. Safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a program until the test ends.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), out: &output{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = time.Second // what it started itself may hold the pipes
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(p.stop)
	return p
}

// stop ends the process and those it has started.
func (p *process) stop() {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // it may just have ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(group, syscall.SIGKILL) // as above
	<-p.done
	if strings.Contains(p.out.String(), "WARNING: DATA RACE") {
		p.t.Error("a data race")
	}
	if p.t.Failed() {
		p.t.Logf("%s says:\n%s", filepath.Base(p.cmd.Path), tail(p.out.String()))
	}
}

// tail is the end of a text.
func tail(s string) string {
	const most = 8 << 10
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// ready waits until something listens on each address.
func (p *process) ready(addrs ...string) {
	p.t.Helper()
	for _, addr := range addrs {
		p.eventually(func() error {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			return c.Close()
		})
	}
}

// eventually tries f until it succeeds.
func (p *process) eventually(f func() error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-p.done:
			p.t.Fatalf("%s has ended: %v\n%s", p.cmd.Path, p.err, p.out)
		case <-ctx.Done():
			p.t.Fatalf("%v\n%s", err, p.out)
		}
	}
}

// run runs a program to its end and returns what it prints, standard error first if it has failed.
func run(t *testing.T, limit time.Duration, path string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, fmt.Errorf("after %v", limit))
		}
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(path), strings.Join(args, " "), err, tail(errs.String()))
	}
	return out.String(), nil
}

// runWith runs a program with something to read and returns all it prints.
func runWith(t *testing.T, stdin, path string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tool finds a program, or skips the test; where CI=true or WEFT_INTEROP=require it fails.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, names[0]+" is not installed")
	return ""
}

// missing skips the test for want of something, and fails it where CI=true or WEFT_INTEROP=require.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" || os.Getenv("WEFT_INTEROP") == "require" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Peers listen below the range the kernel takes ports of outgoing connections from, so that no client takes a port before its server does.
const firstPort, endPort = 12000, 20000

// ports are those on 127.0.0.1 that have been handed out. Guarded by its mutex.
var ports struct {
	sync.Mutex
	used int
}

// freeAddr is a loopback address on which nothing listens; none is handed out twice.
func freeAddr(t *testing.T) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for firstPort+ports.used < endPort {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+ports.used))
		ports.used++
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatal("no free port")
	return ""
}

// write writes a file into a directory of the test and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// errNotYet is for eventually.
var errNotYet = errors.New("not yet")

// read reads a file.
func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
