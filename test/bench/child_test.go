//go:build linux

package main

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestChildDiesWithItsGroup(t *testing.T) {
	p, err := spawn(command{name: "sh", argv: []string{"sh", "-c", "sleep 60 & echo $!; wait"}})
	if err != nil {
		t.Skip(err)
	}
	if err := p.ready(t.Context(), 5*time.Second, func() error {
		if p.log.String() == "" {
			return errors.New("nothing printed")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if err := syscall.Kill(-p.pid(), 0); err != syscall.ESRCH {
		// The grandchild may be a zombie until init has reaped it.
		tree, _ := processTree(p.pid())
		if len(tree) > 1 {
			t.Errorf("group %d is still there: %v %v", p.pid(), err, tree)
		}
	}
}

func TestChildReadySaysWhyNot(t *testing.T) {
	never := func() error { return errors.New("no answer") }
	p, err := spawn(command{name: "sh", argv: []string{"sh", "-c", "echo cannot bind >&2; exit 3"}})
	if err != nil {
		t.Skip(err)
	}
	if err := p.ready(t.Context(), 5*time.Second, never); err == nil || !strings.Contains(err.Error(), "exit status 3: cannot bind") {
		t.Errorf("ready = %v", err)
	}
	slow, err := spawn(command{name: "sleep", argv: []string{"sleep", "60"}})
	if err != nil {
		t.Skip(err)
	}
	defer slow.stop()
	if err := slow.ready(t.Context(), 20*time.Millisecond, never); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("ready = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := slow.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait = %v", err)
	}
}

func TestChildInheritsItsCPUs(t *testing.T) {
	proxy, load, err := splitCPUs()
	if err != nil || len(proxy) == 0 {
		t.Skip("one CPU")
	}
	for _, cpus := range []cpuSet{proxy, load} {
		p, err := spawn(command{name: "grep", argv: []string{"grep", "Cpus_allowed_list", "/proc/self/status"}, cpus: cpus})
		if err != nil {
			t.Skip(err)
		}
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(strings.TrimPrefix(p.log.String(), "Cpus_allowed_list:")); len(cpus) == 1 && got != cpus.String() {
			t.Errorf("started on %s, runs on %s", cpus, got)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	out := &tail{max: 5}
	for _, s := range []string{"abc", "defg", "h"} {
		_, _ = out.Write([]byte(s))
	}
	if got := out.String(); got != "defgh" {
		t.Errorf("tail = %q", got)
	}
}
