package listener

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A watcher waits for many sockets with one goroutine and no thread: an epoll set that the Go runtime's own poller watches in turn.
type watcher struct {
	file   *os.File
	raw    syscall.RawConn
	fd     int
	events [128]unix.EpollEvent // owned by run
}

func newWatcher() (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that os.NewFile hands it to the runtime's poller
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &watcher{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		_ = w.file.Close()
		return nil, err
	}
	return w, nil
}

// add watches a socket until its first event. It reports false when the system does not allow it.
func (w *watcher) add(fd int) bool {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(fd)}
	return unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &e) == nil
}

// remove stops watching a socket. The set would keep it otherwise for as long as a duplicate of its descriptor is open.
func (w *watcher) remove(fd int) {
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil) // it was added
}

// run calls ready for each socket that has an event, until close.
func (w *watcher) run(ready func(fd int)) {
	for {
		n := 0
		var failed error
		err := w.raw.Read(func(uintptr) bool {
			for {
				n, failed = unix.EpollWait(w.fd, w.events[:], 0)
				if failed != unix.EINTR {
					return n != 0
				}
			}
		})
		if err != nil || failed != nil {
			return
		}
		for i := range n {
			ready(int(w.events[i].Fd))
		}
	}
}

func (w *watcher) close() { _ = w.file.Close() }
