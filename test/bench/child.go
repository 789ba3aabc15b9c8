//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is a process the bench started. It dies with the bench: stop
// kills its whole group, and the kernel signals it should the bench itself be killed.
type child struct {
	name string
	cmd  *exec.Cmd
	log  *tail
	bye  syscall.Signal // what it is asked to end with
	done chan struct{}  // closed once the process has been waited for
	err  error          // its exit status; read after done
}

// command says what to start.
type command struct {
	name string
	argv []string
	env  []string
	dir  string
	cpus cpuSet
	bye  syscall.Signal // ends it, and is sent by the kernel when the bench dies; SIGKILL if zero
}

// spawn starts c on its CPUs. Its output is kept for error messages only.
func spawn(c command) (*child, error) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	out := &tail{max: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, out
	if c.bye == 0 {
		c.bye = syscall.SIGKILL
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: c.bye}
	cmd.WaitDelay = time.Second
	if err := startOn(c.cpus, cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	p := &child{name: c.name, cmd: cmd, log: out, bye: c.bye, done: make(chan struct{})}
	go func() { // ends when the process does; stop waits for it
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// startOn starts cmd bound to cpus: a new process inherits the CPUs of the thread
// that forks it, so this thread moves there and back.
func startOn(cpus cpuSet, cmd *exec.Cmd) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if err := cpus.bind(0); err != nil {
		return err
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }() // the thread goes back to the pool as it was, or stays where it is
	return cmd.Start()
}

func (p *child) pid() int { return p.cmd.Process.Pid }

// stop ends the process and everything it started, and waits until it is gone. One
// that is asked politely has three seconds.
func (p *child) stop() {
	if p.bye != syscall.SIGKILL {
		_ = syscall.Kill(p.pid(), p.bye)
		polite := time.NewTimer(3 * time.Second)
		defer polite.Stop()
		select {
		case <-p.done:
		case <-polite.C:
		}
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.done
}

// wait blocks until the process ends or ctx does; then it is killed.
func (p *child) wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.stop()
		return context.Cause(ctx)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", p.name, p.err, p.log)
	}
	return nil
}

// ready polls probe every 2 ms until it succeeds, the process ends or limit has passed.
func (p *child) ready(ctx context.Context, limit time.Duration, probe func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("not ready in time"))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		last := probe()
		if last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at start: %w: %s", p.name, errOr(p.err, "exit status 0"), p.log)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w after %v (last probe: %w): %s", p.name, context.Cause(ctx), limit, last, p.log)
		case <-tick.C:
		}
	}
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}

// output runs argv to its end and returns what it printed; at most limit.
func output(ctx context.Context, limit time.Duration, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// A tail keeps the last bytes written to it. It is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	max int
	buf []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - t.max; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
