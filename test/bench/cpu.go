//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A cpuSet is a list of CPU numbers; empty means wherever the kernel likes.
type cpuSet []int

// splitCPUs gives the proxy the first CPU this process may use and load and
// upstream the others. With one CPU nothing is pinned.
func splitCPUs() (proxy, load cpuSet, err error) {
	var have unix.CPUSet
	if err := unix.SchedGetaffinity(0, &have); err != nil {
		return nil, nil, err
	}
	var all cpuSet
	for cpu := 0; len(all) < have.Count(); cpu++ {
		if have.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	if len(all) < 2 {
		return nil, nil, nil
	}
	return all[:1], all[1:], nil
}

// bind moves the thread tid (0: the calling one) to the set.
func (s cpuSet) bind(tid int) error {
	if len(s) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, cpu := range s {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("bind to CPU %v: %w", s, err)
	}
	return nil
}

// bindSelf moves every thread of this process to the set; threads started later inherit it.
func (s cpuSet) bindSelf() error { return eachThread(s.bind) }

// eachThread calls f for every thread of this process.
func eachThread(f func(tid int) error) error {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := f(tid); err != nil {
			return err
		}
	}
	return nil
}

func (s cpuSet) String() string {
	if len(s) == 0 {
		return "any"
	}
	var b strings.Builder
	for i, cpu := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpu))
	}
	return b.String()
}
