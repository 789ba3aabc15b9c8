//go:build !linux

package tcp

import (
	"errors"
	"net"
	"syscall"
)

func setReusePort(syscall.RawConn) error { return errors.ErrUnsupported }

// setBacklog leaves the system's length of the accept queue.
func setBacklog(net.Listener, int) error { return nil }

func (o *SocketOptions) apply(string, int) error { return errors.ErrUnsupported }
