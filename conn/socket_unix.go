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

// peekFD looks for one byte without taking it.
func peekFD(fd uintptr) (int, syscall.Errno) {
	var b [1]byte
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, syscall.MSG_PEEK, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// writeFD writes the slices that are not empty, at least one of which there is, with one system call.
func writeFD(fd uintptr, p *[3][]byte) (int, syscall.Errno) {
	var iov [3]syscall.Iovec
	k := 0
	for i := range p {
		if len(p[i]) > 0 {
			iov[k].Base = &p[i][0]
			iov[k].SetLen(len(p[i]))
			k++
		}
	}
	for {
		var n uintptr
		var errno syscall.Errno
		if k == 1 {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(iov[0].Base)), uintptr(iov[0].Len))
		} else {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&iov)), uintptr(k))
		}
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}
