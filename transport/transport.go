// Package transport is what carries bytes: the Network that everything listens and dials on, and below it the transport sockets.
package transport

import (
	"context"
	"net"
	"syscall"
)

// A Network is where Weft listens and dials: the host's own, or one in memory.
type Network interface {
	Listen(ctx context.Context, o ListenOptions) (net.Listener, error)
	Dial(ctx context.Context, o DialOptions) (net.Conn, error)
}

// ListenOptions say where and how to listen.
type ListenOptions struct {
	Network   string // "tcp", "tcp4", "tcp6" or "unix"
	Address   string // host:port, or the path of a unix socket; a leading @ is the abstract namespace
	Mode      uint32 // permissions of a unix socket; 0: as the umask says
	Backlog   int    // 0: the system's
	ReusePort bool
	Control   func(network, address string, c syscall.RawConn) error // socket options before bind; may be nil
}

// DialOptions say where and how to dial.
type DialOptions struct {
	Network string // "tcp" or "unix"
	Address string
	Local   string // address to bind to, host:port; "" for any
	Control func(network, address string, c syscall.RawConn) error
}
