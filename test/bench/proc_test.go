//go:build linux

package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseStatCountsFieldsBehindTheCommandName(t *testing.T) {
	line := "4242 (a (strange) name) S 17 4242 4242 0 -1 4194560 1 2 3 4 250 75 9 9 20 0 1 0 100 1 1 1\n"
	got, err := parseStat([]byte(line))
	want := procStat{parent: 17, user: 2500 * time.Millisecond, system: 750 * time.Millisecond}
	if err != nil || got != want {
		t.Fatalf("parseStat = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 sh S 1 2", "1 (sh) S 1 2 3", strings.Replace(line, " 250 ", " x ", 1),
		strings.Replace(line, " 75 ", " - ", 1), strings.Replace(line, " 17 ", " ? ", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestParseKB(t *testing.T) {
	text := "Name:\tnginx\nVmPeak:\t  999 kB\nVmHWM:\t    6184 kB\nThreads:\t1\n"
	if n, err := parseKB([]byte(text), "VmHWM"); err != nil || n != 6184<<10 {
		t.Errorf("VmHWM = %d, %v", n, err)
	}
	for _, key := range []string{"HWM", "Threads", "Rss"} {
		if n, err := parseKB([]byte(text), key); err == nil {
			t.Errorf("%s = %d, want an error", key, n)
		}
	}
}

func TestReadUsageSeesThisProcessAndItsChildren(t *testing.T) {
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	tree, err := processTree(os.Getpid())
	if err != nil || tree[0] != os.Getpid() || !slices.Contains(tree, sleep.Process.Pid) {
		t.Fatalf("processTree = %v, %v; want %d and below it %d", tree, err, os.Getpid(), sleep.Process.Pid)
	}
	before, err := readUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for began := spent(); spent()-began < 30*time.Millisecond; {
	}
	after, err := readUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := after.cpu - before.cpu; d < 20*time.Millisecond || d > 10*time.Second {
		t.Errorf("30 ms of spinning cost %v", d)
	}
	if before.procs < 2 || before.rss < 1<<20 || before.peak < 1<<20 {
		t.Errorf("usage = %+v", before)
	}
}

func TestCPUClockAgreesWithStat(t *testing.T) {
	clock, err := cpuClock(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	stat, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := stat.user + stat.system - clock; d.Abs() > time.Second {
		t.Errorf("clock %v, stat %v + %v", clock, stat.user, stat.system)
	}
}
