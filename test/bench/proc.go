//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A usage is what a process and its children have used so far.
type usage struct {
	cpu   time.Duration // on any CPU, user and kernel
	user  time.Duration // of it, in user space; 10 ms steps
	rss   int64         // bytes now
	peak  int64         // bytes at most (VmHWM)
	procs int
}

// readUsage adds up the process tree below pid: nginx has a master and a worker.
func readUsage(pid int) (usage, error) {
	var sum usage
	pids, err := processTree(pid)
	if err != nil {
		return sum, err
	}
	for _, p := range pids {
		u, err := readProcess(p)
		if err != nil {
			return sum, err
		}
		sum.cpu += u.cpu
		sum.user += u.user
		sum.rss += u.rss
		sum.peak += u.peak
		sum.procs++
	}
	return sum, nil
}

func readProcess(pid int) (u usage, err error) {
	stat, err := readStat(pid)
	if err != nil {
		return u, err
	}
	u.user = stat.user
	if u.cpu, err = cpuClock(pid); err != nil {
		u.cpu = stat.user + stat.system
	}
	rollup, err := os.ReadFile(procPath(pid, "smaps_rollup"))
	if err != nil {
		return u, err
	}
	if u.rss, err = parseKB(rollup, "Rss"); err != nil {
		return u, err
	}
	status, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		return u, err
	}
	u.peak, err = parseKB(status, "VmHWM")
	return u, err
}

// cpuClock returns the CPU time of all threads of pid, ended ones too. It is the
// utime + stime of /proc/PID/stat without its rounding to 10 ms. The clock id is
// composed as clock_getcpuclockid(3) does.
func cpuClock(pid int) (time.Duration, error) {
	const scheduler = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// processTree returns pid and all its descendants.
func processTree(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(p); err == nil {
			children[s.parent] = append(children[s.parent], p)
		}
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// A procStat is what the bench reads from /proc/PID/stat (proc_pid_stat(5)).
type procStat struct {
	parent       int
	user, system time.Duration
}

func readStat(pid int) (procStat, error) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

// parseStat reads fields 4 (ppid), 14 (utime) and 15 (stime). The command name,
// field 2, may hold spaces and parentheses, so counting starts behind its last ')'.
func parseStat(b []byte) (s procStat, err error) {
	const ticks = time.Second / 100 // USER_HZ is 100 on every Linux architecture Go supports
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return s, errors.New("stat: no command name")
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 13 {
		return s, fmt.Errorf("stat: %d fields behind the command name, want at least 13", len(f))
	}
	if s.parent, err = strconv.Atoi(f[1]); err != nil {
		return s, fmt.Errorf("stat: ppid: %w", err)
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return s, fmt.Errorf("stat: utime: %w", err)
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	if err != nil {
		return s, fmt.Errorf("stat: stime: %w", err)
	}
	s.user, s.system = time.Duration(user)*ticks, time.Duration(system)*ticks
	return s, nil
}

// parseKB finds the line "key:  N kB" and returns N in bytes.
func parseKB(b []byte, key string) (int64, error) {
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, key+":")
		if !ok {
			continue
		}
		number, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if !ok {
			return 0, fmt.Errorf("%s: %q is not in kB", key, strings.TrimSpace(rest))
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", key, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("%s: no such line", key)
}

func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}
