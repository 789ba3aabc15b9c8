//go:build unix

package conn

import (
	"syscall"
	"unsafe"
)

// readFD and writeFD enter the kernel without telling the scheduler: the socket does not block, so the call takes no longer than
// the copy it does, and the hand-over of the processor that an ordinary system call prepares for would only cost.

func readFD(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

func writeFD(fd uintptr, p, q []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		p, q = q, nil
	}
	for {
		var n uintptr
		var errno syscall.Errno
		if len(q) == 0 {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		} else {
			iov := [2]syscall.Iovec{{Base: &p[0]}, {Base: &q[0]}}
			iov[0].SetLen(len(p))
			iov[1].SetLen(len(q))
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&iov)), 2)
		}
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}
