//go:build linux

package main

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The origin's system calls bypass the scheduler: its sockets never block, and a
// thread in epoll_wait that Go believes to be running spares the handing over of
// the processor and sysmon's polling, a tenth of the origin's cost. The runtime's
// preemption signal ends epoll_wait with EINTR, so the collector need not wait.

// rawRead is read(2) into b, which must not be empty.
func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

// rawWrite is write(2) of b, which must not be empty.
func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

// rawEpollWait is epoll_pwait(2) without a timeout.
func rawEpollWait(epoll int, events []unix.EpollEvent) (int, syscall.Errno) {
	const forever = ^uintptr(0)
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), forever, 0, 0)
	return int(n), errno
}

// spareProcessor leaves one scheduler slot to the other goroutines while the
// origin's thread keeps its own.
func spareProcessor() {
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
}
