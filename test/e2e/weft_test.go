package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
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
const patience = 20 * time.Second

// binary is the program, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "weft-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
		binary = filepath.Join(dir, "weft")
		if out, err := exec.Command("go", "build", "-o", binary, "github.com/weftproxy/weft/cmd/weft").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// A process is a running weft.
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

// start runs weft until the test ends, when it gets SIGTERM and must end in order.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), out: &output{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
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

// signal sends a signal.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%v: %v\n%s", s, err, p.out)
	}
}

// wait waits until the process has ended.
func (p *process) wait() error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		return fmt.Errorf("weft has not ended within %v", patience)
	}
}

// stop ends the process.
func (p *process) stop() {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
		if err := p.wait(); err != nil {
			_ = p.cmd.Process.Kill() // as above
			p.t.Errorf("after SIGTERM: %v", err)
		}
	}
	if p.t.Failed() {
		p.t.Logf("weft says:\n%s", p.out)
	}
}

// resident is the process's resident set in bytes.
func (p *process) resident() int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skip("no /proc: memory cannot be measured")
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		p.t.Fatalf("the process has ended: %q\n%s", text, p.out)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// ready waits until something listens on addr.
func (p *process) ready(addr string) {
	p.t.Helper()
	p.eventually(func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
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
			p.t.Fatalf("weft has ended: %v\n%s", p.err, p.out)
		case <-ctx.Done():
			p.t.Fatalf("%v\n%s", err, p.out)
		}
	}
}

// freeAddr is a loopback address on which nothing listens at the moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // that is the point
	return ln.Addr().String()
}

// serve runs an HTTP upstream until the test ends and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, h)
}

// serveOn is serve on a listener, which it closes. Where that shows certificates and agrees on HTTP/2 it speaks that, too.
func serveOn(t *testing.T, ln net.Listener, h http.Handler) string {
	t.Helper()
	s := &http.Server{Handler: h, ReadHeaderTimeout: patience, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }() // ends with Close
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Log(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// proxy starts `weft proxy` to an upstream and returns it with its address.
func proxy(t *testing.T, to string, args ...string) (*process, string) {
	t.Helper()
	from := freeAddr(t)
	p := start(t, append([]string{"proxy", "--from", from, "--to", to}, args...)...)
	p.ready(from)
	return p, from
}

// curl runs curl and returns what it prints. Without curl the test is skipped, or fails where CI=true.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		missing(t, "curl is not installed")
	}
	out, err := exec.Command(path, append([]string{"-sS", "--max-time", "20"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// missing skips the test for want of something, and fails it where CI=true.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
