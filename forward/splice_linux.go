package forward

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeSize is how much one splice moves at most, in bytes: the size asked for for each pipe. The system may allow less.
const pipeSize = 256 << 10

// A pipe is where spliced bytes are between two sockets.
type pipe struct {
	r, w    int
	cleanup runtime.Cleanup
}

// pipes holds pipes that are empty and in nobody's hands. A cache, emptied by the garbage collector, which closes the descriptors.
var pipes sync.Pool

func getPipe() (*pipe, error) {
	if p, ok := pipes.Get().(*pipe); ok {
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize) // not allowed: it stays at 64 KiB
	p := &pipe{r: fds[0], w: fds[1]}
	p.cleanup = runtime.AddCleanup(p, closePipe, fds)
	return p, nil
}

func closePipe(fds [2]int) {
	_ = unix.Close(fds[0])
	_ = unix.Close(fds[1])
}

// drop closes a pipe that has still something in it.
func (p *pipe) drop() {
	p.cleanup.Stop()
	closePipe([2]int{p.r, p.w})
}

// A splicer moves bytes from one socket to another without bringing them into the process. It holds a pipe only while bytes are on
// their way, so that an idle connection costs none.
type splicer struct {
	*tcpLane
	pipe    *pipe // nil while nothing is on its way
	n       int   // bytes in the pipe
	moved   int   // bytes that left it since the last count
	errno   syscall.Errno
	err     error
	began   bool // something was spliced
	readFn  func(fd uintptr) bool
	writeFn func(fd uintptr) bool
}

// splice forwards until the end of the stream, which is io.EOF, or an error. errors.ErrUnsupported says that the sockets cannot be
// spliced and nothing was taken.
func (l *tcpLane) splice() error {
	s := &splicer{tcpLane: l}
	s.readFn, s.writeFn = s.read, s.write
	defer s.release()
	for {
		if err := s.fill(); err != nil {
			return err
		}
		if err := s.empty(); err != nil {
			return err
		}
		if err := l.drained(); err != nil {
			return err
		}
	}
}

// release gives the pipe back.
func (s *splicer) release() {
	switch {
	case s.pipe == nil:
	case s.n > 0:
		s.pipe.drop()
	default:
		pipes.Put(s.pipe)
	}
	s.pipe = nil
}

// fill waits for bytes and splices them into the pipe.
func (s *splicer) fill() error {
	s.errno, s.err = 0, nil
	if err := s.from.Raw().Read(s.readFn); err != nil {
		return woken(s.from, err)
	}
	switch {
	case s.err != nil:
		return errors.ErrUnsupported // no pipe to be had: copying needs none
	case s.errno == syscall.EINVAL && !s.began:
		return errors.ErrUnsupported
	case s.errno != 0:
		return os.NewSyscallError("splice", s.errno)
	case s.n == 0:
		return io.EOF
	}
	s.began = true
	s.from.Count(uint64(s.n), 0)
	return nil
}

// read is called when the socket may be readable; false means wait.
func (s *splicer) read(fd uintptr) bool {
	if s.pipe == nil {
		if s.pipe, s.err = getPipe(); s.err != nil {
			return true
		}
	}
	n, errno := splice(int(fd), s.pipe.w, pipeSize)
	if errno == syscall.EAGAIN {
		s.release()
		return false
	}
	s.n, s.errno = n, errno
	return true
}

// empty splices everything out of the pipe.
func (s *splicer) empty() error {
	s.errno = 0
	err := s.to.Raw().Write(s.writeFn)
	if s.moved > 0 {
		s.to.Count(0, uint64(s.moved))
		s.count(s.moved)
		s.moved = 0
	}
	switch {
	case err != nil:
		return woken(s.to, err)
	case s.errno != 0:
		return tcpWriteError{os.NewSyscallError("splice", s.errno)}
	}
	return nil
}

// write is called when the socket may take more; false means wait.
func (s *splicer) write(fd uintptr) bool {
	for s.n > 0 {
		n, errno := splice(s.pipe.r, int(fd), s.n)
		if errno == syscall.EAGAIN {
			if s.moved > 0 { // a slow reader is not idle
				s.to.Count(0, uint64(s.moved))
				s.count(s.moved)
				s.moved = 0
			}
			return false
		}
		if errno != 0 {
			s.errno = errno
			return true
		}
		s.n -= n
		s.moved += n
	}
	return true
}

// splice moves up to n bytes. Neither end blocks, so it enters the kernel without telling the scheduler.
func splice(from, to, n int) (int, syscall.Errno) {
	for {
		moved, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch errno {
		case 0:
			return int(moved), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
